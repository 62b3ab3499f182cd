"""The rack as it will be while a plan is carried out: each host's load, one move after the other.

A VM on the move is at both ends: its target holds its room from the beginning, its source until the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from racksalt import placement
from racksalt.host_load import small_room, taken_by
from racksalt.inventory import Inventory
from racksalt.model import Record, Room
from racksalt.placement import HostLoad, Verdict, Wish
from racksalt.settings import Settings
from racksalt.survival import RackSurvival, survival_of


@dataclass(frozen=True, slots=True)
class Piece:
    """A VM that may be moved, with what it asks of a host; it goes on with the ``accelerator`` that it has."""

    record: Record
    wish: Wish
    is_live: bool
    accelerator: str

    @property
    def uuid(self) -> str:
        return self.record.uuid

    @property
    def title(self) -> str:
        return self.record.title


@dataclass(frozen=True, slots=True)
class Move:
    """One VM from ``source`` to ``to``, and why."""

    piece: Piece
    source: str
    to: str
    why: str


@dataclass(frozen=True, slots=True)
class Board:
    """The hosts' loads at one moment of a plan, and the most of each that one of them has.

    ``guests`` are the VMs of each that the rack is to survive the loss of, where its policy asks for that. ``moved``
    says where the VMs are that were moved, by UUID. Each change makes a new board.
    """

    loads: Mapping[str, HostLoad]
    largest: Room
    guests: Mapping[str, tuple[Wish, ...]] | None = None
    moved: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def at(self, piece: Piece) -> frozenset[str]:
        """The hosts that the VM is on; two while it moves."""
        return self.moved.get(piece.uuid, frozenset({piece.record.host}))

    def arrived(self, piece: Piece, to: str) -> Board:
        """``to`` has the VM, too."""
        if to in self.at(piece):
            return self
        load = placement.with_coming(self.loads[to], [piece.record])
        arrived = self._with(piece, load, self.at(piece) | {to})
        guests = self.guests and {**self.guests, to: (*self.guests.get(to, ()), piece.wish)}
        return replace(arrived, guests=guests)

    def left(self, piece: Piece, source: str) -> Board:
        """``source`` has the VM no more."""
        if source not in self.at(piece):
            return self
        load = placement.without(self.loads[source], piece.record)
        left = self._with(piece, load, self.at(piece) - {source})
        others = tuple(wish for wish in (self.guests or {}).get(source, ()) if wish.uuid != piece.uuid)
        return replace(left, guests=self.guests and {**self.guests, source: others})

    def after(self, move: Move) -> Board:
        """The move is done."""
        return self.arrived(move.piece, move.to).left(move.piece, move.source)

    def switched(self, host: str, *, enabled: bool, reason: str = "") -> Board:
        """The host takes new VMs, or takes none."""
        load = self.loads[host]
        config = replace(load.config, enabled=enabled, reason=reason)
        return replace(self, loads={**self.loads, host: replace(load, config=config)})

    def takes(self, piece: Piece, to: str) -> bool:
        """Whether ``to`` passes every rule for it now."""
        wish, load = placement.among(piece.wish, self.loads.values()), self.loads[to]
        if load.config.accelerator != piece.accelerator or not placement.fits(wish, load):
            return False
        survival = self._survival()
        return survival is None or survival.refusal(wish, to) is None

    def may_have(self, piece: Piece, host: str) -> bool:
        """Whether ``host`` passes the rules that no moving of other VMs changes."""
        load = self.loads[host]
        bare = replace(piece.wish, anti_affinity=None)
        return load.config.accelerator == piece.accelerator and placement.allows(bare, load)

    def taken(self, pieces: Iterable[Piece], host: str) -> Room:
        """What these VMs take of ``host``, but for huge pages."""
        rooms = (small_room(piece.record.room, huge_pages=piece.record.huge_pages) for piece in pieces)
        return taken_by(rooms, self.loads[host].config.room)

    def lacks(self, pieces: Iterable[Piece], host: str) -> Room:
        """What ``host`` has too little of for these VMs."""
        load, asked = self.loads[host], self.taken(pieces, host)
        after = load.capacity - (load.used + asked)
        return Room(max(0, -after.vcpus), max(0, -after.memory_mib), max(0, -after.disk_gib))

    def takers(self, piece: Piece) -> list[str]:
        """The hosts that have a place for it, the emptiest first; not whether the rack survives that."""
        there = self.at(piece)
        wish = placement.among(piece.wish, self.loads.values())
        loads = [load for load in self.loads.values() if load.config.accelerator == piece.accelerator]
        found = (load.config.name for load in placement.candidates(wish, loads))
        return [name for name in found if name not in there]

    def explain(self, piece: Piece) -> dict[str, list[Verdict]]:
        """Every host × every rule."""
        wish = placement.among(piece.wish, self.loads.values(), self._survival())
        return {
            name: [*told, _accelerator(piece, self.loads[name])]
            for name, told in placement.explain(wish, self.loads.values()).items()
        }

    def _survival(self) -> RackSurvival | None:
        return None if self.guests is None else survival_of(self.loads.values(), self.guests)

    def _with(self, piece: Piece, load: HostLoad, at: frozenset[str]) -> Board:
        loads, moved = {**self.loads, load.config.name: load}, {**self.moved, piece.uuid: at}
        return replace(self, loads=loads, moved=moved)


def board_of(seen: Inventory, settings: Settings) -> Board:
    """The rack as it is."""
    by_name = {load.config.name: load for load in seen.loads()}
    rooms = [load.capacity for load in by_name.values()]
    largest = Room(
        max((room.vcpus for room in rooms), default=0),
        max((room.memory_mib for room in rooms), default=0),
        max((room.disk_gib for room in rooms), default=0),
    )
    return Board(by_name, largest, _guests(seen, settings) if settings.survive else None)


def _guests(seen: Inventory, settings: Settings) -> dict[str, tuple[Wish, ...]]:
    guests: dict[str, tuple[Wish, ...]] = {}
    for record in seen.records():
        guests[record.host] = (*guests.get(record.host, ()), placement.wish_of(record, settings))
    return guests


def _accelerator(piece: Piece, load: HostLoad) -> Verdict:
    found = load.config.accelerator
    return Verdict("accelerator", found == piece.accelerator, piece.accelerator, found)
