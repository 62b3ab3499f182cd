"""Carrying out a plan: steps side by side within limits, each after those that it waits for.

A step that fails stops what waits for it, and nothing else; each step's end is told.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Literal

from racksalt.errors import Cancelled, RacksaltError, Unavailable
from racksalt.plans import Plan, Step

log = logging.getLogger(__name__)

#: What carries out one step, and returns what is to be told of it.
Act = Callable[[Step], Any]


@dataclass(frozen=True, slots=True)
class Limits:
    """How many steps may run at the same time, on each host and in all."""

    per_host: int
    rack: int


@dataclass(frozen=True, slots=True)
class StepEnd:
    """How a step ended.

    ``receipt`` is what was told of it, ``error`` why it failed, and ``because`` why it was not begun.
    """

    step: Step
    end: Literal["done", "failed", "not begun"]
    receipt: Any = None
    error: RacksaltError | None = None
    because: str = ""

    def told(self) -> dict[str, Any]:
        """The step with its end, as plain data."""
        told = {**self.step.told(), "end": self.end}
        if self.end == "done":
            return {**told, "receipt": self.receipt}
        if self.error is not None:
            return {**told, "error": self.error.as_dict()}
        return {**told, "because": self.because}


class Stopped(Exception):
    """Somebody asked the plan to end; ``ends`` are its steps, the running ones carried to their own end."""

    def __init__(self, ends: list[StepEnd]) -> None:
        super().__init__()
        self.ends = ends


def carry_out(plan: Plan, act: Act, limits: Limits, *, stop: threading.Event | None = None) -> list[StepEnd]:
    """Every step of the plan, each in a thread of its own; how each ended.

    Asked to end, it begins no more steps, and raises :class:`Stopped` when those that run have ended. ``stop`` tells
    them of it, as one may still be waiting for its turn.
    """
    run, stopped = _Run(plan, act, limits), False
    with ThreadPoolExecutor(max(1, limits.rack), thread_name_prefix="plan") as threads:
        try:
            while run.begin(threads):
                wait(run.at_work, return_when=FIRST_COMPLETED)
        except Cancelled:
            stopped = True
            if stop is not None:
                stop.set()
    run.raise_unforeseen()
    if stopped:
        raise Stopped(run.told("the plan was stopped"))
    return run.told()


def failed(ends: Iterable[StepEnd]) -> list[StepEnd]:
    """The steps that are not done."""
    return [end for end in ends if end.end != "done"]


@dataclass(frozen=True, slots=True)
class _Run:
    """One plan on its way: ``begun`` are the numbers of its steps, ``ends`` those that have ended."""

    plan: Plan
    act: Act
    limits: Limits
    begun: set[int] = field(default_factory=set)
    ends: dict[int, StepEnd] = field(default_factory=dict)
    at_work: set[Future[None]] = field(default_factory=set)
    ended: list[Future[None]] = field(default_factory=list)

    def begin(self, threads: ThreadPoolExecutor) -> bool:
        """Begin what may begin now; whether anything is at work."""
        self.ended.extend(future for future in self.at_work if future.done())
        self.at_work.difference_update(self.ended)
        for step in list(self._ready()):
            self.begun.add(step.n)
            self.at_work.add(threads.submit(self._one, step))
        return bool(self.at_work)

    def raise_unforeseen(self) -> None:
        """What no step may end with, such as the end of the whole process."""
        for future in (*self.ended, *self.at_work):
            future.result()

    def told(self, because: str = "") -> list[StepEnd]:
        """Every step's end, in order."""
        return [self.ends.get(step.n) or self._not_begun(step, because) for step in self.plan.steps]

    def _ready(self) -> Iterator[Step]:
        """The steps that may begin now, in their order."""
        running = [step for step in self.plan.steps if step.n in self.begun and step.n not in self.ends]
        busy = Counter(host for step in running for host in step.hosts)
        free = self.limits.rack - len(running)
        for step in self.plan.steps:
            may = step.n not in self.begun and all(self._is_done(n) for n in step.waits_for)
            if may and free > 0 and all(busy[host] < self.limits.per_host for host in step.hosts):
                busy.update(step.hosts)
                free -= 1
                yield step

    def _one(self, step: Step) -> None:
        """One step, in its thread: what nobody foresaw ends this step, and the others are still told."""
        try:
            end = StepEnd(step, "done", self.act(step))
        except RacksaltError as error:
            end = StepEnd(step, "failed", error=error)
        except Exception:
            log.exception("step %s of the plan: an unforeseen failure", step.n)
            unforeseen = Unavailable("internal", "it failed; the reason is in the master's log")
            end = StepEnd(step, "failed", error=unforeseen)
        self.ends[step.n] = end

    def _is_done(self, n: int) -> bool:
        return n in self.ends and self.ends[n].end == "done"

    def _not_begun(self, step: Step, because: str) -> StepEnd:
        missing = [str(n) for n in step.waits_for if not self._is_done(n)]
        return StepEnd(step, "not begun", because=because or f"it waits for {', '.join(missing)}")
