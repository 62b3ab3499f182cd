"""The life of a claim: who ends it, and when."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from racksalt.errors import Conflict, RacksaltError, Refused, Unavailable
from racksalt.host_creates import HostCreates
from racksalt.model import Claim, Record
from racksalt.names import new_uuid
from racksalt.rack_claims import RackClaims
from racksalt.rack_hosts import overview
from racksalt.rack_requests import ShowVm
from racksalt.rack_vms import RackVms
from tests.fakes import FakeRack, fake_rack, signed
from tests.unit.test_host_vms import UUID, vm
from tests.unit.test_host_vms import request as host_request
from tests.unit.test_rack import look, make, own
from tests.unit.test_vm_create import caller, create

LATE_S = 600.0


def tidy(rack: FakeRack) -> list[str]:
    return RackClaims(rack.rack).tidy(look(rack))


def hold(rack: FakeRack, record: Record, *, age_s: float = 0.0, settled_at: float | None = None) -> None:
    rack.claims.write(Claim(record, rack.clock.time - age_s, settled_at))


def test_a_settled_claim_goes_when_a_report_shows_it_for_long_enough() -> None:
    rack = fake_rack()
    hold(rack, make(rack), settled_at=rack.clock.time)
    tidy(rack)
    assert rack.claims.held
    rack.clock.sleep(LATE_S)
    tidy(rack)
    assert not rack.claims.held and rack.vms_on_hosts() == ["acme.web1"]


def test_a_settled_claim_of_a_silent_host_stays() -> None:
    rack = fake_rack()
    record = make(rack)
    rack.hosts["h1"].silent = True
    rack.claims.write(Claim(record, rack.clock.time, rack.clock.time))
    rack.clock.sleep(10 * LATE_S)
    tidy(rack)
    assert list(rack.claims.held) == [record.uuid]


def test_an_open_claim_within_its_time_is_left_alone() -> None:
    rack = fake_rack()
    hold(rack, own(vm()))
    tidy(rack)
    assert list(rack.claims.held) == [UUID.format(1)]
    assert ("h1", "rack_vm.purge") not in rack.fleet.calls


def test_a_late_claim_that_the_host_shows_has_become_a_vm() -> None:
    rack = fake_rack()
    hold(rack, make(rack), age_s=LATE_S)
    tidy(rack)
    assert all(claim.settled_at for claim in rack.claims.all()) and rack.vms_on_hosts() == ["acme.web1"]
    assert ("h1", "rack_vm.purge") not in rack.fleet.calls


def test_a_late_claim_that_the_host_does_not_show_is_purged_there() -> None:
    rack = fake_rack()
    rack.hosts["h1"].volumes.files.add(f"/volumes/acme/{UUID.format(1)}.qcow2")
    hold(rack, own(vm()), age_s=LATE_S)
    tidy(rack)
    assert not rack.claims.held and rack.leftovers() == []


def test_a_late_claim_of_a_silent_host_stays_until_it_answers() -> None:
    rack = fake_rack()
    hold(rack, own(vm()), age_s=LATE_S)
    rack.hosts["h1"].silent = True
    tidy(rack)
    assert rack.claims.held
    rack.hosts["h1"].silent = False
    tidy(rack)
    assert not rack.claims.held


def test_a_claim_stays_when_the_purge_is_not_confirmed() -> None:
    rack = fake_rack()
    hold(rack, own(vm()), age_s=LATE_S)
    seen = look(rack)
    rack.hosts["h1"].loses_returns = True
    RackClaims(rack.rack).tidy(seen)
    assert rack.claims.held


def test_a_claim_of_a_host_that_is_in_no_file_any_more_holds_nothing_and_ends() -> None:
    rack = fake_rack()
    hold(rack, own(vm(host="h9")), age_s=LATE_S)
    assert look(rack).in_flight() == []
    assert "not in hosts.yaml" in tidy(rack)[0]
    assert not rack.claims.held


def test_a_late_claim_with_leftovers_and_a_domain_after_all_keeps_the_vm() -> None:
    """The create ended between the look and the purge: the host's own word counts."""
    rack = fake_rack()
    seen_before = look(rack)
    record = make(rack)
    hold(rack, record, age_s=LATE_S)
    RackClaims(rack.rack).tidy(seen_before.with_claims(rack.claims.all()))
    assert all(claim.settled_at for claim in rack.claims.all()) and rack.vms_on_hosts() == ["acme.web1"]


def test_the_clock_of_the_master_steps_back_and_no_name_is_given_twice() -> None:
    rack = fake_rack()
    create(rack)
    rack.clock.time -= 60
    create(rack, name="web2")
    for name in ("web1", "web2"):
        with pytest.raises(Conflict):
            create(rack, name=name)


def broken(rack: FakeRack, host: str, *steps: str) -> None:
    def fail(found: str) -> None:
        if found in steps:
            raise Refused("libvirt_refused", "libvirt: the connection is closed")

    rack.hosts[host].hypervisor.fault = fail


def test_a_host_whose_libvirt_dies_in_the_middle_holds_the_claim_until_it_is_clean() -> None:
    rack = fake_rack(hosts=2)
    first = create(rack, "root", "acme/first")["vm"]["host"]
    other = next(name for name in rack.hosts if name != first)
    broken(rack, other, "start", "undefine", "state", "release_address")
    with pytest.raises(Unavailable) as told:
        create(rack)
    assert told.value.code == "host_silent"
    with pytest.raises(Conflict):
        create(rack)
    rack.hosts[other].hypervisor.fault = lambda found: None
    rack.clock.sleep(LATE_S)
    tidy(rack)
    assert rack.vms_on_hosts() == ["acme.first"] and not [c for c in rack.claims.held.values() if c.settled_at is None]
    assert create(rack)["changed"]


def test_a_master_that_takes_no_call_in_the_middle_leaves_one_claim_and_says_so() -> None:
    rack = fake_rack()
    create(rack)

    def away(host: str, function: str) -> None:
        if function == "rack_vm.create":
            raise Unavailable("master_down", "the Salt master does not take the call")

    rack.fleet.before = away
    with pytest.raises(Unavailable) as told:
        create(rack, name="web2")
    assert told.value.code == "host_silent"
    assert len([claim for claim in rack.claims.held.values() if claim.settled_at is None]) == 1


def test_five_hosts_that_fail_are_asked_once_each() -> None:
    rack = fake_rack(hosts=8)
    create(rack)
    for name in rack.hosts:
        broken(rack, name, "define")
    with pytest.raises(Unavailable):
        create(rack, name="web2")
    assert len([call for call in rack.fleet.calls if call[1] == "rack_vm.create"]) == 6


def test_a_request_whose_runner_died_is_carried_on_by_the_same_request() -> None:
    """The claim is there, nobody holds it any more, and the host has made nothing, or all of it."""
    for made in (False, True):
        rack, request = fake_rack(), new_uuid()
        claim = interrupted(rack, request, made=made)
        with pytest.raises(Conflict):
            create(rack)
        again = create(rack, request_id=request)
        assert again["vm"]["uuid"] == claim.record.uuid and again["vm"]["state"] == "running"
        assert rack.vms_on_hosts() == ["acme.web1"]
        assert create(rack, request_id=request) == {**again, "changed": False}


def interrupted(rack: FakeRack, request: str, *, made: bool) -> Claim:
    """A create whose runner was killed once its host had been asked."""

    class Killed(BaseException):
        pass

    def kill(host: str, function: str) -> None:
        if function == "rack_vm.create":
            raise Killed

    if made:
        rack.fleet.after = kill
    else:
        rack.fleet.before = kill
    with pytest.raises(Killed):
        create(rack, request_id=request)
    rack.fleet.before = rack.fleet.after = lambda host, function: None
    (claim,) = rack.claims.held.values()
    return claim


def test_a_request_id_is_for_one_vm() -> None:
    rack, request = fake_rack(), new_uuid()
    create(rack, request_id=request)
    with pytest.raises(Conflict) as told:
        create(rack, name="web2", request_id=request)
    assert told.value.code == "request_id_used"
    assert create(rack, "bob", "web1", request_id=request)["changed"], "another tenant's is another one"


def test_nobody_goes_on_with_a_claim_that_is_being_ended() -> None:
    rack, request = fake_rack(hosts=1), new_uuid()
    broken(rack, "h1", "start", "undefine", "state", "release_address")
    for code in ("host_silent", "request_ending"):
        with pytest.raises(RacksaltError) as told:
            create(rack, request_id=request)
        assert told.value.code == code


def test_a_repeat_during_the_look_up_keeps_its_claim() -> None:
    """The claim is about to end: who went on with it would go on without one."""
    rack, request = fake_rack(), new_uuid()
    late = interrupted(rack, request, made=False)
    rack.clock.sleep(LATE_S)
    made: list[dict[str, Any]] = []

    def repeat(host: str, function: str) -> None:
        if function == "rack_vm.purge":
            rack.fleet.before = lambda host, function: None
            made.append(create(rack, request_id=request))

    rack.fleet.before = repeat
    tidy(rack)
    (claim,) = rack.claims.held.values()
    assert claim.record.uuid == made[0]["vm"]["uuid"] != late.record.uuid and claim.settled_at is not None
    assert rack.vms_on_hosts() == ["acme.web1"] and create(rack, request_id=request)["changed"] is False


def test_a_claim_that_became_a_vm_stays_for_readers_whose_look_is_older() -> None:
    rack = fake_rack()
    before = look(rack)
    record = make(rack)
    hold(rack, record, age_s=LATE_S)
    tidy(rack)
    (claim,) = rack.claims.held.values()
    assert claim.settled_at is not None
    assert before.with_claims(rack.claims.all()).holder(record.tenant, record.name) == record.uuid


def test_many_late_claims_of_a_wedged_host_cost_one_wait_and_other_tenants_none() -> None:
    rack = fake_rack()
    for number in range(1, 11):
        hold(rack, own(vm(number)), age_s=LATE_S)
    rack.fleet.before = lambda host, function: setattr(rack.hosts["h1"], "loses_returns", function == "rack_vm.purge")
    tidy(rack)
    assert len([call for call in rack.fleet.calls if call[1] == "rack_vm.purge"]) == 1
    create(rack, "bob", "db1")
    assert len([call for call in rack.fleet.calls if call[1] == "rack_vm.purge"]) == 1


@pytest.mark.parametrize("other", [{"flavor": "m1.large"}, {"anti_affinity": "web"}, {"mac": "02:00:00:00:00:09"}])
def test_a_request_that_asks_for_something_else_is_another_request(other: dict[str, Any]) -> None:
    for made in (False, True):
        rack, request = fake_rack(), new_uuid()
        interrupted(rack, request, made=made)
        with pytest.raises(Conflict) as told:
            create(rack, request_id=request, **other)
        assert told.value.code == "request_id_used" and next(iter(other)) in told.value.detail


def test_a_request_that_comes_again_with_another_start_is_refused_only_while_nobody_knows_of_the_first() -> None:
    rack, request = fake_rack(), new_uuid()
    interrupted(rack, request, made=False)
    with pytest.raises(Conflict) as told:
        create(rack, request_id=request, start=False)
    assert told.value.code == "request_id_used" and "start" in told.value.detail
    rack = fake_rack()
    interrupted(rack, request, made=True)
    assert create(rack, request_id=request, start=False)["changed"] is False


def test_the_watch_tells_nothing_of_a_claim_that_it_cannot_settle(monkeypatch: pytest.MonkeyPatch) -> None:
    rack = fake_rack()
    hold(rack, make(rack), age_s=LATE_S)

    def damaged() -> list[Claim]:
        raise Unavailable("claim_unreadable", "a file that is none")

    monkeypatch.setattr(rack.claims, "certain", damaged)
    assert RackClaims(rack.rack).tidy(rack.rack.inventory(rack.rack.settings())) == []
    monkeypatch.undo()
    assert len(RackClaims(rack.rack).tidy(rack.rack.inventory(rack.rack.settings()))) == 1


def test_a_request_whose_host_was_taken_out_is_made_elsewhere() -> None:
    rack, request = fake_rack(), new_uuid()
    claim = interrupted(rack, request, made=False)
    del rack.files.data["hosts.yaml"]["hosts"][claim.record.host]
    made = create(rack, "root", "acme/web1", request_id=request)
    assert made["changed"] and made["vm"]["host"] != claim.record.host
    assert [held.record.host for held in rack.claims.held.values()] == [made["vm"]["host"]]


def test_a_clock_that_was_wrong_holds_nothing_for_longer() -> None:
    rack = fake_rack()
    rack.clock.time += 86400
    interrupted(rack, new_uuid(), made=False)
    rack.clock.time -= 86400
    tidy(rack)
    assert not rack.claims.held and create(rack)["changed"]


def test_a_name_that_two_hosts_show_is_not_guessed_at() -> None:
    """A host shows again a record that the rack once signed for it."""
    rack = fake_rack()
    ghost = make(rack)
    real = signed(replace(ghost, uuid=new_uuid(), host="h2", created_at=ghost.created_at + 1))
    HostCreates(rack.hosts["h2"].vms()).create(replace(host_request(rack.clock, 2), record=real))
    settings, root = rack.rack.settings(), caller(rack, "alice")
    with pytest.raises(RacksaltError) as told:
        RackVms(rack.rack).show(root, ShowVm("web1"), settings)
    assert told.value.code == "name_ambiguous" and real.uuid in told.value.detail
    assert RackVms(rack.rack).show(root, ShowVm(real.uuid), settings)["uuid"] == real.uuid
    assert overview(rack.rack.inventory(settings), settings)["same_name"] == {"acme/web1": [ghost.uuid, real.uuid]}
