"""Every way to tamper with the lines is named; whatever was written in order is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from racksalt import audit, audit_check
from racksalt.audit import Act
from racksalt.audit_check import Raw
from racksalt.model import Head
from tests.unit.test_audit import AT


def chain(count: int, *, start: Head | None = None, user: str = "alice") -> tuple[list[bytes], list[Head]]:
    """Intents and their outcomes in turn; ``heads[n]`` is that of the line at index ``n``."""
    texts, heads, head = [], [], start
    first = start.count + 1 if start else 1
    for number in range(first, first + count):
        act = Act(user, "rack_vm.stop", job=str((number + 1) // 2))
        entry = audit.intent(act) if number % 2 else audit.outcome(act)
        text, head = audit.line(entry, after=head, at=AT + number, master="master")
        texts.append(text)
        heads.append(head)
    return texts, heads


LINES, HEADS = chain(10)


def check(texts: Sequence[bytes], **heads: Head) -> dict[str, Any]:
    return audit_check.check([Raw("a", row, text) for row, text in enumerate(texts, 1)], heads)


def found(texts: Sequence[bytes], **heads: Head) -> list[tuple[Any, ...]]:
    """Each problem in short: what, and which lines."""
    told = check(texts, **heads)
    assert told["ok"] is (not told["problems"])
    return [(one["what"], one["n"], one["to"]) if "to" in one else (one["what"], one["n"]) for one in told["problems"]]


def without(*numbers: int) -> list[bytes]:
    return [text for number, text in enumerate(LINES, 1) if number not in numbers]


def order(*numbers: int) -> list[bytes]:
    return [LINES[number - 1] for number in numbers]


def forged(number: int) -> bytes:
    """The line with another user, and a hash that is right for that."""
    before = HEADS[number - 2] if number > 1 else None
    act = Act("mallory", "rack_vm.stop", job=str((number + 1) // 2))
    entry = audit.intent(act) if number % 2 else audit.outcome(act)
    return audit.line(entry, after=before, at=AT + number, master="master")[0]


def changed(number: int, text: bytes) -> list[bytes]:
    return [*LINES[: number - 1], text, *LINES[number:]]


def test_whole_lines_are_in_order() -> None:
    told = check(LINES, h1=HEADS[9], h2=HEADS[3])
    assert told == {
        "ok": True,
        "lines": 10,
        "head": {"count": 10, "sha256": HEADS[9].sha256},
        "hosts": {"h1": 10, "h2": 4},
        "problems": [],
        "torn": [],
        "unfinished": [],
    }


def test_before_the_first_line_nothing_is_wrong() -> None:
    assert check([])["ok"] and check([])["head"] is None


@pytest.mark.parametrize("number", range(1, 11))
def test_a_changed_line_is_named(number: int) -> None:
    text = LINES[number - 1].replace(b'"user":"alice"', b'"user":"bobby"')
    assert found(changed(number, text)) == [("changed", number)]


@pytest.mark.parametrize("number", range(1, 10))
def test_a_line_with_a_new_hash_is_denied_by_the_next(number: int) -> None:
    assert found(changed(number, forged(number))) == [("changed", number)]


def test_a_changed_last_line_with_a_new_hash_is_denied_by_hosts() -> None:
    told = check(changed(10, forged(10)), h1=HEADS[9], h2=HEADS[8])
    assert [(one["what"], one["n"], one["hosts"]) for one in told["problems"]] == [("replaced", 10, ["h1"])]


@pytest.mark.parametrize("number", range(1, 11))
def test_a_line_that_lies_about_its_number_is_named_by_its_place(number: int) -> None:
    text = LINES[number - 1].replace(f'"n":{number},'.encode(), b'"n":77,')
    assert found(changed(number, text)) == [("changed", number)]


@pytest.mark.parametrize("number", range(1, 10))
def test_a_spoiled_line_is_named(number: int) -> None:
    assert found(changed(number, b"\0" * 50)) == [("changed", number)]
    assert found(changed(number, LINES[number - 1][:-1])) == [("changed", number)]


@pytest.mark.parametrize(("first", "last"), [(1, 1), (1, 4), (4, 4), (3, 8), (9, 9)])
def test_missing_lines_are_named(first: int, last: int) -> None:
    assert found(without(*range(first, last + 1))) == [("missing", first, last)]


def test_each_missing_piece_is_named() -> None:
    assert found(without(2, 3, 7)) == [("missing", 2, 3), ("missing", 7, 7)]


@pytest.mark.parametrize(
    ("numbers", "problem"),
    [
        ((1, 2, 4, 3, 5, 6, 7, 8, 9, 10), ("reordered", 3, 4)),
        ((2, 1, 3, 4, 5, 6, 7, 8, 9, 10), ("reordered", 1, 2)),
        ((1, 2, 3, 4, 5, 6, 7, 8, 10, 9), ("reordered", 9, 10)),
        ((1, 2, 6, 4, 5, 3, 7, 8, 9, 10), ("reordered", 3, 6)),
        ((1, 2, 4, 5, 6, 7, 8, 9, 10, 3), ("reordered", 3, 10)),
        ((1, 2, 9, 3, 4, 5, 6, 7, 8, 10), ("reordered", 3, 9)),
    ],
)
def test_moved_lines_are_named(numbers: tuple[int, ...], problem: tuple[Any, ...]) -> None:
    assert found(order(*numbers)) == [problem]


def test_a_line_that_is_there_twice_is_named() -> None:
    assert found(order(1, 2, 3, 3, 4, 5, 6, 7, 8, 9, 10)) == [("repeated", 3)]
    assert found(order(1, 2, 3, 3, 5, 6, 7, 8, 9, 10)) == [("repeated", 3), ("missing", 4, 4)]


def test_the_end_that_was_cut_off_is_known_to_hosts() -> None:
    told = check(LINES[:6], h1=HEADS[9], h2=HEADS[5], h3=HEADS[7])
    (problem,) = told["problems"]
    assert (problem["what"], problem["n"], problem["to"], problem["hosts"]) == ("cut", 7, 10, ["h1", "h3"])
    assert "h1 line 10, h3 line 8" in problem["detail"]
    assert found([], h1=HEADS[9]) == [("cut", 1, 10)]


def test_an_end_that_was_written_anew_is_known_to_hosts() -> None:
    other, _ = chain(8, start=HEADS[4], user="mallory")
    assert found([*LINES[:5], *other]) == []
    told = check([*LINES[:5], *other], h1=HEADS[9], h2=HEADS[2], h3=HEADS[9])
    assert [(one["what"], one["n"], one["hosts"]) for one in told["problems"]] == [("replaced", 10, ["h1", "h3"])]


def test_everything_written_anew_is_known_to_hosts() -> None:
    other, _ = chain(10, user="mallory")
    assert found(other) == [] and found(other, h1=HEADS[6]) == [("replaced", 7)]


def torn_chain() -> tuple[list[bytes], bytes]:
    """Five lines, the torn sixth, the line that closes it off, and one more."""
    piece = LINES[5][:40]
    closing, head = audit.line(audit.torn(piece), after=HEADS[4], at=AT + 6, master="master")
    more, _ = chain(1, start=head)
    return [*LINES[:5], piece, closing, *more], piece


def test_a_torn_line_that_was_closed_off_is_told_and_is_no_break() -> None:
    texts, _ = torn_chain()
    told = check(texts)
    assert told["ok"] and told["lines"] == 7
    assert [one["n"] for one in told["torn"]] == [6] and "a:6: 40 bytes" in told["torn"][0]["detail"]


def test_a_torn_end_is_told_until_it_is_closed_off() -> None:
    texts, piece = torn_chain()
    assert found(texts[:6]) == [("torn", 6)]
    assert found([*LINES, piece]) == [("torn", 11)]


def test_rubbish_that_no_line_closes_off_is_named() -> None:
    texts, piece = torn_chain()
    assert found([*LINES[:5], b"rubbish", *LINES[5:]]) == [("torn", 6)]
    assert found([*texts[:5], piece + b"x", *texts[6:]]) == [("torn", 6)]
    assert found([*texts[:5], *texts[6:]]) == [], "a torn line says itself that there was something"


def test_an_intent_without_outcome_is_unfinished_and_no_break() -> None:
    told = check(LINES[:9])
    assert told["ok"] and [(one["n"], one["fun"], one["user"]) for one in told["unfinished"]] == [
        (9, "rack_vm.stop", "alice")
    ]


def test_many_problems_are_counted() -> None:
    texts, _ = chain(500)
    told = check([text.replace(b"alice", b"bobby") for text in texts])
    assert len(told["problems"]) == audit_check.MOST_TOLD + 1
    assert told["problems"][-1] == {"what": "more", "detail": "400 more problems"}


@given(st.permutations(range(10)), st.lists(st.integers(0, 9), max_size=3), st.lists(st.binary(max_size=9), max_size=2))
def test_only_the_untouched_chain_is_whole(moved: list[int], gone: list[int], rubbish: list[bytes]) -> None:
    texts = [LINES[index] for index in moved if index not in gone] + rubbish
    assert check(texts, h1=HEADS[9])["ok"] is (texts == LINES)


@given(st.integers(0, 9), st.dictionaries(st.sampled_from(["job", "kind", "time", "n", "sha256"]), st.integers()))
def test_lines_with_any_value_are_checked_without_failing(place: int, values: dict[str, int]) -> None:
    facts = {**values, "x": [], "job": [values]}
    before = HEADS[place - 1] if place else None
    text, _ = audit.line(audit.Entry("intent", facts), after=before, at=AT, master="m")
    check([*LINES[:place], text, *LINES[place + 1 :]], h1=HEADS[9])
