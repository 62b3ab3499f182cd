"""What a host has for VMs, and what the VMs on it and on their way take of that.

``capacity`` is ``int((total - reserve) * overcommit)``, as in OpenStack's placement, and never more than the operator's
cap.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from racksalt.model import Domain, HostConfig, HostCpu, HostReport, NumaCell, Record, Room, RoomPolicy

_KINDS = ("affinity", "anti_affinity", "spread")
#: A group of VMs: its kind, its tenant, its name.
Group = tuple[str, str, str]


class Guest(Protocol):
    """What takes room and is in groups: a record, or the wish for a VM."""

    @property
    def uuid(self) -> str: ...

    @property
    def tenant(self) -> str: ...

    @property
    def room(self) -> Room: ...

    @property
    def affinity(self) -> str | None: ...

    @property
    def anti_affinity(self) -> str | None: ...

    @property
    def spread(self) -> str | None: ...

    @property
    def huge_pages(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class HostLoad:
    """A host as placement sees it: ``groups`` has the UUIDs of its VMs by group, ``huge_mib`` is their huge pages."""

    config: HostConfig
    answers: bool
    capacity: Room
    used: Room
    groups: Mapping[Group, frozenset[str]] = field(default_factory=dict)
    cpu: HostCpu | None = None
    cells: tuple[NumaCell, ...] = ()
    huge_mib: int = 0


def capacity(total: Room, policy: RoomPolicy) -> Room:
    """What of ``total`` may be given to VMs."""
    room = Room(
        _share(total.vcpus, policy.reserve.vcpus, policy.overcommit.vcpus),
        _share(total.memory_mib, policy.reserve.memory_mib, policy.overcommit.memory),
        _share(total.disk_gib, policy.reserve.disk_gib, policy.overcommit.disk),
    )
    return Room(
        min(room.vcpus, policy.cap.get("vcpus", room.vcpus)),
        min(room.memory_mib, policy.cap.get("memory_mib", room.memory_mib)),
        min(room.disk_gib, policy.cap.get("disk_gib", room.disk_gib)),
    )


def taken_by(rooms: Iterable[Room], policy: RoomPolicy) -> Room:
    """What VMs of these sizes take from a host, overhead included."""
    vcpus = memory_mib = disk_gib = 0
    for room in rooms:
        vcpus += room.vcpus
        memory_mib += room.memory_mib + policy.vm_overhead_mib
        disk_gib += room.disk_gib
    return Room(vcpus, memory_mib, disk_gib)


def load_of(config: HostConfig, report: HostReport | None, *, answers: bool) -> HostLoad:
    """A host's load: every domain on it, running or not, foreign ones too.

    Memory in huge pages is apart: other VMs cannot have it, and VMs of huge pages take nothing else but overhead.
    """
    if report is None:
        return HostLoad(config, answers, Room(), Room())
    total, domains = report.total, report.domains
    small = replace(total, memory_mib=max(0, total.memory_mib - huge_pages_of(report.numa)))
    records = [domain.record for domain in domains if domain.record]
    return HostLoad(
        config,
        answers,
        capacity(small, config.room),
        taken_by((_room_of(domain) for domain in domains), config.room),
        _grouped({}, records),
        report.cpu,
        report.numa,
        sum(record.memory_mib for record in records if record.huge_pages),
    )


def with_coming(load: HostLoad, vms: Collection[Guest], *, there: Container[str] = ()) -> HostLoad:
    """The load with VMs that are on their way; of those that are ``there`` already, by UUID, only the group is new."""
    new = [vm for vm in vms if vm.uuid not in there]
    return replace(
        load,
        used=load.used + taken_by((small_room(vm.room, huge_pages=vm.huge_pages) for vm in new), load.config.room),
        groups=_grouped(load.groups, vms),
        huge_mib=load.huge_mib + sum(vm.room.memory_mib for vm in new if vm.huge_pages),
    )


def without(load: HostLoad, record: Record) -> HostLoad:
    """The load once a VM that is on it has left."""
    gone = taken_by([small_room(record.room, huge_pages=record.huge_pages)], load.config.room)
    left = load.used - gone
    own = set(groups_of(record))
    groups = {group: uuids - {record.uuid} if group in own else uuids for group, uuids in load.groups.items()}
    return replace(
        load,
        used=Room(left.vcpus, left.memory_mib, left.disk_gib),
        groups={group: uuids for group, uuids in groups.items() if uuids},
        huge_mib=load.huge_mib - (record.memory_mib if record.huge_pages else 0),
    )


def groups_of(vm: Guest) -> Iterator[Group]:
    """The groups that a VM is in."""
    for kind, name in zip(_KINDS, (vm.affinity, vm.anti_affinity, vm.spread), strict=True):
        if name:
            yield kind, vm.tenant, name


def domain_of(config: HostConfig) -> str:
    """The host's failure domain; one of its own, under what no name can be, where it has none."""
    return config.failure_domain or f"only {config.name}"


def huge_pages_of(cells: Iterable[NumaCell]) -> int:
    """The memory in huge pages, in MiB."""
    return sum(cell.huge_mib for cell in cells)


def small_room(room: Room, *, huge_pages: bool) -> Room:
    """What is asked of a host besides its huge pages."""
    return replace(room, memory_mib=0) if huge_pages else room


def _room_of(domain: Domain) -> Room:
    return small_room(domain.room, huge_pages=domain.record is not None and domain.record.huge_pages)


def _grouped(groups: Mapping[Group, frozenset[str]], vms: Iterable[Guest]) -> Mapping[Group, frozenset[str]]:
    merged = dict(groups)
    for vm in vms:
        for group in groups_of(vm):
            merged[group] = merged.get(group, frozenset()) | {vm.uuid}
    return merged


def _share(total: int, reserve: int, ratio: float) -> int:
    return max(0, int((total - reserve) * ratio))
