"""Adopting VMs that do not count: what a create would refuse is refused, and nothing is taken from a VM that counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from racksalt.errors import BadInput, Conflict, NotFound, RacksaltError, Unavailable
from racksalt.model import Domain, Nic, Record
from racksalt.rack_adopt import RackAdopt
from racksalt.rack_hosts import RackHosts, overview
from racksalt.rack_requests import ActOnVm, AdoptVm, ListVms, NamedHost
from racksalt.rack_vms import RackVms
from racksalt.record import to_xml
from tests.fakes import FakeRack, fake_rack, signed
from tests.unit.test_vm_create import caller, create


def adopt(rack: FakeRack, uuid: str | None = None, **asked: Any) -> dict[str, Any]:
    return RackAdopt(rack.rack).adopt(AdoptVm(uuid, **asked), rack.rack.settings())


def names(rack: FakeRack) -> list[str]:
    listed = RackVms(rack.rack).list(caller(rack, "root"), ListVms(), rack.rack.settings())
    return [f"{vm['tenant']}/{vm['name']}" for vm in listed["vms"]]


def domain(rack: FakeRack, host: str, uuid: str) -> Domain:
    return next(one for one in rack.hosts[host].hypervisor.report().domains if one.uuid == uuid)


def stripped(rack: FakeRack, title: str = "acme/web1", on: str = "h1", /, **changed: Any) -> str:
    """A VM whose record lost its signature, or was written by somebody else; every claim has ended."""
    uuid = str(create(rack, "root", title, host=on)["vm"]["uuid"])
    record = domain(rack, on, uuid).record
    assert record is not None
    rewrite(rack, on, replace(record, signature=None, **changed), uuid)
    forget(rack)
    return uuid


def rewrite(rack: FakeRack, host: str, record: Record, uuid: str | None = None) -> None:
    rack.hosts[host].hypervisor.write_record(uuid or record.uuid, to_xml(record))


def forget(rack: FakeRack) -> None:
    rack.claims.held.clear()
    rack.rack.last_known.clear(keep=())


def refusal(rack: FakeRack, uuid: str, **asked: Any) -> list[str]:
    """Why it cannot be adopted: said by a test run and by the act alike, and nothing is changed or held."""
    said = []
    for test in (True, False):
        with pytest.raises(Conflict) as told:
            adopt(rack, uuid, test=test, **asked)
        assert told.value.code == "adopt_refused"
        said.append(told.value.facts["problems"])
    assert said[0] == said[1] and not any(claim.adopts for claim in rack.claims.all())
    assert ("h1", "rack_vm.sign") not in rack.fleet.calls
    return list(said[0])


def test_an_unsigned_vm_is_named_takes_room_and_counts_for_nothing_else() -> None:
    rack = fake_rack()
    uuid = stripped(rack)
    hosts, settings = RackHosts(rack.rack), rack.rack.settings()
    unsigned = [{"host": "h1", "uuid": uuid, "vm": "acme/web1"}]
    assert names(rack) == [] and overview(rack.rack.inventory(settings), settings)["unsigned"] == unsigned
    shown = hosts.show(NamedHost("h1"), settings)
    assert shown["unsigned"] == unsigned and shown["foreign"] == [] and shown["vms"] == []
    assert shown["used"]["vcpus"] == 1
    with pytest.raises(NotFound):
        RackVms(rack.rack).act(caller(rack, "root"), ActOnVm(uuid, "delete"), settings)
    assert create(rack, "root", "acme/web1")["vm"]["host"] != "h1", "its name is free, but for its own host"


def test_an_adopted_vm_counts_at_once_and_after_the_next_look() -> None:
    rack = fake_rack()
    uuid = stripped(rack)
    plan = adopt(rack, uuid, test=True)
    assert plan["test"] and plan["vm"] == "acme/web1" and names(rack) == []
    assert adopt(rack, uuid, host="h1") == {"vm": "acme/web1", "host": "h1", "over_quota": {}, "changed": True}
    assert names(rack) == ["acme/web1"]
    with pytest.raises(Conflict):
        create(rack, "root", "acme/web1")
    forget(rack)
    assert names(rack) == ["acme/web1"] and domain(rack, "h1", uuid).record is not None
    assert not adopt(rack, uuid)["changed"]


def test_an_adopted_record_keeps_what_it_says() -> None:
    rack = fake_rack()
    uuid = stripped(rack, tags=("prod",), note="x", generation=3)
    before = domain(rack, "h1", uuid).record
    adopt(rack, uuid)
    after = domain(rack, "h1", uuid).record
    assert before and after and replace(after, signature=None) == before and after.signature


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"rack": "other"}, "of rack other"),
        ({"host": "h2"}, "names host h2"),
        ({"uuid": "2b5f2f40-4a4e-4b0e-9d2c-0b8f9f1d2c3e"}, "its record is of 2b5f"),
        ({"name": "web9"}, "the domain is called acme.web1"),
        ({"tenant": "gamma"}, "no tenant gamma"),
        ({"vcpus": 4}, "its record says 4 and 128"),
        ({"memory_mib": 64}, "its record says 1 and 64"),
        ({"nics": (Nic("dmz", "52:54:0a:50:00:99", "10.80.0.153"),)}, "no network dmz"),
        ({"nics": (Nic("nat", "52:54:0a:50:00:99", "10.81.0.1"),)}, "10.81.0.1 is not one"),
        ({"nics": (Nic("nat", "52:54:0a:50:00:99", "10.80.0.1"),)}, "10.80.0.1 is not one"),
        ({"nics": (Nic("nat", "52:54:0a:50:00:99", "10.80.15.255"),)}, "10.80.15.255 is not one"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_record_that_a_create_would_not_have_made_is_refused(changed: dict[str, Any], says: str) -> None:
    rack = fake_rack()
    assert any(says in problem for problem in refusal(rack, stripped(rack, **changed)))


def test_what_a_vm_that_counts_holds_is_not_taken() -> None:
    rack = fake_rack()
    uuid = stripped(rack)
    other = create(rack, "root", "acme/web1", host="h2")["vm"]
    assert refusal(rack, uuid) == ["there is a VM acme/web1 already"]
    nic = Nic("nat", other["nics"][0]["mac"], other["nics"][0]["address"])
    record = domain(rack, "h1", uuid).record
    assert record is not None
    rewrite(rack, "h1", replace(record, nics=(nic,)))
    told = " ".join(refusal(rack, uuid))
    assert f"MAC {nic.mac} is in use" in told and f"address {nic.address} is in use" in told


def test_what_a_claim_in_flight_holds_is_not_taken() -> None:
    rack = fake_rack()
    uuid = stripped(rack)
    create(rack, "root", "acme/web1", host="h2")
    rack.hosts["h2"].hypervisor.xml.clear()
    rack.rack.last_known.clear(keep=())
    rack.claims.held = {key: replace(claim, settled_at=None) for key, claim in rack.claims.held.items()}
    assert refusal(rack, uuid) == ["there is a VM acme/web1 already"]


def test_a_copy_of_a_vm_that_counts_is_not_adopted_beside_it() -> None:
    rack = fake_rack()
    uuid = str(create(rack, "root", "acme/web1", host="h2")["vm"]["uuid"])
    record = domain(rack, "h2", uuid).record
    assert record is not None
    rack.hosts["h1"].hypervisor.define(rack.hosts["h2"].hypervisor.xml[uuid])
    rewrite(rack, "h1", replace(record, host="h1", generation=9))
    forget(rack)
    assert f"there is a VM {uuid} already" in refusal(rack, uuid, host="h1")
    assert not adopt(rack, uuid)["changed"], "the one that counts is meant"


def test_what_the_operator_takes_it_for_has_to_be_true() -> None:
    rack = fake_rack()
    uuid = stripped(rack)
    assert refusal(rack, uuid, tenant="beta") == ["its record is of acme/web1, not of beta/web1"]
    assert refusal(rack, uuid, name="db1") == ["its record is of acme/web1, not of acme/db1"]
    assert adopt(rack, uuid, tenant="acme", name="web1")["changed"]


@pytest.mark.parametrize(
    ("asked", "kind", "code"),
    [
        ({}, BadInput, "bad_input"),
        ({"uuid": "2b5f2f40-4a4e-4b0e-9d2c-0b8f9f1d2c3e", "all": True}, BadInput, "bad_input"),
        ({"uuid": "2b5f2f40-4a4e-4b0e-9d2c-0b8f9f1d2c3e"}, NotFound, "vm_not_found"),
        ({"uuid": "2b5f2f40-4a4e-4b0e-9d2c-0b8f9f1d2c3e", "host": "h9"}, NotFound, "host_unknown"),
        ({"uuid": "1b5f2f40-4a4e-4b0e-9d2c-0b8f9f1d2c3e"}, BadInput, "adopt_needs_name"),
    ],
    ids=str,
)
def test_what_is_not_there_cannot_be_adopted(asked: dict[str, Any], kind: type[RacksaltError], code: str) -> None:
    rack = fake_rack()
    foreign = Domain("1b5f2f40-4a4e-4b0e-9d2c-0b8f9f1d2c3e", "by-hand", "stopped", 1, 1, 1)
    rack.hosts["h1"].hypervisor.foreign.append(foreign)
    with pytest.raises(kind) as told:
        adopt(rack, **asked)
    assert told.value.code == code


def test_the_same_unsigned_vm_on_two_hosts_needs_its_host() -> None:
    rack = fake_rack()
    uuid = stripped(rack)
    rack.hosts["h2"].hypervisor.define(rack.hosts["h1"].hypervisor.xml[uuid])
    with pytest.raises(BadInput) as told:
        adopt(rack, uuid)
    assert "h1 and h2" in told.value.detail
    assert adopt(rack, uuid, host="h1")["changed"]
    assert names(rack) == ["acme/web1"]


def test_a_passed_quota_is_told_and_holds_nobody_back() -> None:
    rack = fake_rack()
    uuid = stripped(rack)
    rack.files.data["tenants.yaml"]["tenants"]["acme"]["quota"] = {"vms": 0}
    (limit,) = adopt(rack, uuid)["over_quota"]["acme"]
    assert limit["what"] == "vms" and limit["limit"] == 0 and names(rack) == ["acme/web1"]


def test_a_record_that_changes_meanwhile_is_not_signed() -> None:
    rack = fake_rack()
    uuid = stripped(rack)

    def changes(host: str, function: str) -> None:
        record = domain(rack, "h1", uuid).record
        if function == "rack_vm.sign" and record:
            rewrite(rack, "h1", replace(record, memory_mib=4096))

    rack.fleet.before = changes
    with pytest.raises(Conflict) as told:
        adopt(rack, uuid)
    assert told.value.code == "adopt_refused" and "has changed" in told.value.detail
    assert not rack.claims.held and domain(rack, "h1", uuid).record.signature is None  # type: ignore[union-attr]


def test_a_note_that_is_written_meanwhile_stays() -> None:
    rack = fake_rack()
    uuid = stripped(rack)

    def notes(host: str, function: str) -> None:
        record = domain(rack, "h1", uuid).record
        if function == "rack_vm.sign" and record:
            rewrite(rack, "h1", replace(record, note="by hand"))

    rack.fleet.before = notes
    adopt(rack, uuid)
    forget(rack)
    assert names(rack) == ["acme/web1"] and domain(rack, "h1", uuid).record.note == "by hand"  # type: ignore[union-attr]


def test_a_host_that_falls_silent_holds_the_name_and_nothing_of_the_vm_is_ever_removed() -> None:
    rack = fake_rack()
    uuid = stripped(rack)

    def loses(host: str, function: str) -> None:
        rack.hosts[host].silent = function == "rack_vm.sign"

    rack.fleet.before = loses
    with pytest.raises(Unavailable) as told:
        adopt(rack, uuid)
    assert told.value.code == "host_silent" and rack.claims.held[uuid].adopts
    rack.fleet.before = lambda host, function: None
    rack.hosts["h1"].silent = False
    with pytest.raises(Conflict):
        create(rack, "root", "acme/web1", host="h2")
    rack.hosts["h1"].hypervisor.undefine(uuid)
    rack.clock.sleep(600)
    create(rack, "root", "acme/web1", host="h2")
    assert uuid not in rack.claims.held and ("h1", "rack_vm.purge") not in rack.fleet.calls
    assert f"/volumes/acme/{uuid}.qcow2" in rack.hosts["h1"].volumes.files


def test_an_adoption_that_was_cut_off_can_be_done_again_at_once() -> None:
    rack = fake_rack()
    uuid = stripped(rack)
    rack.hosts["h1"].loses_returns = False

    def loses(host: str, function: str) -> None:
        rack.hosts[host].loses_returns = function == "rack_vm.sign"

    rack.fleet.before = loses
    with pytest.raises(Unavailable):
        adopt(rack, uuid)
    rack.fleet.before = lambda host, function: None
    rack.hosts["h1"].loses_returns = False
    assert not adopt(rack, uuid)["changed"] and names(rack) == ["acme/web1"]


def test_all_adopts_what_it_can_and_tells_the_rest() -> None:
    rack = fake_rack()
    good = [stripped(rack, f"acme/web{number}", host) for number, host in enumerate(("h1", "h1", "h2"))]
    twin = stripped(rack, "acme/web0", "h2")
    silent = stripped(rack, "acme/far", "h3")
    names(rack)
    rack.hosts["h3"].silent = True
    plan = adopt(rack, all=True, test=True)
    assert plan["test"] and not any(function == "rack_vm.sign" for _, function in rack.fleet.calls)
    told = adopt(rack, all=True)
    assert [one["uuid"] for one in told["adopted"]] == good and told["changed"]
    assert {one["uuid"]: one["problems"] for one in told["refused"]} == {
        twin: ["there is a VM acme/web0 already"],
        silent: ["host h3 does not answer"],
    }
    assert [call for call in rack.fleet.calls if call[1] == "rack_vm.sign"] == [
        ("h1", "rack_vm.sign"),
        ("h2", "rack_vm.sign"),
    ]
    assert names(rack) == ["acme/web0", "acme/web1", "acme/web2"]
    assert adopt(rack, all=True)["adopted"] == []


def test_two_of_one_host_with_one_address_are_not_both_adopted() -> None:
    rack = fake_rack()
    first, second = stripped(rack, "acme/web1"), stripped(rack, "acme/web2")
    one, other = domain(rack, "h1", first).record, domain(rack, "h1", second).record
    assert one and other
    rewrite(rack, "h1", replace(other, nics=one.nics))
    told = adopt(rack, all=True)
    assert [item["uuid"] for item in told["adopted"]] == [first]
    assert "is in use" in told["refused"][0]["problems"][0]


def test_a_new_vm_does_not_take_the_address_of_an_unsigned_one_on_its_host() -> None:
    rack = fake_rack(hosts=1)
    uuid = stripped(rack)
    record = domain(rack, "h1", uuid).record
    assert record is not None
    fixed = replace(record, nics=(replace(record.nics[0], mac="02:00:00:00:00:01"),))
    rewrite(rack, "h1", fixed)
    with pytest.raises(Unavailable) as told:
        create(rack, "root", "acme/web2", mac="02:00:00:00:00:01")
    assert told.value.facts["refusals"][0]["code"] == "address_in_use"
    assert ("h1", "rack_vm.purge") not in rack.fleet.calls, "that would take the address from the one that has it"
    assert create(rack, "root", "acme/web3")["changed"]


def test_a_wrongly_signed_vm_is_adopted_like_an_unsigned_one() -> None:
    rack = fake_rack()
    uuid = stripped(rack)
    record = domain(rack, "h1", uuid).record
    assert record is not None
    rewrite(rack, "h1", replace(record, signature="1:" + "0" * 64))
    assert names(rack) == [] and adopt(rack, uuid)["changed"]
    assert domain(rack, "h1", uuid).record == signed(record)
