"""Emptying a host: a place for each of its VMs, the largest first; where there is none, others make room first.

Pure and deterministic: the same rack gives the same moves. What is looked through is bounded by a count, not by time.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from racksalt import placement
from racksalt.model import Room
from racksalt.plan_board import Board, Move, Piece
from racksalt.plans import Refusal

#: So many moves one behind the other may make room for one VM.
_DEEPEST = 3
#: So many places are tried for VMs that are in the way: for one VM that finds none, and in all.
_MOST_TRIES, _MOST_TRIES_IN_ALL = 400, 4000
#: Room is made on one of so many hosts, those that lack the least of it.
_MOST_HOSTS = 40
#: Of a host's VMs so many are looked at, the smallest first, for two that make room together.
_MOST_IN_PAIRS = 12
#: A plan that leaves VMs behind is tried again so often, with those VMs first.
_AGAIN = 4

#: The VMs that have to go to the same host: one, or those of an affinity group.
Unit = tuple[Piece, ...]
#: In which order the hosts that take a unit are tried; from the emptiest on as they come.
Choice = Callable[[Sequence[str]], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Emptied:
    """The moves in their order, the rack after them, and the VMs that found no place."""

    moves: tuple[Move, ...]
    board: Board
    left: tuple[Piece, ...] = ()


def empty(board: Board, host: str, pieces: Mapping[str, Sequence[Piece]]) -> Emptied:
    """Move every VM off ``host``, which takes no new ones any more; ``pieces`` are the VMs that may be moved, by host.

    The plan with the fewest VMs left is taken, of those the one with the fewest moves.
    """
    own = pieces.get(host, ())
    others = {name: there for name, there in pieces.items() if name != host}
    first = sorted(_units(own), key=lambda unit: _largest_first(unit, board))
    by_uuid = {piece.uuid: piece for there in others.values() for piece in there}
    found: list[Emptied] = []
    tries = _Tries()
    for choice in (_emptiest_first, _fullest_first):
        found += _ways(board, _Emptying(host, others, by_uuid, choice, tries), first)
        if not found[-1].left and len(found[-1].moves) == len(own):
            break
    return min(found, key=lambda one: (len(one.left), len(one.moves)))


def _ways(board: Board, emptying: _Emptying, order: list[Unit]) -> Iterator[Emptied]:
    """Until nobody is left behind; who was has the first choice the next time."""
    for _ in range(_AGAIN):
        emptied = emptying.run(board, order)
        yield emptied
        stuck = {piece.uuid for piece in emptied.left}
        if not stuck:
            return
        order = sorted(order, key=lambda unit: unit[0].uuid not in stuck)


def refusal_of(piece: Piece, board: Board) -> Refusal:
    """Why a VM finds no place, with what each other host refuses it for."""
    explained = {name: told for name, told in board.explain(piece).items() if name != piece.record.host}
    counts = Counter(verdict.rule for _, verdict in placement.refusals(explained))
    told = ", ".join(f"{rule} refuses {count}" for rule, count in counts.items())
    hosts: dict[str, list[str]] = {}
    for name, verdict in placement.refusals(explained):
        hosts.setdefault(name, []).append(f"{verdict.rule}: asked {verdict.asked}, found {verdict.found}")
    why = f"no host can take it, and none could by moving up to {_DEEPEST} others: {told or 'there is none'}"
    return Refusal(
        piece.title,
        piece.uuid,
        piece.record.host,
        "no_host_fits",
        why,
        dict(counts),
        {name: tuple(lines) for name, lines in hosts.items()},
    )


@dataclass(frozen=True, slots=True)
class _Need:
    """A place for a unit. Nobody is moved to the hosts in ``avoid``; ``depth`` moves may stand one behind the other."""

    unit: Unit
    why: str
    avoid: frozenset[str]
    depth: int

    def of(self, victim: Piece, host: str) -> _Need:
        """What a VM needs that makes room on ``host`` for this unit."""
        why = f"makes room for {self.unit[0].title}"
        return _Need((victim,), why, self.avoid | {host}, self.depth - 1)


@dataclass(slots=True)
class _Tries:
    """How many places may still be tried, for the VM that is looked after now and in all."""

    left: int = _MOST_TRIES
    in_all: int = _MOST_TRIES_IN_ALL

    def begin(self) -> None:
        """The next VM."""
        self.left = _MOST_TRIES

    def take(self) -> bool:
        """Take one of them; whether there was one."""
        self.left -= 1
        self.in_all -= 1
        return self.left >= 0 and self.in_all >= 0


@dataclass(frozen=True, slots=True)
class _Emptying:
    """One way through the units of ``host``; ``others`` are the VMs of all other hosts that may be moved, by host."""

    host: str
    others: Mapping[str, Sequence[Piece]]
    by_uuid: Mapping[str, Piece]
    choice: Choice
    tries: _Tries

    def run(self, board: Board, order: Sequence[Unit]) -> Emptied:
        """Each unit to the first host that it finds."""
        moves: list[Move] = []
        left: list[Piece] = []
        for unit in order:
            found = self._found(board, unit)
            board = _after(board, found or ())
            moves += found or ()
            left += unit if found is None else ()
        return Emptied(tuple(moves), board, tuple(left))

    def _found(self, board: Board, unit: Unit) -> list[Move] | None:
        """The fewest moves, one behind the other, that bring the unit somewhere."""
        self.tries.begin()
        for depth in range(_DEEPEST + 1):
            need = _Need(unit, f"empties {self.host}", frozenset({self.host}), depth)
            if found := self._place(board, need):
                return found
        return None

    def _place(self, board: Board, need: _Need) -> list[Move] | None:
        """To the first host that takes all of the unit; else to one where room can be made."""
        takers = (name for name in self.choice(board.takers(need.unit[0])) if name not in need.avoid)
        to = next((name for name in takers if _takes_all(board, need.unit, name)), None)
        if to is not None:
            return _to(board, need, to)
        return self._by_room(board, need) if need.depth else None

    def _by_room(self, board: Board, need: _Need) -> list[Move] | None:
        for to in _promising(board, need):
            for victims in self._victims(board, need.unit, to):
                made = self._cleared(board, victims, to, need)
                if made is not None and _takes_all(after := _after(board, made), need.unit, to):
                    return [*made, *_to(after, need, to)]
        return None

    def _cleared(self, board: Board, victims: Sequence[Piece], host: str, need: _Need) -> list[Move] | None:
        """Move these VMs off ``host``, making room for them where that is needed."""
        moves: list[Move] = []
        for victim in victims:
            made = self._place(board, need.of(victim, host)) if host in board.at(victim) else None
            if made is None:
                return None
            board = _after(board, made)
            moves += made
        return moves

    def _victims(self, board: Board, unit: Unit, host: str) -> Iterator[Sequence[Piece]]:
        """VMs on ``host`` without which it would take the unit: one, two, or as many of the largest as it takes."""

        lacks = board.lacks(unit, host)

        def enough(some: Sequence[Piece]) -> bool:
            if not _covers(board.taken(some, host), lacks) or not self.tries.take():
                return False
            return _takes_all(_without(board, some, host), unit, host)

        there = sorted(self._on(board, host), key=lambda piece: (_size(piece, board), piece.title))
        if not there or not enough(there):
            return
        yield from filter(enough, ([piece] for piece in there))
        yield from filter(enough, itertools.combinations(there[:_MOST_IN_PAIRS], 2))
        yield from itertools.islice(filter(enough, (there[-count:] for count in range(3, len(there) + 1))), 1)

    def _on(self, board: Board, host: str) -> list[Piece]:
        """The VMs that may be moved off a host at this moment of the plan; a group is left where it is."""
        came = (self.by_uuid[uuid] for uuid in board.moved if uuid in self.by_uuid)
        there = {piece.uuid: piece for piece in itertools.chain(self.others.get(host, ()), came)}
        return [piece for piece in there.values() if host in board.at(piece) and not piece.record.affinity]


def _promising(board: Board, need: _Need) -> list[str]:
    """The hosts where room could be made, those first that lack the least of it."""
    first, most = need.unit[0], board.largest
    hosts = [name for name in board.loads.keys() - need.avoid if board.may_have(first, name)]
    lacking = {name: _part(board.lacks(need.unit, name), most) for name in hosts}
    return sorted(hosts, key=lambda name: (lacking[name], name))[:_MOST_HOSTS]


def _emptiest_first(hosts: Sequence[str]) -> Sequence[str]:
    return hosts


def _fullest_first(hosts: Sequence[str]) -> Sequence[str]:
    return hosts[::-1]


def _units(pieces: Iterable[Piece]) -> list[Unit]:
    units: dict[tuple[str, str], list[Piece]] = {}
    for piece in sorted(pieces, key=lambda piece: piece.title):
        record = piece.record
        units.setdefault((record.tenant, record.affinity) if record.affinity else ("", record.uuid), []).append(piece)
    return [tuple(unit) for unit in units.values()]


def _size(piece: Piece, board: Board) -> float:
    """How much of the largest host it takes, of what it takes most of."""
    return _part(piece.record.room, board.largest)


def _part(room: Room, whole: Room) -> float:
    return max(
        room.vcpus / (whole.vcpus or 1),
        room.memory_mib / (whole.memory_mib or 1),
        room.disk_gib / (whole.disk_gib or 1),
    )


def _covers(room: Room, lacks: Room) -> bool:
    return room.vcpus >= lacks.vcpus and room.memory_mib >= lacks.memory_mib and room.disk_gib >= lacks.disk_gib


def _largest_first(unit: Unit, board: Board) -> tuple[float, str]:
    return -sum(_size(piece, board) for piece in unit), unit[0].title


def _takes_all(board: Board, unit: Unit, host: str) -> bool:
    for piece in unit:
        if not board.takes(piece, host):
            return False
        board = board.arrived(piece, host)
    return True


def _without(board: Board, pieces: Iterable[Piece], host: str) -> Board:
    for piece in pieces:
        board = board.left(piece, host)
    return board


def _after(board: Board, moves: Iterable[Move]) -> Board:
    for move in moves:
        board = board.after(move)
    return board


def _to(board: Board, need: _Need, to: str) -> list[Move]:
    """The moves of the unit, each from the one host that it is on by now."""
    return [Move(piece, next(iter(board.at(piece))), to, need.why) for piece in need.unit]
