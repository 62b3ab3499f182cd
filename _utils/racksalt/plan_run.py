"""Carrying out a plan: steps side by side within limits, each after those that it waits for.

A step that fails stops what waits for it, and nothing else; each step's end is told.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Literal

from racksalt.convoy import Convoy
from racksalt.errors import Cancelled, RacksaltError, Unavailable
from racksalt.plan_groups import Group, Limits, Share, next_groups
from racksalt.plans import Plan, Step

log = logging.getLogger(__name__)

#: What carries out one step, with those that begin together with it, and returns what is to be told of it.
Act = Callable[[Step, Convoy | None], Any]


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


class Alone(Exception):
    """A step that cannot go with those that it began with: it begins again by itself."""


class Stopped(Exception):
    """Somebody asked the plan to end; ``ends`` are its steps, the running ones carried to their own end."""

    def __init__(self, ends: list[StepEnd]) -> None:
        super().__init__()
        self.ends = ends


def carry_out(
    plan: Plan, act: Act, limits: Limits, *, share: Share = lambda step: 1, stop: threading.Event | None = None
) -> list[StepEnd]:
    """Every step of the plan, each in a thread of its own; how each ended.

    Asked to end, it begins no more steps, and raises :class:`Stopped` when those that run have ended. ``stop`` tells
    them of it, as one may still be waiting for its turn.
    """
    run, stopped = _Run(plan, act, limits, share), False
    with ThreadPoolExecutor(max(1, len(plan.steps)), thread_name_prefix="plan") as threads:
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
    """One plan on its way: ``begun`` are its groups of steps, ``ends`` the steps that have ended.

    ``back`` are those that come back from their group, and ``alone`` those that begin by themselves since.
    """

    plan: Plan
    act: Act
    limits: Limits
    share: Share
    begun: list[Group] = field(default_factory=list)
    ends: dict[int, StepEnd] = field(default_factory=dict)
    back: queue.SimpleQueue[int] = field(default_factory=queue.SimpleQueue)
    alone: set[int] = field(default_factory=set)
    at_work: set[Future[None]] = field(default_factory=set)
    ended: list[Future[None]] = field(default_factory=list)

    def begin(self, threads: ThreadPoolExecutor) -> bool:
        """Begin what may begin now; whether anything is at work."""
        self.ended.extend(future for future in self.at_work if future.done())
        self.at_work.difference_update(self.ended)
        self._take_back()
        running = [group.without(self.ends) for group in self.begun]
        for group in next_groups(self._ready(), running, self.limits, self._share):
            self.begun.append(group)
            convoy = Convoy(len(group.steps), group.abreast) if len(group.steps) > 1 else None
            self.at_work.update(threads.submit(self._one, step, convoy) for step in group.steps)
        return bool(self.at_work)

    def raise_unforeseen(self) -> None:
        """What no step may end with, such as the end of the whole process."""
        for future in (*self.ended, *self.at_work):
            future.result()

    def told(self, because: str = "") -> list[StepEnd]:
        """Every step's end, in order."""
        return [self.ends.get(step.n) or self._not_begun(step, because) for step in self.plan.steps]

    def _take_back(self) -> None:
        back = {self.back.get() for _ in range(self.back.qsize())}
        self.alone.update(back)
        self.begun[:] = [group.without(back) for group in self.begun]

    def _share(self, step: Step) -> float:
        return 1.0 if step.n in self.alone else self.share(step)

    def _ready(self) -> list[Step]:
        """The steps that wait for nothing any more, in their order."""
        begun = {step.n for group in self.begun for step in group.steps}
        left = [step for step in self.plan.steps if step.n not in begun]
        return [step for step in left if all(self._is_done(n) for n in step.waits_for)]

    def _one(self, step: Step, convoy: Convoy | None) -> None:
        """One step, in its thread: what nobody foresaw ends this step, and the others are still told."""
        try:
            self.ends[step.n] = StepEnd(step, "done", self.act(step, convoy))
        except Alone:
            self.back.put(step.n)
        except RacksaltError as error:
            self.ends[step.n] = StepEnd(step, "failed", error=error)
        except Exception:
            log.exception("step %s of the plan: an unforeseen failure", step.n)
            unforeseen = Unavailable("internal", "it failed; the reason is in the master's log")
            self.ends[step.n] = StepEnd(step, "failed", error=unforeseen)
        finally:
            if convoy:
                convoy.leave()

    def _is_done(self, n: int) -> bool:
        return n in self.ends and self.ends[n].end == "done"

    def _not_begun(self, step: Step, because: str) -> StepEnd:
        missing = [str(n) for n in step.waits_for if not self._is_done(n)]
        return StepEnd(step, "not begun", because=because or f"it waits for {', '.join(missing)}")
