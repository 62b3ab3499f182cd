"""The proof of isolation finds each kind of leak: what a function tells, does, counts, or takes its time for."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from racksalt import access, isolation, isolation_proof, isolation_worlds, names, rack_requests, shape
from racksalt.isolation import Case
from racksalt.isolation_probe import PretendedRack
from racksalt.isolation_worlds import Worlds
from racksalt.rack import Rack
from racksalt.rack_acl_check import through_runner
from racksalt.rack_calls import CALLS
from tests.fakes import fake_rack

Spoil = Callable[[PretendedRack, Case, Any], Any]
#: Enough for these: each call of the table is tried in ``tests/security``.
FEW = {
    fun: CALLS[fun] for fun in ("rack_vm.list", "rack_vm.show", "rack_vm.stop", "rack_vm.create", "rack_tenant.show")
}


def worlds(user: str = "alice") -> Worlds:
    rack = fake_rack().rack
    settings = rack.settings()
    return isolation_worlds.worlds(settings.users[user], settings, rack.inventory(settings), now=1e9)


def leaks(spoil: Spoil) -> list[isolation_proof.Leak]:
    """What is found when ``spoil`` adds to each call; nothing is found without it."""

    def door(rack: PretendedRack, user: str, case: Case) -> Any:
        return spoil(rack, case, through_runner(rack, user, case))

    return isolation_proof.prove(FEW, "alice", worlds(), door)[1]


def _strangers(rack: PretendedRack) -> list[Any]:
    return [record for record in rack.seen.records() if record.tenant != "acme"]


def _tells(rack: PretendedRack, case: Case, answer: Any) -> Any:
    return {**answer, "also": _strangers(rack)[0].uuid}


def _tells_a_note(rack: PretendedRack, case: Case, answer: Any) -> Any:
    return {**answer, "text": f"beside {_strangers(rack)[-1].note}"}


def _tells_a_name(rack: PretendedRack, case: Case, answer: Any) -> Any:
    return {**answer, "vms": [record.name for record in _strangers(rack)][:1]}


def _tells_a_host(rack: PretendedRack, case: Case, answer: Any) -> Any:
    return {**answer, "hosts": sorted(rack.current.hosts)}


def _tells_tenants(rack: PretendedRack, case: Case, answer: Any) -> Any:
    return {**answer, "tenants": sorted(rack.current.tenants)}


def _tells_users(rack: PretendedRack, case: Case, answer: Any) -> Any:
    return {**answer, "users": sorted(rack.current.users)}


def _counts(rack: PretendedRack, case: Case, answer: Any) -> Any:
    return {**answer, "count": len(rack.seen.vms())}


def _exists(rack: PretendedRack, case: Case, answer: Any) -> Any:
    there = case.value in [record.title for record in rack.seen.records()]
    return {"error": {"code": "operator_only"}} if there else answer


def _slower(rack: PretendedRack, case: Case, answer: Any) -> Any:
    if case.value in [record.uuid for record in rack.seen.records()]:
        rack.clock.sleep(0.1)
    return answer


def _stops_anothers(rack: PretendedRack, case: Case, answer: Any) -> Any:
    request = {"request": {"uuid": _strangers(rack)[0].uuid, "verb": "stop"}}
    rack.fleet.ask(["h1"], "rack_vm.act", request, timeout_s=1)
    return answer


def _writes_a_file(rack: PretendedRack, case: Case, answer: Any) -> Any:
    rack.files.change("users.yaml", lambda _: None, lambda _: None)
    return answer


def _commands_hosts(rack: PretendedRack, case: Case, answer: Any) -> Any:
    rack.fleet.ask(["h1"], "cmd.run", {}, timeout_s=1)
    return answer


def _drops_a_claim(rack: PretendedRack, case: Case, answer: Any) -> Any:
    rack.claims.remove(rack.claims.all()[0].record.uuid)
    return answer


def _stops_a_job(rack: PretendedRack, case: Case, answer: Any) -> Any:
    rack.jobs.stop(rack.jobs.running()[-1].job)
    return answer


def test_the_rack_as_it_is_leaks_nothing() -> None:
    assert leaks(lambda rack, case, answer: answer) == []


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_tells, "tells"),
        (_tells_a_note, "tells"),
        (_tells_a_name, "answers otherwise"),
        (_tells_a_host, "answers otherwise"),
        (_tells_tenants, "answers otherwise"),
        (_tells_users, "answers otherwise"),
        (_counts, "answers otherwise"),
        (_exists, "answers otherwise"),
        (_slower, "waits"),
        (_stops_anothers, "would rack_vm.act of tenant stranger"),
        (_writes_a_file, "would change users.yaml, which is the rack's"),
        (_commands_hosts, "would cmd.run, which is the rack's"),
        (_drops_a_claim, "would remove a claim of tenant stranger"),
        (_stops_a_job, "would stop a job of tenant"),
    ],
)
def test_each_kind_of_leak_is_found(spoil: Spoil, says: str) -> None:
    assert any(says in leak.what for leak in leaks(spoil))


def test_a_function_that_fails_is_a_leak() -> None:
    def spoil(rack: PretendedRack, case: Case, answer: Any) -> Any:
        return answer["vms"] if case.fun == "rack_vm.list" and case.argument == "tenant" else answer

    assert {leak.what for leak in leaks(spoil)} == {"fails with KeyError: 'vms'"}


def test_a_reader_function_that_changes_something_is_a_leak() -> None:
    def spoil(rack: PretendedRack, case: Case, answer: Any) -> Any:
        own = next(record for record in rack.seen.records() if record.tenant == "acme")
        if case.fun == "rack_vm.list":
            rack.fleet.ask(["h1"], "rack_vm.act", {"request": {"uuid": own.uuid}}, timeout_s=1)
        return answer

    found = leaks(spoil)
    assert found and {leak.what for leak in found} == {"only reads, and would rack_vm.act"}


def test_a_readers_change_in_its_own_tenant_is_a_leak() -> None:
    """carol reads acme."""
    pair = worlds("carol")
    assert pair.writable == {"beta"} and pair.own.tenant == "beta"

    def door(rack: PretendedRack, user: str, case: Case) -> Any:
        own = next(record for record in rack.seen.records() if record.tenant == "acme")
        return rack.fleet.ask(["h1"], "rack_vm.act", {"request": {"uuid": own.uuid}}, timeout_s=1)

    found = isolation_proof.prove({"rack_vm.stop": CALLS["rack_vm.stop"]}, "carol", pair, door)[1]
    assert "would rack_vm.act of tenant acme" in {leak.what for leak in found}


def test_a_role_that_is_not_looked_at_is_a_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    """carol is a member of beta; acme, which she only reads, is among what she is not to change."""
    monkeypatch.setattr(access, "require_member", lambda caller, tenant: None)
    found = isolation_proof.prove(FEW, "carol", worlds("carol"), through_runner)[1]
    assert "would rack_vm.act of tenant acme" in {leak.what for leak in found}
    assert "would write a claim of tenant acme" in {leak.what for leak in found}


def test_another_identity_in_the_arguments_that_is_heeded_is_a_leak() -> None:
    def door(rack: PretendedRack, user: str, case: Case) -> Any:
        claimed = case.kwarg.get("__pub_user", user)
        return through_runner(rack, str(claimed), replace(case, kwarg={**case.kwarg}))

    found = isolation_proof.prove(FEW, "alice", worlds(), door)[1]
    assert {leak.case.argument for leak in found} == {"__pub_user"}


def test_both_editions_are_alike_but_for_what_is_foreign() -> None:
    pair = worlds()
    for rack in (pair.one, pair.other):
        assert [record.name for record in rack.seen.records() if record.tenant == "acme"] == ["own-probe-0"]
        assert all(view.answers for view in rack.seen.hosts.values())
    one, other = (_strangers(rack) for rack in (pair.one, pair.other))
    assert len(other) == len(one) + 1
    assert not {record.name for record in one} & {record.name for record in other}
    assert not {record.uuid for record in one} & {record.uuid for record in other}
    assert not set(pair.one.current.hosts) & set(pair.other.current.hosts)
    addresses = [sorted(nic.address for record in side for nic in record.nics) for side in (one, other)]
    assert addresses[0] == addresses[1], "what a pool has left is the same"
    used = [sum(record.memory_mib for record in side) for side in (one, other)]
    assert used[0] == used[1], "and so is the room of hosts"


def test_real_tenants_take_part() -> None:
    rack = fake_rack()
    asked = rack_requests.CreateVm("beta/real-vm", flavor="m1.tiny", image="tiny")
    settings = rack.rack.settings()
    shell = access.identify("root", settings)
    made = CALLS["rack_vm.create"].run(rack.rack, shell, asked, settings)["vm"]
    pair = isolation_worlds.worlds(settings.users["alice"], settings, rack.rack.inventory(settings), now=1e9)
    assert {"beta", "beta/real-vm", made["uuid"]} <= set(map(str, pair.foreign.values()))
    assert made["uuid"] in pair.unique and made["addresses"][0] in pair.unique


def test_a_rack_of_many_vms_costs_no_more() -> None:
    """Of all that is real, some take part."""
    rack = fake_rack()
    settings = rack.rack.settings()
    seen = rack.rack.inventory(settings)
    pair = isolation_worlds.worlds(settings.users["alice"], settings, seen, now=1e9)
    assert len(pair.one.seen.records()) < 12


@pytest.mark.parametrize("fun", sorted(CALLS))
def test_every_argument_of_todays_functions_has_a_known_type(fun: str) -> None:
    for kind in isolation.arguments(CALLS[fun]).values():
        assert isolation.fillings(kind, "x")


def test_texts_inside_lists_mappings_and_values_are_tried_in_each_place() -> None:
    assert isolation.fillings(names.Tags, "x") == ["x", ["x"]]
    labels = isolation.arguments(CALLS["rack_vm.create"])["labels"]
    assert isolation.fillings(labels, "x") == ["x", {"x": "x"}, {"zone": "x"}]
    ladder = isolation.arguments(CALLS["rack_vm.stop"])["ladder"]
    assert {"agent_s": "x"} in isolation.fillings(ladder, "x")


def test_a_good_call_is_one() -> None:
    """Each as its request has it."""
    own = worlds().own
    for fun, call in CALLS.items():
        shape.parse(call.request, {**isolation.good_call(fun, call, own), **call.preset})


def test_the_pretended_rack_has_every_part_of_a_rack() -> None:
    """A new part of a rack needs a pretended one, which writes down what would be changed."""
    rack = worlds().one
    assert all(hasattr(rack, part) for part in Rack.__dataclass_fields__)
    real = fake_rack().rack
    assert not any(getattr(rack, part) is getattr(real, part) for part in Rack.__dataclass_fields__ if part != "master")


def test_the_cases_are_plain_data() -> None:
    pair = worlds()
    for case in isolation.cases(CALLS, pair.own, pair.foreign):
        assert json.loads(json.dumps(case.kwarg)) == case.kwarg


def test_no_runner_has_a_parameter_that_its_request_lacks() -> None:
    folder = Path(__file__).resolve().parents[2] / "_runners"
    for path in folder.glob("rack*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                known = isolation.arguments(CALLS[f"{path.stem}.{node.name.rstrip('_')}"])
                assert {argument.arg for argument in node.args.args} <= set(known)
