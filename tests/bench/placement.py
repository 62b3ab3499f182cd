"""M1: one VM placed on a simulated rack of 10 VMs a host, with every rule and N+1, beside Ganeti's hail.

Both get the same hosts and VMs. hail is timed as it is called: a process that reads the whole rack as JSON. Ours is
timed twice: the decision alone, on a rack that was read, and with the counting of all loads and rescues. Both are
seconds of CPU: neither waits for anything, and so a busy machine changes nothing.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from racksalt import placement, survival
from racksalt.host_load import load_of
from racksalt.model import CpuModel, Domain, HostConfig, HostCpu, HostReport, Record, Room, RoomPolicy
from racksalt.placement import Wish
from tests.bench.figures import Figure, percentile

_HAIL = Path("/usr/lib/ganeti/iallocators/hail")
_SIZES = (20, 80, 320, 1000)
_VMS_A_HOST = 10
_RUNS = 400
_GOAL_S = 0.005
_RUNS_BESIDE = 10
#: What one run of hail, and all of them at one size, may take.
_HAIL_BUDGET_S = 60.0
_TOTAL = Room(32, 64 * 1024, 2000)
_POLICY = RoomPolicy(Room(0, 2048, 50), vm_overhead_mib=0)
_CPU = HostCpu("Haswell", "Intel", " ".join(f"feature-{number}" for number in range(100)), "Haswell qemu64")
_WISH = Room(2, 2048, 20)


@dataclass(frozen=True)
class _Rack:
    reports: dict[str, HostReport]
    configs: dict[str, HostConfig]


def measure() -> list[Figure]:
    """The percentiles at each size, how they grow with the hosts, and hail's time."""
    _install()
    figures: list[Figure] = []
    p99: dict[int, float] = {}
    #: Where one run takes too long, those on larger racks are left out.
    hail_ends = True
    for hosts in _SIZES:
        rack = _rack(hosts)
        times, whole, hail = _ours(rack), [], []
        ends = time.perf_counter() + _HAIL_BUDGET_S
        for _ in range(_RUNS_BESIDE):
            whole.append(_timed(lambda rack=rack: _read_and_place(rack)))  # type: ignore[misc]
            if hail_ends and time.perf_counter() < ends:
                took = _hail(rack)
                hail_ends = took is not None
                hail.extend([took] if took is not None else [])
        p99[hosts] = percentile(times, 99)
        figures.extend(_figures(hosts, times, statistics.median(whole), statistics.median(hail) if hail else None))
    growth = (p99[1000] / 1000) / (p99[80] / 80)
    return [*figures, Figure("M1", "cost a host, 1000 against 80", growth, None, "", "x", "<= 1.5", growth <= 1.5)]


def _figures(hosts: int, times: list[float], whole: float, hail: float | None) -> Iterator[Figure]:
    p50, p99 = percentile(times, 50), percentile(times, 99)
    largest = hosts == max(_SIZES)
    goal, holds = ("p99 < 5 ms at 1000 hosts", p99 < _GOAL_S) if largest else ("-", None)
    other = "hail: process, parsing, N+1" if hail else "hail: over its time"
    yield Figure("M1", f"place on {hosts} hosts, p50", p50, None, "", "s", "-", None)
    yield Figure("M1", f"place on {hosts} hosts, p99", p99, None, "", "s", goal, holds)
    yield Figure("M1", f"count {hosts} hosts and place, median", whole, hail, other, "s", "-", None)


def _ours(rack: _Rack) -> list[float]:
    loads, kept = _counted(rack)
    times = []
    for _ in range(_RUNS):
        began = time.process_time()
        known = placement.among(_wish(), loads, kept)
        assert placement.best(known, loads) is not None
        times.append(time.process_time() - began)
    return times


def _read_and_place(rack: _Rack) -> None:
    loads, kept = _counted(rack)
    assert placement.best(placement.among(_wish(), loads, kept), loads) is not None


def _counted(rack: _Rack) -> tuple[list[placement.HostLoad], survival.RackSurvival]:
    loads = [load_of(rack.configs[name], report, answers=True) for name, report in rack.reports.items()]
    guests = {
        name: [_wish_of(domain.record) for domain in report.domains if domain.record]
        for name, report in rack.reports.items()
    }
    return loads, survival.survival_of(loads, guests)


def _timed(step: Any) -> float:
    began = time.process_time()
    step()
    return time.process_time() - began


def _wish() -> Wish:
    """Every rule has something to say."""
    return Wish(
        "acme",
        _WISH,
        {"disk": "ssd"},
        "group-1",
        spread="group-1",
        tenant_labels={"site": "a"},
        cpu=CpuModel("Haswell"),
    )


def _wish_of(record: Record) -> Wish:
    groups = record.anti_affinity, None, record.affinity, record.spread
    return Wish(record.tenant, record.room, record.labels, *groups, {}, CpuModel("Haswell"), uuid=record.uuid)


def _rack(hosts: int) -> _Rack:
    chance = random.Random(1)
    configs, reports = {}, {}
    for number in range(hosts):
        name = f"h{number:04}"
        labels = {"disk": chance.choice(("ssd", "hdd")), "site": "a"}
        domain = f"row{number % 20}"
        configs[name] = HostConfig(name, labels=labels, room=_POLICY, failure_domain=domain)
        domains = tuple(_domain(name, number * _VMS_A_HOST + one, chance) for one in range(_VMS_A_HOST))
        reports[name] = HostReport(name, _TOTAL, domains, cpu=_CPU)
    return _Rack(reports, configs)


def _domain(host: str, number: int, chance: random.Random) -> Domain:
    sizes = chance.choice((1, 2, 4)), chance.choice((1024, 2048, 4096)), 20
    uuid = f"0b5f2f40-4a4e-4b0e-9d2c-{number:012x}"
    group = chance.choice((None, None, f"group-{chance.randrange(200)}"))
    spread = f"group-{chance.randrange(200)}" if chance.random() < 0.2 else None
    record = Record("r", uuid, "acme", f"vm-{number}", host, "f", "i", 1, *sizes, anti_affinity=group, spread=spread)
    return Domain(uuid, record.domain, "running", *sizes, record)


def _install() -> None:
    if not _HAIL.exists():
        subprocess.run(["apt-get", "install", "-qq", "-y", "ganeti-htools"], check=True, capture_output=True)
    assert shutil.which("hbal") and _HAIL.exists()


def _hail(rack: _Rack) -> float | None:
    """One allocation by hail of a VM of the same size; ``None`` where it takes too long."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "request.json")
        file.write_text(json.dumps(_request(rack)), encoding="utf-8")
        began = _cpu_of_children()
        try:
            done = subprocess.run(
                [_HAIL, file],
                capture_output=True,
                check=True,
                timeout=_HAIL_BUDGET_S,
                env={**os.environ, "LC_ALL": "C.UTF-8"},
            )
        except subprocess.TimeoutExpired:
            return None
        took = _cpu_of_children() - began
    answer = json.loads(done.stdout)
    assert answer["success"], answer
    return took


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _request(rack: _Rack) -> dict[str, Any]:
    """Ganeti's iallocator request: nodes, instances on shared storage with one node each, and one to place."""
    nodes = {name: _node(report) for name, report in rack.reports.items()}
    instances = {
        domain.uuid: _instance(domain.vcpus, domain.memory_mib, domain.disk_gib) | {"nodes": [name]}
        for name, report in rack.reports.items()
        for domain in report.domains
    }
    group = {
        "name": "default",
        "alloc_policy": "preferred",
        "networks": [],
        "tags": [],
        "ipolicy": _POLICY_OF_GANETI,
    }
    return {
        "version": 2,
        "cluster_name": "bench",
        "cluster_tags": [],
        "enabled_hypervisors": ["kvm"],
        "ipolicy": _POLICY_OF_GANETI,
        "nodegroups": {"group": group},
        "nodes": nodes,
        "instances": instances,
        "request": {
            "type": "allocate",
            "name": "new-vm",
            "required_nodes": 1,
            "hypervisor": "kvm",
            **_instance(_WISH.vcpus, _WISH.memory_mib, _WISH.disk_gib),
        },
    }


def _node(report: HostReport) -> dict[str, Any]:
    used = sum(domain.memory_mib for domain in report.domains)
    disk_mib = _TOTAL.disk_gib * 1024
    free_disk_mib = disk_mib - sum(domain.disk_gib * 1024 for domain in report.domains)
    reserved = _POLICY.reserve.memory_mib
    return {
        "group": "group",
        "total_memory": _TOTAL.memory_mib,
        "reserved_memory": reserved,
        "free_memory": _TOTAL.memory_mib - reserved - used,
        "total_disk": disk_mib,
        "free_disk": free_disk_mib,
        "total_spindles": 1,
        "free_spindles": 1,
        "total_cpus": _TOTAL.vcpus,
        "reserved_cpus": 0,
        "primary_ip": "192.0.2.1",
        "secondary_ip": "192.0.2.1",
        "tags": [],
        "master_candidate": True,
        "master_capable": True,
        "vm_capable": True,
        "drained": False,
        "offline": False,
        "i_pri_memory": used,
        "i_pri_up_memory": used,
        "ndparams": {"spindle_count": 1, "exclusive_storage": False, "cpu_speed": 1.0, "ovs": False},
    }


def _instance(vcpus: int, memory_mib: int, disk_gib: int) -> dict[str, Any]:
    size_mib = disk_gib * 1024
    return {
        "memory": memory_mib,
        "vcpus": vcpus,
        "disk_template": "ext",
        "disks": [{"mode": "rw", "size": size_mib, "spindles": 1}],
        "disk_space_total": size_mib,
        "admin_state": "up",
        "admin_state_source": "admin",
        "tags": [],
        "nics": [],
        "os": "none",
        "hypervisor": "kvm",
        "spindle_use": 1,
    }


_LEAST = {"memory-size": 1, "cpu-count": 1, "disk-size": 1, "disk-count": 1, "nic-count": 0, "spindle-use": 1}
_MOST = {
    "memory-size": 2**20,
    "cpu-count": 512,
    "disk-size": 2**24,
    "disk-count": 16,
    "nic-count": 8,
    "spindle-use": 512,
}
_POLICY_OF_GANETI = {
    "minmax": [{"min": _LEAST, "max": _MOST}],
    "std": {**_LEAST, "memory-size": 1024, "disk-size": 1024},
    "disk-templates": ["ext"],
    "vcpu-ratio": 4.0,
    "spindle-ratio": 1024.0,
}
