"""A host that comes back: what it deletes, what it starts, and what it waits for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from racksalt.away_watch import AwayWatch
from racksalt.errors import Conflict
from racksalt.host_requests import ActOnHost, SettleOnHost
from racksalt.model import Record
from tests.fakes import FakeHost, FakeRack, fake_rack
from tests.unit.test_rack_vms import act, listed
from tests.unit.test_vm_create import create


def running(host: FakeHost) -> list[str]:
    return sorted(one.name for one in host.hypervisor.report().domains if one.state == "running")


def records(host: FakeHost) -> dict[str, Record]:
    return {one.name: one.record for one in host.hypervisor.report().domains if one.record}


@pytest.fixture
def rack() -> FakeRack:
    """web1 and web2 run on h1, off is stopped there."""
    rack = fake_rack(hosts=2)
    for name in ("web1", "web2"):
        create(rack, "root", f"acme/{name}", host="h1")
    create(rack, "root", "acme/off", host="h1", start=False)
    return rack


def test_what_ran_before_is_started_after_the_writers_word(rack: FakeRack) -> None:
    host, watch = rack.hosts["h1"], AwayWatch()
    host.crash()
    assert running(host) == []
    watch.turn(rack.rack)
    assert host.word.word == frozenset()
    told = host.away().boot()
    assert told["word"] and sorted(told["started"]) == running(host) == ["acme.web1", "acme.web2"]
    assert not host.word.waits()


def test_without_a_master_they_start_after_a_while(rack: FakeRack) -> None:
    host = rack.hosts["h1"]
    host.crash()
    began = rack.clock.time
    told = host.away().boot(wait_s=60)
    assert not told["word"] and running(host) == ["acme.web1", "acme.web2"]
    assert 60 <= rack.clock.time - began < 62


def test_the_word_is_said_once_for_each_boot(rack: FakeRack) -> None:
    host, watch = rack.hosts["h1"], AwayWatch()
    for boots in (1, 2):
        host.crash()
        for _ in range(5):
            rack.clock.sleep(60)
            watch.turn(rack.rack)
        assert rack.fleet.calls.count(("h1", "rack_host.settle")) == boots


@pytest.mark.promise("P10")
def test_a_vm_that_was_deleted_meanwhile_is_never_started(rack: FakeRack) -> None:
    host = rack.hosts["h1"]
    listed(rack)
    host.silent = True
    act(rack, "delete")
    host.crash()
    host.silent = False
    AwayWatch().turn(rack.rack)
    told = host.away().boot()
    assert told["started"] == ["acme.web2"] and "acme.web1" not in records(host)


@pytest.mark.promise("P1")
def test_a_vm_that_is_elsewhere_by_now_stays_off(rack: FakeRack) -> None:
    """As after a fence: another host has it with a higher generation."""
    host, other = rack.hosts["h1"], rack.hosts["h2"]
    from racksalt import record, record_proof

    vm = records(host)["acme.web1"]
    moved = record_proof.sign(replace(vm, host="h2", generation=2), rack.rack.ring.read())
    other.hypervisor.define(host.hypervisor.xml[vm.uuid])
    other.hypervisor.write_record(vm.uuid, record.to_xml(moved))
    other.hypervisor.start(vm.uuid)
    host.crash()
    AwayWatch().turn(rack.rack)
    told = host.away().boot()
    assert told["kept_off"] == ["acme.web1"] and running(host) == ["acme.web2"] and running(other) == ["acme.web1"]


@pytest.mark.promise("P1")
def test_a_vm_that_two_hosts_show_alike_is_started_by_neither(rack: FakeRack) -> None:
    host, other = rack.hosts["h1"], rack.hosts["h2"]
    from racksalt import record, record_proof

    vm = records(host)["acme.web1"]
    twin = record_proof.sign(replace(vm, host="h2"), rack.rack.ring.read())
    other.hypervisor.define(host.hypervisor.xml[vm.uuid])
    other.hypervisor.write_record(vm.uuid, record.to_xml(twin))
    host.crash()
    other.crash()
    AwayWatch().turn(rack.rack)
    assert host.away().boot()["started"] == ["acme.web2"] and other.away().boot()["started"] == []


@pytest.mark.promise("P6")
def test_a_lease_that_somebody_else_holds_keeps_a_vm_off_and_the_others_start(rack: FakeRack) -> None:
    host = rack.hosts["h1"]
    host.crash()
    first = next(iter(host.hypervisor.xml))
    start = host.hypervisor.start

    def leased(uuid: str) -> None:
        if uuid == first:
            raise Conflict("vm_state", "resource busy: Lockspace resource is locked")
        start(uuid)

    host.hypervisor.start = leased  # type: ignore[method-assign]
    told = host.away().boot(wait_s=0)
    assert list(told["failed"]) == ["acme.web1"] and told["started"] == ["acme.web2"]


@pytest.mark.parametrize(
    ("verb", "starts"), [("stop", False), ("suspend", False), ("restart", True), ("pause", True), ("start", True)]
)
def test_what_was_asked_last_holds_at_the_next_boot(rack: FakeRack, verb: str, starts: bool) -> None:
    host = rack.hosts["h1"]
    act(rack, verb, "web1", hard=verb in ("stop", "restart"))
    host.crash()
    host.away().boot(wait_s=0)
    assert ("acme.web1" in running(host)) is starts


def test_what_was_asked_survives_other_changes_and_signatures(rack: FakeRack) -> None:
    act(rack, "start", "off")
    act(rack, "note", "off", note="x")
    assert records(rack.hosts["h1"])["acme.off"].wanted == "running"
    seen = rack.rack.inventory(rack.rack.settings())
    assert {vm.record.name for vm in seen.vms()} == {"web1", "web2", "off"}


def test_a_vm_of_before_is_not_started(rack: FakeRack) -> None:
    """Records of earlier versions do not say what was asked."""
    from racksalt import record

    host = rack.hosts["h1"]
    vm = records(host)["acme.web1"]
    host.hypervisor.write_record(vm.uuid, record.to_xml(replace(vm, wanted=None)))
    host.crash()
    assert host.away().boot(wait_s=0)["started"] == ["acme.web2"]


def test_leftovers_of_a_vm_without_a_domain_are_removed_too(rack: FakeRack) -> None:
    host = rack.hosts["h1"]
    vm = records(host)["acme.off"]
    host.hypervisor.undefine(vm.uuid)
    assert host.away().settle(SettleOnHost((vm,))) == {"gone": [vm.uuid], "refused": {}}
    assert not [path for path in host.volumes.files if vm.uuid in path]


def test_one_that_was_protected_there_meanwhile_is_told_and_kept_off(rack: FakeRack) -> None:
    host = rack.hosts["h1"]
    vm = records(host)["acme.web1"]
    host.vms().act(ActOnHost(vm.uuid, "protect", protected=True))
    told = host.away().settle(SettleOnHost((vm,)))
    assert told["gone"] == [] and "protected" in told["refused"][vm.uuid] and host.word.word == {vm.uuid}
