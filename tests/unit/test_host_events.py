"""A host's events: what proves them, and that nothing else passes for one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from racksalt import host_answers, host_events
from racksalt.host_answers import Call, Proved, Unproved
from racksalt.host_events import Changes
from racksalt.model import Domain
from tests.fakes import FakeKey

UUID = "0b5f2f40-4a4e-4b0e-9d2c-7c1d0a3e9f11"
DOMAIN = Domain(UUID, "acme.web1", "running", 1, 128, 1)
CHANGES = Changes("h1", "boot-1", 7.5, True, host_events.digest(host_events.marks([DOMAIN])), (DOMAIN,))


def verify(host: str, data: bytes, signature: str) -> bool:
    return FakeKey(host).verify(data, signature)


def signed(changes: Changes = CHANGES, *, by: str = "h1") -> dict[str, Any]:
    return host_events.signed(changes, FakeKey(by).sign)


def judged(data: Any, host: str = "h1") -> Changes | Unproved:
    return host_events.judge(data, host=host, verify=verify)


def test_what_a_host_signed_comes_back_as_it_was() -> None:
    assert judged(signed()) == CHANGES
    assert judged(json.loads(json.dumps(signed()))) == CHANGES


def test_the_tag_names_the_host() -> None:
    assert host_events.host_of(host_events.tag("h1")) == "h1"
    for text in (
        "racksalt/vm/state",
        "racksalt/host//changed",
        "racksalt/host/a/b/changed",
        "racksalt/host/h1/changedx",
    ):
        assert host_events.host_of(text) is None


@pytest.mark.parametrize(
    ("data", "host"),
    [
        (None, "h1"),
        ({}, "h1"),
        ({"signed": "x"}, "h1"),
        ({"signed": {"changes": {}, "signature": "x"}}, "h1"),
        ({"signed": {"changes": "VALUE_TRIMMED", "signature": "x"}}, "h1"),
        (signed(by="h2"), "h1"),
        (signed(), "h2"),
        (signed(by="h2"), "h2"),
        (signed(replace(CHANGES, digest="no digest")), "h1"),
        (signed(replace(CHANGES, uptime_s=-1.0)), "h1"),
    ],
)
def test_what_is_not_the_hosts_own_is_no_event(data: Any, host: str) -> None:
    assert isinstance(judged(data, host), Unproved)


def test_one_changed_letter_proves_nothing() -> None:
    event = signed()
    event["signed"]["changes"] = event["signed"]["changes"].replace("running", "stopped")
    assert isinstance(judged(event), Unproved)


def test_neither_an_answer_passes_for_an_event_nor_an_event_for_an_answer() -> None:
    key, call = FakeKey("h1"), Call("job", "rack_host.report")
    answer = host_answers.signed({"x": 1}, call, host="h1", sign=key.sign)["signed"]
    assert isinstance(judged({"signed": {"changes": answer["answer"], "signature": answer["signature"]}}), Unproved)
    event = signed()["signed"]
    forged = {"host": "h1", "job": call.job, "answer": event["changes"], "signature": event["signature"]}
    assert not isinstance(host_answers.judge({"signed": forged}, call, host="h1", verify=verify), Proved)


def test_more_than_salt_carries_is_told_as_the_digest_alone() -> None:
    many = tuple(replace(DOMAIN, name="x" * 1000) for _ in range(1000))
    told = judged(signed(replace(CHANGES, changed=many)))
    assert told == replace(CHANGES, changed=())


def test_the_digest_knows_each_domain_and_not_their_order() -> None:
    other = replace(DOMAIN, uuid=UUID.replace("0b", "0c"))
    both = host_events.digest(host_events.marks([DOMAIN, other]))
    assert both == host_events.digest(host_events.marks([other, DOMAIN]))
    assert both != host_events.digest(host_events.marks([DOMAIN, replace(other, state="stopped")]))
    assert both != host_events.digest(host_events.marks([DOMAIN]))
