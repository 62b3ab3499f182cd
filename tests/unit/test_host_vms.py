"""The VMs of one host: states, protection, names, room, and creates that are repeated, late or cut off."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import pytest

from racksalt.errors import BadInput, Conflict, NotFound, RacksaltError, Refused
from racksalt.host_requests import ActOnHost, CreateOnHost, Ladder, PurgeOnHost, Verb
from racksalt.host_vms import HostVms
from racksalt.model import DiskImage, Domain, KernelImage, Network, Nic, Record, Room, RoomPolicy
from tests.fakes import FakeClock, FakeHypervisor, FakeVolumes

NETWORK = Network("nat", "10.80.0.0/20", "10.80.0.1", "10.80.0.16", "10.80.15.254")
KERNEL = KernelImage("tiny", "kernel", "1" * 64, "2" * 64, "quiet")
DISK = DiskImage("debian", "disk", "3" * 64, "raw")
UUID = "0b5f2f40-4a4e-4b0e-9d2c-{:012x}"
VERBS = get_args(Verb)
RECORDS = set(Record.__dataclass_fields__) - set(CreateOnHost.__dataclass_fields__)


@dataclass
class Host:
    """One fake host and what counts its locks."""

    hypervisor: FakeHypervisor = field(default_factory=FakeHypervisor)
    volumes: FakeVolumes = field(default_factory=FakeVolumes)
    clock: FakeClock = field(default_factory=FakeClock)
    locked: int = 0

    def lock(self) -> AbstractContextManager[None]:
        self.locked += 1
        return nullcontext()

    @property
    def vms(self) -> HostVms:
        return HostVms("h1", self.hypervisor, self.volumes, self.lock, self.clock)

    def create(self, number: int = 1, *, test: bool = False, **changed: Any) -> dict[str, Any]:
        return self.vms.create(request(self.clock, number, **changed), test=test)

    def act(self, verb: str, number: int = 1, *, test: bool = False, **values: Any) -> dict[str, Any]:
        asked = ActOnHost(UUID.format(number), verb, **values)  # type: ignore[arg-type]
        return self.vms.act(asked, test=test)

    def leftovers(self) -> list[Any]:
        return [*self.hypervisor.xml, *self.hypervisor.leases, *self.volumes.files]


def vm(number: int = 1, **changed: Any) -> Record:
    card = Nic("nat", f"52:54:0a:50:00:{number:02x}", f"10.80.0.{number}")
    record = Record("r", UUID.format(number), "acme", f"web{number}", "h1", "f", "i", 1, 1, 128, 1, (card,))
    return replace(record, **changed)


def request(clock: FakeClock, number: int = 1, **changed: Any) -> CreateOnHost:
    record = vm(number, **{key: changed.pop(key) for key in list(changed) if key in RECORDS})
    asked = CreateOnHost(record, KERNEL, NETWORK, RoomPolicy(), "qemu", clock.time + 60)
    return replace(asked, **changed)


def test_a_created_vm_runs_with_its_disk_seed_and_address() -> None:
    host = Host()
    made = host.create()
    assert made["changed"] and made["vm"] == "acme/web1" and made["steps"][-1] == "start"
    assert host.act("start")["state"] == "running"
    assert host.hypervisor.leases == {"52:54:0a:50:00:01": "10.80.0.1"}
    assert len(host.volumes.files) == 2
    assert set(host.volumes.seeds[UUID.format(1)]) == {"meta-data", "user-data", "network-config"}


def test_a_vm_may_be_made_without_starting_it() -> None:
    host = Host()
    assert "start" not in host.create(start=False)["steps"]
    assert host.hypervisor.states == {UUID.format(1): "stopped"}


@pytest.mark.parametrize(("image", "kernel"), [(KERNEL, "/images/" + "1" * 64), (DISK, None)])
def test_an_image_is_booted_by_kernel_or_from_disk(image: Any, kernel: str | None) -> None:
    host = Host()
    host.create(image=image)
    xml = host.hypervisor.xml[UUID.format(1)]
    assert (kernel in xml) if kernel else ("<kernel>" not in xml)


def test_the_same_create_again_changes_nothing() -> None:
    host = Host()
    host.create()
    before = host.leftovers()
    assert host.create() == {"vm": "acme/web1", "changed": False, "steps": []}
    assert host.leftovers() == before


def test_a_test_run_tells_the_steps_and_makes_nothing() -> None:
    host = Host()
    assert host.create(test=True)["steps"] == Host().create()["steps"]
    assert host.leftovers() == []


def test_a_late_claim_is_refused() -> None:
    host = Host()
    with pytest.raises(Refused) as told:
        host.create(deadline=host.clock.time - 1)
    assert told.value.code == "claim_expired" and host.leftovers() == []


def test_a_domain_of_that_name_is_a_conflict() -> None:
    host = Host()
    host.create()
    with pytest.raises(Conflict) as told:
        host.create(2, name="web1")
    assert told.value.code == "name_in_use"
    host.hypervisor.foreign.append(Domain(UUID.format(9), "acme.web3", "stopped", 1, 1, 1))
    with pytest.raises(Conflict):
        host.create(3)


@pytest.mark.parametrize(
    ("total", "told"),
    [
        (Room(1, 4096, 1), "disk: 1 asked, 0 left"),
        (Room(1, 2 * 192 - 1, 9), "memory: 192 asked, 191 left"),
        (Room(0, 4096, 9), "vcpus: 1 asked, 0 left"),
    ],
)
def test_no_room_is_told_with_its_numbers(total: Room, told: str) -> None:
    host = Host(FakeHypervisor(total=replace(total, vcpus=total.vcpus and 8)))
    if total.vcpus:
        host.create()
    with pytest.raises(Refused) as refused:
        host.create(2)
    assert refused.value.code == "no_room" and told in refused.value.detail
    assert UUID.format(2) not in host.hypervisor.xml


def test_foreign_and_stopped_domains_take_room() -> None:
    host = Host(FakeHypervisor(total=Room(8, 1000, 100)))
    host.hypervisor.foreign.append(Domain(UUID.format(9), "other", "stopped", 1, 800, 1))
    with pytest.raises(Refused) as told:
        host.create()
    assert "memory: 192 asked, 136 left" in told.value.detail


def test_a_host_is_filled_up_to_its_last_place_and_no_further() -> None:
    host = Host(FakeHypervisor(total=Room(8, 4 * 192 + 100, 100)))
    made = 0
    for number in range(1, 9):
        try:
            made += host.create(number)["changed"]
        except Refused:
            continue
    assert made == 4 == len(host.hypervisor.xml)


def test_the_seconds_of_a_start_are_not_under_the_lock() -> None:
    host, held = Host(), []

    def watch(step: str) -> None:
        held.append((step, inside[0]))

    inside = [False]

    class Lock:
        def __enter__(self) -> None:
            inside[0] = True

        def __exit__(self, *_: object) -> None:
            inside[0] = False

    host.hypervisor.fault = watch
    HostVms("h1", host.hypervisor, host.volumes, Lock, host.clock).create(request(host.clock))  # type: ignore[arg-type]
    assert ("define", True) in held and ("start", False) in held


@pytest.mark.parametrize(
    ("verb", "state", "code"),
    [
        ("pause", "stopped", "vm_state"),
        ("pause", "crashed", "vm_state"),
        ("pause", "suspended", "vm_state"),
        ("resume", "stopped", "vm_state"),
        ("resume", "suspended", "vm_state"),
        ("suspend", "stopped", "vm_state"),
    ],
)
def test_a_state_that_does_not_allow_it_is_a_conflict(verb: str, state: str, code: str) -> None:
    host = Host()
    host.create()
    host.hypervisor.states[UUID.format(1)] = state
    with pytest.raises(Conflict) as told:
        host.act(verb)
    assert told.value.code == code and state in told.value.detail


@pytest.mark.parametrize(
    ("verb", "before", "changed", "after"),
    [
        ("start", "running", False, "running"),
        ("start", "paused", True, "running"),
        ("start", "stopped", True, "running"),
        ("start", "crashed", True, "running"),
        ("stop", "stopped", False, "stopped"),
        ("stop", "crashed", False, "crashed"),
        ("stop", "running", True, "stopped"),
        ("stop", "paused", True, "stopped"),
        ("restart", "running", True, "running"),
        ("restart", "stopped", True, "running"),
        ("restart", "paused", True, "running"),
        ("pause", "running", True, "paused"),
        ("pause", "paused", False, "paused"),
        ("resume", "paused", True, "running"),
        ("resume", "running", False, "running"),
        ("suspend", "running", True, "suspended"),
        ("suspend", "paused", True, "suspended"),
        ("suspend", "suspended", False, "suspended"),
        ("start", "suspended", True, "running"),
        ("stop", "suspended", False, "suspended"),
    ],
)
def test_a_verb_leads_to_its_state(verb: str, before: str, changed: bool, after: str) -> None:
    host = Host()
    host.create()
    host.hypervisor.states[UUID.format(1)] = before
    done = host.act(verb)
    assert (done["changed"], done["state"]) == (changed, after)


STEPS = {
    "start": [],
    "stop": ["stop"],
    "restart": ["stop", "start"],
    "pause": ["pause"],
    "resume": [],
    "suspend": ["save memory"],
    "delete": ["delete"],
    "note": ["write record"],
    "tag": ["write record"],
    "protect": ["write record"],
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_test_run_of_a_verb_tells_its_steps_and_changes_nothing(verb: str) -> None:
    host = Host()
    host.create()
    before = (dict(host.hypervisor.xml), dict(host.hypervisor.states), set(host.volumes.files))
    assert host.act(verb, test=True, note="x", tags=("y",), protected=True)["steps"] == STEPS[verb]
    assert (host.hypervisor.xml, host.hypervisor.states, host.volumes.files) == before


def test_a_test_run_tells_what_would_be_refused() -> None:
    host = Host()
    host.create(protected=True)
    host.act("stop")
    for verb, code in (("delete", "vm_protected"), ("pause", "vm_state"), ("suspend", "vm_state")):
        with pytest.raises(RacksaltError) as told:
            host.act(verb, test=True)
        assert told.value.code == code


@pytest.mark.parametrize(
    ("verb", "hard", "steps", "state"),
    [
        ("start", False, ["start"], "running"),
        ("stop", False, [], "suspended"),
        ("stop", True, ["discard saved memory"], "stopped"),
        ("restart", False, ["start", "stop", "start"], "running"),
        ("restart", True, ["discard saved memory", "start"], "running"),
        ("suspend", False, [], "suspended"),
        ("delete", False, ["delete"], None),
    ],
)
def test_what_a_verb_does_with_a_suspended_vm(verb: str, hard: bool, steps: list[str], state: str | None) -> None:
    host = Host()
    host.create()
    host.act("suspend")
    done = host.act(verb, hard=hard)
    assert (done["steps"], done["state"]) == (steps, state)


def test_a_hard_stop_of_a_paused_vm_does_not_wake_it() -> None:
    host = Host(FakeHypervisor(obeys=frozenset()))
    host.create()
    host.act("pause")
    assert host.act("stop", hard=True)["rungs"] == [{"rung": "hard", "result": "stopped", "seconds": 0.0}]


def test_a_stop_tells_its_rungs() -> None:
    host = Host(FakeHypervisor(obeys=frozenset({"ctrl_alt_del"})))
    host.create()
    done = host.act("stop", ladder=Ladder(1, 1, 1))
    assert [rung["rung"] for rung in done["rungs"]] == ["acpi", "ctrl_alt_del"]


@pytest.mark.parametrize("state", ["running", "paused", "stopped", "suspended", "crashed"])
def test_a_deleted_vm_leaves_nothing(state: str) -> None:
    host = Host()
    host.create()
    host.hypervisor.states[UUID.format(1)] = state
    done = host.act("delete")
    assert done["state"] is None and done["removed"][0] == "domain acme.web1" and len(done["removed"]) == 3
    assert host.leftovers() == []


def test_a_protected_vm_is_not_deleted_until_the_protection_is_off() -> None:
    host = Host()
    host.create(protected=True)
    with pytest.raises(Refused) as told:
        host.act("delete")
    assert told.value.code == "vm_protected" and host.hypervisor.state(UUID.format(1)) == "running"
    assert host.act("protect", protected=False)["changed"]
    assert host.act("delete")["changed"]


def test_note_tags_and_protection_are_written_into_the_record() -> None:
    host = Host()
    host.create()
    assert host.act("note", note="<front> & page")["changed"]
    assert host.act("tag", tags=("role=web",))["changed"]
    assert host.act("protect", protected=True)["changed"]
    assert not host.act("protect", protected=True)["changed"]
    found = host.vms.find("web1").record
    assert found == vm(note="<front> & page", tags=("role=web",), protected=True)
    assert host.act("note", note="")["changed"] and host.act("tag", tags=())["changed"]
    assert host.vms.find("web1").record == vm(protected=True)


def test_changes_of_the_record_and_deletes_are_under_the_lock() -> None:
    host = Host()
    host.create()
    for verb in ("note", "delete"):
        before = host.locked
        host.act(verb, note="x")
        assert host.locked == before + 1


@pytest.mark.parametrize("verb", ["start", "stop", "delete", "note"])
def test_an_unknown_vm_is_not_found(verb: str) -> None:
    with pytest.raises(NotFound) as told:
        Host().act(verb)
    assert told.value.code == "vm_not_found"


@pytest.mark.parametrize("verb", ["start", "stop", "delete", "note"])
def test_a_domain_that_is_not_racksalts_is_not_touched(verb: str) -> None:
    host = Host()
    host.hypervisor.xml[UUID.format(1)] = f"<domain><name>acme.web1</name><uuid>{UUID.format(1)}</uuid></domain>"
    host.hypervisor.states[UUID.format(1)] = "running"
    with pytest.raises(NotFound):
        host.act(verb)
    assert host.hypervisor.states == {UUID.format(1): "running"}


def test_a_vm_is_found_by_title_uuid_or_a_name_that_is_its_own() -> None:
    host = Host()
    host.create()
    host.create(2, tenant="beta", name="web1")
    host.create(3)
    assert host.vms.find("beta/web1").uuid == host.vms.find(UUID.format(2)).uuid == UUID.format(2)
    assert host.vms.find("web3").uuid == UUID.format(3)
    with pytest.raises(BadInput) as told:
        host.vms.find("web1")
    assert told.value.code == "name_ambiguous" and "acme/web1, beta/web1" in told.value.detail
    for name in ("web9", "acme/web9", "zeta/web1", UUID.format(9), "", "/", "*"):
        with pytest.raises(NotFound):
            host.vms.find(name)


def test_a_purge_removes_what_a_create_left_and_is_content_with_nothing() -> None:
    host = Host()
    host.volumes.files.add(f"/volumes/acme/{UUID.format(1)}.qcow2")
    host.hypervisor.reserve_address(vm().nics[0])
    assert len(host.vms.purge(PurgeOnHost(vm()))["removed"]) == 1
    assert host.leftovers() == [] and host.vms.purge(PurgeOnHost(vm()))["removed"] == []
    host.create()
    assert len(host.vms.purge(PurgeOnHost(vm()))["removed"]) == 3 and host.leftovers() == []


@pytest.mark.parametrize("step", ["create", "write_seed", "reserve_address", "define", "start"])
def test_a_create_that_fails_at_a_step_leaves_nothing_and_can_be_repeated(step: str) -> None:
    host = Host()

    def fail(found: str) -> None:
        if found == step:
            raise Refused("disk_failed", "no space left on device")

    host.hypervisor.fault = host.volumes.fault = fail
    with pytest.raises(RacksaltError):
        host.create()
    assert host.leftovers() == []
    host.hypervisor.fault = host.volumes.fault = lambda found: None
    assert host.create()["changed"]


def test_a_missing_image_is_told_and_nothing_is_made() -> None:
    host = Host(volumes=FakeVolumes(missing=frozenset({"2" * 64})))
    with pytest.raises(NotFound) as told:
        host.create()
    assert told.value.code == "image_missing" and host.leftovers() == []


def test_a_report_says_which_host_and_when() -> None:
    host = Host()
    host.create()
    report = host.vms.report()
    assert report.host == "h1" and report.read_at == host.clock.time
    assert [domain.record for domain in report.domains] == [vm()]
