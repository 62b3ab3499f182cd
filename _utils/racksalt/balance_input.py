"""The balance of a rack as it is. What goes in: every host that VMs may come to, and every VM that may be moved.

Hosts that are silent or out of placement are left as they are; emptying them is what a drain is for. VMs of one
affinity group stay where they are, and so do those with huge pages.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import replace

from racksalt import balance, placement
from racksalt.balance import Balance
from racksalt.balance_cluster import Cluster, Host, Vm
from racksalt.drain_plan import pieces_of
from racksalt.host_load import Group, HostLoad, domain_of, groups_of, taken_by
from racksalt.inventory import Inventory
from racksalt.model import Room
from racksalt.placement import Around
from racksalt.plan_board import Move, Piece, board_of
from racksalt.settings import Settings

#: So many VMs are left where they are, because the rack has to survive a host, before the rest of a plan is cut off.
_MOST_LEFT = 10


def even_out(
    seen: Inventory, settings: Settings, *, min_gain: float | None = None, max_moves: int | None = None
) -> Balance:
    """The moves that even the rack out, as :func:`racksalt.balance.plan`, with every rule of placement at each step."""
    cluster = cluster_of(seen, settings)
    for left in range(_MOST_LEFT + 1):
        told = balance.plan(cluster, min_gain=min_gain, max_moves=max_moves)
        refused = _first_refused(told, seen, settings) if settings.survive else None
        if refused is None:
            return told
        if left < _MOST_LEFT:
            cluster = cluster.without(told.moves[refused].uuid)
    cut = balance.plan(cluster, min_gain=min_gain, max_moves=refused)
    return replace(cut, stopped="after one more move the loss of a host would not be survived")


def _first_refused(told: Balance, seen: Inventory, settings: Settings) -> int | None:
    """The first move after which the loss of a host would not be survived."""
    pieces = {piece.uuid: piece for own in pieces_of(seen, settings).movable.values() for piece in own}
    board = board_of(seen, settings)
    for number, move in enumerate(told.moves):
        piece = pieces[move.uuid]
        if not board.takes(piece, move.target):
            return number
        board = board.after(Move(piece, move.source, move.target, ""))
    return None


def cluster_of(seen: Inventory, settings: Settings) -> Cluster:
    """What may be balanced, with placement's rules but those on room and on the loss of a host."""
    loads = {load.config.name: load for load in seen.loads()}
    inside = {name: load for name, load in loads.items() if load.answers and load.config.enabled}
    together = {group for group, count in _members(loads.values()).items() if group[0] == "affinity" and count > 1}
    movable = pieces_of(seen, settings).movable
    pieces = {name: [piece for piece in movable.get(name, ()) if _may_go(piece, together)] for name in sorted(inside)}
    outside = [load for name, load in loads.items() if name not in inside]
    allowed = _Allowed(inside, outside)
    overhead_mib = max((load.config.room.vm_overhead_mib for load in inside.values()), default=0)
    vms = [_vm(piece, overhead_mib, allowed) for own in pieces.values() for piece in own]
    others = [vm for name, own in pieces.items() for vm in _others(inside[name], own)]
    hosts = [_host(inside[name], own, _physical_vcpus(seen, name)) for name, own in pieces.items()]
    return Cluster(tuple(hosts), (*vms, *others))


class _Allowed:
    """The hosts that may take a VM, worked out once for VMs that ask for the same."""

    def __init__(self, inside: Mapping[str, HostLoad], outside: Iterable[HostLoad]) -> None:
        self._inside = inside
        self._outside = list(outside)
        self._dedicated = any(load.config.tenants for load in inside.values())
        self._known: dict[Hashable, frozenset[str] | None] = {}

    def hosts(self, piece: Piece) -> frozenset[str] | None:
        """Their names; ``None`` where it is all of them."""
        wish, accelerator = piece.wish, piece.accelerator
        apart = placement.among(wish, self._outside).around if wish.spread else None
        around = Around(apart=apart.apart if apart else frozenset())
        key = (
            wish.tenant if self._dedicated else "",
            frozenset(wish.labels.items()),
            frozenset(wish.tenant_labels.items()),
            wish.room if wish.numa else None,
            wish.cpu,
            around.apart,
            accelerator,
        )
        if key not in self._known:
            bare = replace(wish, affinity=None, anti_affinity=None, spread=None, around=around)
            names = frozenset(
                name
                for name, load in self._inside.items()
                if load.config.accelerator == accelerator and placement.allows(bare, load)
            )
            self._known[key] = None if len(names) == len(self._inside) else names
        return self._known[key]


def _may_go(piece: Piece, together: set[Group]) -> bool:
    return not piece.wish.huge_pages and together.isdisjoint(groups_of(piece.record))


def _vm(piece: Piece, overhead_mib: int, allowed: _Allowed) -> Vm:
    """Its overhead is taken for that of the host where it is largest: it may come to any."""
    room, record = piece.wish.room, piece.record
    return Vm(
        piece.uuid,
        record.host,
        replace(room, memory_mib=room.memory_mib + overhead_mib),
        hosts=allowed.hosts(piece),
        apart=(record.tenant, record.anti_affinity) if record.anti_affinity else None,
        spread=(record.tenant, record.spread) if record.spread else None,
    )


def _others(load: HostLoad, pieces: Iterable[Piece]) -> Iterator[Vm]:
    """What is in groups and stays; its room is the host's own."""
    movable = {piece.uuid for piece in pieces}
    for (kind, tenant, name), uuids in sorted(load.groups.items()):
        for uuid in sorted(uuids - movable):
            group = (tenant, name)
            if kind == "anti_affinity":
                yield Vm(uuid, load.config.name, Room(), movable=False, apart=group)
            elif kind == "spread":
                yield Vm(uuid, load.config.name, Room(), movable=False, spread=group)


def _host(load: HostLoad, pieces: Iterable[Piece], vcpus: int) -> Host:
    """What may be given to VMs is what it has; hbal counts vCPUs by those of the machine."""
    left = load.used - taken_by((piece.wish.room for piece in pieces), load.config.room)
    return Host(
        load.config.name,
        replace(load.capacity, vcpus=vcpus),
        Room(left.vcpus, left.memory_mib, left.disk_gib),
        load.capacity.vcpus,
        failure_domain=domain_of(load.config),
    )


def _physical_vcpus(seen: Inventory, name: str) -> int:
    report = seen.hosts[name].report
    return report.total.vcpus if report else 0


def _members(loads: Iterable[HostLoad]) -> dict[Group, int]:
    counted: dict[Group, int] = {}
    for load in loads:
        for group, uuids in load.groups.items():
            counted[group] = counted.get(group, 0) + len(uuids)
    return counted
