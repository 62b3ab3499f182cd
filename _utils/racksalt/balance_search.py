"""The best single move, or the best exchange of two VMs, out of all that there are.

Evaluating every VM on every host is what makes hbal slow. Here VMs of one size are looked at once, and hosts are
ruled out by a bound: for one size, what a move changes in a sum of squares is a part of its source plus a part of its
target (plus, where hosts differ in size, a small rest that is bounded). A square root lies above its chord, so the
chords turn that into a least score that is one number of the source plus one of the target, and only pairs whose least
score is below the best one known are evaluated in full. The answer is exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from racksalt.balance_board import MEMORY, OFFLINE, WEIGHT, Board, Flags, Floats, Ints, scores

#: Scores that are nearer than this may be equal, and are added up anew in hbal's own order.
_NEAR = 1e-11
#: A chord is taken for no steeper than this allows: a flatter one lies below the root too, and a very steep one would
#: make more of rounding than of the difference between two hosts.
_FLAT = 1e-4
#: A sum of squares is not known better than that; its root, near zero, by far less well.
_ROUNDING = 1e-15
#: So many sources and targets are tried for a first score.
_FEW = 4


@dataclass(frozen=True, slots=True)
class Step:
    """The VM ``number`` goes from ``source`` to ``target``, and the VM ``back``, if any, the other way."""

    number: int
    back: int | None
    source: int
    target: int
    score: float


@dataclass(frozen=True)
class Rows:
    """What is looked at together: each row is a size to move, and maybe one that comes back."""

    size: Ints
    back: Ints | None
    step: Ints
    #: Metrics that change at all.
    metrics: Ints
    #: What a row adds to each metric of a host that gives: metrics by rows by hosts; none for an offline host.
    given: Floats
    squared: Floats
    #: The square of what one host and another differ by in this, at most: zero where all hosts have the same size.
    uneven: Floats
    #: What metrics count that no row changes.
    still: float

    @classmethod
    def moves(cls, board: Board) -> Rows:
        """Every size by itself."""
        return cls._of(board, np.arange(len(board.sizes)), None, board.step)

    @classmethod
    def exchanges(cls, board: Board) -> Rows:
        """Every size against every other."""
        size, back = (~np.eye(len(board.sizes), dtype=bool)).nonzero()
        return cls._of(board, size, back, board.step[:, size] - board.step[:, back])

    @classmethod
    def _of(cls, board: Board, size: Ints, back: Ints | None, step: Ints) -> Rows:
        metrics = np.flatnonzero(board.step.any(axis=1))
        given = -step[metrics][:, :, None] / board.total[metrics][:, None, :] * board.online
        uneven = np.ptp(given, axis=2).max(axis=1, initial=0.0) ** 2
        return cls(size, back, step, metrics, given, given * given, uneven, _still(board, metrics))


class Between:
    """What is left to do from one board to another: only what leads there moves."""

    def __init__(self, board: Board, goal: Board) -> None:
        self._board = board
        self._left: Ints = board.count - goal.count
        self.gives: Ints = np.zeros_like(board.has)
        self.takes: Ints = np.zeros_like(board.has)
        np.add.at(self.gives, board.size_of, self._left > 0)
        np.add.at(self.takes, board.size_of, self._left < 0)

    def leads(self, number: int, target: int) -> bool:
        """Whether the goal has one VM less like this one where it is, and one more there."""
        left = self._left[self._board.kind_of[number]]
        return bool(left[self._board.at[number]] > 0 and left[target] < 0)

    def moved(self, number: int, source: int, target: int) -> None:
        """One step is done."""
        kind = self._board.kind_of[number]
        left, size = self._left[kind], self._board.size_of[kind or 0]
        left[source] -= 1
        left[target] += 1
        self.gives[size, source] -= left[source] == 0
        self.takes[size, target] -= left[target] == 0


def best(board: Board, rows: Rows, between: Between | None = None) -> Step | None:
    """The step after which the score is least; the first VM, then the first host, among equal ones."""
    if not len(rows.size) or not board.online.any():
        return None
    look = _Look(board, rows, between)
    found = list(look.candidates())
    if not found:
        return None
    row, source, target, score = (np.concatenate(column) for column in zip(*found, strict=True))
    near = score <= score.min() + _NEAR
    row, source, target = row[near], source[near], target[near]
    exact = look.exact(row, source, target) if len(row) > 1 else score[near]
    equal = np.flatnonzero(exact == exact.min())
    steps = (look.step(int(row[at]), int(source[at]), int(target[at]), float(exact[at])) for at in equal)
    return min((step for step in steps if step), key=lambda step: (step.number, step.target), default=None)


class _Look:
    """The sums of a board as it is now, and the bound that they give."""

    def __init__(self, board: Board, rows: Rows, between: Between | None) -> None:
        self.board, self.rows, self.between = board, rows, between
        values = board.raw[rows.metrics] / board.total[rows.metrics]
        self.hosts = int(board.online.sum())
        apart = values - values[:, board.online].mean(axis=1)[:, None]
        apart[:, ~board.online] = 0.0
        self.twice_apart = 2.0 * apart
        self.variance: Floats = (apart * apart).sum(axis=1) / self.hosts
        self.penalty = board.penalty()
        self.relief = self._relief()
        self.gives, self.takes = self._masks()
        self.from_source, self.to_target, self.least = self._bound()

    def candidates(self) -> Iterator[tuple[Ints, Ints, Ints, Floats]]:
        """Rows, sources, targets and their scores: all that may be the best, and others."""
        by_row = self.least + self.from_source.min(axis=1) + self.to_target.min(axis=1)
        known = np.inf
        for row in np.argsort(by_row, kind="stable"):
            if not by_row[row] <= known + _NEAR or np.isinf(by_row[row]):
                return
            if np.isinf(known):
                known = self._some(row)
            sources, targets = self._pairs(row, known + _NEAR - self.least)
            score = self._scores(row, sources, targets)
            if len(score):
                known = min(known, float(score.min()))
                yield np.full(len(score), row), sources, targets, score

    def step(self, row: int, source: int, target: int, score: float) -> Step | None:
        """The first VM of the row's size that may go; and the first that may come back."""
        number = self._first(int(self.rows.size[row]), source, target)
        if number is None or self.rows.back is None:
            return None if number is None else Step(number, None, source, target, score)
        back = self._first(int(self.rows.back[row]), target, source)
        return None if back is None else Step(number, back, source, target, score)

    def _first(self, size: int, source: int, target: int) -> int | None:
        between = self.between
        for number in self.board.members[size][source]:
            if self.board.allows(number, target) and (between is None or between.leads(number, target)):
                return number
        return None

    def exact(self, row: Ints, source: Ints, target: Ints) -> Floats:
        """The scores, added up as hbal adds them, to the last bit."""
        board = self.board
        raw = np.repeat(board.raw[:, None, :], len(row), axis=1)
        each = np.arange(len(row))
        raw[:, each, source] -= self.rows.step[:, row]
        raw[:, each, target] += self.rows.step[:, row]
        values = (raw / board.total[:, None, :])[:, :, board.online]
        return scores(values, self.penalty + self.relief[row, source])

    def _some(self, row: int) -> float:
        """The best score among a few pairs of this row that look good."""
        few = np.argsort(self.from_source[row])[:_FEW], np.argsort(self.to_target[row])[:_FEW]
        sources, targets = (side.ravel() for side in np.meshgrid(*few, indexing="ij"))
        finite = np.isfinite(self.from_source[row, sources] + self.to_target[row, targets]) & (sources != targets)
        sources, targets = self._that_may(row, sources[finite], targets[finite])
        return float(self._scores(row, sources, targets).min(initial=np.inf))

    def _pairs(self, row: int, limit: float) -> tuple[Ints, Ints]:
        """The pairs of this row whose parts of the least score add up to no more than ``limit``."""
        from_source, to_target = self.from_source[row], self.to_target[row]
        limit = min(limit, 1e300)
        sources = np.flatnonzero(from_source <= limit - to_target.min())
        targets = np.flatnonzero(to_target <= limit - from_source.min())
        near = from_source[sources][:, None] + to_target[targets] <= limit
        near &= sources[:, None] != targets
        first, second = near.nonzero()
        return self._that_may(row, sources[first], targets[second])

    def _that_may(self, row: int, sources: Ints, targets: Ints) -> tuple[Ints, Ints]:
        """The pairs with a VM that the rules let go; where there are no rules, that is each of them."""
        if self.between is None and self.board.rules.free:
            return sources, targets
        pairs = zip(sources.tolist(), targets.tolist(), strict=True)
        may = np.array([self.step(row, source, target, 0.0) is not None for source, target in pairs], dtype=bool)
        return sources[may], targets[may]

    def _scores(self, row: int, sources: Ints, targets: Ints) -> Floats:
        given, taken = self.rows.given[:, row, sources], self.rows.given[:, row, targets]
        change = given * (self.twice_apart[:, sources] + given) + taken * (taken - self.twice_apart[:, targets])
        variance = self.variance[:, None] + change / self.hosts - ((given - taken) / self.hosts) ** 2
        told: Floats = self._weights(np.sqrt(np.maximum(variance, 0.0)))
        told += self.penalty + self.relief[row, sources] + self.rows.still
        return told

    def _weights(self, deviation: Floats) -> Floats:
        total: Floats = 2 * WEIGHT * deviation.sum(axis=0)
        return total

    def _relief(self) -> Floats:
        """What a source counts less, once the VM is gone: rows × hosts, zero or negative."""
        board = self.board
        relief = np.zeros((len(self.rows.size), len(board.on)))
        if self.rows.back is None:
            relief[:, ~board.online] = -OFFLINE
        overfull = np.flatnonzero((board.raw[MEMORY] < 0) & board.online)
        for host in overfull:
            healed = board.raw[MEMORY, host] - self.rows.step[MEMORY] >= 0
            gone = -1 if self.rows.back is None else 0
            relief[:, host] = np.where(healed, -board.on[host], gone)
        return relief

    def _masks(self) -> tuple[Flags, Flags]:
        """Where a row may begin and end, as far as that can be said of a size."""
        board, rows = self.board, self.rows
        gives = board.has > 0
        takes = board.room_for(board.step) & board.rules.of_size
        if self.between is not None:
            gives, takes = self.between.gives > 0, takes & (self.between.takes > 0)
        if rows.back is None:
            return gives, takes
        back_room = board.room_for(-rows.step) & board.rules.of_size[rows.back]
        return gives[rows.size] & back_room, takes[rows.size] & (board.has[rows.back] > 0)

    def _bound(self) -> tuple[Floats, Floats, float]:
        """The part of each source, the part of each target, and what is to be added to both for the least score."""
        rows, hosts = self.rows, self.hosts
        shifted = rows.given * self.twice_apart[:, None, :]
        at_source, at_target = rows.squared + shifted, rows.squared - shifted
        rest = rows.uneven / hosts**2
        least = self.variance + self._end(at_source, at_target, np.minimum, np.inf) / hosts - rest
        low = np.maximum(least - _ROUNDING, 0.0)
        high = np.maximum(self.variance + self._end(at_source, at_target, np.maximum, -np.inf) / hosts, low)
        roots = np.sqrt(low), np.sqrt(high)
        # The slope of the chord; of one without length, that of the root.
        slope = 2 * WEIGHT / np.maximum(roots[0] + roots[1], _FLAT)
        told = (2 * WEIGHT * roots[0] + slope * (self.variance - rest - low)).sum() + self.penalty + rows.still
        weight = slope / hosts
        source = np.where(self.gives, np.einsum("m,mrh->rh", weight, at_source) + self.relief, np.inf)
        target = np.where(self.takes, np.einsum("m,mrh->rh", weight, at_target), np.inf)
        return source, target, float(told)

    def _end(self, at_source: Floats, at_target: Floats, which: np.ufunc, none: float) -> Floats:
        """The most, or the least, that a sum of squares can change by in one step."""
        both = ((at_source, self.gives), (at_target, self.takes))
        source, target = (which.reduce(np.where(mask, values, none), axis=(1, 2)) for values, mask in both)
        ends: Floats = np.where(np.isfinite(source + target), source + target, 0.0)
        return ends


def _still(board: Board, changing: Ints) -> float:
    rest = np.setdiff1d(np.arange(len(board.raw)), changing)
    values = (board.raw[rest] / board.total[rest])[:, board.online]
    return float(2 * WEIGHT * values.std(axis=1).sum()) if board.online.any() else 0.0
