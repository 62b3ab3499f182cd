"""Steps side by side: limits, what waits for what, and how each end is told."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from racksalt import plan_run
from racksalt.convoy import Convoy
from racksalt.errors import Cancelled, Refused
from racksalt.plan_run import Limits
from racksalt.plans import Plan, Step


def move(n: int, source: str, to: str, *waits_for: int) -> Step:
    return Step(n, "move", source, "why", waits_for, vm=f"acme/vm{n}", uuid=str(n), to=to)


def plan(*steps: Step) -> Plan:
    return Plan("drain", "h1", steps)


def ends(done: list[plan_run.StepEnd]) -> dict[int, str]:
    return {end.step.n: end.end for end in done}


def refuse(*numbers: int) -> Any:
    def act(step: Step, _: Convoy | None) -> Any:
        if step.n in numbers:
            raise Refused("no_room", "no room")
        return step.n

    return act


def test_a_failed_step_stops_what_waits_for_it_and_nothing_else() -> None:
    steps = plan(move(1, "h1", "h2"), move(2, "h3", "h1", 1), move(3, "h4", "h5"), move(4, "h5", "h4", 2, 3))
    done = plan_run.carry_out(steps, refuse(1), Limits(2, 4))
    assert ends(done) == {1: "failed", 2: "not begun", 3: "done", 4: "not begun"}
    told = [end.told() for end in done]
    assert told[0]["error"]["code"] == "no_room" and told[1]["because"] == "it waits for 1"
    assert told[2]["receipt"] == 3 and told[3]["because"] == "it waits for 2"
    assert [end.step.n for end in plan_run.failed(done)] == [1, 2, 4]


def test_what_nobody_foresaw_ends_its_step_and_is_told() -> None:
    def act(step: Step, _: Convoy | None) -> Any:
        return 1 / (step.n - 1)

    done = plan_run.carry_out(plan(move(1, "h1", "h2"), move(2, "h3", "h4")), act, Limits(1, 2))
    assert ends(done) == {1: "failed", 2: "done"}
    assert done[0].told()["error"]["code"] == "internal" and "division" not in str(done[0].told())


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(0, 9)), max_size=10),
    st.integers(1, 3),
    st.integers(1, 4),
)
def test_the_limits_and_the_order_hold(some: list[tuple[int, int, int]], per_host: int, rack: int) -> None:
    steps = [
        move(n, f"h{source}", f"g{to}", *([wait] if 0 < wait < n else []))
        for n, (source, to, wait) in enumerate(some, 1)
    ]
    lock, at_work, begun, done = threading.Lock(), list[Step](), list[int](), set[int]()

    def act(step: Step, _: Convoy | None) -> None:
        with lock:
            assert set(step.waits_for) <= done
            at_work.append(step)
            begun.append(step.n)
            busy = Counter(host for one in at_work for host in one.hosts)
            assert len(at_work) <= rack and max(busy.values()) <= per_host
        time.sleep(0.0005)
        with lock:
            at_work.remove(step)
            done.add(step.n)

    assert set(ends(plan_run.carry_out(plan(*steps), act, Limits(per_host, rack))).values()) <= {"done"}
    assert sorted(begun) == [step.n for step in steps]


def test_steps_run_side_by_side() -> None:
    both = threading.Barrier(2, timeout=10)
    steps = plan(move(1, "h1", "h2"), move(2, "h1", "h3"))
    assert ends(plan_run.carry_out(steps, lambda *_: both.wait() >= 0, Limits(2, 2))) == {1: "done", 2: "done"}


@pytest.mark.parametrize("per_host", [1, 3])
def test_who_comes_back_from_those_that_leave_together_begins_alone_within_the_limits(per_host: int) -> None:
    lock, calls, now, most = threading.Lock(), list[tuple[int, bool]](), [0], [0]

    def act(step: Step, convoy: Convoy | None) -> int:
        with lock:
            calls.append((step.n, convoy is not None))
            now[0] += convoy is None
            most[0] = max(most[0], now[0])
        threading.Event().wait(0.01)
        with lock:
            now[0] -= convoy is None
        if convoy and step.n > 2:
            raise plan_run.Alone
        if step.n == 5:
            raise Refused("no_room", "no room")
        return step.n

    steps = plan(*(move(n, "h1", f"h{1 + n}") for n in range(1, 6)), move(6, "h7", "h8", 3), move(7, "h7", "h8", 5))
    done = plan_run.carry_out(steps, act, Limits(per_host, 8), share=lambda step: 0.1)
    assert ends(done) == {1: "done", 2: "done", 3: "done", 4: "done", 5: "failed", 6: "done", 7: "not begun"}
    assert sorted(calls) == [(1, True), (2, True), *((n, way) for n in (3, 4, 5) for way in (False, True)), (6, False)]
    assert 1 <= most[0] <= per_host + 1, "and the one of h7"


def test_a_plan_that_ends_meanwhile_leaves_who_came_back_where_it_was() -> None:
    def act(step: Step, convoy: Convoy | None) -> None:
        raise plan_run.Alone if convoy else Cancelled

    steps = plan(*(move(n, "h1", "h2") for n in range(1, 4)))
    with pytest.raises(Cancelled):
        plan_run.carry_out(steps, act, Limits(1, 8), share=lambda step: 0.1)
