"""Which VMs to move so that hosts are used alike: a list of moves, in order, with what each of them gains.

It goes down as Ganeti's hbal does, by the best single move each time and to the last bit the same, so it ends no worse
where no more gain is asked of a move than hbal asks. Then it goes on where hbal stops, with smaller gains and with
exchanges of two VMs. What comes out is a goal: how many VMs of each kind each host should have. The goal is reached
again from the start with each VM moved at most once, the best move first; where that is not quicker than hbal's own
way, that way is taken.

Every move can be carried out when those before it are: there is room, and all rules hold, at each step. No move makes
the score worse, so a balance that is cut off has done good. A second one right after the first has nothing to do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from racksalt.balance_board import Board
from racksalt.balance_cluster import Cluster
from racksalt.balance_search import Between, Rows, Step, best

#: What hbal asks of a move, and the score below which it does (``-g`` and ``--min-gain-limit``).
_HBAL_GAIN, _GOOD = 0.01, 0.1
#: What is asked here of a move below that score, where nothing else is said, and of each half of an exchange.
SMALL_GAIN = 0.001
#: Less than this is not told from nothing.
_NOTHING = 1e-12
#: Exchanges are looked at where there are at most so many of them, times hosts.
_MOST_EXCHANGES = 50_000


@dataclass(frozen=True, slots=True)
class Move:
    """One VM from one host to another, with the score before and after it."""

    uuid: str
    source: str
    target: str
    score_before: float
    score_after: float

    @property
    def gain(self) -> float:
        return self.score_before - self.score_after


@dataclass(frozen=True, slots=True)
class Balance:
    """The moves in order, the score before and after all of them, and why there are no more."""

    moves: tuple[Move, ...]
    score_before: float
    score_after: float
    stopped: str


@dataclass(frozen=True, slots=True)
class _Done:
    """A VM's number and where it goes, with the score afterwards."""

    number: int
    source: int
    target: int
    score: float


def plan(cluster: Cluster, *, min_gain: float | None = None, max_moves: int | None = None) -> Balance:
    """The moves that even ``cluster`` out.

    Each gains ``min_gain`` at least; by default 0.001 below a score of 0.1, and anything above it, as hbal does with
    0.01. The first ``max_moves`` of a plan are the best ones.
    """
    before = Board(cluster).score()
    if not any(vm.movable for vm in cluster.vms):
        return Balance((), before, before, "no VM may be moved")
    walk = _shortest(cluster, _rounds(cluster, min_gain), min_gain)
    stopped = "no move gains enough"
    if max_moves is not None and len(walk) > max_moves:
        walk, stopped = walk[:max_moves], f"max_moves={max_moves} is reached"
    moves = tuple(_told(cluster, done, before, walk[at - 1].score if at else None) for at, done in enumerate(walk))
    return Balance(moves, before, moves[-1].score_after if moves else before, stopped)


def _told(cluster: Cluster, done: _Done, first: float, before: float | None) -> Move:
    names = cluster.hosts
    since = first if before is None else before
    return Move(cluster.vms[done.number].uuid, names[done.source].name, names[done.target].name, since, done.score)


def _rounds(cluster: Cluster, min_gain: float | None) -> list[list[_Done]]:
    """Walks, each from where the one before ended, until there is nothing to gain from there."""
    walks: list[list[_Done]] = []
    at: list[int] | None = None
    while True:
        walk, finished = _round(cluster, at, min_gain)
        if walk:
            walks.append(walk)
        if finished or not walk:
            return walks
        at = _walked(cluster, at, walk).at


def _round(cluster: Cluster, at: list[int] | None, min_gain: float | None) -> tuple[list[_Done], bool]:
    """The way down from here, to a goal by the shortest way or else hbal's own way and on; whether the goal is reached.

    From a goal nothing leads on: it is where no move and no exchange gained.
    """
    start, board = Board(cluster, at), Board(cluster, at)
    rows = Rows.moves(board)
    plain = _descend(board, rows, min_gain)
    exchanged = _exchange(board, rows, min_gain)
    if not exchanged and len(plain) == _distance(start, board):
        return plain, True
    mark = _hbal_end(start.score(), plain)
    direct = _towards(start, board, min_gain)
    if _reaches(direct, plain, mark):
        return direct, _distance(start, board) == 0
    return plain, not exchanged


def _shortest(cluster: Cluster, walks: list[list[_Done]], min_gain: float | None) -> list[_Done]:
    """All the walks as one; where each VM can be moved only once, so it is."""
    whole = [done for walk in walks for done in walk]
    if len(walks) < 2:
        return whole
    start, end = Board(cluster), _walked(cluster, None, whole)
    mark = _hbal_end(start.score(), walks[0])
    direct = _towards(start, end, min_gain)
    return direct if not _distance(start, end) and _reaches(direct, walks[0], mark) else whole


def _descend(board: Board, rows: Rows, min_gain: float | None, between: Between | None = None) -> list[_Done]:
    """The best single move, again and again."""
    walk: list[_Done] = []
    score = board.score()
    while (step := best(board, rows, between)) is not None and score - step.score >= _needed(score, min_gain):
        board.put(step.number, step.target)
        if between is not None:
            between.moved(step.number, step.source, step.target)
        walk.append(_Done(step.number, step.source, step.target, step.score))
        score = step.score
    return walk


def _exchange(board: Board, rows: Rows, min_gain: float | None) -> bool:
    """Where no single move gains, the best exchange; then single moves again, as long as there are any."""
    sizes, hosts = board.has.shape
    if sizes * sizes * hosts > _MOST_EXCHANGES:
        return False
    pairs, score, exchanged = Rows.exchanges(board), board.score(), False
    while (step := best(board, pairs)) is not None and score - step.score >= 2 * max(SMALL_GAIN, min_gain or 0.0):
        _swap(board, step)
        _descend(board, rows, min_gain)
        score, exchanged = board.score(), True
    return exchanged


def _swap(board: Board, step: Step) -> None:
    if step.back is not None:
        board.put(step.number, step.target)
        board.put(step.back, step.source)


def _towards(board: Board, goal: Board, min_gain: float | None) -> list[_Done]:
    """From one board to the kinds of another, each VM once and the best first, as far as each move gains."""
    return _descend(board, Rows.moves(board), min_gain, Between(board, goal))


def _reaches(walk: list[_Done], other: list[_Done], mark: int) -> bool:
    """Whether ``walk`` is down to where ``other`` is after ``mark`` moves, in no more moves than that."""
    return not mark or any(done.score <= other[mark - 1].score for done in walk[:mark])


def _distance(board: Board, goal: Board) -> int:
    """How many VMs have to move, where those of a kind are alike."""
    return int(np.maximum(board.count - goal.count, 0).sum())


def _hbal_end(score: float, walk: list[_Done]) -> int:
    """After how many of these moves hbal would have stopped."""
    for number, done in enumerate(walk):
        if score <= _GOOD and score - done.score < _HBAL_GAIN:
            return number
        score = done.score
    return len(walk)


def _needed(score: float, min_gain: float | None) -> float:
    if min_gain is not None:
        return max(min_gain, _NOTHING)
    return SMALL_GAIN if score <= _GOOD else _NOTHING


def _walked(cluster: Cluster, at: list[int] | None, walk: list[_Done]) -> Board:
    board = Board(cluster, at)
    for done in walk:
        board.put(done.number, done.target)
    return board
