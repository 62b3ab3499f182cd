"""The CPU that all hosts share, and who holds it back."""

from __future__ import annotations

from racksalt import cpu_baseline
from racksalt.model import CpuModel, HostCpu

OLD = HostCpu("Haswell", "Intel", "aes avx avx2", "Haswell qemu64")
NEW = HostCpu("Skylake", "Intel", "aes avx avx2 avx512f", "Haswell Skylake qemu64")
AMD = HostCpu("EPYC", "AMD", "aes avx svm", "EPYC qemu64")


def test_the_oldest_model_that_runs_everywhere_with_all_common_features() -> None:
    shared = cpu_baseline.shared({"h1": NEW, "h2": OLD, "h3": NEW})
    assert shared.cpu == CpuModel("Haswell", ("aes", "avx", "avx2"))
    assert shared.held_back_by == {"h2": ("avx512f",)} and shared.vendors == ("Intel",)


def test_hosts_that_are_alike_hold_nothing_back() -> None:
    shared = cpu_baseline.shared({"h1": NEW, "h2": NEW})
    assert shared.cpu == CpuModel("Skylake", ("aes", "avx", "avx2", "avx512f")) and shared.held_back_by == {}


def test_the_model_of_most_hosts_is_taken() -> None:
    both = "A B"
    hosts = {"h1": HostCpu("B", "x", "", both), "h2": HostCpu("A", "x", "", both), "h3": HostCpu("B", "x", "", both)}
    assert cpu_baseline.shared(hosts).cpu == CpuModel("B")


def test_cpus_of_two_vendors_share_no_model() -> None:
    shared = cpu_baseline.shared({"h1": NEW, "h2": AMD})
    assert shared.cpu is None and shared.vendors == ("AMD", "Intel")


def test_nothing_is_shared_where_no_host_tells() -> None:
    assert cpu_baseline.shared({}) == cpu_baseline.Shared(None, (), {})
    assert cpu_baseline.shared({"h1": OLD}).held_back_by == {}
