"""Creating a VM on a whole fake rack: what is held, what is made, and what stays when a step fails."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from racksalt import pending, record_proof
from racksalt.access import Caller, identify
from racksalt.errors import BadInput, Conflict, Denied, NotFound, RacksaltError, Refused, Unavailable
from racksalt.model import Claim
from racksalt.rack_claims import RackClaims
from racksalt.rack_places import RackPlaces
from racksalt.rack_requests import ActOnVm, CreateVm, FindHosts, ListVms, ShowVm
from racksalt.rack_vms import RackVms
from racksalt.vm_create import VmCreate
from tests.fakes import FakeRack, fake_rack


def create(rack: FakeRack, user: str = "alice", name: str = "web1", **asked: Any) -> dict[str, Any]:
    settings = rack.rack.settings()
    request = CreateVm(name, **{"flavor": "m1.tiny", "image": "tiny", **asked})
    return VmCreate(rack.rack).create(caller(rack, user), request, settings)


def caller(rack: FakeRack, user: str) -> Caller:
    return identify(user, rack.rack.settings())


def test_a_created_vm_runs_and_is_listed() -> None:
    rack = fake_rack()
    made = create(rack)
    assert made["changed"] and made["vm"]["state"] == "running"
    listed = RackVms(rack.rack).list(caller(rack, "alice"), ListVms(), rack.rack.settings())
    assert [vm["name"] for vm in listed["vms"]] == ["web1"]
    assert listed["vms"][0]["uuid"] == made["vm"]["uuid"]


def test_a_tenant_is_not_told_hosts() -> None:
    rack = fake_rack()
    assert "host" not in create(rack)["vm"]
    assert create(rack, "root", "acme/web2")["vm"]["host"] in rack.hosts


@pytest.mark.parametrize("step", ["create", "write_seed", "reserve_address", "define", "start"])
def test_a_failed_step_leaves_nothing_and_the_name_is_free_again(step: str) -> None:
    rack = fake_rack(hosts=1)
    host = rack.hosts["h1"]

    def fail(found: str) -> None:
        if found == step:
            raise Refused("disk_failed", "no space left on device")

    host.hypervisor.fault = host.volumes.fault = fail
    with pytest.raises(Unavailable) as told:
        create(rack)
    assert told.value.code == "host_failed"
    assert rack.vms_on_hosts() == [] and rack.leftovers() == []
    host.hypervisor.fault = host.volumes.fault = lambda found: None
    assert create(rack)["changed"]


def test_the_next_host_is_taken_when_the_first_one_fails() -> None:
    rack = fake_rack(hosts=2)
    rack.hosts["h1"].volumes.missing = frozenset({"1" * 64})
    assert create(rack, "root", "acme/web1")["vm"]["host"] == "h2"


def test_secrets_are_published_sealed_for_their_host_only() -> None:
    rack = fake_rack()
    key, secret = "ssh-ed25519 " + "A" * 68, "#!/bin/sh\n# pa55word"
    made = create(rack, "root", "acme/web1", ssh_keys=(key,), user_data=secret)
    seed = rack.hosts[made["vm"]["host"]].volumes.seeds[made["vm"]["uuid"]]
    assert seed["user-data"] == secret and key in seed["meta-data"]
    assert "pa55word" not in repr(rack.fleet.published) and "A" * 68 not in repr(rack.fleet.published)


def test_a_host_without_a_known_key_is_sent_no_secrets() -> None:
    rack = fake_rack(hosts=2)
    rack.fleet.without_key = frozenset({"h1"})
    assert create(rack, "root", "acme/web1", user_data="#!/bin/true")["vm"]["host"] == "h2"
    rack.fleet.without_key = frozenset({"h1", "h2"})
    with pytest.raises(Unavailable) as told:
        create(rack, "root", "acme/web2", user_data="#!/bin/true")
    assert told.value.code == "host_failed" and rack.vms_on_hosts() == ["acme.web1"]
    assert all(claim.settled_at for claim in rack.claims.all())


def test_a_name_in_use_is_a_conflict() -> None:
    rack = fake_rack()
    create(rack)
    with pytest.raises(Conflict) as told:
        create(rack)
    assert told.value.code == "name_in_use"
    create(rack, "bob")


def test_a_lost_return_is_not_a_lost_job() -> None:
    rack = fake_rack(hosts=1)

    def loses_the_create(host: str, function: str) -> None:
        rack.hosts[host].loses_returns = function == "rack_vm.create"

    rack.fleet.before = loses_the_create
    assert create(rack)["changed"]
    assert rack.vms_on_hosts() == ["acme.web1"] and all(claim.settled_at for claim in rack.claims.all())


def test_a_silent_host_holds_what_was_claimed_until_it_is_looked_up() -> None:
    rack = fake_rack(hosts=1)

    def falls_silent_with_the_create(host: str, function: str) -> None:
        rack.hosts[host].loses_returns |= function == "rack_vm.create"

    rack.fleet.before = falls_silent_with_the_create
    with pytest.raises(Unavailable) as told:
        create(rack)
    assert told.value.code == "host_silent"
    rack.fleet.before = lambda host, function: None
    with pytest.raises(Conflict):
        create(rack)
    rack.hosts["h1"].loses_returns = False
    with pytest.raises(Conflict):
        create(rack)
    rack.clock.sleep(600)
    create(rack, name="web2")
    with pytest.raises(Conflict):
        create(rack)
    assert rack.vms_on_hosts() == ["acme.web1", "acme.web2"]
    assert all(claim.settled_at for claim in rack.claims.all())


def test_a_claim_whose_host_never_made_it_is_purged() -> None:
    rack = fake_rack(hosts=1)

    def falls_silent(host: str, function: str) -> None:
        rack.hosts[host].silent = function == "rack_vm.create"

    rack.fleet.before = falls_silent
    with pytest.raises(Unavailable):
        create(rack)
    rack.fleet.before = lambda host, function: None
    rack.hosts["h1"].silent = False
    rack.clock.sleep(600)
    create(rack, name="web2")
    create(rack)
    assert rack.vms_on_hosts() == ["acme.web1", "acme.web2"]


def test_a_label_of_the_flavor_cannot_be_asked_away() -> None:
    ssd = {"vcpus": 1, "memory_mib": 128, "disk_gib": 1, "labels": {"zone": "b"}}
    rack = fake_rack(**{"flavors.yaml": {"flavors": {"ssd": ssd}}})
    with pytest.raises(BadInput) as told:
        create(rack, flavor="ssd", labels={"zone": "a"})
    assert told.value.code == "bad_input"
    assert told.value.detail == "labels.zone: found 'a', allowed: 'b', as flavor ssd says"
    with pytest.raises(BadInput):
        RackPlaces(rack.rack).find(FindHosts("ssd", labels={"zone": "a"}), rack.rack.settings())
    assert rack.vms_on_hosts() == []
    assert create(rack, "root", "acme/web1", flavor="ssd", labels={"zone": "b"})["vm"]["host"] in ("h1", "h3")


def test_a_quota_refuses_with_its_numbers() -> None:
    rack = fake_rack(**{"tenants.yaml": {"tenants": {"acme": {"quota": {"vms": 1}}, "beta": {}}}})
    create(rack)
    with pytest.raises(Denied) as told:
        create(rack, name="web2")
    assert told.value.code == "quota_exceeded"
    assert told.value.facts["limits"] == [{"what": "vms", "limit": 1, "used": 1, "asked": 1}]


def test_a_full_rack_tells_numbers_to_the_operator_and_counts_to_a_tenant() -> None:
    rack = fake_rack(hosts=2)
    for host in rack.hosts.values():
        host.hypervisor.total = host.hypervisor.total.__class__(1, 100, 1)
    with pytest.raises(Refused) as told:
        create(rack)
    assert told.value.facts == {"refused_by_rule": {"memory": 2}}
    assert "h1" not in told.value.detail
    with pytest.raises(Refused) as told:
        create(rack, "root", "acme/web1")
    assert {item["host"] for item in told.value.facts["refusals"]} == {"h1", "h2"}


def test_anti_affinity_spreads_and_then_refuses() -> None:
    rack = fake_rack(hosts=2)
    hosts = {create(rack, "root", f"acme/db{n}", anti_affinity="db")["vm"]["host"] for n in (1, 2)}
    assert hosts == {"h1", "h2"}
    with pytest.raises(Refused) as told:
        create(rack, name="db3", anti_affinity="db")
    assert told.value.facts["refused_by_rule"] == {"anti_affinity": 2}


def test_the_same_request_id_is_the_same_vm() -> None:
    rack = fake_rack()
    wanted = "0b5f2f40-4a4e-4b0e-9d2c-0b8f9f1d2c3e"
    first = create(rack, request_id=wanted)
    again = create(rack, request_id=wanted)
    assert not again["changed"] and again["vm"]["uuid"] == first["vm"]["uuid"]


def test_a_test_run_changes_nothing() -> None:
    rack = fake_rack()
    plan = create(rack, test=True)
    assert plan["test"] and plan["steps"]
    assert rack.vms_on_hosts() == [] and not rack.claims.held


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"flavor": "m9.none"}, "flavor_unknown"),
        ({"image": "none"}, "image_unknown"),
        ({"network": "none"}, "network_unknown"),
        ({"profile": "none"}, "profile_unknown"),
        ({"flavor": None}, "flavor_missing"),
        ({"mac": "52:54:00:00:00:01"}, "bad_input"),
    ],
)
def test_unknown_names_are_refused(asked: dict[str, Any], code: str) -> None:
    rack = fake_rack()
    with pytest.raises(BadInput) as told:
        create(rack, **asked)
    assert told.value.code == code
    assert rack.vms_on_hosts() == [] and rack.leftovers() == []


@pytest.mark.parametrize("reference", ["beta/db1", "beta/none", "zeta/none"])
def test_what_is_not_ones_own_does_not_exist(reference: str) -> None:
    rack = fake_rack()
    made = create(rack, "bob", "db1")
    for asked in (reference, made["vm"]["uuid"]):
        with pytest.raises(NotFound) as told:
            RackVms(rack.rack).show(caller(rack, "alice"), ShowVm(asked), rack.rack.settings())
        assert (told.value.code, told.value.detail) == ("vm_not_found", f"no VM {asked!r}")


def test_a_reader_may_look_and_not_touch() -> None:
    rack = fake_rack()
    create(rack)
    vms, settings = RackVms(rack.rack), rack.rack.settings()
    assert vms.show(caller(rack, "carol"), ShowVm("web1", tenant="acme"), settings)["name"] == "web1"
    with pytest.raises(Denied) as told:
        vms.act(caller(rack, "carol"), ActOnVm("web1", "stop", tenant="acme"), settings)
    assert told.value.code == "role_reader"


def test_a_user_of_two_tenants_has_to_say_which() -> None:
    rack = fake_rack()
    with pytest.raises(BadInput) as told:
        create(rack, "carol")
    assert told.value.code == "tenant_ambiguous"
    assert create(rack, "carol", tenant="beta")["vm"]["tenant"] == "beta"


def test_a_silent_host_blocks_nobody() -> None:
    rack = fake_rack()
    create(rack)
    rack.hosts["h1"].silent = True
    listed = RackVms(rack.rack).list(caller(rack, "root"), ListVms(), rack.rack.settings())
    assert list(listed["silent_hosts"]) == ["h1"]
    assert [vm["state"] for vm in listed["vms"]] == ["unknown"]
    assert create(rack, "root", "acme/web2")["vm"]["host"] != "h1"
    with pytest.raises(RacksaltError) as told:
        RackVms(rack.rack).act(caller(rack, "alice"), ActOnVm("web1", "start"), rack.rack.settings())
    assert told.value.code == "host_silent"


def test_creates_in_a_row_share_a_look_at_the_hosts() -> None:
    rack = fake_rack(hosts=2)
    create(rack, name="a1")
    looks = rack.fleet.calls.count(("h1", "rack_host.report"))
    create(rack, name="a2")
    assert rack.fleet.calls.count(("h1", "rack_host.report")) == looks
    rack.clock.sleep(60)
    create(rack, name="a3")
    assert rack.fleet.calls.count(("h1", "rack_host.report")) == looks + 1


def test_a_refusal_is_told_on_a_fresh_look_only() -> None:
    rack = fake_rack(hosts=1)
    create(rack)
    listed = RackVms(rack.rack).list(caller(rack, "root"), ListVms(), rack.rack.settings())["vms"]
    host = rack.hosts["h1"]
    host.hypervisor.destroy(listed[0]["uuid"])
    host.hypervisor.undefine(listed[0]["uuid"])
    rack.claims.held.clear()
    assert create(rack)["vm"]["uuid"] != listed[0]["uuid"]


def test_a_name_is_free_at_once_after_a_delete_without_another_look() -> None:
    rack = fake_rack(hosts=1)
    create(rack)
    RackVms(rack.rack).act(caller(rack, "alice"), ActOnVm("web1", "delete"), rack.rack.settings())
    looks = rack.fleet.calls.count(("h1", "rack_host.report"))
    create(rack)
    assert rack.fleet.calls.count(("h1", "rack_host.report")) == looks


def test_each_record_is_signed_for_the_host_that_made_it() -> None:
    rack = fake_rack(hosts=2)
    rack.hosts["h1"].volumes.missing = frozenset({"1" * 64})
    create(rack)
    (domain,) = rack.hosts["h2"].hypervisor.report().domains
    assert domain.record is not None and domain.record.host == "h2"
    assert record_proof.is_valid(domain.record, rack.rack.ring.read())


def _disable(rack: FakeRack, host: str) -> None:
    rack.rack.files.change(
        "hosts.yaml", lambda data: data["hosts"].update({host: {"enabled": False}}), lambda folder: None
    )


def _before_the_lock(rack: FakeRack, monkeypatch: pytest.MonkeyPatch, change: Callable[[], None]) -> None:
    """Something changes between a look and the lock, the first time."""
    left = [change]

    @contextmanager
    def locked() -> Iterator[None]:
        if left:
            left.pop()()
        yield

    monkeypatch.setattr(rack.claims, "locked", locked)


def test_a_host_that_was_taken_out_while_another_one_tried_gets_no_vm() -> None:
    rack = fake_rack(hosts=2)

    def fail(step: str) -> None:
        if step == "define":
            _disable(rack, "h2")
            raise Refused("disk_failed", "no space left on device")

    rack.hosts["h1"].hypervisor.fault = fail
    with pytest.raises(RacksaltError) as told:
        create(rack, "root", "acme/web1")
    assert told.value.code == "host_failed" and "h2" not in told.value.detail
    assert rack.vms_on_hosts() == [] and rack.leftovers() == []


def test_a_host_that_is_disabled_between_the_look_and_the_lock_gets_no_vm(monkeypatch: pytest.MonkeyPatch) -> None:
    rack = fake_rack(hosts=2)
    create(rack, "root", "acme/web1", host="h2")
    _before_the_lock(rack, monkeypatch, lambda: _disable(rack, "h1"))
    assert create(rack, "root", "acme/web2")["vm"]["host"] == "h2"


def test_the_claim_of_a_host_that_was_added_meanwhile_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    rack = fake_rack(hosts=2)
    uuid = create(rack, "root", "acme/web1")["vm"]["uuid"]
    known = rack.claims.held.pop(uuid)
    other = replace(known.record, uuid=str(UUID(int=9)), name="other", host="h9")

    def add() -> None:
        rack.rack.files.change("hosts.yaml", lambda data: data["hosts"].update({"h9": {}}), lambda folder: None)
        rack.claims.write(Claim(other, rack.clock.time + 60))

    _before_the_lock(rack, monkeypatch, add)
    with pytest.raises(RacksaltError):
        create(rack, "root", "acme/other")
    assert [claim.record.host for claim in rack.claims.all()] == ["h9"]


def test_files_that_change_all_the_time_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    rack = fake_rack(hosts=1)
    numbers = itertools.count(1)

    @contextmanager
    def locked() -> Iterator[None]:
        reason = f"change {next(numbers)}"
        rack.rack.files.change(
            "hosts.yaml",
            lambda data: data["hosts"].update({"h1": {"enabled": False, "reason": reason}}),
            lambda folder: None,
        )
        yield

    monkeypatch.setattr(rack.claims, "locked", locked)
    with pytest.raises(Conflict) as told:
        create(rack)
    assert told.value.code == "files_changed" and not rack.claims.held


def test_a_vm_that_was_made_is_told_also_where_its_claim_cannot_be_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    rack = fake_rack()
    write = rack.claims.write

    def full(claim: Claim) -> None:
        if claim.settled_at is not None:
            raise Unavailable("not_written", "no space left on device")
        write(claim)

    monkeypatch.setattr(rack.claims, "write", full)
    made = create(rack)
    assert made["changed"] and rack.vms_on_hosts() == ["acme.web1"]
    monkeypatch.undo()
    rack.clock.sleep(600)
    RackClaims(rack.rack).tidy(rack.rack.inventory(rack.rack.settings()))
    assert [claim.settled_at is not None for claim in rack.claims.all()] == [True]


def test_whose_login_was_taken_away_meanwhile_gets_no_vm_elsewhere() -> None:
    rack = fake_rack(hosts=2)

    def fail(step: str) -> None:
        if step == "define":
            rack.rack.files.change("users.yaml", lambda data: data["users"].pop("alice", None), lambda folder: None)
            raise Refused("no_room", "another one came first")

    rack.hosts["h1"].hypervisor.fault = fail
    with pytest.raises(Denied):
        create(rack)
    assert rack.vms_on_hosts() == [] and rack.leftovers() == []


def test_a_deletion_that_waits_does_not_hold_up_others() -> None:
    rack = fake_rack()
    uuid = create(rack, name="old")["vm"]["uuid"]
    known = rack.rack.settings()
    entry = pending.deletion_of(rack.claims.held[uuid].record, since=1.0, by="alice")
    rack.rack.files.change("pending.yaml", lambda data: pending.write_deletion(data, uuid, entry), lambda folder: None)
    assert rack.rack.settings().deletions and rack.rack.is_current(known)
    _disable(rack, "h2")
    assert not rack.rack.is_current(known)
