"""Moves in a row as steps that may run side by side: what each has to wait for, so that every rule holds at any moment.

A move may begin when its target passes every rule with all earlier moves begun, and only those done that it waits for:
whatever else is done by then only makes room.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from racksalt.plan_board import Board, Move
from racksalt.plans import Step


def steps_of(board: Board, moves: Sequence[Move], *, first: int = 1, after: Collection[int] = ()) -> list[Step]:
    """The moves as steps from number ``first`` on; those that wait for none of these wait for the steps ``after``.

    Carried out one after the other, the moves have to be possible on ``board``.
    """
    waits: list[tuple[int, ...]] = []
    begun = board
    for index, move in enumerate(moves):
        waits.append(_waits(begun, moves, index, waits))
        begun = begun.arrived(move.piece, move.to)
    waiting = (tuple(first + earlier for earlier in some) or tuple(after) for some in waits)
    return [_step(move, first + index, some) for index, (move, some) in enumerate(zip(moves, waiting, strict=True))]


def _waits(begun: Board, moves: Sequence[Move], index: int, before: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The moves that this one waits for: as few as will do of those that make room at its target."""
    move = moves[index]
    chosen = [earlier for earlier in range(index) if moves[earlier].piece.uuid == move.piece.uuid][-1:]
    leaving = [earlier for earlier in range(index) if moves[earlier].source == move.to]
    for earlier in (*leaving, *range(index)):
        if _may_begin(begun, moves, move, _all_before(chosen, before)):
            break
        chosen.append(earlier)
    return _direct(chosen, before)


def _may_begin(begun: Board, moves: Sequence[Move], move: Move, done: Iterable[int]) -> bool:
    board = begun
    for earlier in sorted(done):
        board = board.left(moves[earlier].piece, moves[earlier].source)
    return board.takes(move.piece, move.to)


def _all_before(chosen: Iterable[int], before: Sequence[tuple[int, ...]]) -> frozenset[int]:
    """These moves and all that they wait for themselves."""
    found: set[int] = set()
    left = list(chosen)
    while left:
        one = left.pop()
        if one not in found:
            found.add(one)
            left.extend(before[one])
    return frozenset(found)


def _direct(chosen: Iterable[int], before: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Without those that others of them wait for anyway."""
    wanted = set(chosen)
    further = {earlier for one in wanted for earlier in _all_before(before[one], before)}
    return tuple(sorted(wanted - further))


def _step(move: Move, n: int, waits_for: tuple[int, ...]) -> Step:
    piece = move.piece
    return Step(
        n, "move", move.source, move.why, waits_for, piece.record.title, piece.uuid, move.to, live=piece.is_live
    )
