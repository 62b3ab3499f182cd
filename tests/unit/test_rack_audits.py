"""The audit as the operator reads it, and as hosts bear witness to it."""

from __future__ import annotations

from typing import Any

import pytest

from racksalt import audit, rack_answer, shape
from racksalt.audit import Act
from racksalt.errors import BadInput, Conflict, RacksaltError
from racksalt.model import Head
from racksalt.rack_answer import Came
from racksalt.rack_audits import RackAudits
from racksalt.rack_requests import ListAudit
from tests.fakes import FakeAudit, FakeRack, fake_rack

JOB = 20261121070849000000


def act(number: int = 0, user: str = "alice", tenant: str = "acme", fun: str = "rack_vm.stop") -> Act:
    return Act(user, fun, job=str(JOB + number), tenant=tenant, arguments={"name": "web1"})


def lines_of(rack: FakeRack) -> FakeAudit:
    assert isinstance(rack.rack.audit, FakeAudit)
    return rack.rack.audit


def listed(rack: FakeRack, **asked: Any) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = RackAudits(rack.rack).list(shape.parse(ListAudit, asked))["lines"]
    return lines


def numbers(rack: FakeRack, **asked: Any) -> list[int]:
    return [line["n"] for line in listed(rack, **asked)]


def verify(rack: FakeRack) -> dict[str, Any]:
    return RackAudits(rack.rack).verify(rack.rack.settings())


def filled() -> FakeRack:
    """Six lines: two acts of alice, one of bob, a refused one, an hour between each and the next."""
    rack = fake_rack()
    entries = [
        audit.intent(act(1)),
        audit.outcome(act(1)),
        audit.intent(act(2, "bob", "beta", "rack_vm.delete")),
        audit.outcome(act(2, "bob", "beta", "rack_vm.delete"), "vm_protected"),
        audit.refused(act(3), "role_reader"),
        audit.login_refused("eve", "192.0.2.7", result="login_refused"),
    ]
    rack.clock.time, rack.clock.tick = 1_795_219_200.0, 0.0  # 2026-11-21T00:00:00Z
    for entry in entries:
        rack.rack.audit.append(entry)
        rack.clock.sleep(3600)
    return rack


def test_lines_are_listed_oldest_first_without_what_is_for_programs() -> None:
    lines = listed(filled())
    assert [line["n"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert lines[0] == {
        "n": 1,
        "time": "2026-11-21T00:00:00.000Z",
        "kind": "intent",
        "user": "alice",
        "address": None,
        "job": str(JOB + 1),
        "fun": "rack_vm.stop",
        "tenant": "acme",
        "object": None,
        "arguments": {"name": "web1"},
    }


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"user": "alice"}, [1, 2, 5]),
        ({"user": "ali"}, []),
        ({"tenant": "beta"}, [3, 4]),
        ({"fun": "rack_vm.stop"}, [1, 2, 5]),
        ({"kind": "refused"}, [5]),
        ({"job": str(JOB + 2)}, [3, 4]),
        ({"job": JOB + 2}, [3, 4]),
        ({"user": "alice", "kind": "outcome"}, [2]),
        ({"limit": 2}, [5, 6]),
        ({"user": "alice", "limit": 2}, [2, 5]),
        ({"since": "2026-11-21T04:00:00Z"}, [5, 6]),
        ({"since": "2026-11-21T04:00:00+01:00"}, [4, 5, 6]),
        ({"since": "2026-11-21 04:30"}, [6]),
        ({"since": "2026-11-21"}, [1, 2, 3, 4, 5, 6]),
        ({"since": "2026-11-22"}, []),
        ({"since": 1_795_219_200 + 5 * 3600}, [6]),
        ({"since": 10**11}, []),
    ],
)
def test_lines_are_found(asked: dict[str, Any], found: list[int]) -> None:
    assert numbers(filled(), **asked) == found


@pytest.mark.parametrize(
    "asked",
    [
        {"limit": 0},
        {"limit": 10**6},
        {"kind": "rumour"},
        {"since": "yesterday"},
        {"since": -1},
        {"since": "9999-12-31"},
        {"since": True},
        {"job": "1; rm"},
        {"job": 7},
        {"user": "u" * 64},
        {"line": 1},
    ],
)
def test_a_search_for_nonsense_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        shape.parse(ListAudit, asked)


def test_lines_that_cannot_be_read_are_left_out_of_the_list() -> None:
    rack = filled()
    lines_of(rack).texts[2] = b"rubbish"
    assert numbers(rack) == [1, 2, 4, 5, 6]


def test_a_whole_audit_is_told_with_its_witnesses() -> None:
    rack = filled()
    head = rack.rack.audit.head()
    assert head is not None
    rack.hosts["h1"].heads = (Head(2, "f" * 64, "another"), head)
    rack.hosts["h2"].heads = (Head(2, "f" * 64, "another"),)
    told = verify(rack)
    assert told["ok"] and told["lines"] == 6 and told["hosts"] == {"h1": 6} and told["unheard"] == ["h2", "h3"]


def test_an_audit_that_was_cut_is_broken_and_says_which_host_knows() -> None:
    rack = filled()
    head = rack.rack.audit.head()
    assert head is not None
    rack.hosts["h2"].heads = (head,)
    del lines_of(rack).texts[4:]
    with pytest.raises(Conflict) as told:
        verify(rack)
    facts = told.value.facts
    assert told.value.code == "audit_broken" and not facts["ok"] and facts["lines"] == 4
    assert [(one["what"], one["n"], one["to"], one["hosts"]) for one in facts["problems"]] == [("cut", 5, 6, ["h2"])]
    assert "h2 line 6" in told.value.detail


def test_a_silent_host_bears_witness_by_what_it_said_last() -> None:
    rack = filled()
    head = rack.rack.audit.head()
    assert head is not None
    rack.hosts["h2"].heads = (head,)
    assert verify(rack)["ok"]
    rack.hosts["h2"].silent = True
    del lines_of(rack).texts[5:]
    with pytest.raises(Conflict):
        verify(rack)


def refuse(rack: FakeRack, user: str, *, times: int, fun: str = "rack_vm.show") -> None:
    for number in range(times):
        with pytest.raises(RacksaltError):
            rack_answer.carry_out(rack.rack, Came(fun, user, {"name": "acme/none"}, str(JOB + number)))


def test_refusals_of_one_user_are_told_up_to_a_bound_a_minute() -> None:
    rack = fake_rack()
    refuse(rack, "bob", times=100)
    refuse(rack, "alice", times=3)
    assert (len(listed(rack, user="bob", limit=1000)), len(listed(rack, user="alice"))) == (30, 3)
    refuse(rack, "mallory", times=100, fun="rack_vm.stop")
    assert len(listed(rack, user="mallory", limit=1000)) == 30
    rack.clock.sleep(61)
    refuse(rack, "bob", times=1)
    assert len(listed(rack, user="bob", limit=1000)) == 31


def test_a_change_is_told_however_many_refusals_there_were() -> None:
    rack = fake_rack()
    refuse(rack, "alice", times=40)
    refuse(rack, "alice", times=40, fun="rack_vm.stop")
    assert len(listed(rack, kind="intent", limit=1000)) == len(listed(rack, kind="outcome", limit=1000)) == 40


def test_no_line_holds_a_callers_text_that_passes_for_a_refusal() -> None:
    rack = fake_rack()
    for _ in range(40):
        rack.rack.audit.append(audit.intent(Act("bob", "rack_vm.note", object='x","kind":"refused","user":"bob')))
    refuse(rack, "bob", times=1)
    assert len(listed(rack, kind="refused")) == 1
