"""N+1: whether every VM still finds a place when any one host is lost.

The definition is that of Ganeti's global N+1 check (``canEvacuateNode`` in its ``HTools/GlobalN1.hs``), with all of
Racksalt's rules: for each host by itself, its VMs are placed on the others one after the other, and none is left over.
The largest VM goes first, and each goes to the first host that takes it, beginning with the next one by name: so the
losses of different hosts are borne by different hosts.

Ganeti does that for every host at every placement. Here each host's rescue is kept with what it takes from each other
host. A new VM changes only its own host's rescue, and those that need the room that it takes.
"""

from __future__ import annotations

import itertools
from bisect import bisect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from racksalt import placement
from racksalt.host_load import Group, HostLoad, domain_of, groups_of, huge_pages_of, small_room, with_coming
from racksalt.model import Room
from racksalt.placement import Wish

_NOTHING = Room()


@dataclass(frozen=True, slots=True)
class Ward:
    """A VM that is to be rescued: what it takes besides huge pages, its groups, and what makes others be like it."""

    wish: Wish
    room: Room
    groups: tuple[Group, ...]
    kind: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Rescue:
    """Where a lost host's VMs go: by UUID, what each host takes then, and those that find no place."""

    places: Mapping[str, str]
    taken: Mapping[str, Room]
    stranded: tuple[Wish, ...]


@dataclass(frozen=True)
class Grid:
    """The hosts in the order of their names, and which of them take what, counted once for VMs that are alike."""

    loads: Mapping[str, HostLoad]
    alike: dict[Any, list[int]] = field(default_factory=dict, repr=False)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self.loads))

    @cached_property
    def rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.names)}

    @cached_property
    def dedicated(self) -> bool:
        """Whether tenants differ in the hosts that they may have."""
        return any(load.config.tenants for load in self.loads.values())

    def after(self, lost: str, ward: Ward) -> Iterator[str]:
        """The hosts that take it as they are, groups aside, from the one after ``lost`` on; never that one."""
        key = (*ward.kind, ward.wish.tenant) if self.dedicated else ward.kind
        rows = self.alike.get(key)
        if rows is None:
            bare = replace(ward.wish, anti_affinity=None, affinity=None, spread=None, host=None, around=None)
            rows = [row for row, name in enumerate(self.names) if placement.fits(bare, self.loads[name])]
            self.alike[key] = rows
        begin, own = bisect(rows, self.rows[lost]), self.rows[lost]
        for row in itertools.chain(itertools.islice(rows, begin, None), itertools.islice(rows, begin)):
            if row != own:
                yield self.names[row]


@dataclass(frozen=True)
class RackSurvival:
    """Every host's rescue. ``fuller`` are the hosts that have taken more since ``grid`` was made, never less.

    ``where`` has the members of each group with their hosts, and ``users`` for each host whose rescues need it, and how
    much of it.
    """

    grid: Grid
    wards: Mapping[str, tuple[Ward, ...]]
    where: Mapping[Group, tuple[tuple[str, str], ...]]
    fuller: Mapping[str, HostLoad] = field(default_factory=dict)
    rescues: Mapping[str, Rescue] = field(default_factory=dict)
    users: Mapping[str, Mapping[str, Room]] = field(default_factory=dict)

    @cached_property
    def failing(self) -> frozenset[str]:
        """The hosts whose loss is not survived."""
        return frozenset(host for host, rescue in self.rescues.items() if rescue.stranded)

    def load(self, host: str) -> HostLoad:
        """The host as it is now."""
        return self.fuller.get(host) or self.grid.loads[host]

    def refusal(self, wish: Wish, host: str) -> str | None:
        """What would find no place any more once ``host`` has taken this; nothing where all would."""
        changed = {host: with_coming(self.load(host), [wish])}
        touched = self._touched(changed, {host: (wish,)})
        after = self._with(changed, {host: (wish,)})
        for lost in (*sorted(self.failing - touched), *sorted(touched)):
            rescue = after.rescue(lost) if lost in touched else self.rescues[lost]
            if rescue.stranded:
                return f"without {lost}, {rescue.stranded[0].title} has no place"
        return None

    def plus(self, changed: Mapping[str, HostLoad], coming: Mapping[str, Sequence[Wish]]) -> RackSurvival:
        """Once hosts have taken more, and have these VMs to be rescued besides."""
        if not changed and not coming:
            return self
        touched = self._touched(changed, coming)
        after = self._with(changed, coming)
        return after.rescued({host: after.rescue(host) for host in touched})

    def rescued(self, new: Mapping[str, Rescue]) -> RackSurvival:
        """With the rescues of some hosts as they are now."""
        users = dict(self.users)
        for lost, rescue in new.items():
            before = self.rescues[lost].taken if lost in self.rescues else {}
            for host in before.keys() | rescue.taken.keys():
                mine = {one: room for one, room in users.get(host, {}).items() if one != lost}
                users[host] = {**mine, lost: rescue.taken[host]} if host in rescue.taken else mine
        return replace(self, rescues={**self.rescues, **new}, users=users)

    def rescue(self, lost: str) -> Rescue:
        """Each VM of a lost host on the first host that takes it, with those before it there already."""
        places: dict[str, str] = {}
        taken: dict[str, Room] = {}
        stranded = []
        for ward in self.wards.get(lost, ()):
            host = self._place(ward, lost, places, taken)
            if host is None:
                stranded.append(ward.wish)
            else:
                places[ward.wish.uuid] = host
                taken[host] = self._with_ward(ward, host, taken)
        return Rescue(places, taken, tuple(stranded))

    def _place(self, ward: Ward, lost: str, places: Mapping[str, str], taken: Mapping[str, Room]) -> str | None:
        around = self._around(ward, lost, places) if ward.groups else None
        for host in self.grid.after(lost, ward):
            if (host in taken or host in self.fuller) and not self._has_room(ward, host, lost, places, taken):
                continue
            if around is None or around.allows(self.load(host)):
                return host
        return None

    def _has_room(self, ward: Ward, host: str, lost: str, places: Mapping[str, str], taken: Mapping[str, Room]) -> bool:
        load = self.load(host)
        if ward.wish.huge_pages:
            others = (one.wish for one in self.wards[lost] if one.wish.huge_pages)
            here = sum(one.room.memory_mib for one in others if places.get(one.uuid) == host)
            if load.huge_mib + here + ward.wish.room.memory_mib > huge_pages_of(load.cells):
                return False
        return _holds(load, self._with_ward(ward, host, taken))

    def _with_ward(self, ward: Ward, host: str, taken: Mapping[str, Room]) -> Room:
        room, before = ward.room, taken.get(host, _NOTHING)
        memory_mib = before.memory_mib + room.memory_mib + self.grid.loads[host].config.room.vm_overhead_mib
        return Room(before.vcpus + room.vcpus, memory_mib, before.disk_gib + room.disk_gib)

    def _around(self, ward: Ward, lost: str, places: Mapping[str, str]) -> _Groups:
        """What the VM's groups allow when those of them on the lost host are where they are placed by now."""
        found: dict[str, set[str]] = {}
        for group in ward.groups:
            hosts = found.setdefault(group[0], set())
            for uuid, host in self.where.get(group, ()):
                now = places.get(uuid) if host == lost else host
                if now is not None and uuid != ward.wish.uuid:
                    hosts.add(now)
        return _Groups(
            {host for host in found.get("affinity", ()) if self.load(host).config.enabled},
            found.get("anti_affinity", set()),
            {self._domain(host) for host in found.get("spread", ())},
        )

    def _domain(self, host: str) -> str:
        return domain_of(self.grid.loads[host].config)

    def _touched(self, changed: Mapping[str, HostLoad], coming: Mapping[str, Sequence[Wish]]) -> frozenset[str]:
        """The hosts whose rescue may be another one now.

        A rescue that passes a host by does so too when that host is fuller. One that needs it stays as it is while its
        VMs still find room there.
        """
        touched = {host for host, wishes in coming.items() if wishes}
        for host, load in changed.items():
            users = self.users.get(host, {})
            more_huge = load.huge_mib > self.load(host).huge_mib
            touched.update(lost for lost, room in users.items() if more_huge or not _holds(load, room))
            for group in _new_groups(load, self.load(host)):
                touched.update(self._in_the_way(group, host))
        return frozenset(touched)

    def _in_the_way(self, group: Group, host: str) -> Iterator[str]:
        """The hosts with VMs of a group that a new one on ``host`` keeps from their places, or draws to it."""
        kind, domain = group[0], self._domain(host)
        for uuid, lost in self.where.get(group, ()):
            place = self.rescues[lost].places.get(uuid)
            if kind == "affinity" or place == host or (kind == "spread" and place and self._domain(place) == domain):
                yield lost

    def _with(self, changed: Mapping[str, HostLoad], coming: Mapping[str, Sequence[Wish]]) -> RackSurvival:
        """The same with other loads and guests, and the rescues of before."""
        where, wards = dict(self.where), dict(self.wards)
        for host, load in changed.items():
            for group, uuids in _new_groups(load, self.load(host)).items():
                where[group] = (*where.get(group, ()), *((uuid, host) for uuid in sorted(uuids)))
        for host, wishes in coming.items():
            wards[host] = _in_order((*wards.get(host, ()), *map(_ward, wishes)))
        return replace(self, wards=wards, where=where, fuller={**self.fuller, **changed})


@dataclass(frozen=True, slots=True)
class _Groups:
    """Where the groups of one VM are: the hosts to go to, if any; those and the failure domains to keep off."""

    beside: set[str]
    not_on: set[str]
    not_in: set[str]

    def allows(self, load: HostLoad) -> bool:
        name = load.config.name
        return (
            (not self.beside or name in self.beside)
            and name not in self.not_on
            and (not self.not_in or domain_of(load.config) not in self.not_in)
        )


def survival_of(loads: Iterable[HostLoad], guests: Mapping[str, Sequence[Wish]]) -> RackSurvival:
    """The rescues of all hosts; ``guests`` are the VMs of each that are to be rescued."""
    grid = Grid({load.config.name: load for load in loads})
    where: dict[Group, list[tuple[str, str]]] = {}
    for name, load in grid.loads.items():
        for group, uuids in load.groups.items():
            where.setdefault(group, []).extend((uuid, name) for uuid in sorted(uuids))
    wards = {host: _in_order(map(_ward, guests.get(host, ()))) for host in grid.loads}
    empty = RackSurvival(grid, wards, {group: tuple(members) for group, members in where.items()})
    rescues = {host: empty.rescue(host) for host in grid.loads}
    users: dict[str, dict[str, Room]] = {}
    for lost, rescue in rescues.items():
        for host, room in rescue.taken.items():
            users.setdefault(host, {})[lost] = room
    return replace(empty, rescues=rescues, users=users)


def _new_groups(load: HostLoad, before: HostLoad) -> dict[Group, frozenset[str]]:
    if load.groups == before.groups:
        return {}
    new = {group: uuids - before.groups.get(group, frozenset()) for group, uuids in load.groups.items()}
    return {group: uuids for group, uuids in new.items() if uuids}


def _holds(load: HostLoad, more: Room) -> bool:
    capacity, used = load.capacity, load.used
    return (
        used.memory_mib + more.memory_mib <= capacity.memory_mib
        and used.vcpus + more.vcpus <= capacity.vcpus
        and used.disk_gib + more.disk_gib <= capacity.disk_gib
    )


def _ward(wish: Wish) -> Ward:
    labels = frozenset(wish.labels.items()), frozenset(wish.tenant_labels.items())
    kind = (wish.room, wish.numa, wish.huge_pages, *labels)
    return Ward(wish, small_room(wish.room, huge_pages=wish.huge_pages), tuple(groups_of(wish)), kind)


def _in_order(wards: Iterable[Ward]) -> tuple[Ward, ...]:
    """The largest first: it is the hardest to place."""
    return tuple(sorted(wards, key=_size))


def _size(ward: Ward) -> tuple[int, int, int, str]:
    room = ward.wish.room
    return -room.memory_mib, -room.vcpus, -room.disk_gib, ward.wish.uuid
