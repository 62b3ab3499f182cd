"""One line of the audit: what it tells, what it never tells, and that it is read back as it was written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from racksalt import audit
from racksalt.audit import HIDDEN, Act, Entry
from racksalt.model import Head

ACT = Act(
    "alice", "rack_vm.create", "192.0.2.7", "20261121070849123456", "acme", "acme/web1", {"name": "web1", "test": False}
)
AT = 1795244929.1239

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text() | st.integers(), inner, max_size=30),
    max_leaves=60,
)


def written(entry: Entry, after: Head | None = None) -> tuple[bytes, Head]:
    return audit.line(entry, after=after, at=AT, master="master")


def test_an_intent_tells_who_where_and_what() -> None:
    text, head = written(audit.intent(ACT))
    data = json.loads(text)
    assert data == {
        "n": 1,
        "time": "2026-11-21T07:08:49.123Z",
        "master": "master",
        "kind": "intent",
        "user": "alice",
        "address": "192.0.2.7",
        "job": "20261121070849123456",
        "fun": "rack_vm.create",
        "tenant": "acme",
        "object": "acme/web1",
        "arguments": {"name": "web1", "test": False},
        "prev": "0" * 64,
        "hash": head.sha256,
    }
    assert head == Head(1, data["hash"], "master")


def test_each_line_names_the_one_before() -> None:
    _, first = written(audit.intent(ACT))
    text, second = written(audit.outcome(ACT), first)
    data = json.loads(text)
    assert (second.count, data["n"], data["prev"], data["result"]) == (2, 2, first.sha256, "done")


@pytest.mark.parametrize(
    ("entry", "facts"),
    [
        (audit.outcome(ACT, "no_room"), {"kind": "outcome", "user": "alice", "tenant": "acme", "result": "no_room"}),
        (audit.refused(ACT, "role_reader"), {"kind": "refused", "result": "role_reader", "arguments": ACT.arguments}),
        (audit.login("alice", None), {"kind": "login", "user": "alice", "address": None}),
        (audit.login_refused("x", "::1", result="login_refused"), {"user": "x", "result": "login_refused"}),
        (audit.dropped("h1", "1", reason="not signed", fun="rack_vm.create"), {"host": "h1", "reason": "not signed"}),
        (audit.torn(b"abc"), {"kind": "torn", "bytes": 3}),
    ],
)
def test_every_kind_has_its_facts(entry: Entry, facts: dict[str, Any]) -> None:
    data = json.loads(written(entry)[0])
    assert {key: data[key] for key in facts} == facts


@pytest.mark.parametrize(
    "name", ["user_data", "user-data", "userdata", "ssh_keys", "password", "PASSWD", "envelope", "sealed", "api_token"]
)
def test_what_is_secret_by_its_name_is_not_told_at_any_depth(name: str) -> None:
    shown = audit.told({name: "xyzzy", "a": {"b": [{name: {"c": "xyzzy"}}]}, "unknown": {name: "xyzzy"}})
    assert shown[name] == HIDDEN and "xyzzy" not in str(shown)


@pytest.mark.parametrize(
    "text", ["#cloud-config\nxyzzy: 1", " #!/bin/sh\nxyzzy", "note: -----BEGIN RSA PRIVATE KEY-----\nxyzzy"]
)
def test_what_looks_like_a_secret_is_not_told_under_any_name(text: str) -> None:
    act = Act(text, text, text, text, text, text, {"note": text, "tags": [text], text: 1, "unknown": {text: 1}})
    lines = [audit.intent(act), audit.outcome(act, text), audit.login(text, text), audit.dropped(text, "", reason=text)]
    assert all(b"xyzzy" not in written(entry)[0] for entry in lines)


def test_of_unknown_arguments_the_names_alone_are_told() -> None:
    shown = audit.told({"name": "a", "tenant": None, "unknown": {"usr_dta": "xyzzy", "__pub_jid": "1"}})
    assert shown == {"name": "a", "unknown": ["usr_dta"]}


def test_long_values_are_cut() -> None:
    shown = audit.told({"note": "n" * 4096, "tags": ["t"] * 100, "labels": {str(n): n for n in range(50)}})
    assert shown["note"] == "n" * 200 + "… (4096 characters)"
    assert shown["tags"][-1] == "… 80 more" and len(shown["tags"]) == 21
    assert shown["labels"]["…"] == "30 more"
    deep = audit.told({"a": {"b": {"c": {"d": {"e": 1}, "f": [1]}}}})
    assert deep == {"a": {"b": {"c": {"d": "(1 keys)", "f": "(1 items)"}}}}


@given(ANYTHING, st.text(), st.text())
def test_any_line_is_short_and_read_back(value: Any, user: str, job: str) -> None:
    act = Act(user, "rack_vm.note", None, job, arguments={"note": value, "unknown": {user: value}})
    text, head = written(audit.intent(act), Head(41, "a" * 64))
    line = audit.read(text)
    assert line is not None and line.is_whole
    assert (line.n, line.prev, line.hash) == (42, "a" * 64, head.sha256)
    assert b"\n" not in text and len(text) < 40_000


def test_no_part_of_a_line_is_a_line() -> None:
    text, _ = written(audit.intent(ACT))
    assert all(audit.read(text[:length]) is None for length in range(len(text)))


@given(st.data())
def test_a_changed_byte_is_seen(data: st.DataObject) -> None:
    text, _ = written(audit.intent(ACT))
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != text[place]))
    line = audit.read(text[:place] + bytes([other]) + text[place + 1 :])
    assert line is None or not line.is_whole


@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
def test_anything_else_is_no_line(text: bytes) -> None:
    assert audit.read(text) is None


@pytest.mark.parametrize("number", ["0", "-1", "true", "1.0", '"1"', "null", str(10**9 + 1), "9" * 5000])
def test_a_line_has_a_sensible_number(number: str) -> None:
    text, _ = written(audit.intent(ACT))
    assert audit.read(text.replace(b'"n":1,', f'"n":{number},'.encode())) is None


def test_deep_rubbish_is_no_line() -> None:
    end = f',"hash":"{"0" * 64}"}}'.encode()
    assert audit.read(b'{"a":' + b"[" * 100_000 + end) is None
