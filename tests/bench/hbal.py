"""Ganeti's hbal beside ours: a cluster in the htools' text format, and what hbal makes of it.

The format is that of ``src/Ganeti/HTools/Backend/Text.hs``; sizes are in MiB. VMs get the disk template ``ext``: it is
one that hbal moves without a second node, and it leaves disks and spindles out of the account. ``plain`` counts them,
but hbal only judges such VMs and never moves them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from racksalt.balance_cluster import Cluster

_SCORE = re.compile(r"^Initial coefficients: overall ([\d.]+)", re.MULTILINE)
_MOVE = re.compile(r"^\s*\d+\.\s+(\S+)\s+(\S+?)\s+=>\s+(\S+)\s+([\d.]+)\s+a=", re.MULTILINE)


@dataclass(frozen=True)
class Hbal:
    """What hbal told: the score before, each move with the score after it, and how long it took."""

    before: float
    moves: tuple[tuple[str, str, str, float], ...]
    took_s: float

    @property
    def after(self) -> float:
        return self.moves[-1][3] if self.moves else self.before


def ensure() -> None:
    """Install the htools where they are missing."""
    if shutil.which("hbal") is None:
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(
            ["apt-get", "install", "-y", "--no-install-recommends", "ganeti-htools"],
            env=env,
            check=True,
            capture_output=True,
            timeout=600,
        )


def run(cluster: Cluster, *, template: str = "ext", most: int | None = None, timeout_s: float = 1800) -> Hbal:
    """Let hbal balance it with so many moves at ``most``; with none it only judges it.

    Load is left out: every VM would count the same.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".data") as file:
        file.write(text_of(cluster, template=template))
        file.flush()
        words = ["hbal", "-t", file.name, "--ignore-dynu", "-vvv", *([] if most is None else ["-l", str(most)])]
        env = {**os.environ, "LC_ALL": "C.UTF-8"}
        began = time.perf_counter()
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=True, timeout=timeout_s)
        took_s = time.perf_counter() - began
    score = _SCORE.search(done.stdout)
    if score is None:
        raise ValueError(f"hbal told no score: {done.stdout[-500:]}")
    return Hbal(float(score[1]), tuple((vm, a, b, float(to)) for vm, a, b, to in _MOVE.findall(done.stdout)), took_s)


def after(cluster: Cluster, hosts: Mapping[str, str]) -> Cluster:
    """The cluster with these VMs, by UUID, on other hosts."""
    return replace(cluster, vms=tuple(replace(vm, host=hosts.get(vm.uuid, vm.host)) for vm in cluster.vms))


def text_of(cluster: Cluster, *, template: str = "ext") -> str:
    """Groups, nodes, instances, tags and policies, parted by an empty line."""
    nodes, instances = "\n".join(_nodes(cluster)), "\n".join(_instances(cluster, template))
    return f"rack|uuid-of-rack|preferred||\n\n{nodes}\n\n{instances}\n\n\n"


def _nodes(cluster: Cluster) -> Iterator[str]:
    memory_mib: dict[str, int] = {}
    disk_gib: dict[str, int] = {}
    for vm in cluster.vms:
        memory_mib[vm.host] = memory_mib.get(vm.host, 0) + vm.room.memory_mib
        disk_gib[vm.host] = disk_gib.get(vm.host, 0) + vm.room.disk_gib
    for host in cluster.hosts:
        total, own = host.total, host.reserved
        free_mib = total.memory_mib - own.memory_mib - memory_mib.get(host.name, 0)
        free_disk_mib = 1024 * (total.disk_gib - own.disk_gib - disk_gib.get(host.name, 0))
        yield (
            f"{host.name}|{total.memory_mib}|{own.memory_mib}|{free_mib}|{1024 * total.disk_gib}|{free_disk_mib}"
            f"|{total.vcpus}|{'N' if host.online else 'Y'}|uuid-of-rack|{host.spindles}||N|0|{own.vcpus}|1.0"
        )


def _instances(cluster: Cluster, template: str) -> Iterator[str]:
    for vm in cluster.vms:
        size = f"{vm.room.memory_mib}|{1024 * vm.room.disk_gib}|{vm.room.vcpus}"
        yield f"{vm.uuid}|{size}|running|{'Y' if vm.movable else 'N'}|{vm.host}||{template}||1|-|N"
