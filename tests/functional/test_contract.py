"""What the core may expect of a hypervisor, asked of the fake and of libvirt's own test driver alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import libvirt
import pytest
from hypothesis import HealthCheck, given, settings

from racksalt import domain_xml, record, record_proof
from racksalt.adapters import libvirt_definitions, libvirt_hardware, libvirt_host
from racksalt.adapters.lease_files import LeaseFiles
from racksalt.adapters.libvirt_host import LibvirtHost
from racksalt.domain_xml import DiskFile, DomainPlan
from racksalt.errors import Conflict, NotFound, RacksaltError, Refused, Unavailable
from racksalt.holdings import Card, Definition, Hardware
from racksalt.host_creates import HostCreates
from racksalt.host_requests import ActOnHost, CreateOnHost
from racksalt.host_vms import HostVms
from racksalt.model import Domain, KernelImage, Network, Nic, NumaCell, Overcommit, Record, RoomPolicy
from racksalt.ports import Hypervisor
from tests.fake_moves import FakeMoves
from tests.fakes import FakeClock, FakeHypervisor, FakeKey, FakeVolumes, no_lock
from tests.unit.allowed import values
from tests.unit.test_record import RECORD

UUID = RECORD.uuid
UNKNOWN = "ffffffff-ffff-4fff-8fff-ffffffffffff"
CARD = Nic("default", "52:54:0a:50:00:10", "192.168.122.16")

#: libvirt's test driver tells an internal error where QEMU's tells that the operation is not valid.
STATE_REFUSED = (Conflict, Refused)


def definition(vm: Record = RECORD) -> str:
    disks = (DiskFile("/volumes/disk.qcow2", "qcow2"),)
    return domain_xml.build(DomainPlan(vm, disks, "qemu", "/var/log/console.log"))


@pytest.fixture(params=["fake", "libvirt"])
def hypervisor(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeHypervisor | LibvirtHost]:
    if request.param == "fake":
        yield FakeHypervisor(networks=frozenset({"default"}))
        return
    # The test driver keeps neither NVRAM nor checkpoints, and knows no flag to remove them.
    flags = libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    monkeypatch.setattr(libvirt_host, "_UNDEFINE", flags)
    # The test driver's host has less memory than its cells have in huge pages.
    monkeypatch.setattr(libvirt_hardware, "cells_of", lambda _connection: ())
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    connection = libvirt.open("test:///default")
    yield LibvirtHost(connection, disk_gib=100, leases=LeaseFiles(tmp_path, tmp_path, tmp_path / "released"))
    for domain in connection.listAllDomains():
        if domain.name() != "test":
            if domain.isActive():
                domain.destroy()
            domain.undefine()
    connection.close()


def shown(hypervisor: Hypervisor, uuid: str = UUID) -> Domain:
    (found,) = [domain for domain in hypervisor.report().domains if domain.uuid == uuid]
    return found


def test_a_defined_domain_is_reported_stopped_with_its_sizes_and_record(hypervisor: Hypervisor) -> None:
    hypervisor.define(definition())
    assert shown(hypervisor) == Domain(UUID, "acme.web1", "stopped", 1, 128, 1, RECORD)
    assert hypervisor.state(UUID) == "stopped"


def test_single_domains_are_shown_as_the_whole_report_shows_them(hypervisor: Hypervisor) -> None:
    hypervisor.define(definition())
    assert hypervisor.domains([UUID, UNKNOWN]) == (shown(hypervisor),)
    hypervisor.start(UUID)
    assert hypervisor.domains([UUID]) == (shown(hypervisor),) and hypervisor.domains([UNKNOWN]) == ()


def test_a_domain_goes_through_its_states(hypervisor: Hypervisor) -> None:
    hypervisor.define(definition())
    for act, state in [
        (hypervisor.start, "running"),
        (hypervisor.suspend, "paused"),
        (hypervisor.resume, "running"),
        (hypervisor.destroy, "stopped"),
        (hypervisor.start, "running"),
        (hypervisor.suspend, "paused"),
        (hypervisor.destroy, "stopped"),
        (hypervisor.start, "running"),
        (hypervisor.save, "suspended"),
        (hypervisor.start, "running"),
        (hypervisor.save, "suspended"),
    ]:
        act(UUID)
        assert hypervisor.state(UUID) == shown(hypervisor).state == state
    hypervisor.undefine(UUID)
    assert UUID not in {domain.uuid for domain in hypervisor.report().domains}


def test_a_domain_that_is_undefined_while_it_runs_runs_until_its_power_is_cut(hypervisor: Hypervisor) -> None:
    hypervisor.define(definition())
    hypervisor.start(UUID)
    hypervisor.undefine(UUID)
    assert hypervisor.state(UUID) == shown(hypervisor).state == "running"
    hypervisor.destroy(UUID)
    assert UUID not in {domain.uuid for domain in hypervisor.report().domains}


def test_a_definition_may_be_written_again_under_its_uuid(hypervisor: Hypervisor) -> None:
    hypervisor.define(definition())
    hypervisor.define(definition(replace(RECORD, vcpus=2, note="")))
    assert shown(hypervisor).vcpus == 2 and shown(hypervisor).record == replace(RECORD, vcpus=2, note="")


def test_a_domains_name_is_taken_once(hypervisor: Hypervisor) -> None:
    hypervisor.define(definition())
    with pytest.raises(Refused):
        hypervisor.define(definition(replace(RECORD, uuid=UNKNOWN)))
    assert shown(hypervisor).record == RECORD


BY_UUID: list[tuple[str, Callable[[Hypervisor], object]]] = [
    ("state", lambda h: h.state(UNKNOWN)),
    ("start", lambda h: h.start(UNKNOWN)),
    ("destroy", lambda h: h.destroy(UNKNOWN)),
    ("suspend", lambda h: h.suspend(UNKNOWN)),
    ("resume", lambda h: h.resume(UNKNOWN)),
    ("save", lambda h: h.save(UNKNOWN)),
    ("undefine", lambda h: h.undefine(UNKNOWN)),
    ("press_power", lambda h: h.press_power(UNKNOWN)),
    ("press_ctrl_alt_del", lambda h: h.press_ctrl_alt_del(UNKNOWN)),
    ("is_moving", lambda h: h.is_moving(UNKNOWN)),
    ("write_record", lambda h: h.write_record(UNKNOWN, record.to_xml(RECORD))),
]


@pytest.mark.parametrize("call", [call for _, call in BY_UUID], ids=[name for name, _ in BY_UUID])
def test_an_unknown_domain_is_not_found(hypervisor: Hypervisor, call: Callable[[Hypervisor], object]) -> None:
    with pytest.raises(NotFound) as told:
        call(hypervisor)
    assert told.value.code == "vm_not_found"


@pytest.mark.parametrize("verb", ["destroy", "press_ctrl_alt_del"])
def test_what_a_stopped_domain_cannot_do_is_a_conflict(hypervisor: Hypervisor, verb: str) -> None:
    hypervisor.define(definition())
    with pytest.raises(Conflict) as told:
        getattr(hypervisor, verb)(UUID)
    assert told.value.code == "vm_state"


@pytest.mark.parametrize(
    ("before", "verb"),
    [("stopped", "suspend"), ("stopped", "resume"), ("running", "start"), ("paused", "start"), ("running", "resume")],
)
def test_what_its_state_does_not_allow_is_refused(hypervisor: Hypervisor, before: str, verb: str) -> None:
    hypervisor.define(definition())
    if before != "stopped":
        hypervisor.start(UUID)
    if before == "paused":
        hypervisor.suspend(UUID)
    with pytest.raises(STATE_REFUSED):
        getattr(hypervisor, verb)(UUID)
    assert hypervisor.state(UUID) == before


@pytest.mark.parametrize("state", ["stopped", "running", "paused"])
def test_a_record_is_replaced_in_every_state_and_stays(hypervisor: Hypervisor, state: str) -> None:
    hypervisor.define(definition())
    if state != "stopped":
        hypervisor.start(UUID)
    if state == "paused":
        hypervisor.suspend(UUID)
    new = replace(RECORD, note="other <words> & 'quotes'\n", tags=(), protected=False)
    for written in (new, RECORD, new):
        hypervisor.write_record(UUID, record.to_xml(written))
        assert shown(hypervisor).record == written
    if state != "stopped":
        hypervisor.destroy(UUID)
        assert shown(hypervisor).record == new


def test_a_record_that_is_replaced_while_the_domain_is_on_disk_is_there_after_its_start(hypervisor: Hypervisor) -> None:
    hypervisor.define(definition())
    hypervisor.start(UUID)
    hypervisor.save(UUID)
    new = replace(RECORD, note="changed", protected=not RECORD.protected)
    hypervisor.write_record(UUID, record.to_xml(new))
    assert shown(hypervisor).record == new
    hypervisor.start(UUID)
    assert shown(hypervisor).record == new


@given(vm=values(Record))
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_record_comes_back_from_the_hypervisor(hypervisor: Hypervisor, vm: Record) -> None:
    vm = replace(vm, uuid=UUID, memory_mib=128, vcpus=1, nics=RECORD.nics)
    hypervisor.define(definition(vm))
    assert shown(hypervisor).record == vm
    changed = replace(vm, note=vm.note + " ]]>\n\n end ", protected=not vm.protected)
    hypervisor.write_record(UUID, record.to_xml(changed))
    assert shown(hypervisor).record == changed
    hypervisor.undefine(UUID)


def test_a_domain_with_a_record_that_cannot_be_read_is_reported_without_one(hypervisor: Hypervisor) -> None:
    hypervisor.define(definition().replace('name="web1"', 'name="../web1"'))
    found = shown(hypervisor)
    assert (found.record, found.name, found.memory_mib) == (None, "acme.web1", 128)


def test_an_address_is_reserved_again_and_released_twice_without_an_error(hypervisor: Hypervisor) -> None:
    hypervisor.reserve_address(CARD)
    hypervisor.reserve_address(CARD)
    hypervisor.release_address(CARD)
    hypervisor.release_address(CARD)


def test_an_address_in_an_unknown_network_is_not_found(hypervisor: Hypervisor) -> None:
    with pytest.raises(NotFound) as told:
        hypervisor.reserve_address(replace(CARD, network="none"))
    assert told.value.code == "network_missing"
    hypervisor.release_address(replace(CARD, network="none"))


def test_the_hosts_own_size_is_reported(hypervisor: Hypervisor) -> None:
    total = hypervisor.report().total
    assert total.vcpus > 0 and total.memory_mib > 0 and total.disk_gib == 100


def test_the_hosts_numa_cells_are_reported_with_their_huge_pages() -> None:
    with libvirt_host.connected(disk_gib=7, uri="test:///default") as host:
        report = host.report()
    assert report.numa == (NumaCell(8, 2048), NumaCell(8, 4096, 4096)) and report.cpu is None


def test_a_vm_lives_its_whole_life(hypervisor: Hypervisor) -> None:
    clock = FakeClock()
    vms = HostVms("h1", hypervisor, FakeVolumes(), no_lock, clock, FakeKey("h1"), lambda uuid: False)
    vm = replace(RECORD, nics=(CARD,), protected=False)
    network = Network("default", "192.168.122.0/24", "192.168.122.1", "192.168.122.9", "192.168.122.99")
    image = KernelImage("tiny", "kernel", "1" * 64, "2" * 64, 'quiet opt="<&>"')
    policy = RoomPolicy(overcommit=Overcommit(memory=8, disk=16))
    request = CreateOnHost(vm, image, network, policy, "qemu", clock.time + 60)

    def act(verb: str, **asked: object) -> dict[str, object]:
        return vms.act(ActOnHost(UUID, verb, **asked))  # type: ignore[arg-type]

    assert HostCreates(vms).create(request)["changed"] and not HostCreates(vms).create(request)["changed"]
    assert vms.find("acme/web1").state == "running"
    assert act("pause")["state"] == "paused" and act("resume")["state"] == "running"
    assert act("note", note="</racksalt:note>")["changed"] and vms.find("web1").record == replace(
        vm, note="</racksalt:note>"
    )
    assert act("protect", protected=True)["changed"]
    with pytest.raises(Refused):
        act("delete")
    assert act("protect", protected=False)["changed"]
    assert act("stop", hard=True)["state"] == "stopped" and act("start")["state"] == "running"
    assert act("delete")["changed"]
    with pytest.raises(NotFound):
        act("start")


def test_a_domain_moves_nowhere_by_itself(hypervisor: FakeHypervisor | LibvirtHost) -> None:
    """libvirt's test driver starts nothing paused, and moves nothing: that is tried on a rack."""
    hypervisor.define(definition())
    moves = FakeMoves("h1", hypervisor) if isinstance(hypervisor, FakeHypervisor) else hypervisor.moves
    hypervisor.start(UUID)
    assert not hypervisor.is_moving(UUID) and not shown(hypervisor).incoming and moves.snapshots(UUID) == []
    moves.abort_move(UUID)
    assert hypervisor.state(UUID) == "running"


def test_one_whose_definition_was_taken_away_while_it_runs_is_not_incoming(hypervisor: Hypervisor) -> None:
    hypervisor.define(definition())
    hypervisor.start(UUID)
    hypervisor.undefine(UUID)
    assert not shown(hypervisor).incoming
    hypervisor.destroy(UUID)


def test_one_that_arrives_is_incoming_and_can_be_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the target QEMU's driver refuses to tell of the job, and only there: that is how it tells of one."""

    def refused(_domain: object, _flags: int = 0) -> None:
        error = libvirt.libvirtError("migration statistics are available only on the source host")
        error.err = (libvirt.VIR_ERR_OPERATION_UNSUPPORTED, libvirt.VIR_FROM_QEMU, "", 0, "", None, None, 0, 0)
        raise error

    with libvirt_host.connected(disk_gib=7, uri="test:///default") as host:
        host.define(definition())
        host.start(UUID)
        host._connection.lookupByUUIDString(UUID).undefine()
        monkeypatch.setattr(libvirt.virDomain, "jobStats", refused)
        try:
            assert shown(host).incoming and host.is_moving(UUID)
        finally:
            host.destroy(UUID)


def test_foreign_domains_are_reported_without_a_record_and_with_what_they_take() -> None:
    with libvirt_host.connected(disk_gib=7, uri="test:///default") as host:
        (found,) = host.report().domains
        assert (found.name, found.state, found.record) == ("test", "running", None)
        assert found.vcpus == 2 and found.memory_mib == 8192
        assert host.report().hypervisor.startswith("libvirt ")


def test_a_libvirt_that_does_not_answer_is_unavailable() -> None:
    with pytest.raises(Unavailable) as told, libvirt_host.connected(disk_gib=1, uri="test:///nonexistent"):
        pass
    assert told.value.code == "libvirt_down" and isinstance(told.value, RacksaltError)


def test_what_libvirts_schema_does_not_know_is_refused(hypervisor: Hypervisor) -> None:
    if isinstance(hypervisor, LibvirtHost):
        with pytest.raises(Refused):
            hypervisor.define(definition().replace("<devices>", "<devices><spoon/>"))
    assert UUID not in {domain.uuid for domain in hypervisor.report().domains}


def test_a_definition_is_told_as_it_is_and_as_it_runs(hypervisor: Hypervisor) -> None:
    def told() -> Definition:
        (found,) = [one for one in hypervisor.definitions() if one.uuid == UUID]
        return found

    hypervisor.define(definition())
    expected = Hardware(1, 128, tuple(Card(nic.mac, nic.network) for nic in RECORD.nics), ("/volumes/disk.qcow2",))
    assert told() == Definition(UUID, expected, None, record_proof.digest(RECORD))
    hypervisor.start(UUID)
    assert told().next == expected and told().now == expected
    hypervisor.undefine(UUID)
    assert not told().persistent
    hypervisor.destroy(UUID)


def test_a_definition_can_be_put_back_as_it_was(hypervisor: Hypervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    # The test driver has neither NVRAM nor TPMs to keep.
    monkeypatch.setattr(libvirt_definitions, "KEEP", 0)
    hypervisor.define(definition())
    text = hypervisor.definition(UUID)
    assert hypervisor.set_aside(UUID) == text
    assert UUID not in {domain.uuid for domain in hypervisor.report().domains}
    hypervisor.define(text)
    assert shown(hypervisor).record == RECORD


def test_saved_memory_keeps_a_definition_where_it_is(hypervisor: Hypervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libvirt_definitions, "KEEP", 0)
    hypervisor.define(definition())
    hypervisor.start(UUID)
    hypervisor.save(UUID)
    with pytest.raises(Conflict):
        hypervisor.set_aside(UUID)
    assert shown(hypervisor).state == "suspended"
    hypervisor.discard_save(UUID)


def test_reserved_addresses_are_told_until_they_are_released(hypervisor: Hypervisor) -> None:
    assert hypervisor.reserved() == ()
    hypervisor.reserve_address(CARD)
    assert hypervisor.reserved() == (CARD,)
    hypervisor.release_address(CARD)
    assert hypervisor.reserved() == ()


def test_a_domain_without_a_record_gets_one_and_is_otherwise_as_it_was(hypervisor: Hypervisor) -> None:
    root = ElementTree.fromstring(definition())
    root.remove(root.find("metadata"))  # type: ignore[arg-type]  # it is there
    hypervisor.define(ElementTree.tostring(root, encoding="unicode"))
    hypervisor.start(UUID)
    before = ElementTree.fromstring(hypervisor.definition(UUID))
    hypervisor.write_record(UUID, record.to_xml(RECORD))
    after = ElementTree.fromstring(hypervisor.definition(UUID))
    after.remove(after.find("metadata"))  # type: ignore[arg-type]
    assert ElementTree.canonicalize(ElementTree.tostring(after), strip_text=True) == ElementTree.canonicalize(
        ElementTree.tostring(before), strip_text=True
    )
    assert shown(hypervisor).record == RECORD and shown(hypervisor).state == "running"
