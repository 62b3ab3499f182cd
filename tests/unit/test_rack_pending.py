"""Deletions that wait for hosts that are away, on a fake rack: what is held, what is free, and what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest

from racksalt.access import identify
from racksalt.away_watch import AwayWatch
from racksalt.errors import Conflict, Denied, NotFound, RacksaltError, Refused, Unavailable
from racksalt.migration import How
from racksalt.move_claims import MoveClaims
from racksalt.rack_hosts import overview
from racksalt.rack_migrations import RackMigrations
from racksalt.rack_pending import RackPending
from racksalt.rack_requests import ActOnVm, ShowVm
from racksalt.rack_tenants import RackTenants
from racksalt.rack_vms import RackVms
from tests.fakes import FakeRack, fake_rack
from tests.unit.test_rack_vms import act, listed
from tests.unit.test_vm_create import create


@pytest.fixture
def rack() -> FakeRack:
    """acme/web1 on h1, which is away."""
    rack = fake_rack()
    create(rack, "root", "acme/web1", host="h1")
    create(rack, "root", "acme/web2", host="h2")
    listed(rack)
    rack.hosts["h1"].silent = True
    return rack


def used(rack: FakeRack, tenant: str = "acme") -> int:
    settings = rack.rack.settings()
    from racksalt.rack_requests import OneTenant

    told = RackTenants(rack.rack).usage(identify("root", settings), OneTenant(tenant), settings)
    return int(told["used"]["vms"])


def turn(rack: FakeRack, watch: AwayWatch | None = None) -> AwayWatch:
    watch = watch or AwayWatch()
    rack.clock.sleep(60)
    watch.turn(rack.rack)
    return watch


@pytest.mark.promise("P10")
def test_a_deletion_is_done_for_its_user_and_carried_out_when_the_host_is_back(rack: FakeRack) -> None:
    gone = act(rack, "delete")
    assert (gone["vm"], gone["deleted"], gone["pending"], gone["state"]) == ("acme/web1", True, True, None)
    assert "h1" not in repr(gone)
    assert listed(rack) == ["acme/web2"] and used(rack) == 1
    assert list(rack.files.data["pending.yaml"]["deletions"]) == [gone["uuid"]]
    watch = turn(rack)
    assert rack.vms_on_hosts() == ["acme.web1", "acme.web2"]
    rack.hosts["h1"].silent = False
    assert listed(rack) == ["acme/web2"], "out of sight before it is carried out too"
    turn(rack, watch)
    assert rack.vms_on_hosts() == ["acme.web2"] and not rack.hosts["h1"].volumes.files
    assert not rack.hosts["h1"].hypervisor.leases and not rack.files.data["pending.yaml"]["deletions"]
    assert create(rack, "root", "acme/web1")["changed"]


def test_what_it_held_stays_held_but_its_quota(rack: FakeRack) -> None:
    address = RackVms(rack.rack).show(
        identify("root", rack.rack.settings()), ShowVm("acme/web1"), rack.rack.settings()
    )["addresses"][0]
    act(rack, "delete")
    rack.rack.last_known.reports.clear()  # type: ignore[attr-defined]
    with pytest.raises(Conflict) as told:
        create(rack, "root", "acme/web1", host="h2")
    assert told.value.code == "name_in_use"
    seen = rack.rack.inventory(rack.rack.settings())
    assert seen.taken().has_address("nat", address), "also when the cache is gone"
    load = next(load for load in seen.loads() if load.config.name == "h1")
    assert load.used.memory_mib == 128 + 64


def test_the_same_deletion_again_has_the_same_answer(rack: FakeRack) -> None:
    first = act(rack, "delete")
    again = act(rack, "delete")
    assert again == {**first, "changed": False, "steps": []}
    assert act(rack, "delete", first["uuid"]) == act(rack, "delete", "acme/web1", "root") == again
    for verb in ("start", "note"):
        with pytest.raises(NotFound):
            act(rack, verb, note="x") if verb == "note" else act(rack, verb)


@pytest.mark.parametrize(("user", "name"), [("bob", "acme/web1"), ("bob", "web1"), ("carol", "acme/web1")])
def test_nobody_else_learns_of_it(rack: FakeRack, user: str, name: str) -> None:
    act(rack, "delete")
    with pytest.raises(Denied if user == "carol" else NotFound):
        act(rack, "delete", name, user)


def test_a_protected_vm_is_refused_by_what_is_last_known() -> None:
    rack = fake_rack()
    create(rack, "root", "acme/web1", host="h1", protected=True)
    listed(rack)
    rack.hosts["h1"].silent = True
    with pytest.raises(Refused) as told:
        act(rack, "delete")
    assert told.value.code == "vm_protected" and "pending.yaml" not in rack.files.data


def test_a_test_writes_nothing(rack: FakeRack) -> None:
    assert act(rack, "delete", test=True)["test"] and "pending.yaml" not in rack.files.data
    assert listed(rack) == ["acme/web1", "acme/web2"]


def test_other_verbs_are_refused_as_ever(rack: FakeRack) -> None:
    with pytest.raises(Unavailable) as told:
        act(rack, "start")
    assert told.value.code == "host_silent"


def test_a_lost_answer_to_a_deletion_is_one_that_waits() -> None:
    rack = fake_rack()
    create(rack, "root", "acme/web1", host="h1")
    host = rack.hosts["h1"]
    rack.fleet.before = lambda name, function: setattr(host, "loses_returns", function == "rack_vm.act")
    assert act(rack, "delete")["pending"]
    turn(rack)
    assert rack.vms_on_hosts() == [] and not rack.files.data["pending.yaml"]["deletions"]


def test_what_its_host_refuses_still_waits(rack: FakeRack) -> None:
    gone = act(rack, "delete")
    rack.hosts["h1"].silent = False

    def fail(step: str) -> None:
        if step == "remove":
            raise Refused("disk_failed", "read-only file system")

    rack.hosts["h1"].volumes.fault = fail
    watch = turn(rack)
    assert list(rack.files.data["pending.yaml"]["deletions"]) == [gone["uuid"]]
    rack.hosts["h1"].volumes.fault = lambda step: None
    turn(rack, watch)
    assert rack.vms_on_hosts() == ["acme.web2"] and not rack.files.data["pending.yaml"]["deletions"]


def test_a_deletion_and_a_move_do_not_pass_each_other(rack: FakeRack) -> None:
    """Both decide on a look that the other one is not in yet; it may not live on at a host that nobody waits for."""
    settings = rack.rack.settings()
    (vm,) = [one for one in rack.rack.inventory(settings).vms() if one.record.name == "web1"]
    rack.hosts["h1"].silent = False
    before = rack.rack.inventory(settings)
    pending, root = RackPending(rack.rack), identify("root", settings)
    pending.delete(root, vm, ActOnVm("acme/web1", "delete"))
    with pytest.raises(NotFound):
        MoveClaims(rack.rack, settings).hold(vm.record, "h3", How(), before)
    rack.files.data["pending.yaml"]["deletions"].clear()
    RackMigrations(rack.rack).move(root, vm.record, "h3", settings)
    with pytest.raises(Conflict) as told:
        pending.delete(root, vm, ActOnVm("acme/web1", "delete"))
    assert told.value.code == "vm_moving" and not rack.files.data["pending.yaml"]["deletions"]


def test_one_call_carries_all_that_waits_for_a_host(rack: FakeRack) -> None:
    rack.hosts["h1"].silent = False
    for number in range(3, 6):
        create(rack, "root", f"acme/web{number}", host="h1")
    listed(rack)
    rack.hosts["h1"].silent = True
    for name in ("web1", "web3", "web4", "web5"):
        act(rack, "delete", name)
    rack.hosts["h1"].silent = False
    rack.fleet.calls.clear()
    turn(rack)
    assert rack.fleet.calls.count(("h1", "rack_host.settle")) == 1 and rack.vms_on_hosts() == ["acme.web2"]


def test_a_host_that_hangs_does_not_keep_others_waiting(rack: FakeRack) -> None:
    """It answers looks, and takes its time over what waits for it: whoever has booted is told first, and meanwhile."""
    act(rack, "delete")
    act(rack, "delete", "web2")
    host = rack.hosts["h1"]
    host.silent = False
    rack.hosts["h2"].word.booted = False

    def hang(name: str, function: str) -> None:
        if (name, function) == ("h1", "rack_host.settle"):
            rack.clock.sleep(90)
            host.loses_returns = True

    rack.fleet.before = hang
    rack.fleet.calls.clear()
    watch = turn(rack)
    settles = [call for call in rack.fleet.calls if call[1] == "rack_host.settle"]
    assert settles == [("h2", "rack_host.settle"), ("h1", "rack_host.settle")]
    host.loses_returns = False
    turn(rack, watch)
    assert [call for call in rack.fleet.calls if call == ("h1", "rack_host.settle")] == [("h1", "rack_host.settle")]
    rack.fleet.before = lambda name, function: None
    rack.clock.sleep(900)
    turn(rack, watch)
    assert rack.vms_on_hosts() == [] and not rack.files.data["pending.yaml"]["deletions"]


def test_a_host_that_hangs_with_ever_new_boots_does_not_keep_the_word_from_others(rack: FakeRack) -> None:
    rogue = rack.hosts["h1"]
    rogue.silent = False

    def hang(name: str, function: str) -> None:
        if name == "h1" and function == "rack_host.settle":
            rack.clock.sleep(25)
            rogue.loses_returns = True
        elif name == "h1":
            rogue.loses_returns = False

    rack.fleet.before = hang
    watch = AwayWatch()
    for number in range(3):
        rogue.crash()
        rack.hosts["h2"].crash()
        rack.fleet.calls.clear()
        turn(rack, watch)
        settles = [call[0] for call in rack.fleet.calls if call[1] == "rack_host.settle"]
        assert settles == (["h2", "h1"] if number else ["h1", "h2"]), "it comes last once it has hung"


def test_the_operator_sees_what_waits(rack: FakeRack) -> None:
    act(rack, "delete")
    settings = rack.rack.settings()
    (waits,) = overview(rack.rack.inventory(settings), settings)["deletions_pending"]
    assert (waits["vm"], waits["host"], waits["by"]) == ("acme/web1", "h1", "alice")


@pytest.mark.promise("P10")
def test_a_host_that_is_taken_out_of_the_files_and_put_back_brings_nothing_back(rack: FakeRack) -> None:
    act(rack, "delete")
    config = rack.files.data["hosts.yaml"]["hosts"].pop("h1")
    turn(rack)
    assert listed(rack) == ["acme/web2"] and create(rack, "root", "acme/web1")["changed"]
    rack.files.data["hosts.yaml"]["hosts"]["h1"] = config
    rack.hosts["h1"].silent = False
    rack.hosts["h1"].crash()
    turn(rack)
    assert "acme.web1" not in rack.hosts["h1"].away().boot(wait_s=0)["started"]
    assert not rack.files.data["pending.yaml"]["deletions"]
    assert rack.vms_on_hosts() == ["acme.web1", "acme.web2"] and not rack.hosts["h1"].hypervisor.xml


def test_what_cannot_be_written_down_for_one_host_keeps_the_word_from_no_other(
    rack: FakeRack, monkeypatch: pytest.MonkeyPatch
) -> None:
    act(rack, "delete")
    rack.hosts["h1"].silent = False
    for name in ("h1", "h2"):
        rack.hosts[name].crash()

    def full(*_: object) -> None:
        raise Unavailable("not_written", "no space left on device")

    monkeypatch.setattr(rack.rack.files, "change", full)
    turn(rack)
    assert rack.hosts["h2"].word.word is not None
    monkeypatch.undo()
    turn(rack)
    assert not rack.files.data["pending.yaml"]["deletions"]


@pytest.mark.parametrize("data", [{"deletions": {"x": {}}}, {"deletions": {"0" * 36: {"host": "h1"}}}, {"more": 1}])
def test_a_file_with_mistakes_decides_nothing(rack: FakeRack, data: Any) -> None:
    rack.files.data["pending.yaml"] = data
    with pytest.raises(RacksaltError) as told:
        listed(rack)
    assert told.value.code == "bad_rack_files"
