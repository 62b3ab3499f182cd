"""Which host takes a VM, and why the others do not.

Pure: loads and a wish in, verdicts out. ``capacity`` is ``int((total - reserve) * overcommit)``, as in
OpenStack's placement, and never more than the operator's cap.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from racksalt.model import Domain, HostConfig, HostReport, Labels, Record, Room, RoomPolicy

#: Every rule, in the order in which they are told.
RULES = ("answers", "enabled", "chosen", "labels", "anti_affinity", "vcpus", "memory", "disk")


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of a host; ``room`` is without overhead."""

    tenant: str
    room: Room
    labels: Labels = field(default_factory=dict)
    anti_affinity: str | None = None
    host: str | None = None


@dataclass(frozen=True, slots=True)
class HostLoad:
    """A host as placement sees it; ``groups`` are (tenant, anti-affinity group) of the VMs on it."""

    config: HostConfig
    answers: bool
    capacity: Room
    used: Room
    groups: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Verdict:
    """One rule on one host: what it asks for, and what the host has."""

    rule: str
    ok: bool
    asked: Any
    found: Any


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
    """A host's load: every domain on it, running or not, foreign ones too."""
    domains: tuple[Domain, ...] = report.domains if report else ()
    return HostLoad(
        config,
        answers,
        capacity(report.total, config.room) if report else Room(),
        taken_by((domain.room for domain in domains), config.room),
        _groups(domain.record for domain in domains if domain.record),
    )


def with_coming(load: HostLoad, records: Collection[Record], *, there: Container[str] = ()) -> HostLoad:
    """The load with VMs that are on their way; of those that are ``there`` already, by UUID, only the group is new."""
    rooms = (record.room for record in records if record.uuid not in there)
    used = load.used + taken_by(rooms, load.config.room)
    return replace(load, used=used, groups=load.groups | _groups(records))


def verdicts(wish: Wish, load: HostLoad) -> list[Verdict]:
    """Every rule on one host, with its numbers."""
    config = load.config
    group = (wish.tenant, wish.anti_affinity)
    asked = Room(wish.room.vcpus, wish.room.memory_mib + config.room.vm_overhead_mib, wish.room.disk_gib)
    left = load.capacity - load.used
    return [
        Verdict("answers", load.answers, True, load.answers),
        Verdict("enabled", config.enabled, True, config.enabled or f"disabled: {config.reason or '-'}"),
        Verdict("chosen", wish.host in (None, config.name), wish.host or "any", config.name),
        Verdict("labels", _has_labels(config, wish.labels), dict(wish.labels), dict(config.labels)),
        Verdict(
            "anti_affinity",
            wish.anti_affinity is None or group not in load.groups,
            wish.anti_affinity,
            sorted(name for tenant, name in load.groups if tenant == wish.tenant),
        ),
        Verdict("vcpus", asked.vcpus <= left.vcpus, asked.vcpus, left.vcpus),
        Verdict("memory", asked.memory_mib <= left.memory_mib, asked.memory_mib, left.memory_mib),
        Verdict("disk", asked.disk_gib <= left.disk_gib, asked.disk_gib, left.disk_gib),
    ]


def fits(wish: Wish, load: HostLoad) -> bool:
    """Whether :func:`verdicts` are all good; the same rules, without the telling, for large racks."""
    config, capacity_, used, room = load.config, load.capacity, load.used, wish.room
    return (
        load.answers
        and config.enabled
        and used.memory_mib + room.memory_mib + config.room.vm_overhead_mib <= capacity_.memory_mib
        and used.vcpus + room.vcpus <= capacity_.vcpus
        and used.disk_gib + room.disk_gib <= capacity_.disk_gib
        and (wish.host is None or wish.host == config.name)
        and (not wish.labels or _has_labels(config, wish.labels))
        and (wish.anti_affinity is None or (wish.tenant, wish.anti_affinity) not in load.groups)
    )


def candidates(wish: Wish, loads: Iterable[HostLoad]) -> list[HostLoad]:
    """The hosts that can take it, the emptiest first (by its fullest resource afterwards), then by name."""
    return sorted(
        (load for load in loads if fits(wish, load)),
        key=lambda load: (_fullness(wish.room, load), load.config.name),
    )


def best(wish: Wish, loads: Iterable[HostLoad]) -> HostLoad | None:
    """The first of :func:`candidates`, without sorting the others."""
    return min(
        (load for load in loads if fits(wish, load)),
        key=lambda load: (_fullness(wish.room, load), load.config.name),
        default=None,
    )


def explain(wish: Wish, loads: Iterable[HostLoad]) -> dict[str, list[Verdict]]:
    """Every host × every rule."""
    return {load.config.name: verdicts(wish, load) for load in loads}


def refusals(explained: Mapping[str, Sequence[Verdict]]) -> Iterator[tuple[str, Verdict]]:
    """The rules that refuse, host by host."""
    for host, told in explained.items():
        for verdict in told:
            if not verdict.ok:
                yield host, verdict


def count_by_rule(explained: Mapping[str, Sequence[Verdict]]) -> dict[str, int]:
    """How many hosts each rule refuses: all that a tenant may know of the rack."""
    counted = Counter(verdict.rule for _, verdict in refusals(explained))
    return {rule: counted[rule] for rule in RULES if counted[rule]}


def _groups(records: Iterable[Record]) -> frozenset[tuple[str, str]]:
    return frozenset((record.tenant, record.anti_affinity) for record in records if record.anti_affinity)


def _share(total: int, reserve: int, ratio: float) -> int:
    return max(0, int((total - reserve) * ratio))


def _has_labels(config: HostConfig, asked: Labels) -> bool:
    return all(config.labels.get(key) == value for key, value in asked.items())


def _fullness(room: Room, load: HostLoad) -> float:
    used, capacity_ = load.used, load.capacity
    return max(
        (used.memory_mib + room.memory_mib) / (capacity_.memory_mib or 1),
        (used.vcpus + room.vcpus) / (capacity_.vcpus or 1),
        (used.disk_gib + room.disk_gib) / (capacity_.disk_gib or 1),
    )
