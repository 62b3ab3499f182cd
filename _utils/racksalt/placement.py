"""Which host takes a VM, and why the others do not.

Pure: loads and a wish in, verdicts out.

What a rule asks of one host is in the wish and the host's load. What it asks of all the others (where the VM's groups
are, whether the rack survives a host) is put into the wish by :func:`among`.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from racksalt.host_load import Group, domain_of, groups_of, huge_pages_of, small_room
from racksalt.host_load import HostLoad as HostLoad
from racksalt.host_load import capacity as capacity
from racksalt.host_load import load_of as load_of
from racksalt.host_load import taken_by as taken_by
from racksalt.host_load import with_coming as with_coming
from racksalt.host_load import without as without
from racksalt.model import CpuModel, HostConfig, HostCpu, Labels, NumaCell, Record, Room

if TYPE_CHECKING:
    from racksalt.settings import Settings

#: Every rule, in the order in which they are told.
RULES = (
    *("answers", "enabled", "chosen", "tenants", "labels", "affinity", "anti_affinity", "spread"),
    *("cpu", "numa", "huge_pages", "vcpus", "memory", "disk", "n_plus_1"),
)


class Survival(Protocol):
    """Whether the rack still survives the loss of any one host; see :mod:`racksalt.survival`."""

    def refusal(self, wish: Wish, host: str) -> str | None:
        """What would find no place any more once ``host`` has taken this; nothing where all would."""


@dataclass(frozen=True, slots=True)
class Around:
    """What all hosts together say to one wish.

    ``beside`` are the hosts that have its affinity group, ``None`` where nobody does. ``apart`` are the failure domains
    that have its spread group.
    """

    beside: frozenset[str] | None = None
    apart: frozenset[str] = frozenset()
    survival: Survival | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of a host; ``room`` is without overhead. A VM that exists is not in its own way: ``uuid``.

    Without ``around`` nothing is known of other hosts: only the rules that one host can answer hold.
    """

    tenant: str
    room: Room
    labels: Labels = field(default_factory=dict)
    anti_affinity: str | None = None
    host: str | None = None
    affinity: str | None = None
    spread: str | None = None
    tenant_labels: Labels = field(default_factory=dict)
    cpu: CpuModel | None = None
    numa: bool = False
    huge_pages: bool = False
    uuid: str = ""
    title: str = "the new VM"
    around: Around | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """One rule on one host: what it asks for, and what the host has."""

    rule: str
    ok: bool
    asked: Any
    found: Any


def wish_of(record: Record, settings: Settings) -> Wish:
    """What a VM that exists asks of a host."""
    tenant = settings.tenants.get(record.tenant)
    return Wish(
        record.tenant,
        record.room,
        record.labels,
        record.anti_affinity,
        affinity=record.affinity,
        spread=record.spread,
        tenant_labels=tenant.labels if tenant else {},
        cpu=settings.cpu,
        numa=record.numa,
        huge_pages=record.huge_pages,
        uuid=record.uuid,
        title=record.title,
    )


def among(wish: Wish, loads: Iterable[HostLoad], survival: Survival | None = None) -> Wish:
    """The wish with what all these hosts say to it.

    A VM that exists need not follow its group to a host that takes no VMs: so a host is drained of a group.
    """
    asked = {group[0]: group for group in groups_of(wish)}
    beside, apart = set(), set()
    for load in loads if "affinity" in asked or "spread" in asked else ():
        if _has_others(load, asked.get("affinity"), wish.uuid) and (load.config.enabled or not wish.uuid):
            beside.add(load.config.name)
        if _has_others(load, asked.get("spread"), wish.uuid):
            apart.add(domain_of(load.config))
    return replace(wish, around=Around(frozenset(beside) or None, frozenset(apart), survival))


def verdicts(wish: Wish, load: HostLoad) -> list[Verdict]:
    """Every rule on one host, with its numbers. Whether the rack survives is asked where all else is good."""
    told = [*_on_config(wish, load), *_on_groups(wish, load), *_on_hardware(wish, load), *_on_room(wish, load)]
    survival = wish.around.survival if wish.around else None
    refusal = survival.refusal(wish, load.config.name) if survival and all(one.ok for one in told) else None
    asked = "every VM has a place when one host is lost" if survival else None
    return [*told, Verdict("n_plus_1", refusal is None, asked, refusal)]


def fits(wish: Wish, load: HostLoad) -> bool:
    """Whether :func:`verdicts` are all good; the same rules, without the telling, for large racks."""
    return has_room(wish, load) and allows(wish, load) and _survives(wish, load)


def has_room(wish: Wish, load: HostLoad) -> bool:
    """The rules on room."""
    capacity_, used, room = load.capacity, load.used, wish.room
    memory_mib = used.memory_mib + load.config.room.vm_overhead_mib + (0 if wish.huge_pages else room.memory_mib)
    return (
        memory_mib <= capacity_.memory_mib
        and used.vcpus + room.vcpus <= capacity_.vcpus
        and used.disk_gib + room.disk_gib <= capacity_.disk_gib
        and (not wish.huge_pages or load.huge_mib + room.memory_mib <= huge_pages_of(load.cells))
    )


def allows(wish: Wish, load: HostLoad) -> bool:
    """The rules on what a host is and which VMs it has: all but those on room and on survival."""
    config, around = load.config, wish.around
    return (
        load.answers
        and config.enabled
        and (wish.host is None or wish.host == config.name)
        and (not config.tenants or wish.tenant in config.tenants)
        and (not wish.tenant_labels or _has_labels(config, wish.tenant_labels))
        and (not wish.labels or _has_labels(config, wish.labels))
        and (around is None or around.beside is None or config.name in around.beside)
        and (around is None or not around.apart or domain_of(config) not in around.apart)
        and (wish.anti_affinity is None or not _has_others(load, _apart_from(wish), wish.uuid))
        and (wish.cpu is None or _gives_cpu(wish.cpu, load))
        and (not wish.numa or _has_cell(wish, load.cells))
    )


def candidates(wish: Wish, loads: Iterable[HostLoad]) -> list[HostLoad]:
    """The hosts that can take it, the emptiest first (by its fullest resource afterwards), then by name."""
    hosts = list(loads)
    wish = wish if wish.around else among(wish, hosts)
    return sorted(
        (load for load in hosts if fits(wish, load)), key=lambda load: (fullness(wish, load), load.config.name)
    )


def best(wish: Wish, loads: Iterable[HostLoad]) -> HostLoad | None:
    """The first of :func:`candidates`, without looking through the others: the emptiest are asked first."""
    hosts = list(loads)
    wish = wish if wish.around else among(wish, hosts)
    emptiest = [(fullness(wish, load), load.config.name, at) for at, load in enumerate(hosts)]
    heapq.heapify(emptiest)
    while emptiest:
        load = hosts[heapq.heappop(emptiest)[-1]]
        if fits(wish, load):
            return load
    return None


def explain(wish: Wish, loads: Iterable[HostLoad]) -> dict[str, list[Verdict]]:
    """Every host × every rule."""
    hosts = list(loads)
    wish = wish if wish.around else among(wish, hosts)
    return {load.config.name: verdicts(wish, load) for load in hosts}


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


def fullness(wish: Wish, load: HostLoad) -> float:
    """How full the host's fullest resource is with it."""
    used, capacity_, room = load.used, load.capacity, wish.room
    memory_mib = used.memory_mib + (0 if wish.huge_pages else room.memory_mib)
    return max(
        memory_mib / (capacity_.memory_mib or 1),
        (used.vcpus + room.vcpus) / (capacity_.vcpus or 1),
        (used.disk_gib + room.disk_gib) / (capacity_.disk_gib or 1),
    )


def _survives(wish: Wish, load: HostLoad) -> bool:
    survival = wish.around.survival if wish.around else None
    return survival is None or survival.refusal(wish, load.config.name) is None


def _on_config(wish: Wish, load: HostLoad) -> Iterator[Verdict]:
    config = load.config
    yield Verdict("answers", load.answers, True, load.answers)
    yield Verdict("enabled", config.enabled, True, config.enabled or f"disabled: {config.reason or '-'}")
    yield Verdict("chosen", wish.host in (None, config.name), wish.host or "any", config.name)
    if _has_labels(config, wish.tenant_labels):
        whose = list(config.tenants) or "everybody's"
        yield Verdict("tenants", not config.tenants or wish.tenant in config.tenants, wish.tenant, whose)
    else:
        yield Verdict("tenants", False, dict(wish.tenant_labels), dict(config.labels))
    yield Verdict("labels", _has_labels(config, wish.labels), dict(wish.labels), dict(config.labels))


def _on_groups(wish: Wish, load: HostLoad) -> Iterator[Verdict]:
    name, around = load.config.name, wish.around or Around()
    domain = domain_of(load.config)
    together = around.beside is None or name in around.beside
    yield Verdict("affinity", together, wish.affinity, _names(load, "affinity", wish.tenant))
    alone = not _has_others(load, _apart_from(wish), wish.uuid)
    yield Verdict("anti_affinity", alone, wish.anti_affinity, _names(load, "anti_affinity", wish.tenant))
    yield Verdict("spread", domain not in around.apart, wish.spread, domain)


def _on_hardware(wish: Wish, load: HostLoad) -> Iterator[Verdict]:
    given = load.cpu.model if load.cpu else "not told"
    asked = f"{wish.cpu.model} {' '.join(wish.cpu.features)}".strip() if wish.cpu else None
    yield Verdict("cpu", wish.cpu is None or _gives_cpu(wish.cpu, load), asked, given)
    cells = [{"vcpus": cell.vcpus, "memory_mib": _memory_of(cell, wish)} for cell in load.cells]
    size = {"vcpus": wish.room.vcpus, "memory_mib": wish.room.memory_mib}
    yield Verdict("numa", not wish.numa or _has_cell(wish, load.cells), size if wish.numa else None, cells)


def _on_room(wish: Wish, load: HostLoad) -> Iterator[Verdict]:
    huge_mib, left = huge_pages_of(load.cells) - load.huge_mib, load.capacity - load.used
    asked = small_room(wish.room, huge_pages=wish.huge_pages)
    asked_mib = asked.memory_mib + load.config.room.vm_overhead_mib
    asked_huge_mib = wish.room.memory_mib if wish.huge_pages else 0
    yield Verdict("huge_pages", not wish.huge_pages or asked_huge_mib <= huge_mib, asked_huge_mib, huge_mib)
    yield Verdict("vcpus", asked.vcpus <= left.vcpus, asked.vcpus, left.vcpus)
    yield Verdict("memory", asked_mib <= left.memory_mib, asked_mib, left.memory_mib)
    yield Verdict("disk", asked.disk_gib <= left.disk_gib, asked.disk_gib, left.disk_gib)


def _apart_from(wish: Wish) -> Group | None:
    return ("anti_affinity", wish.tenant, wish.anti_affinity) if wish.anti_affinity else None


def _has_others(load: HostLoad, group: Group | None, uuid: str) -> bool:
    """Whether the host has a VM of the group that is not this one; a new VM is none of them."""
    uuids = load.groups.get(group) if group else None
    return uuids is not None and not (uuid and uuids == {uuid})


def _names(load: HostLoad, kind: str, tenant: str) -> list[str]:
    return sorted(group[2] for group in load.groups if group[:2] == (kind, tenant))


def _has_labels(config: HostConfig, asked: Labels) -> bool:
    return all(config.labels.get(key) == value for key, value in asked.items())


def _gives_cpu(asked: CpuModel, load: HostLoad) -> bool:
    """Emulated guests get a plain CPU, whatever the rack's is."""
    return load.config.accelerator == "qemu" or (load.cpu is not None and _has_cpu(asked, load.cpu))


@lru_cache(maxsize=4096)
def _has_cpu(asked: CpuModel, cpu: HostCpu) -> bool:
    return asked.model in cpu.models.split() and set(asked.features) <= set(cpu.features.split())


def _has_cell(wish: Wish, cells: Iterable[NumaCell]) -> bool:
    room = wish.room
    return any(cell.vcpus >= room.vcpus and _memory_of(cell, wish) >= room.memory_mib for cell in cells)


def _memory_of(cell: NumaCell, wish: Wish) -> int:
    return cell.huge_mib if wish.huge_pages else cell.memory_mib - cell.huge_mib
