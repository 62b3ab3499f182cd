"""The newest jobs are found without reading on, and what proves an answer is the same wherever it is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from racksalt import audit, job_trail
from racksalt.audit import Act
from racksalt.job_trail import Kept, Running, Trail
from racksalt.names import is_uuid
from tests.fakes import FakeAudit, FakeClock

NOW = 1_795_219_200
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def job_id(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y%m%d%H%M%S%f}"


@given(
    st.lists(
        st.tuples(st.integers(1, 5000), st.integers(1, 3000), st.sampled_from(["change", "read", "runs", "dead"])),
        unique_by=lambda one: one[0],
        max_size=30,
    ),
    st.integers(1, 5),
    st.sampled_from([("change", "read", "runs"), ("change",), ("read",), ()]),
)
def test_the_newest_are_those_of_all(jobs: list[tuple[int, int, str]], limit: int, wanted: tuple[str, ...]) -> None:
    """Jobs begin at any time, last for any time, and leave one kind of trace or another."""
    lines, kept, running = [], [], []
    for start, seconds, kind in jobs:
        job, ended_at = job_id(NOW + start), NOW + start + seconds
        if kind == "change":
            lines += [(NOW + start, audit.intent(Act("u", kind, job=job)))]
            lines += [(ended_at, audit.outcome(Act("u", kind, job=job)))]
        if kind in ("change", "read"):
            kept.append(Kept(job, kind, "u", ended_at, True))
        if kind in ("runs", "dead"):
            running.append(Running(job, kind, "u", kind == "runs"))
    log = FakeAudit(FakeClock(tick=0.0))
    for at, entry in sorted(lines, key=lambda line: line[0]):
        log.clock.time = at  # type: ignore[attr-defined]
        log.append(entry)
    last_first = sorted(kept, key=lambda one: one.ended_at, reverse=True)
    found = job_trail.newest(running, log.newest(), last_first, wanted=lambda trail: trail.fun in wanted, limit=limit)
    expected = sorted((job_id(NOW + start) for start, _, kind in jobs if kind in wanted), reverse=True)
    assert [trail.job for trail in found] == expected[:limit]
    assert all(trail.state == ("running" if trail.fun == "runs" else "done") for trail in found)


def test_no_more_is_read_than_it_takes() -> None:
    read = []

    def kept() -> Iterator[Kept]:
        for number in range(1000):
            read.append(number)
            yield Kept(job_id(NOW - 60 * number), "f", "u", NOW - 60 * number + 1, True)

    assert len(job_trail.newest([], [], kept(), wanted=lambda trail: True, limit=10)) == 10
    assert len(read) < 15


@given(JSON)
def test_an_answer_is_proved_by_the_same_digest_after_its_way_through_the_cache(answer: Any) -> None:
    again = msgpack.unpackb(msgpack.packb(answer), strict_map_key=False) if _fits(answer) else answer
    assert audit.digest(answer) == audit.digest(again) == audit.digest(json.loads(json.dumps(answer)))


def _fits(answer: Any) -> bool:
    try:
        msgpack.packb(answer)
    except (OverflowError, UnicodeEncodeError):
        return False
    return True


@given(st.floats(0, 2**33), st.text(max_size=20))
def test_the_time_of_a_line_is_read_without_the_rest(at: float, user: str) -> None:
    text, _ = audit.line(audit.intent(Act(user, "f")), after=None, at=at, master='"time":"x"')
    line = audit.read(text)
    assert line is not None and audit.time_of(text) == line.data["time"] == audit.moment(at)


def test_what_is_no_line_stops_nobody() -> None:
    assert audit.time_of(b"rubbish") == audit.time_of(b"") == "9999" > audit.moment(2**33)


def test_each_job_has_a_request_id_of_its_own() -> None:
    first, second = job_trail.request_id_of("20261121093020110233"), job_trail.request_id_of("20261121093020110234")
    assert first != second and is_uuid(first)
    assert first == job_trail.request_id_of("20261121093020110233")


def test_a_refused_call_has_failed_and_a_begun_one_without_an_end_is_lost() -> None:
    assert Trail("1", "f", "u", result="role_reader").state == "failed"
    assert Trail("1", "f", "u", began=True).state == "lost"
    assert Trail("1", "f", "u", began=True, running=True).state == "running"
    assert Trail("1", "f", "u", began=True, running=True, result="done").state == "done"
