"""A rack as arrays, for :mod:`racksalt.balance`: what each host has and holds, and hbal's score of it.

The score is that of Ganeti's hbal (``src/Ganeti/HTools/Cluster/Metrics.hs``, 3.0): standard deviations over the hosts
of free memory, free disk, vCPUs and spindles as parts of what the host has, each with its weight and its twin for VMs
to come, plus the VMs on overfull and on offline hosts. What hbal knows besides (secondaries, tags, load) is zero here.
Sums run from the first host to the last, as hbal's do, so that two equal moves are equal to the last bit.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from racksalt.balance_cluster import Cluster, Host, Vm
from racksalt.model import Room

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

#: hbal's metrics that VMs can change, in its order: free memory, free disk, vCPUs, spindles.
MEMORY, DISK, VCPUS, SPINDLES = range(4)
#: The weight of each metric, and that of its twin.
WEIGHT = 0.5
#: What a VM on an offline host counts (``offline_all_cnt`` and ``offline_pri_cnt``).
OFFLINE = 4.0 + 16.0
#: How many VMs with a disk hbal's policy allows a spindle.
SPINDLE_RATIO = 32


@dataclass(frozen=True, slots=True)
class Kind:
    """VMs that are as good as each other: the same size, the same rules. One in a group is a kind of its own."""

    room: Room
    hosts: frozenset[str] | None
    apart: Hashable
    spread: Hashable
    alone: str | None


class Board:
    """Where each VM is, as arrays over metrics, sizes, kinds and hosts; :meth:`put` changes it."""

    def __init__(self, cluster: Cluster, at: Sequence[int] | None = None) -> None:
        """``at`` is the number of each VM's host, where that is another than the cluster says."""
        self.cluster = cluster
        hosts, vms = cluster.hosts, cluster.vms
        self.index = {host.name: number for number, host in enumerate(hosts)}
        self.online: Flags = np.array([host.online for host in hosts], dtype=bool)
        self.at = list(at) if at is not None else [self.index[vm.host] for vm in vms]
        self.kinds, self.kind_of = _kinds(vms)
        sizes: dict[Room, int] = {}
        self.size_of = [sizes.setdefault(kind.room, len(sizes)) for kind in self.kinds]
        self.sizes = list(sizes)
        self.step = _steps(self.sizes)
        self.total: Floats = np.array([_denominators(host) for host in hosts], dtype=float).reshape(-1, 4).T.copy()
        self.raw = _raw(cluster, self.at)
        self.most_vcpus: Ints = np.array([host.most_vcpus for host in hosts], dtype=np.int64)
        self.on: Ints = np.bincount(self.at, minlength=len(hosts)).astype(np.int64)
        #: How many VMs of each kind, and which of each size, are on each host.
        self.count: Ints = np.zeros((len(self.kinds), len(hosts)), dtype=np.int64)
        self.has: Ints = np.zeros((len(sizes), len(hosts)), dtype=np.int64)
        self.members: list[list[list[int]]] = [[[] for _ in hosts] for _ in self.sizes]
        for number, kind in enumerate(self.kind_of):
            if kind is not None:
                self.count[kind, self.at[number]] += 1
                self.has[self.size_of[kind], self.at[number]] += 1
                self.members[self.size_of[kind]][self.at[number]].append(number)
        self.rules = Rules(self)

    def put(self, number: int, target: int) -> None:
        """Take this VM to ``target``."""
        kind, source = self.kind_of[number], self.at[number]
        if kind is None:
            raise ValueError(f"VM {self.cluster.vms[number].uuid} does not move")
        size = self.size_of[kind]
        listed = self.members[size][source]
        del listed[bisect_left(listed, number)]
        insort(self.members[size][target], number)
        self.at[number] = target
        for host, sign in ((source, -1), (target, 1)):
            self.raw[:, host] += sign * self.step[:, size]
            self.count[kind, host] += sign
            self.has[size, host] += sign
            self.on[host] += sign
        self.rules.moved(kind, source, target)

    def allows(self, number: int, target: int) -> bool:
        """Whether the rules let this VM go there."""
        return bool(self.rules.allowed[self.kind_of[number], target])

    def room_for(self, step: Ints) -> Flags:
        """Where these changes (metrics × rows) fit, as rows × hosts; like hbal, no host is filled to the last MiB."""
        fits = np.ones((step.shape[1], len(self.on)), dtype=bool)
        for metric in (MEMORY, DISK):
            wanted = step[metric][:, None]
            fits &= (wanted >= 0) | (self.raw[metric] + wanted > 0)
        wanted = step[VCPUS][:, None]
        fits &= (wanted <= 0) | (self.raw[VCPUS] + wanted <= self.most_vcpus)
        return fits

    def values(self) -> Floats:
        """Metrics × online hosts, as parts of what each host has."""
        return (self.raw / self.total)[:, self.online]

    def penalty(self) -> float:
        """What the VMs on overfull and on offline hosts count."""
        full = (self.raw[MEMORY] < 0) & self.online
        return float(self.on[full].sum()) + OFFLINE * float(self.on[~self.online].sum())

    def score(self) -> float:
        """hbal's score; the less the better."""
        if not self.online.any():
            return self.penalty()
        return float(scores(self.values()[:, None, :], np.array([self.penalty()]))[0])


class Rules:
    """Which hosts may take which kind, apart from room: its own rules, and the groups as the VMs are now."""

    def __init__(self, board: Board) -> None:
        hosts = board.cluster.hosts
        self._kinds = board.kinds
        self._domains = _domains(hosts)
        masks: dict[frozenset[str] | None, Flags] = {None: board.online}
        for kind in board.kinds:
            if kind.hosts not in masks:
                masks[kind.hosts] = board.online & np.array([host.name in (kind.hosts or ()) for host in hosts])
        self._own: Flags = np.array([masks[kind.hosts] for kind in board.kinds], dtype=bool)
        self._own = self._own.reshape(len(board.kinds), len(hosts))
        #: The same for all kinds of a size together; groups are left out of it.
        self.of_size: Flags = np.zeros((len(board.sizes), len(hosts)), dtype=bool)
        np.logical_or.at(self.of_size, board.size_of, self._own)
        self._held: dict[tuple[str, Hashable], Ints] = {}
        for vm, at in zip(board.cluster.vms, board.at, strict=True):
            for name, places in self._groups(vm):
                self._held.setdefault(name, np.zeros(len(hosts), dtype=np.int64))[places[at]] += 1
        self._of_group: dict[tuple[str, Hashable], list[int]] = {}
        for number, kind in enumerate(board.kinds):
            for name, _ in self._groups(kind):
                self._of_group.setdefault(name, []).append(number)
        self.allowed: Flags = self._own.copy()
        #: Whether every VM may go to every host that is online.
        self.free = not self._of_group and bool((self._own == board.online).all())
        self._at = {number: int(board.count[number].argmax()) for number, kind in enumerate(board.kinds) if kind.alone}
        for number in self._at:
            self._look(number)

    def moved(self, kind: int, source: int, target: int) -> None:
        """Count the groups of a VM where it is now."""
        if kind not in self._at:
            return
        self._at[kind] = target
        for name, places in self._groups(self._kinds[kind]):
            self._held[name][places[source]] -= 1
            self._held[name][places[target]] += 1
            for number in self._of_group[name]:
                self._look(number)

    def _look(self, number: int) -> None:
        allowed = self._own[number].copy()
        for name, places in self._groups(self._kinds[number]):
            others = self._held[name].copy()
            others[places[self._at[number]]] -= 1
            allowed &= others[places] == 0
        self.allowed[number] = allowed

    def _groups(self, of: Vm | Kind) -> list[tuple[tuple[str, Hashable], Ints]]:
        """Each group with the place of every host in it: the host itself, or its failure domain."""
        groups: list[tuple[tuple[str, Hashable], Ints]] = []
        if of.apart is not None:
            groups.append((("apart", of.apart), np.arange(len(self._domains))))
        if of.spread is not None:
            groups.append((("spread", of.spread), self._domains))
        return groups


def scores(values: Floats, penalty: Floats) -> Floats:
    """hbal's score of each row of ``values`` (metrics × rows × online hosts), added up in its order."""
    memory, disk, vcpus, spindles = (WEIGHT * deviation for deviation in deviations(values))
    told: Floats = memory + disk + penalty + vcpus + spindles + memory + disk + vcpus + spindles
    return told


def deviations(values: Floats) -> Floats:
    """The standard deviation along the last axis, added up from the first to the last."""
    count = values.shape[-1]
    mean = np.add.accumulate(values, axis=-1)[..., -1:] / count
    apart = values - mean
    told: Floats = np.sqrt(np.add.accumulate(apart * apart, axis=-1)[..., -1] / count)
    return told


def _kinds(vms: Sequence[Vm]) -> tuple[list[Kind], list[int | None]]:
    known: dict[Kind, int] = {}
    numbers: list[int | None] = []
    for vm in vms:
        if not vm.movable:
            numbers.append(None)
            continue
        alone = vm.uuid if vm.apart is not None or vm.spread is not None else None
        numbers.append(known.setdefault(Kind(vm.room, vm.hosts, vm.apart, vm.spread, alone), len(known)))
    return list(known), numbers


def _steps(rooms: Sequence[Room]) -> Ints:
    """What one VM of each size changes in the metrics of its host: metrics × kinds."""
    rows = [(-room.memory_mib, -room.disk_gib, room.vcpus, int(room.disk_gib > 0)) for room in rooms]
    return np.array(rows, dtype=np.int64).reshape(-1, 4).T.copy()


def _raw(cluster: Cluster, at: Sequence[int]) -> Ints:
    """The metrics of each host before they are divided: free memory, free disk, vCPUs in use, spindles in use."""
    raw = (
        np.array(
            [
                (
                    host.total.memory_mib - host.reserved.memory_mib,
                    host.total.disk_gib - host.reserved.disk_gib,
                    host.reserved.vcpus,
                    0,
                )
                for host in cluster.hosts
            ],
            dtype=np.int64,
        )
        .reshape(-1, 4)
        .T.copy()
    )
    steps = _steps([vm.room for vm in cluster.vms])
    np.add.at(raw.T, list(at), steps.T)
    return raw


def _denominators(host: Host) -> tuple[int, int, int, int]:
    total = host.total
    return total.memory_mib or 1, total.disk_gib or 1, total.vcpus or 1, SPINDLE_RATIO * host.spindles


def _domains(hosts: Sequence[Host]) -> Ints:
    known: dict[str, int] = {}
    for number, host in enumerate(hosts):
        known.setdefault(host.failure_domain or f" {number}", number)
    return np.array([known[host.failure_domain or f" {number}"] for number, host in enumerate(hosts)], dtype=np.int64)
