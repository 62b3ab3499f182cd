"""The VMs of one host: states, protection, names, room, and creates that are repeated, late or cut off."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import pytest

from racksalt import record_proof
from racksalt.errors import BadInput, Conflict, NotFound, RacksaltError, Refused, Unavailable
from racksalt.host_creates import HostCreates
from racksalt.host_requests import (
    ActOnHost,
    CreateOnHost,
    Ladder,
    NewSignature,
    PurgeOnHost,
    SignOnHost,
    Verb,
    seal_context,
)
from racksalt.host_vms import HostVms
from racksalt.model import DiskImage, Domain, KernelImage, Network, Nic, Record, Room, RoomPolicy
from racksalt.record_proof import Ring
from tests.fakes import FakeClock, FakeHypervisor, FakeKey, FakeVolumes

NETWORK = Network("nat", "10.80.0.0/20", "10.80.0.1", "10.80.0.16", "10.80.15.254")
KERNEL = KernelImage("tiny", "kernel", "1" * 64, "2" * 64, "quiet")
DISK = DiskImage("debian", "disk", "3" * 64, "raw")
UUID = "0b5f2f40-4a4e-4b0e-9d2c-{:012x}"
VERBS = get_args(Verb)
SSH_KEY = "ssh-ed25519 " + "A" * 68
RECORDS = set(Record.__dataclass_fields__) - set(CreateOnHost.__dataclass_fields__)


@dataclass
class Host:
    """One fake host and what counts its locks."""

    hypervisor: FakeHypervisor = field(default_factory=FakeHypervisor)
    volumes: FakeVolumes = field(default_factory=FakeVolumes)
    clock: FakeClock = field(default_factory=FakeClock)
    locked: int = 0
    sent: set[str] = field(default_factory=set)

    def lock(self) -> AbstractContextManager[None]:
        self.locked += 1
        return nullcontext()

    @property
    def vms(self) -> HostVms:
        return HostVms(
            "h1", self.hypervisor, self.volumes, self.lock, self.clock, FakeKey("h1"), self.sent.__contains__
        )

    def create(self, number: int = 1, *, test: bool = False, **changed: Any) -> dict[str, Any]:
        return HostCreates(self.vms).create(request(self.clock, number, **changed), test=test)

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


def test_secrets_open_on_their_own_host_for_their_own_vm_only() -> None:
    text = json.dumps({"ssh_keys": [SSH_KEY], "user_data": "#!/bin/true"})
    host, uuid = Host(), UUID.format(1)
    for context in (seal_context("h2", uuid), seal_context("h1", UUID.format(2))):
        with pytest.raises(Refused) as told:
            host.create(sealed=FakeKey("h1").seal(text, context=context))
        assert told.value.code == "not_unsealed" and not host.leftovers()
    host.create(sealed=FakeKey("h1").seal(text, context=seal_context("h1", uuid)))
    assert host.volumes.seeds[uuid]["user-data"] == "#!/bin/true"
    assert SSH_KEY in host.volumes.seeds[uuid]["meta-data"]


@pytest.mark.parametrize("text", ['{"user_data": "x"}', '{"ssh_keys": ["x"]}', '{"other": 1}', "[]", "{", ""])
def test_secrets_are_checked_again_on_the_host(text: str) -> None:
    host = Host()
    with pytest.raises(BadInput):
        host.create(sealed=FakeKey("h1").seal(text, context=seal_context("h1", UUID.format(1))))
    assert not host.leftovers()


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


def _watched(host: Host, fail: Callable[[str], None]) -> tuple[HostCreates, list[tuple[str, bool]]]:
    """Creates on the host, and each step with whether it was under the lock."""
    steps: list[tuple[str, bool]] = []
    inside = [False]

    @contextmanager
    def lock() -> Iterator[None]:
        inside[0] = True
        try:
            yield
        finally:
            inside[0] = False

    def watch(step: str) -> None:
        steps.append((step, inside[0]))
        fail(step)

    host.hypervisor.fault = host.volumes.fault = watch
    return HostCreates(
        HostVms("h1", host.hypervisor, host.volumes, lock, host.clock, FakeKey("h1"), host.sent.__contains__)
    ), steps


def test_the_seconds_of_a_start_are_not_under_the_lock() -> None:
    host = Host()
    creates, steps = _watched(host, lambda step: None)
    creates.create(request(host.clock))
    assert ("define", True) in steps and ("start", False) in steps


@pytest.mark.parametrize("failing", ["define", "start"])
def test_what_is_taken_back_is_taken_back_under_the_lock(failing: str) -> None:
    host = Host()

    def fail(step: str) -> None:
        if step == failing:
            raise Refused("libvirt_refused", "the reason")

    creates, steps = _watched(host, fail)
    with pytest.raises(Refused):
        creates.create(request(host.clock))
    after = steps[steps.index((failing, failing == "define")) + 1 :]
    undone = [one for one in after if one != ("state", False)]
    assert {step for step, _ in undone} >= {"release_address", "remove"} and all(held for _, held in undone)
    assert host.leftovers() == []


def test_where_the_lock_is_not_to_be_had_the_reason_is_told_with_what_is_left() -> None:
    host = Host()
    held = [nullcontext()]

    def lock() -> AbstractContextManager[None]:
        if not held:
            raise Unavailable("busy", "the lock was held for 60 s")
        return held.pop()

    def fail(step: str) -> None:
        if step == "start":
            raise Refused("libvirt_refused", "the reason")

    host.hypervisor.fault = fail
    vms = HostVms("h1", host.hypervisor, host.volumes, lock, host.clock, FakeKey("h1"), host.sent.__contains__)
    with pytest.raises(Refused) as told:
        HostCreates(vms).create(request(host.clock))
    assert told.value.facts["left"] == ["the lock was held for 60 s"] and host.leftovers()


def test_a_start_that_somebody_else_was_faster_with_is_one() -> None:
    """Like that of the host itself at its boot."""
    host = Host()
    host.create(start=False)

    def faster(step: str) -> None:
        if step == "start":
            host.hypervisor.states[UUID.format(1)] = "running"
            raise Conflict("vm_state", "domain is already running")

    host.hypervisor.fault = faster
    assert host.act("start")["state"] == "running"


def test_a_start_that_somebody_else_has_not_ended_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """libvirt calls a guest paused until it is started."""
    host, uuid = Host(), UUID.format(1)
    host.create(start=False)
    sleep, states, sleeps = host.clock.sleep, host.hypervisor.states, list[float]()
    starts_within = 5

    def slept(seconds: float) -> None:
        sleep(seconds)
        sleeps.append(seconds)
        if len(sleeps) == starts_within:
            states[uuid] = "running"

    def under_way(step: str) -> None:
        if step == "start":
            states[uuid] = "paused"
            raise Conflict("vm_state", "domain is already running")

    host.hypervisor.fault = under_way
    monkeypatch.setattr(host.clock, "sleep", slept)
    assert host.act("start")["state"] == "running"
    starts_within, states[uuid] = -1, "stopped"
    with pytest.raises(Conflict) as told:
        host.act("start")
    assert told.value.code == "vm_state" and len(sleeps) < 1000, "not for ever"


def test_one_that_was_seen_paused_as_it_was_starting_runs_as_was_asked() -> None:
    host, uuid = Host(), UUID.format(1)
    host.create()
    host.hypervisor.states[uuid] = "paused"

    def started(step: str) -> None:
        if step == "resume":
            host.hypervisor.states[uuid] = "running"
            raise Conflict("vm_state", "domain is already running")

    host.hypervisor.fault = started
    assert host.act("resume")["state"] == "running"


def test_a_start_that_fails_as_the_same_create_has_started_it_takes_nothing_back() -> None:
    host = Host()

    def fail(step: str) -> None:
        if step == "start":
            host.hypervisor.states[UUID.format(1)] = "running"
            raise Unavailable("libvirt_failed", "another one holds it")

    host.hypervisor.fault = fail
    assert host.create()["changed"] and len(host.hypervisor.xml) == 1


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


def test_a_repeated_create_touches_nothing_of_the_vm_that_is_there() -> None:
    """Not even where its disk is gone, and something of the operator's lies beside."""
    host = Host()
    host.create()
    disk, seed = host.volumes.paths("acme", UUID.format(1))
    host.volumes.files -= {disk, seed}
    host.volumes.files.add(f"{disk}.saved")
    assert not host.create()["changed"]
    assert host.volumes.files == {f"{disk}.saved"}


@pytest.mark.parametrize("refused", ["deadline", "room", "name"])
def test_a_create_that_is_refused_leaves_what_was_there_and_nothing_else(refused: str) -> None:
    host = Host()
    host.create(1)
    aside = f"/volumes/acme/{UUID.format(2)}.qcow2.saved"
    host.volumes.files.add(aside)
    files = set(host.volumes.files)
    changed: dict[str, Any] = {
        "deadline": {"deadline": 0.0},
        "room": {"memory_mib": 10**7},
        "name": {"name": "web1"},
    }[refused]
    with pytest.raises(RacksaltError):
        host.create(2, **changed)
    assert host.volumes.files == files


UNDO = ["state", "destroy", "undefine", "release_address", "remove"]


@pytest.mark.parametrize("failing", [[step] for step in UNDO] + [UNDO], ids="+".join)
def test_an_undo_that_fails_stops_no_other_one_and_hides_no_reason(failing: list[str]) -> None:
    host, down = Host(), False

    def fail(step: str) -> None:
        nonlocal down
        if step == "start":
            down = True
            host.hypervisor.states[UUID.format(1)] = "paused"
            raise Refused("libvirt_refused", "the reason")
        if down and step in failing:
            raise Refused("libvirt_refused", f"{step} failed")

    host.hypervisor.fault = host.volumes.fault = fail
    with pytest.raises(Refused) as told:
        host.create()
    assert told.value.detail == "the reason"
    assert set(told.value.facts["left"]) <= {f"{step} failed" for step in failing}
    gone = {"domain": not host.hypervisor.xml, "lease": not host.hypervisor.leases, "disk": not host.volumes.files}
    stays = {"release_address": "lease", "remove": "disk"}
    kept = {stays.get(step, "domain") for step in failing}
    assert {what for what, is_gone in gone.items() if not is_gone} == kept
    host.hypervisor.fault = host.volumes.fault = lambda step: None
    host.vms.purge(PurgeOnHost(vm()))
    assert host.leftovers() == []


def test_a_create_that_is_taken_back_whole_leaves_nothing_to_tell() -> None:
    host = Host()

    def fail(step: str) -> None:
        if step == "start":
            raise Refused("libvirt_refused", "the reason")

    host.hypervisor.fault = fail
    with pytest.raises(Refused) as told:
        host.create()
    assert told.value.facts == {} and host.leftovers() == []


@pytest.mark.parametrize("step", ["release_address", "remove", "undefine"])
def test_a_start_in_the_middle_of_a_delete_leaves_nothing_running(step: str) -> None:
    host = Host()
    host.create()

    def start(found: str) -> None:
        if found == step and host.hypervisor.states[UUID.format(1)] == "stopped":
            host.hypervisor.start(UUID.format(1))

    host.hypervisor.fault = host.volumes.fault = start
    assert host.act("delete")["removed"][0] == "domain acme.web1"
    assert host.leftovers() == [] and host.hypervisor.transient == set()


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


# Signatures.


def _sign(host: Host, *numbers: int, ring: Ring, **changed: Any) -> dict[str, Any]:
    """Let the host sign its VMs as the writer would have it, with ``changed`` in what the writer read."""
    new = {}
    for number in numbers:
        record = record_proof.sign(vm(number, **changed), ring)
        assert record.signature is not None
        new[record.uuid] = NewSignature(record_proof.digest(record), record.signature)
    return host.vms.sign(SignOnHost(new))


RING = Ring({3: b"3" * 32})


def test_signatures_are_written_under_the_lock_and_change_nothing_else() -> None:
    host = Host()
    for number in (1, 2):
        host.create(number)
    host.act("note", 1, note="x")
    before = {domain.uuid: domain.record for domain in host.vms.report().domains}
    locked = host.locked
    assert _sign(host, 1, 2, ring=RING) == {"signed": [UUID.format(1), UUID.format(2)], "refused": {}}
    assert host.locked == locked + 1
    for domain in host.vms.report().domains:
        assert domain.record is not None and record_proof.is_valid(domain.record, RING)
        assert replace(domain.record, signature=None) == before[domain.uuid]


def test_only_what_was_read_is_signed() -> None:
    host = Host()
    host.create(1)
    for changed in ({"name": "other"}, {"generation": 2}, {"vcpus": 2}, {"tenant": "beta"}):
        told = _sign(host, 1, ring=RING, **changed)
        assert told["signed"] == [] and "has changed" in told["refused"][UUID.format(1)]
    assert _sign(host, 1, ring=RING, tags=("x",), note="x", protected=True)["refused"] == {}


def test_one_that_cannot_be_signed_holds_up_no_other() -> None:
    host = Host()
    host.create(1)
    host.hypervisor.foreign.append(Domain(UUID.format(3), "by-hand", "stopped", 1, 1, 1))
    told = _sign(host, 1, 2, 3, ring=RING)
    assert told["signed"] == [UUID.format(1)] and set(told["refused"]) == {UUID.format(2), UUID.format(3)}


def test_a_signature_that_is_there_is_not_written_again() -> None:
    host = Host()
    host.create(1)
    _sign(host, 1, ring=RING)
    writes: list[str] = []
    host.hypervisor.fault = writes.append
    assert _sign(host, 1, ring=RING)["signed"] == [UUID.format(1)] and "write_record" not in writes


@pytest.mark.parametrize("verb", [{"verb": "note", "note": "x"}, {"verb": "tag", "tags": ("x",)}])
def test_a_hosts_own_change_keeps_the_signature(verb: dict[str, Any]) -> None:
    host = Host()
    host.create(1)
    _sign(host, 1, ring=RING)
    host.act(verb.pop("verb"), 1, **verb)
    (domain,) = host.vms.report().domains
    assert domain.record is not None and record_proof.is_valid(domain.record, RING)


def test_an_address_that_any_record_of_the_host_has_is_not_given_again() -> None:
    host = Host()
    host.create(1)
    for nic in (replace(vm(1).nics[0], address="10.80.0.99"), replace(vm(1).nics[0], mac="02:00:00:00:00:09")):
        with pytest.raises(Conflict) as told:
            host.create(2, nics=(nic,))
        assert told.value.code == "address_in_use"
    assert host.create(2)["changed"]


def test_one_that_waits_to_be_sent_is_left_as_it_is() -> None:
    host = Host()
    host.create()
    uuid = UUID.format(1)
    host.sent.add(uuid)
    before = host.vms.report()
    for verb in ("stop", "pause", "delete"):
        with pytest.raises(Conflict) as told:
            host.act(verb, hard=True) if verb == "stop" else host.act(verb)
        assert told.value.code == "vm_moving"
    assert replace(host.vms.report(), read_at=before.read_at) == before
    host.sent.clear()
    assert host.act("pause")["state"] == "paused"
