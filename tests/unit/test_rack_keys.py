"""The rotation of the signing key: no VM stops to count, whoever is silent and wherever it is cut off."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from racksalt.errors import Unavailable
from racksalt.rack_keys import RackKeys
from racksalt.rack_requests import ActOnVm, RotateKey
from racksalt.rack_vms import RackVms
from tests.fakes import FakeRack, FakeRing, fake_rack
from tests.unit.test_rack_adopt import domain, forget, names, stripped
from tests.unit.test_vm_create import caller, create

NAMES = ["acme/web0", "acme/web1", "acme/web2"]


def rotate(rack: FakeRack, *, test: bool = False) -> dict[str, Any]:
    return RackKeys(rack.rack).rotate(RotateKey(test), rack.rack.settings())


def filled() -> FakeRack:
    rack = fake_rack()
    for number in range(3):
        create(rack, "root", f"acme/web{number}", host=f"h{number + 1}")
    return rack


def numbers(rack: FakeRack) -> set[int]:
    ring = rack.rack.ring
    assert isinstance(ring, FakeRing)
    return ring.numbers


def keys_used(rack: FakeRack) -> set[str]:
    domains = [one for host in rack.hosts.values() for one in host.hypervisor.report().domains]
    return {(one.record.signature or "").partition(":")[0] for one in domains if one.record}


def test_every_record_is_signed_anew_and_the_old_key_goes() -> None:
    rack = filled()
    told = rotate(rack)
    assert told["done"] and told["key"] == 2 and told["signed"] == 3 and told["removed_keys"] == [1]
    assert numbers(rack) == {2} and keys_used(rack) == {"2"}
    assert names(rack) == NAMES
    forget(rack)
    assert names(rack) == NAMES
    signs = [call for call in rack.fleet.calls if call[1] == "rack_vm.sign"]
    assert signs == [(f"h{number}", "rack_vm.sign") for number in (1, 2, 3)]


def test_a_test_run_makes_no_key_and_signs_nothing() -> None:
    rack = filled()
    plan = rotate(rack, test=True)
    assert plan["test"] and plan["key"] == 2 and "make key 2" in plan["steps"] and "sign 1 VMs on h1" in plan["steps"]
    assert numbers(rack) == {1} and keys_used(rack) == {"1"}


def test_a_silent_host_keeps_the_old_key_until_it_has_answered() -> None:
    rack = filled()
    names(rack)
    rack.hosts["h2"].silent = True
    told = rotate(rack)
    assert not told["done"] and list(told["missing_hosts"]) == ["h2"] and numbers(rack) == {1, 2}
    assert names(rack) == NAMES, "its last known record still counts"
    again = rotate(rack)
    assert again["key"] == 2 and again["signed"] == 0 and not again["done"], "the same new key, not a third one"
    rack.hosts["h2"].silent = False
    assert rotate(rack)["done"] and numbers(rack) == {2} and names(rack) == NAMES


def test_a_host_that_never_told_anything_is_missing_too() -> None:
    rack = filled()
    forget(rack)
    rack.hosts["h3"].silent = True
    assert list(rotate(rack)["missing_hosts"]) == ["h3"] and numbers(rack) == {1, 2}


@pytest.mark.parametrize("at", range(1, 8))
def test_cut_off_anywhere_it_goes_on_and_no_vm_stops_to_count(at: int) -> None:
    rack = filled()
    steps = iter(range(1, 100))

    class KilledError(BaseException):
        pass

    def kill(host: str, function: str) -> None:
        if next(steps) == at:
            raise KilledError

    rack.fleet.before = kill
    with pytest.raises(KilledError):
        rotate(rack)
    rack.fleet.before = lambda host, function: None
    assert names(rack) == NAMES
    assert rotate(rack)["done"] and numbers(rack) == {2} and keys_used(rack) == {"2"} and names(rack) == NAMES


def test_a_create_in_flight_with_the_old_key_keeps_it() -> None:
    rack = filled()
    create(rack, "root", "acme/new", host="h1")
    uuid, claim = next((key, one) for key, one in rack.claims.held.items() if one.record.name == "new")
    xml = rack.hosts["h1"].hypervisor.xml.pop(uuid)
    rack.claims.held[uuid] = replace(claim, settled_at=None)
    told = rotate(rack)
    assert told["claims_in_flight"] == ["acme/new"] and not told["done"] and numbers(rack) == {1, 2}
    rack.hosts["h1"].hypervisor.xml[uuid] = xml
    assert names(rack) == ["acme/new", *NAMES]
    assert rotate(rack)["done"] and names(rack) == ["acme/new", *NAMES]


def test_a_create_after_the_new_key_was_made_is_signed_with_it() -> None:
    rack = filled()
    rack.hosts["h3"].silent = True
    rotate(rack)
    uuid = create(rack, "root", "acme/new", host="h1")["vm"]["uuid"]
    assert (domain(rack, "h1", uuid).record.signature or "").startswith("2:")  # type: ignore[union-attr]


def test_what_did_not_count_before_does_not_count_afterwards() -> None:
    rack = filled()
    uuid = stripped(rack, "acme/odd")
    rotate(rack)
    assert names(rack) == NAMES and domain(rack, "h1", uuid).record.signature is None  # type: ignore[union-attr]


def test_a_host_that_cannot_write_is_named_and_keeps_the_old_key() -> None:
    rack = filled()

    def fails(step: str) -> None:
        if step == "write_record":
            raise Unavailable("libvirt_down", "libvirt does not answer")

    rack.hosts["h2"].hypervisor.fault = fails
    told = rotate(rack)
    assert not told["done"] and list(told["missing_hosts"]) == ["h2"] and numbers(rack) == {1, 2}
    assert "older key" in told["missing_hosts"]["h2"] and names(rack) == NAMES


def test_a_host_that_confirms_what_it_did_not_do_is_found_out() -> None:
    rack = filled()
    rack.hosts["h2"].hypervisor.write_record = lambda uuid, xml: None  # type: ignore[method-assign]
    told = rotate(rack)
    assert not told["done"] and list(told["missing_hosts"]) == ["h2"] and numbers(rack) == {1, 2}


def test_notes_tags_and_protection_keep_the_signature() -> None:
    rack = filled()
    vms, root, settings = RackVms(rack.rack), caller(rack, "root"), rack.rack.settings()
    for asked in (
        ActOnVm("acme/web1", "note", note="x"),
        ActOnVm("acme/web1", "tag", tags=("prod",)),
        ActOnVm("acme/web1", "protect", protected=True),
    ):
        assert vms.act(root, asked, settings)["changed"]
    forget(rack)
    assert names(rack) == NAMES


def test_without_a_key_nothing_is_decided() -> None:
    rack = filled()
    numbers(rack).clear()
    for call in (lambda: names(rack), lambda: create(rack, "root", "acme/new"), lambda: rotate(rack)):
        with pytest.raises(Unavailable) as told:
            call()
        assert told.value.code == "rack_key_missing"
