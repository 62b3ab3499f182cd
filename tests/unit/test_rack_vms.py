"""Lists, and changes of VMs over the rack: what a filter finds, and what a tenant is told of its host."""

from __future__ import annotations

from typing import Any

import pytest

from racksalt.access import identify
from racksalt.errors import BadInput, Conflict, Denied, NotFound, RacksaltError, Refused, Unavailable
from racksalt.rack_requests import ActOnVm, ListVms
from racksalt.rack_vms import RackVms
from tests.fakes import FakeRack, fake_rack
from tests.unit.test_host_vms import VERBS
from tests.unit.test_vm_create import create


def listed(rack: FakeRack, user: str = "alice", **asked: Any) -> list[str]:
    settings = rack.rack.settings()
    told = RackVms(rack.rack).list(identify(user, settings), ListVms(**asked), settings)
    return [f"{vm['tenant']}/{vm['name']}" for vm in told["vms"]]


def act(rack: FakeRack, verb: str, name: str = "web1", user: str = "alice", **asked: Any) -> dict[str, Any]:
    settings = rack.rack.settings()
    return RackVms(rack.rack).act(identify(user, settings), ActOnVm(name, verb, **asked), settings)  # type: ignore[arg-type]


@pytest.fixture
def rack() -> FakeRack:
    rack = fake_rack()
    create(rack, name="web1", tags=("role=web",))
    create(rack, name="db1", start=False)
    create(rack, "bob", "web1")
    return rack


@pytest.mark.parametrize(
    ("user", "asked", "found"),
    [
        ("alice", {}, ["acme/db1", "acme/web1"]),
        ("alice", {"tag": "role=web"}, ["acme/web1"]),
        ("alice", {"state": "stopped"}, ["acme/db1"]),
        ("alice", {"q": "eb"}, ["acme/web1"]),
        ("alice", {"q": "zz"}, []),
        ("bob", {}, ["beta/web1"]),
        ("carol", {}, ["acme/db1", "acme/web1", "beta/web1"]),
        ("carol", {"tenant": "beta"}, ["beta/web1"]),
        ("root", {"host": "h1"}, ["acme/db1"]),
    ],
)
def test_a_filter_finds_ones_own(rack: FakeRack, user: str, asked: dict[str, Any], found: list[str]) -> None:
    if "host" in asked:
        hosts = {vm.name: host for host in rack.hosts for vm in rack.hosts[host].hypervisor.report().domains}
        asked = {"host": hosts["acme.db1"]}
        assert set(found) <= set(listed(rack, user, **asked))
    else:
        assert listed(rack, user, **asked) == found


def test_only_the_operator_asks_by_host_and_is_told_of_silence(rack: FakeRack) -> None:
    with pytest.raises(Denied):
        listed(rack, "alice", host="h1")
    settings = rack.rack.settings()
    for user, told in (("alice", False), ("olivia", True)):
        answer = RackVms(rack.rack).list(identify(user, settings), ListVms(), settings)
        assert ("silent_hosts" in answer) is told


@pytest.mark.parametrize("tenant", ["beta", "none"])
def test_a_foreign_tenant_is_answered_like_none(rack: FakeRack, tenant: str) -> None:
    with pytest.raises(NotFound) as told:
        listed(rack, "alice", tenant=tenant)
    assert told.value.detail == f"no tenant {tenant!r}"


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", ["beta/web1", "beta/none", "zeta/none", "none"])
def test_no_verb_reaches_what_is_not_ones_own(rack: FakeRack, verb: str, name: str) -> None:
    before = [host.hypervisor.xml.copy() for host in rack.hosts.values()]
    with pytest.raises(NotFound) as told:
        act(rack, verb, name)
    assert told.value.detail == f"no VM {name!r}"
    assert [host.hypervisor.xml for host in rack.hosts.values()] == before
    assert not any(function == "rack_vm.act" for _, function in rack.fleet.calls)


@pytest.mark.parametrize("verb", VERBS)
def test_a_reader_changes_nothing(rack: FakeRack, verb: str) -> None:
    with pytest.raises(Denied) as told:
        act(rack, verb, "acme/web1", "carol")
    assert told.value.code == "role_reader"


def test_a_verb_is_carried_out_and_tells_the_state(rack: FakeRack) -> None:
    assert act(rack, "pause")["state"] == "paused"
    assert act(rack, "stop", hard=True)["state"] == "stopped"
    deleted = act(rack, "delete", "acme/web1")
    assert deleted["state"] is None and "removed" not in deleted
    assert listed(rack) == ["acme/db1"]


def test_a_test_run_says_so_and_changes_nothing(rack: FakeRack) -> None:
    told = act(rack, "delete", test=True)
    assert told["test"] and told["vm"] == "acme/web1"
    assert "acme/web1" in listed(rack)


def test_the_hosts_own_refusals_reach_the_tenant_where_they_name_nothing(rack: FakeRack) -> None:
    with pytest.raises(Conflict) as told:
        act(rack, "resume", "db1")
    assert told.value.code == "vm_state"
    act(rack, "protect", protected=True)
    with pytest.raises(Refused) as refused:
        act(rack, "delete")
    assert refused.value.code == "vm_protected"


@pytest.mark.parametrize(("user", "told"), [("alice", False), ("root", True)])
def test_what_a_host_says_of_itself_is_for_the_operator(rack: FakeRack, user: str, told: bool) -> None:
    def fail(step: str) -> None:
        if step == "start":
            raise Refused("libvirt_refused", "libvirt on h1: /var/lib/racksalt is full")

    for host in rack.hosts.values():
        host.hypervisor.fault = fail
    with pytest.raises(RacksaltError) as failed:
        act(rack, "start", "acme/db1", user)
    assert ("full" in failed.value.detail) is told
    assert told or failed.value.code == "host_failed"


def test_an_answer_that_does_not_come_is_neither_success_nor_failure(rack: FakeRack) -> None:
    for host in rack.hosts.values():
        host.loses_returns = True
    rack.fleet.before = lambda name, function: setattr(rack.hosts[name], "loses_returns", function == "rack_vm.act")
    with pytest.raises(Unavailable) as told:
        act(rack, "pause")
    assert told.value.code == "host_silent" and "h" not in told.value.facts


def test_a_uuid_names_a_vm_of_ones_own(rack: FakeRack) -> None:
    uuid = create(rack, name="web9")["vm"]["uuid"]
    assert act(rack, "pause", uuid)["vm"] == "acme/web9"
    with pytest.raises(NotFound):
        act(rack, "pause", uuid, "bob")


def test_the_operator_has_to_name_the_tenant_of_a_plain_name(rack: FakeRack) -> None:
    with pytest.raises(BadInput) as told:
        act(rack, "pause", "web1", "root")
    assert told.value.code == "tenant_ambiguous"
    assert act(rack, "pause", "web1", "root", tenant="beta")["vm"] == "beta/web1"


@pytest.mark.parametrize("answer", [None, "x", ["a"], 5, True])
@pytest.mark.parametrize("user", ["alice", "olivia"])
def test_an_answer_of_another_shape_is_a_failed_host(rack: FakeRack, user: str, answer: Any) -> None:
    """A host may sign what it likes."""
    for host in rack.hosts.values():
        call = host.call
        host.call = lambda fun, request, call=call: answer if fun == "rack_vm.act" else call(fun, request)  # type: ignore[method-assign,misc]
    with pytest.raises(Unavailable) as refused:
        act(rack, "stop", "acme/web1", user)
    assert (refused.value.code, "host" in refused.value.facts) == ("host_failed", user == "olivia")
