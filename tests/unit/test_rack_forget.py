"""Giving up a host on a fake rack: what is free then, and what its VMs are when it comes back."""

from __future__ import annotations

from typing import Any

import pytest

from racksalt.access import identify
from racksalt.away_watch import AwayWatch
from racksalt.errors import Conflict, NotFound, RacksaltError, Refused, Unavailable
from racksalt.migration import How
from racksalt.model import Claim
from racksalt.move_claims import MoveClaims
from racksalt.rack_adopt import RackAdopt
from racksalt.rack_forget import RackForget
from racksalt.rack_hosts import RackHosts, overview
from racksalt.rack_requests import AdoptVm, ForgetHost, SwitchHost
from tests.fakes import FakeRack, fake_rack
from tests.unit.test_host_vms import vm
from tests.unit.test_rack import own
from tests.unit.test_rack_pending import turn, used
from tests.unit.test_rack_vms import act, listed
from tests.unit.test_vm_create import create


@pytest.fixture
def rack() -> FakeRack:
    """acme/web1 and acme/web2 on h1, which is disabled and away."""
    rack = fake_rack()
    create(rack, "root", "acme/web1", host="h1")
    create(rack, "root", "acme/web2", host="h1")
    create(rack, "root", "acme/web3", host="h2")
    listed(rack)
    switch(rack, enabled=False)
    rack.hosts["h1"].silent = True
    return rack


def switch(rack: FakeRack, *, enabled: bool) -> dict[str, Any]:
    settings = rack.rack.settings()
    return RackHosts(rack.rack).switch(SwitchHost("h1", "dead"), settings, enabled=enabled)


def forget(rack: FakeRack, name: str = "h1", **asked: Any) -> dict[str, Any]:
    settings = rack.rack.settings()
    return RackForget(rack.rack).forget(identify("root", settings), ForgetHost(name, **asked), settings)


def test_all_that_it_held_is_free(rack: FakeRack) -> None:
    rack.claims.write(Claim(own(vm(9)), rack.clock.time + 60))
    act(rack, "delete", "web2")
    told = forget(rack, vms=1)
    assert told["changed"] and told["vms"] == ["acme/web1"] and told["claims"] == ["acme/web9"]
    assert listed(rack) == ["acme/web3"] and used(rack) == 1
    assert [claim.record.name for claim in rack.claims.all()] == ["web3"]
    assert create(rack, "root", "acme/web1")["changed"] and create(rack, "root", "acme/web2")["changed"]
    assert forget(rack) == {"host": "h1", "changed": False}


def test_a_test_tells_what_is_lost_and_changes_nothing(rack: FakeRack) -> None:
    told = forget(rack, test=True)
    assert told["test"] and told["vms"] == ["acme/web1", "acme/web2"] and listed(rack)[0] == "acme/web1"


@pytest.mark.parametrize("vms", [None, 0, 1, 3])
def test_the_number_of_vms_has_to_be_said(rack: FakeRack, vms: int | None) -> None:
    with pytest.raises(Refused) as told:
        forget(rack, vms=vms)
    assert told.value.code == "forget_unconfirmed" and "vms=2" in told.value.detail


def test_a_host_that_is_in_use_is_not_given_up(rack: FakeRack) -> None:
    with pytest.raises(NotFound):
        forget(rack, "h9")
    switch(rack, enabled=True)
    with pytest.raises(Conflict) as told:
        forget(rack, vms=2)
    assert told.value.code == "host_enabled"
    rack.hosts["h1"].silent = False
    with pytest.raises(Conflict) as told:
        forget(rack, vms=2)
    assert told.value.code == "host_answers"


@pytest.mark.promise("P7")
def test_no_vm_goes_to_a_host_that_is_given_up() -> None:
    """Its minion is away, and its libvirt takes what the source sends."""
    rack = fake_rack()
    vm = create(rack, "root", "acme/web1", host="h2")["vm"]
    settings = rack.rack.settings()
    seen = rack.rack.inventory(settings)
    MoveClaims(rack.rack, settings).hold(seen.vms()[0].record, "h1", How(), seen)
    switch(rack, enabled=False)
    rack.hosts["h1"].silent = True
    mover = rack.hosts["h2"].mover
    mover.sending[vm["uuid"]] = object()
    with pytest.raises(Conflict) as told:
        forget(rack, vms=0)
    assert told.value.code == "vm_moving" and mover.aborted and "pending.yaml" not in rack.files.data
    mover.sending.clear()
    assert forget(rack, vms=0)["claims"] == ["acme/web1"] and not rack.claims.all()
    assert listed(rack) == ["acme/web1"]


def test_a_host_that_comes_back_takes_no_name_from_others_and_loses_nothing(rack: FakeRack) -> None:
    forget(rack, vms=2)
    create(rack, "root", "acme/web1", host="h2")
    rack.hosts["h1"].crash()
    rack.hosts["h1"].silent = False
    turn(rack)
    assert listed(rack) == ["acme/web1", "acme/web3"] and used(rack) == 2
    status = overview(rack.rack.inventory(rack.rack.settings()), rack.rack.settings())
    assert {one["vm"] for one in status["unsigned"]} == {"acme/web1", "acme/web2"} and not status["twice"]
    assert list(status["forgotten_hosts"]) == ["h1"]
    booted = rack.hosts["h1"].away().boot()
    assert booted["word"] and not booted["started"] and set(booted["kept_off"]) == {"acme.web1", "acme.web2"}
    assert rack.vms_on_hosts() == ["acme.web1", "acme.web1", "acme.web2", "acme.web3"], "nothing is deleted by guess"


def test_it_takes_vms_again_when_each_of_before_was_adopted_or_removed(rack: FakeRack) -> None:
    uuids = {domain.name: domain.uuid for domain in rack.hosts["h1"].hypervisor.report().domains}
    forget(rack, vms=2)
    with pytest.raises(Unavailable):
        switch(rack, enabled=True)
    rack.hosts["h1"].silent = False
    create(rack, "root", "acme/web1", host="h2")
    with pytest.raises(Conflict) as told:
        switch(rack, enabled=True)
    assert told.value.code == "host_forgotten"
    settings = rack.rack.settings()
    adopted = RackAdopt(rack.rack).adopt(AdoptVm(uuid=uuids["acme.web2"]), settings)
    assert adopted["changed"] and "acme/web2" in listed(rack)
    with pytest.raises(Conflict, match="acme/web1"):
        RackAdopt(rack.rack).adopt(AdoptVm(uuid=uuids["acme.web1"]), rack.rack.settings())
    from racksalt.host_requests import ActOnHost

    rack.hosts["h1"].vms().act(ActOnHost(uuids["acme.web1"], "delete"))
    assert switch(rack, enabled=True)["changed"] and not rack.files.data["pending.yaml"]["forgotten"]
    assert listed(rack) == ["acme/web1", "acme/web2", "acme/web3"]
    assert create(rack, "root", "acme/new", host="h1")["changed"]


def test_what_was_deleted_before_is_deleted_there_all_the_same(rack: FakeRack) -> None:
    act(rack, "delete", "web2")
    forget(rack, vms=1)
    rack.hosts["h1"].silent = False
    turn(rack)
    assert rack.vms_on_hosts() == ["acme.web1", "acme.web3"]
    assert not rack.files.data["pending.yaml"]["deletions"]


def test_a_host_that_is_given_up_holds_up_no_create() -> None:
    rack = fake_rack()
    switch(rack, enabled=False)
    rack.hosts["h1"].silent = True
    rack.rack.last_known.reports.clear()  # type: ignore[attr-defined]
    with pytest.raises(RacksaltError) as told:
        create(rack)
    assert told.value.code == "inventory_incomplete"
    forget(rack, vms=0)
    assert create(rack)["changed"]
    AwayWatch().turn(rack.rack)
