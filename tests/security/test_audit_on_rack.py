"""The audit of a real rack: what was done is there, and every way of changing it afterwards shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.on_rack import CREATE, RealRack

FOLDER = "/var/lib/racksalt/audit"


@pytest.fixture(scope="module")
def told(rack: RealRack) -> RealRack:
    """A few changes, a refusal, a read, logins."""
    alice, carol = rack.api("ACME"), rack.api("READER")
    for number in (1, 2, 3):
        alice.call("rack_vm.create", name=f"vm{number}", start=False, **CREATE)
    alice.call("rack_vm.note", name="vm1", note="front")
    alice.call("rack_vm.list")
    carol.refusal("rack_vm.delete", name="acme/vm1")
    rack.run("rack_vm.delete", "acme/vm3")
    return rack


def _lines(rack: RealRack, **asked: Any) -> list[dict[str, Any]]:
    words = [f"{key}={value}" for key, value in asked.items()]
    return list(rack.run("rack_audit.list", *words).data["lines"])


def test_each_change_has_its_intent_and_outcome_with_who_and_from_where(told: RealRack) -> None:
    creates = _lines(told, fun="rack_vm.create", user="alice", limit=6)
    assert [line["kind"] for line in creates] == ["intent", "outcome"] * 3
    assert {(line["tenant"], line["address"], line.get("result")) for line in creates} == {
        ("acme", told.box.outer_address, None),
        ("acme", told.box.outer_address, "done"),
    }
    assert len({line["job"] for line in creates}) == 3
    (refused,) = _lines(told, fun="rack_vm.delete", user="carol", limit=2)[-1:]
    assert (refused["result"], refused["object"]) == ("role_reader", "acme/vm1")
    shell = _lines(told, fun="rack_vm.delete", user="root", limit=2)
    assert [(line["kind"], line["address"]) for line in shell] == [("intent", None), ("outcome", None)]
    reads = {line["kind"] for line in _lines(told, fun="rack_vm.list")}
    assert reads <= {"refused"}, "what only reads, and is not refused, is not told"
    assert {line["user"] for line in _lines(told, kind="login")} >= {"alice", "carol"}


def test_only_operators_see_it(told: RealRack) -> None:
    assert told.api("ACME").refusal("rack_audit.list").code == "function_denied"
    assert told.api("OPERATOR").call("rack_audit.verify")["ok"]


def _cut(lines: list[bytes]) -> list[bytes]:
    return lines[:-4]


def _changed(lines: list[bytes]) -> list[bytes]:
    return [*lines[:-3], lines[-3].replace(b'"user":"', b'"user":"x', 1), *lines[-2:]]


def _swapped(lines: list[bytes]) -> list[bytes]:
    return [*lines[:-4], lines[-3], lines[-4], *lines[-2:]]


def _dropped(lines: list[bytes]) -> list[bytes]:
    return [*lines[:-4], *lines[-2:]]


@pytest.mark.promise("S19")
@pytest.mark.parametrize(
    ("tamper", "what"),
    [(_cut, "cut"), (_changed, "changed"), (_swapped, "reordered"), (_dropped, "missing")],
    ids=["the tail cut off", "a line changed", "two lines swapped", "lines dropped"],
)
def test_what_is_changed_afterwards_is_named(
    told: RealRack, tamper: Callable[[list[bytes]], list[bytes]], what: str
) -> None:
    rack = told
    path = rack.master.run(["sh", "-c", f"ls {FOLDER}/*.jsonl | tail -1"], timeout_s=10).stdout.strip()
    whole = rack.master.read(path)
    rack.master.write(path, b"".join(tamper(whole.encode().splitlines(keepends=True))).decode(), 0o600)
    try:
        verified = rack.run("rack_audit.verify")
    finally:
        rack.master.write(path, whole, 0o600)
    assert verified.code != 0 and verified.error and verified.error["code"] == "audit_broken"
    assert what in {problem["what"] for problem in verified.error["problems"]}, verified.error["problems"]
    assert rack.run("rack_audit.verify").data["ok"]


def test_a_refusal_that_is_cut_off_is_missed(told: RealRack) -> None:
    """A refused call reaches no host; the next look at the hosts tells them of its line."""
    told.api("READER").refusal("rack_vm.delete", name="acme/vm1")
    assert told.run("rack_host.list").code == 0
    path = told.master.run(["sh", "-c", f"ls {FOLDER}/*.jsonl | tail -1"], timeout_s=10).stdout.strip()
    whole = told.master.read(path)
    told.master.write(path, "".join(whole.splitlines(keepends=True)[:-1]), 0o600)
    try:
        verified = told.run("rack_audit.verify")
    finally:
        told.master.write(path, whole, 0o600)
    assert verified.error and [problem["what"] for problem in verified.error["problems"]] == ["cut"]
