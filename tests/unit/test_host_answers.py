"""Signed answers: what was signed is believed, whatever else was changed on the way is not."""

from __future__ import annotations

import json
import math
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from racksalt import host_answers
from racksalt.errors import Conflict, RacksaltError, Unavailable
from racksalt.host_answers import Call, Proved, Unproved
from tests.fakes import FakeKey

CALL = Call("20261010101010123456_r1", "rack_vm.create")
KEYS = {host: FakeKey(host) for host in ("h1", "h2")}

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abü😀", max_size=4), inner, max_size=4),
    max_leaves=20,
)


def verify(host: str, data: bytes, signature: str) -> bool:
    return host in KEYS and KEYS[host].verify(data, signature)


def signed(answer: Any, call: Call = CALL, host: str = "h1", key: str = "") -> dict[str, Any]:
    return host_answers.signed(answer, call, host=host, sign=KEYS[key or host].sign)


def judge(returned: Any, call: Call = CALL, host: str = "h1") -> Proved | Unproved:
    return host_answers.judge(returned, call, host=host, verify=verify)


@given(PLAIN)
def test_plain_data_is_proved_after_the_bus(answer: Any) -> None:
    over_the_bus = msgpack.unpackb(msgpack.packb(signed(answer)), strict_map_key=False)
    assert judge(over_the_bus) == Proved(answer)


def test_tuples_become_lists_on_the_bus_and_stay_proved() -> None:
    over_the_bus = msgpack.unpackb(msgpack.packb(signed({"nics": ("a", ("b",))})))
    assert judge(over_the_bus) == Proved({"nics": ["a", ["b"]]})


@given(PLAIN, PLAIN)
def test_another_answer_is_not_proved(answer: Any, other: Any) -> None:
    returned, swapped = signed(answer), signed(other)
    same = returned == swapped
    returned["signed"]["answer"] = swapped["signed"]["answer"]
    assert isinstance(judge(returned), Proved) is same


@given(st.text(max_size=9), st.text(max_size=9), st.text(max_size=9), st.text(max_size=9))
def test_what_is_signed_can_be_read_in_one_way_only(text: str, job: str, function: str, host: str) -> None:
    said = host_answers.statement(text, Call(job, function), host=host)
    head, _, body = said.partition(b"\n")
    named = json.loads(body)
    assert head == b"racksalt answer" and (named["job"], named["function"], named["host"]) == (job, function, host)
    assert said != host_answers.statement(text + " ", Call(job, function), host=host)


def test_numbers_keep_their_kind() -> None:
    """1, 1.0 and true are equal in Python, and not the same answer."""
    for value in (1, 1.0, True, "1", [1], None, 0, False, -0.0, 1e-320, 0.1):
        judged = judge(signed(value))
        assert isinstance(judged, Proved) and repr(judged.answer) == repr(value)


@pytest.mark.parametrize("answer", [math.nan, math.inf, b"x", {1, 2}])
def test_what_is_no_plain_data_is_not_signed(answer: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        signed(answer)


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        (signed({}, host="h2"), "signed for another host"),
        (signed({}, key="h2"), "its signature is not one of the accepted key for this call"),
        (signed({}, Call("20261010101010123456_r2", CALL.function)), "signed for another job"),
        (signed({}, Call(CALL.job, "rack_vm.purge")), "its signature is not one of the accepted key for this call"),
        ({"signed": {**signed({})["signed"], "signature": 5}}, "signed, but not as text"),
        ({"signed": {**signed({})["signed"], "signature": ""}}, "its signature is not one of the accepted key"),
        ({"signed": {**signed({})["signed"], "answer": "{} "}}, "its signature is not one of the accepted key"),
        ({"signed": {**signed({})["signed"], "answer": {}}}, "signed, but not as text"),
        ({"signed": {**signed({})["signed"], "answer": "VALUE_TRIMMED"}}, "its answer is too large for Salt's bus"),
        ({"signed": {"host": "h1", "job": CALL.job}}, "signed, but not as text"),
        ({"signed": ["h1"]}, "unsigned: a dict"),
        ({"changed": True}, "unsigned: a dict"),
        (None, "unsigned: a NoneType"),
        ("'rack_host.report' is not available.", "unsigned: 'rack_host.report' is not available."),
        ("Passed invalid arguments to x: y\n\n    Docs of x.\n", "unsigned: Passed invalid arguments to x: y"),
        ("Traceback (most recent call last):\n  File\nOSError: full\n", "unsigned: OSError: full"),
        ("", "unsigned: "),
        ({"error": {"code": "host_key", "detail": "no\x1b[31m key"}}, "unsigned: no[31m key"),
    ],
)
def test_what_is_not_proved_says_why(returned: Any, reason: str) -> None:
    judged = judge(returned)
    assert isinstance(judged, Unproved) and judged.reason.startswith(reason)


def test_no_answer_is_too_deep_to_be_judged() -> None:
    text = "[" * 100_000
    signature = KEYS["h1"].sign(host_answers.statement(text, CALL, host="h1"))
    judged = judge({"signed": {"host": "h1", "job": CALL.job, "answer": text, "signature": signature}})
    assert judged == Unproved("signed, but no JSON")
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert isinstance(judge(deep), Unproved)


def test_an_unknown_host_proves_nothing() -> None:
    assert isinstance(host_answers.judge(signed({}), CALL, host="h9", verify=verify), Unproved)


def test_an_error_that_was_signed_is_that_error() -> None:
    error = host_answers.told({"error": {"code": "vm_state", "status": 409, "detail": "no", "state": "x"}}, "h1")
    assert isinstance(error, Conflict) and error.facts == {"state": "x"}
    assert host_answers.told({"changed": True}, "h1") == {"changed": True}


@pytest.mark.parametrize("error", [{"status": "x"}, {"status": math.inf}, {1: 2}, {"self": 1}, {"status": []}])
def test_an_error_that_cannot_be_read_is_a_failed_host(error: Any) -> None:
    """A host may sign what it likes; it must not stop a look at the whole rack."""
    told = host_answers.told({"error": error}, "h1")
    assert isinstance(told, RacksaltError) and isinstance(told, Unavailable) and told.code == "host_failed"


@pytest.mark.parametrize(
    "code",
    [
        "done",
        "host_silent",
        "job_cancelled",
        "job_lost",
        "answer_unproved",
        "cut off",
        "",
        "x" * 41,
        "Done",
        "a\n",
        5,
        {},
    ],
)
def test_a_host_does_not_choose_the_audits_word(code: Any) -> None:
    """An outcome is the code of the error: `done` would be a change that was carried out."""
    told = host_answers.told({"error": {"code": code, "status": 409, "detail": "no"}}, "h1")
    assert isinstance(told, Unavailable) and told.code == "host_failed"
