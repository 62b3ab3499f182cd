"""Moves on a whole fake rack: what both ends have afterwards, whichever step fails and whoever dies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from racksalt import record, record_proof
from racksalt.errors import Cancelled, Conflict, Denied, NotFound, RacksaltError, Refused, Unavailable
from racksalt.host_moves import HostMoves
from racksalt.host_requests import ActOnHost, EndMove, MoveEnd
from racksalt.migration import How
from racksalt.model import Record, State
from racksalt.move_calls import MoveCalls
from racksalt.move_claims import MoveClaims
from racksalt.move_ends import MoveEnds
from racksalt.rack_migrations import RackMigrations
from racksalt.rack_requests import ActOnVm, MigrateVm, ShowVm
from racksalt.rack_vms import RackVms
from racksalt.rack_watch import RackWatch
from tests.fake_moves import STEPS
from tests.fakes import FakeRack, fake_rack, signed
from tests.unit.test_rack import look
from tests.unit.test_vm_create import caller, create

LATE_S = 600.0
VM = "acme/web1"


def rack_with_vm(**asked: Any) -> tuple[FakeRack, str]:
    """A rack with one VM, on h1."""
    rack = fake_rack()
    made = create(rack, "root", VM, host="h1", **asked)
    return rack, str(made["vm"]["uuid"])


def migrate(rack: FakeRack, target: str | None = "h2", name: str = VM, **asked: Any) -> dict[str, Any]:
    settings = rack.rack.settings()
    return RackMigrations(rack.rack).migrate(caller(rack, "root"), MigrateVm(name, target=target, **asked), settings)


def record_of(rack: FakeRack, uuid: str) -> Record:
    return next(vm.record for vm in look(rack).vms() if vm.record.uuid == uuid)


def owners(rack: FakeRack, uuid: str) -> dict[str, str]:
    """The hosts that have the VM for good, and its state there."""
    return {
        name: domain.state
        for name, host in rack.hosts.items()
        for domain in host.hypervisor.report().domains
        if domain.uuid == uuid and not domain.incoming
    }


def files(rack: FakeRack, host: str) -> list[str]:
    return sorted(rack.hosts[host].volumes.files)


def nothing_of_it(rack: FakeRack, host: str) -> bool:
    found = rack.hosts[host]
    return not (found.volumes.files or found.hypervisor.leases or found.hypervisor.xml or found.doors.open_to)


def tidy(rack: FakeRack) -> list[str]:
    return MoveEnds(rack.rack).tidy(look(rack), rack.rack.settings())


def failing_at(step: str, error: Callable[[], BaseException] | None = None) -> Callable[[str], None]:
    def fail(found: str) -> None:
        if found == step:
            raise error() if error else Unavailable("migration_failed", f"libvirt: {step}")

    return fail


def open_claims(rack: FakeRack) -> list[str]:
    return [uuid for uuid, claim in rack.claims.held.items() if claim.is_moving]


def test_a_vm_that_runs_is_on_its_new_host_with_all_that_is_its_own() -> None:
    rack, uuid = rack_with_vm()
    seed, leases = dict(rack.hosts["h1"].volumes.seeds[uuid]), dict(rack.hosts["h1"].hypervisor.leases)
    receipt = migrate(rack)
    assert owners(rack, uuid) == {"h2": "running"} and nothing_of_it(rack, "h1")
    assert rack.hosts["h2"].volumes.seeds[uuid] == seed and rack.hosts["h2"].hypervisor.leases == leases
    assert not rack.hosts["h2"].doors.open_to and not open_claims(rack)
    record = record_of(rack, uuid)
    assert (record.host, record.generation) == ("h2", 2)
    assert record_proof.is_valid(record, rack.rack.ring.read())
    assert receipt["from"] == {"host": "h1", "before": "running", "after": None}
    assert receipt["to"] == {"host": "h2", "before": None, "after": "running"}
    assert receipt["live"] and receipt["persistent"] and receipt["generation"] == 2
    assert receipt["pause_ms"] == 40 and receipt["transfer_s"] == 1.5 and receipt["copied_bytes"] > 0


def test_a_vm_goes_there_and_back() -> None:
    rack, uuid = rack_with_vm()
    assert migrate(rack)["generation"] == 2 and migrate(rack, "h1")["generation"] == 3
    assert owners(rack, uuid) == {"h1": "running"} and nothing_of_it(rack, "h2")


def test_a_stopped_vm_moves_without_running_and_stays_stopped() -> None:
    rack, uuid = rack_with_vm(start=False)
    ran: list[str] = []
    rack.hosts["h2"].hypervisor.resume = lambda uuid: ran.append(uuid)  # type: ignore[method-assign]
    receipt = migrate(rack)
    assert owners(rack, uuid) == {"h2": "stopped"} and not ran and nothing_of_it(rack, "h1")
    assert not receipt["live"] and receipt["pause_ms"] is None and receipt["to"]["after"] == "stopped"


def test_a_paused_vm_stays_paused() -> None:
    rack, uuid = rack_with_vm()
    rack.hosts["h1"].hypervisor.suspend(uuid)
    migrate(rack)
    assert owners(rack, uuid) == {"h2": "paused"}


def test_the_target_is_picked_where_none_is_named() -> None:
    rack, _ = rack_with_vm()
    create(rack, "root", "acme/other", host="h2")
    assert migrate(rack, None)["to"]["host"] == "h3"


def test_a_vm_that_is_there_already_stays() -> None:
    rack, _ = rack_with_vm()
    assert migrate(rack, "h1") == {"changed": False, "vm": VM, "host": "h1"}


def test_a_test_run_tells_the_steps_and_changes_nothing() -> None:
    rack, uuid = rack_with_vm()
    told = migrate(rack, test=True)
    assert (told["from"], told["to"], told["live"]) == ("h1", "h2", True) and len(told["steps"]) == 6
    assert owners(rack, uuid) == {"h1": "running"} and not open_claims(rack) and nothing_of_it(rack, "h2")


def test_only_the_seeds_new_host_can_read_it() -> None:
    rack, _ = rack_with_vm(user_data="#cloud-config\npassword: hunter2\n")
    migrate(rack)
    assert "hunter2" not in repr(rack.fleet.published)


def test_the_way_is_the_callers_or_the_racks() -> None:
    rack, _ = rack_with_vm()
    rack.files.data["hosts.yaml"]["migrations"] = {"bandwidth_mib_s": 50}
    migrate(rack)
    migrate(rack, "h1", bandwidth_mib_s=7, auto_converge=True, timeout_s=33)
    _, way, shared = rack.hosts["h1"].mover.sent[0]
    assert way.bandwidth_mib_s == 50 and way.timeout_s > 300 and not shared
    _, way, _ = rack.hosts["h2"].mover.sent[0]
    assert (way.bandwidth_mib_s, way.auto_converge, way.timeout_s) == (7, True, 33)


def test_shared_disks_stay_where_they_are() -> None:
    rack, uuid = rack_with_vm()
    for name in ("h1", "h2"):
        rack.files.data["hosts.yaml"]["hosts"][name]["storage"] = "nfs1"
    rack.hosts["h2"].volumes.files = rack.hosts["h1"].volumes.files
    migrate(rack)
    assert owners(rack, uuid) == {"h2": "running"} and len(files(rack, "h1")) == 2
    assert rack.hosts["h1"].mover.sent[0][2] is True


@pytest.mark.parametrize("step", [*STEPS[:3]])
def test_a_failed_move_of_shared_disks_removes_none(step: str) -> None:
    rack, uuid = rack_with_vm()
    for name in ("h1", "h2"):
        rack.files.data["hosts.yaml"]["hosts"][name]["storage"] = "nfs1"
    rack.hosts["h2"].volumes.files = rack.hosts["h1"].volumes.files
    rack.hosts["h1"].mover.at = failing_at(step)
    with pytest.raises(Unavailable):
        migrate(rack)
    assert owners(rack, uuid) == {"h1": "running"} and len(files(rack, "h1")) == 2


def test_a_folder_that_is_shared_and_not_said_to_be_is_never_written_over() -> None:
    rack, uuid = rack_with_vm()
    rack.hosts["h2"].volumes.files = rack.hosts["h1"].volumes.files
    with pytest.raises(Conflict) as told:
        migrate(rack)
    assert told.value.code == "disk_exists" and len(files(rack, "h1")) == 2
    assert owners(rack, uuid) == {"h1": "running"} and not open_claims(rack)


def test_storage_that_is_said_to_be_shared_and_is_not_is_refused() -> None:
    rack, uuid = rack_with_vm()
    for name in ("h1", "h2"):
        rack.files.data["hosts.yaml"]["hosts"][name]["storage"] = "nfs1"
    with pytest.raises(Refused) as told:
        migrate(rack)
    assert told.value.code == "storage_not_shared" and owners(rack, uuid) == {"h1": "running"}


@pytest.mark.parametrize("state", ["running", "stopped"])
@pytest.mark.parametrize("step", STEPS[:3])
def test_what_fails_before_the_end_leaves_the_vm_as_it_was(step: str, state: str) -> None:
    rack, uuid = rack_with_vm(start=state == "running")
    rack.hosts["h1"].mover.at = failing_at(step)
    with pytest.raises(Unavailable) as told:
        migrate(rack)
    assert told.value.code == "migration_failed" and told.value.facts["vm_is"] == f"it is on h1, {state}"
    assert owners(rack, uuid) == {"h1": state} and nothing_of_it(rack, "h2") and not open_claims(rack)
    rack.hosts["h1"].mover.at = lambda step: None
    assert migrate(rack)["changed"]


@pytest.mark.parametrize("step", ["create", "write_seed", "reserve_address", "open"])
def test_what_fails_at_the_target_leaves_nothing_there(step: str) -> None:
    rack, uuid = rack_with_vm()
    target = rack.hosts["h2"]
    target.hypervisor.fault = target.volumes.fault = target.doors.fault = failing_at(
        step, lambda: Refused("disk_failed", "no space left")
    )
    with pytest.raises(Refused) as told:
        migrate(rack)
    assert told.value.code == "disk_failed" and owners(rack, uuid) == {"h1": "running"}
    assert nothing_of_it(rack, "h2") and not open_claims(rack)


def test_an_image_that_the_target_lacks_is_refused_before_anything_is_made() -> None:
    rack, uuid = rack_with_vm()
    rack.hosts["h2"].volumes.missing = frozenset({"1" * 64})
    with pytest.raises(NotFound) as told:
        migrate(rack)
    assert told.value.code == "image_missing" and nothing_of_it(rack, "h2") and owners(rack, uuid) == {"h1": "running"}


@pytest.mark.parametrize("step", ["finish", "confirm"])
def test_an_answer_that_is_lost_after_the_end_is_a_move_all_the_same(step: str) -> None:
    """At ``finish`` both have it: the target for good, the source with the older generation, paused by libvirt."""
    rack, uuid = rack_with_vm()

    def fail(found: str) -> None:
        if found == step:
            if step == "finish":
                rack.hosts["h1"].hypervisor.states[uuid] = "paused"
            raise Unavailable("migration_failed", "connection reset")

    rack.hosts["h1"].mover.at = fail
    receipt = migrate(rack)
    assert receipt["to"]["after"] == "running" and owners(rack, uuid) == {"h2": "running"} and nothing_of_it(rack, "h1")
    assert not open_claims(rack)


def test_a_guest_that_went_on_at_its_source_is_the_sources() -> None:
    """The target has it written down, and its host was off before the guest could run there: the source is newer."""
    rack, uuid = rack_with_vm()

    def fail(found: str) -> None:
        if found == "finish":
            rack.hosts["h2"].hypervisor.states[uuid] = "stopped"
            raise Unavailable("migration_failed", "connection reset")

    rack.hosts["h1"].mover.at = fail
    with pytest.raises(Unavailable):
        migrate(rack)
    assert owners(rack, uuid) == {"h1": "running"} and nothing_of_it(rack, "h2") and not open_claims(rack)


@pytest.mark.parametrize("silent", ["h1", "h2"])
@pytest.mark.parametrize("step", STEPS)
def test_a_silent_end_keeps_the_claim_until_it_answers(step: str, silent: str) -> None:
    """In each phase one host goes silent: nobody removes anything, and when it is back there is one owner."""
    rack, uuid = rack_with_vm()

    def cut(found: str) -> None:
        if found == step:
            rack.hosts[silent].silent = True
            if step == "finish":
                rack.hosts["h1"].hypervisor.states[uuid] = "paused"
            raise Unavailable("migration_failed", "the link is cut")

    rack.hosts["h1"].mover.at = cut
    with pytest.raises(RacksaltError) as told:
        migrate(rack)
    assert told.value.code == "host_silent" and open_claims(rack) == [uuid]
    rack.clock.sleep(LATE_S)
    assert tidy(rack) == [] and open_claims(rack) == [uuid]
    rack.hosts[silent].silent = False
    assert len(tidy(rack)) == 1
    there = "h2" if step in ("finish", "confirm") else "h1"
    assert owners(rack, uuid) == {there: "running"} and not open_claims(rack)
    assert nothing_of_it(rack, "h1" if there == "h2" else "h2")
    assert [vm.record.host for vm in look(rack).vms()] == [there]


class Killed(BaseException):
    """SIGKILL: nothing is done on the way out."""


def migrate_until_killed(rack: FakeRack, *, after: str) -> None:
    """The runner dies when a host has done this."""
    rack.fleet.after = lambda host, called: (_ for _ in ()).throw(Killed()) if called == after else None
    with pytest.raises(Killed):
        migrate(rack)
    rack.fleet.after = lambda host, called: None


@pytest.mark.parametrize(("lost", "there"), [("rack_vm.send", "h2"), ("nothing", "h1")])
def test_a_move_that_the_watch_has_ended_first_is_told_as_both_ends_show_it(lost: str, there: str) -> None:
    rack, uuid = rack_with_vm()
    source = rack.hosts["h1"]
    if lost == "nothing":
        source.mover.at = failing_at("begin")

    def faster(host: str, function: str) -> None:
        source.loses_returns = function == lost
        if function == "rack_host.report" and any(claim.is_moving for claim in rack.claims.all()):
            rack.fleet.before = lambda host, function: None
            source.loses_returns = False
            rack.clock.sleep(LATE_S)
            assert tidy(rack)

    rack.fleet.before = faster
    if there == "h2":
        receipt = migrate(rack)
        assert receipt["to"] == {"host": "h2", "before": None, "after": "running"} and receipt["generation"] == 2
    else:
        with pytest.raises(RacksaltError) as told:
            migrate(rack)
        assert told.value.facts["vm_is"] == "it is on h1, running"
    assert set(owners(rack, uuid)) == {there}
    assert not [claim for claim in rack.claims.all() if claim.is_moving]


def test_where_nobody_knows_what_became_of_a_move_that_somebody_else_has_ended_that_is_told() -> None:
    rack, _ = rack_with_vm()
    source = rack.hosts["h1"]
    source.mover.at = failing_at("begin")

    def ended(host: str, function: str) -> None:
        if function == "rack_host.report" and any(claim.is_moving for claim in rack.claims.all()):
            rack.claims.held.clear()
            source.silent = True

    rack.fleet.before = ended
    with pytest.raises(Unavailable) as told:
        migrate(rack)
    assert told.value.code == "host_silent"


@pytest.mark.parametrize(
    ("state", "host", "function", "there"),
    [
        *((state, "h1", "rack_vm.offer", "h1") for state in ("running", "stopped")),
        *((state, "h2", "rack_vm.receive", "h1") for state in ("running", "stopped")),
        *((state, "h1", "rack_vm.send", "h2") for state in ("running", "stopped")),
        # Who gets a VM that is up tells with the send how it came; one that is not is asked afterwards.
        ("running", "h2", "rack_vm.send", "h2"),
        ("stopped", "h2", "rack_vm.conclude", "h2"),
    ],
)
def test_a_killed_runner_leaves_one_owner_and_the_watch_ends_it(
    state: str, host: str, function: str, there: str
) -> None:
    rack, uuid = rack_with_vm(start=state == "running")
    rack.fleet.after = lambda name, called: (
        (_ for _ in ()).throw(Killed()) if (name, called) == (host, function) else None
    )
    with pytest.raises(Killed):
        migrate(rack)
    rack.fleet.after = lambda host, called: None
    assert len(owners(rack, uuid)) == 1 and open_claims(rack) == [uuid]
    assert [vm.record.uuid for vm in look(rack).vms()] == [uuid]
    RackWatch().tick(rack.rack)
    assert open_claims(rack) == [uuid]
    rack.clock.sleep(LATE_S)
    RackWatch().tick(rack.rack)
    assert owners(rack, uuid) == {there: state} and not open_claims(rack)
    assert nothing_of_it(rack, "h1" if there == "h2" else "h2")
    assert migrate(rack, "h3")["changed"]


def test_what_lingers_at_the_target_is_waited_for() -> None:
    rack, uuid = rack_with_vm()
    mover = rack.hosts["h1"].mover
    mover.lingers, mover.at = True, failing_at("perform")
    with pytest.raises(Unavailable) as told:
        migrate(rack)
    assert told.value.code == "host_silent" and open_claims(rack) == [uuid] and files(rack, "h2")
    seen = look(rack)
    assert [vm.record.host for vm in seen.vms()] == ["h1"] and seen.usage("acme").vms == 1
    rack.hosts["h2"].mover.end_lingering(uuid)
    rack.clock.sleep(LATE_S)
    assert tidy(rack) and owners(rack, uuid) == {"h1": "running"} and nothing_of_it(rack, "h2")


def test_a_move_that_still_goes_on_is_left_alone_by_the_watch() -> None:
    rack, uuid = rack_with_vm()
    told: list[list[str]] = []

    def late(found: str) -> None:
        if found == "begin":
            rack.clock.sleep(LATE_S)
            told.append(tidy(rack))
        if found == "perform":
            told.append(tidy(rack))

    rack.hosts["h1"].mover.at = late
    assert migrate(rack)["changed"] and told == [[], []] and owners(rack, uuid) == {"h2": "running"}
    assert not open_claims(rack), "the look at its beginning gave the claim more time, and it is over all the same"


def test_the_source_keeps_its_copy_while_libvirt_takes_the_last_step() -> None:
    """The target has it written down, and may still fail to run it: the source's disk is then the only one."""
    rack, uuid = rack_with_vm()
    told: list[list[str]] = []

    def fail(found: str) -> None:
        if found == "finish":
            rack.hosts["h1"].hypervisor.states[uuid] = "paused"
            rack.clock.sleep(LATE_S)
            told.append(tidy(rack))
            rack.hosts["h1"].hypervisor.states[uuid] = "running"
            rack.hosts["h2"].mover.end_lingering(uuid)
            raise Unavailable("migration_failed", "the target could not run it")

    rack.hosts["h1"].mover.at = fail
    with pytest.raises(Unavailable):
        migrate(rack)
    assert told == [[]] and owners(rack, uuid) == {"h1": "running"} and files(rack, "h1")
    assert nothing_of_it(rack, "h2") and not open_claims(rack)


def test_what_is_at_the_target_stays_where_the_source_has_nothing_by_now() -> None:
    """The look at both is older than the move: what it saw at the source has gone over since."""
    rack, uuid = rack_with_vm(start=False)
    migrate_until_killed(rack, after="rack_vm.send")
    (claim,) = rack.claims.all()
    rack.hosts["h2"].hypervisor.states[uuid] = "stopped"
    calls = MoveCalls(rack.rack, claim, rack.rack.settings())
    assert MoveEnds(rack.rack)._take_back(calls, None).what == "held"
    assert owners(rack, uuid) == {"h2": "stopped"} and files(rack, "h2")


def test_a_vm_that_is_deleted_before_it_is_sent_leaves_nothing() -> None:
    """Whoever deletes it has looked before the claim was there."""
    rack, uuid = rack_with_vm()

    def delete(host: str, called: str) -> None:
        if called == "rack_vm.send":
            rack.hosts["h1"].vms().act(ActOnHost(uuid, "delete"))
            rack.rack.forget_vm("h1", uuid)

    rack.fleet.before = delete
    with pytest.raises(NotFound):
        migrate(rack)
    assert owners(rack, uuid) == {} and nothing_of_it(rack, "h1") and nothing_of_it(rack, "h2")
    assert not rack.claims.all()


def test_a_claim_of_an_earlier_move_holds_nothing() -> None:
    """A master that was away, and is the writer again, has the claims of its time."""
    rack, uuid = rack_with_vm()
    migrate_until_killed(rack, after="rack_vm.send")
    (old,) = rack.claims.all()
    rack.clock.sleep(LATE_S)
    assert tidy(rack) and migrate(rack, "h3")["changed"]
    rack.claims.held[uuid] = old
    rack.clock.sleep(LATE_S)
    assert tidy(rack) == ["acme/web1: a later move has brought it to h3"] and not open_claims(rack)
    assert owners(rack, uuid) == {"h3": "running"}


def test_a_move_that_was_decided_on_an_older_record_leaves_nothing_at_its_target() -> None:
    rack, uuid = rack_with_vm()
    migrate_until_killed(rack, after="rack_vm.receive")
    hypervisor = rack.hosts["h1"].hypervisor
    (known,) = (domain.record for domain in hypervisor.report().domains)
    newer = signed(replace(known, generation=known.generation + 2))
    hypervisor.write_record(uuid, record.to_xml(newer))
    hypervisor.suspend(uuid)
    rack.clock.sleep(LATE_S)
    rack.hosts["h2"].silent = True
    assert not tidy(rack) and open_claims(rack), "what is left there has to go"
    rack.hosts["h2"].silent = False
    assert tidy(rack) and not open_claims(rack) and nothing_of_it(rack, "h2")
    assert owners(rack, uuid) == {"h1": "paused"}, "it is somebody's, and not of this move"


def test_a_host_that_is_taken_out_of_the_files_holds_no_move() -> None:
    rack, uuid = rack_with_vm()
    migrate_until_killed(rack, after="rack_vm.receive")
    rack.hosts["h2"].silent = True
    rack.clock.sleep(LATE_S)
    assert tidy(rack) == [] and open_claims(rack) == [uuid]
    del rack.files.data["hosts.yaml"]["hosts"]["h2"]
    assert tidy(rack) == ["acme/web1: host h2 is not in hosts.yaml any more"] and not open_claims(rack)
    assert owners(rack, uuid) == {"h1": "running"} and files(rack, "h1")


def test_a_cancelled_move_is_ended_at_its_source() -> None:
    rack, uuid = rack_with_vm()
    rack.fleet.before = lambda host, called: (_ for _ in ()).throw(Cancelled()) if called == "rack_vm.send" else None
    with pytest.raises(Cancelled):
        migrate(rack)
    assert ("h1", "rack_vm.recall") in rack.fleet.calls and rack.hosts["h1"].mover.aborted == [uuid]
    assert owners(rack, uuid) == {"h1": "running"} and nothing_of_it(rack, "h2") and not open_claims(rack)


@pytest.mark.parametrize("verb", ["start", "stop", "delete", "note", "pause"])
def test_a_vm_that_moves_is_not_changed(verb: str) -> None:
    rack, uuid = rack_with_vm()
    refused: list[str] = []

    def change(found: str) -> None:
        if found == "perform":
            for user, name in (("root", VM), ("alice", "web1")):
                asked = ActOnVm(name, verb, note="x")  # type: ignore[arg-type]
                with pytest.raises(Conflict) as told:
                    RackVms(rack.rack).act(caller(rack, user), asked, rack.rack.settings())
                refused.append(told.value.code)
                assert "h1" not in told.value.detail and "h2" not in told.value.detail

    rack.hosts["h1"].mover.at = change
    migrate(rack)
    assert refused == ["vm_moving"] * 2 and owners(rack, uuid) == {"h2": "running"}


def test_a_host_refuses_to_change_what_it_sends() -> None:
    rack, uuid = rack_with_vm()
    rack.hosts["h1"].hypervisor.moving.add(uuid)
    with pytest.raises(Conflict) as told:
        RackVms(rack.rack).act(caller(rack, "alice"), ActOnVm("web1", "stop", hard=True), rack.rack.settings())
    assert told.value.code == "vm_moving"


def test_the_operator_sees_where_a_vm_goes_and_its_tenant_does_not() -> None:
    rack, _ = rack_with_vm()
    shown: dict[str, Any] = {}

    def show(found: str) -> None:
        if found == "perform":
            for user, name in (("root", VM), ("alice", "web1")):
                shown[user] = RackVms(rack.rack).show(caller(rack, user), ShowVm(name), rack.rack.settings())

    rack.hosts["h1"].mover.at = show
    migrate(rack)
    mib = 2**20
    counted = {"percent": 25, "copied_bytes": 30 * mib, "left_bytes": 90 * mib, "passes": 1}
    assert shown["root"]["moving"] == {"from": "h1", "to": "h2", **counted}
    assert "moving" not in shown["alice"] and "h2" not in repr(shown["alice"])


def test_a_move_holds_room_at_both_ends_and_names_and_quota_once() -> None:
    rack, uuid = rack_with_vm()
    before = look(rack)
    seen: list[Any] = []
    rack.hosts["h1"].mover.at = lambda found: (
        seen.append(look(rack)) if found in ("begin", "perform", "finish") else None
    )
    migrate(rack)
    assert len(seen) == 3
    for now in seen:
        used = {load.config.name: load.used.memory_mib for load in now.loads()}
        assert used["h1"] == used["h2"] > 0 and used["h3"] == 0
        assert now.usage("acme") == before.usage("acme") and [vm.record.uuid for vm in now.vms()] == [uuid]
        assert now.holder("acme", "web1") == uuid


def test_a_second_move_of_the_same_vm_is_refused() -> None:
    rack, _ = rack_with_vm()
    codes: list[str] = []

    def again(found: str) -> None:
        if found == "perform":
            with pytest.raises(RacksaltError) as told:
                migrate(rack, "h3")
            codes.append(told.value.code)

    rack.hosts["h1"].mover.at = again
    migrate(rack)
    assert codes == ["vm_moving"]


@pytest.mark.parametrize(("limits", "says"), [({"per_host": 1}, "host h1 has 1"), ({"rack": 1}, "the rack has 1")])
def test_so_many_move_at_the_same_time_and_no_more(limits: dict[str, int], says: str) -> None:
    rack, _ = rack_with_vm()
    create(rack, "root", "acme/web2", host="h1")
    rack.files.data["hosts.yaml"]["migrations"] = limits
    told: list[RacksaltError] = []

    def second(found: str) -> None:
        if found == "perform":
            with pytest.raises(Refused) as refused:
                migrate(rack, "h3", "acme/web2")
            told.append(refused.value)

    rack.hosts["h1"].mover.at = second
    migrate(rack)
    assert [error.code for error in told] == ["too_many_migrations"] and says in told[0].detail


def test_a_target_that_a_rule_refuses_is_told_with_every_reason() -> None:
    rack, uuid = rack_with_vm(anti_affinity="web")
    create(rack, "root", "acme/web2", host="h2", anti_affinity="web")
    rack.files.data["hosts.yaml"]["hosts"]["h2"]["enabled"] = False
    with pytest.raises(Refused) as told:
        migrate(rack)
    assert told.value.code == "migration_refused"
    assert [one["rule"] for one in told.value.facts["refusals"]] == ["enabled", "anti_affinity"]
    how = How(ignore=frozenset({"enabled", "anti_affinity"}))
    receipt = RackMigrations(rack.rack).move(
        caller(rack, "root"), record_of(rack, uuid), "h2", rack.rack.settings(), how
    )
    assert receipt["changed"]


def test_a_host_of_another_kind_is_no_target() -> None:
    rack, _ = rack_with_vm()
    rack.files.data["hosts.yaml"]["hosts"]["h2"]["accelerator"] = "kvm"
    with pytest.raises(Refused) as told:
        migrate(rack)
    assert [one["rule"] for one in told.value.facts["refusals"]] == ["accelerator"]


def test_a_vm_that_has_changed_since_it_was_seen_is_not_moved() -> None:
    rack, uuid = rack_with_vm()
    old = record_of(rack, uuid)
    migrate(rack)
    with pytest.raises(Conflict) as told:
        RackMigrations(rack.rack).move(caller(rack, "root"), old, "h3", rack.rack.settings())
    assert told.value.code == "record_changed"


def test_a_record_that_changes_before_the_send_stops_the_move() -> None:
    rack, uuid = rack_with_vm()

    def change(host: str, called: str) -> None:
        if called == "rack_vm.send":
            source = rack.hosts["h1"].hypervisor
            source.xml[uuid] = source.xml[uuid].replace('disk_gib="1"', 'disk_gib="2"')

    rack.fleet.before = change
    with pytest.raises(RacksaltError) as told:
        migrate(rack)
    assert told.value.code in ("record_changed", "host_silent") and list(owners(rack, uuid)) == ["h1"]


def test_what_a_host_writes_meanwhile_goes_along() -> None:
    rack, uuid = rack_with_vm()
    source = rack.hosts["h1"]
    rack.fleet.before = lambda host, called: (
        None if called != "rack_vm.send" else _note(source.vms(), uuid, "written on the host")
    )
    migrate(rack)
    assert record_of(rack, uuid).note == "written on the host"


def _note(vms: Any, uuid: str, text: str) -> None:
    from racksalt.host_requests import ActOnHost

    vms.act(ActOnHost(uuid, "note", note=text))


@pytest.mark.parametrize(
    ("state", "live", "code"),
    [("suspended", None, "vm_state"), ("running", False, "vm_state"), ("stopped", True, "vm_state")],
)
def test_a_state_that_does_not_allow_it_is_refused(state: str, live: bool | None, code: str) -> None:
    rack, uuid = rack_with_vm()
    rack.hosts["h1"].hypervisor.states[uuid] = state
    with pytest.raises(Conflict) as told:
        migrate(rack, live=live)
    assert told.value.code == code and not open_claims(rack)


def test_what_belongs_to_its_host_cannot_leave() -> None:
    rack, uuid = rack_with_vm()
    rack.hosts["h1"].mover.kept[uuid] = ["before-upgrade"]
    with pytest.raises(Refused) as told:
        migrate(rack)
    assert told.value.code == "vm_cannot_move" and "before-upgrade" in told.value.detail
    assert nothing_of_it(rack, "h2") and not open_claims(rack)


def test_a_silent_source_is_not_asked() -> None:
    rack, _ = rack_with_vm()
    rack.hosts["h1"].silent = True
    with pytest.raises(RacksaltError) as told:
        migrate(rack)
    assert told.value.code == "host_silent" and not open_claims(rack)
    assert ("h1", "rack_vm.offer") not in rack.fleet.calls


def test_a_host_without_a_key_gets_no_seed() -> None:
    rack, uuid = rack_with_vm()
    rack.fleet.without_key = frozenset({"h2"})
    with pytest.raises(Unavailable) as told:
        migrate(rack)
    assert told.value.code == "host_key" and owners(rack, uuid) == {"h1": "running"} and not open_claims(rack)


def test_a_tenant_cannot_move_anything() -> None:
    from racksalt.rack_answer import Came, carry_out

    rack, uuid = rack_with_vm()
    with pytest.raises((Denied, NotFound)):
        carry_out(rack.rack, Came("rack_vm.migrate", "alice", {"name": "web1", "target": "h2"}, "", None))
    assert owners(rack, uuid) == {"h1": "running"}


def test_a_settled_move_is_counted_until_both_hosts_were_read_again() -> None:
    rack, uuid = rack_with_vm()
    old = look(rack)
    migrate(rack)
    stale = old.with_claims(rack.claims.all())
    (shown,) = stale.vms()
    assert (shown.record.host, shown.record.uuid) == ("h2", uuid) and stale.usage("acme").vms == 1


def test_a_vm_between_two_reports_is_not_lost() -> None:
    """Its target was read before it came, and its source when it had gone."""
    rack, uuid = rack_with_vm()
    seen: list[Any] = []

    def between(found: str) -> None:
        if found == "perform":
            now = look(rack)
            views = dict(now.hosts)
            empty = [replace(views[host], report=replace(views[host].report, domains=())) for host in ("h1", "h2")]
            seen.append(replace(now, hosts={**views, "h1": empty[0], "h2": empty[1]}, counted=None))

    rack.hosts["h1"].mover.at = between
    migrate(rack)
    assert [vm.record.uuid for vm in seen[0].vms()] == [uuid] and seen[0].holder("acme", "web1") == uuid


@pytest.mark.parametrize("was", ["running", "paused"])
def test_a_vm_that_stops_before_it_is_sent_arrives_stopped(was: State) -> None:
    rack, uuid = rack_with_vm()
    if was == "paused":
        rack.hosts["h1"].hypervisor.suspend(uuid)

    def stop(host: str, called: str) -> None:
        if (host, called) == ("h1", "rack_vm.send"):
            rack.hosts["h1"].hypervisor.destroy(uuid)

    rack.fleet.before = stop
    receipt = migrate(rack)
    assert owners(rack, uuid) == {"h2": "stopped"} and receipt["from"]["before"] == "stopped" and not receipt["live"]


def test_a_guest_that_libvirt_left_paused_at_its_source_goes_on() -> None:
    rack, uuid = rack_with_vm()

    def fail(found: str) -> None:
        if found == "perform":
            rack.hosts["h1"].hypervisor.states[uuid] = "paused"
            raise Unavailable("migration_failed", "libvirtd was killed")

    rack.hosts["h1"].mover.at = fail
    with pytest.raises(Unavailable):
        migrate(rack)
    assert owners(rack, uuid) == {"h1": "running"} and nothing_of_it(rack, "h2")


def wanted(rack: FakeRack, host: str, uuid: str) -> str | None:
    found = [one for one in rack.hosts[host].hypervisor.report().domains if one.uuid == uuid]
    return found[0].record.wanted if found and found[0].record else None


@pytest.mark.promise("P1")
@pytest.mark.parametrize("start", [True, False])
def test_its_source_starts_by_itself_nothing_that_may_run_elsewhere(start: bool) -> None:
    """The power may fail after the guest has begun to run at its target, and before its copy is gone."""
    rack, uuid = rack_with_vm(start=start)
    seen: dict[str, str | None] = {}
    rack.hosts["h1"].mover.at = lambda step: seen.update({step: wanted(rack, "h1", uuid)})
    migrate(rack)
    assert seen == {**dict.fromkeys(STEPS, "moving"), "confirm": None}
    assert wanted(rack, "h2", uuid) == ("running" if start else "stopped")


@pytest.mark.parametrize("step", ["begin", "perform"])
def test_one_that_stays_is_started_at_a_boot_again(step: str) -> None:
    rack, uuid = rack_with_vm()
    rack.hosts["h1"].mover.at = failing_at(step)
    with pytest.raises(RacksaltError):
        migrate(rack)
    assert wanted(rack, "h1", uuid) == "running"


@pytest.mark.promise("P1")
def test_a_source_that_lost_its_power_waits_for_a_look_at_both_ends() -> None:
    rack, uuid = rack_with_vm()
    settings = rack.rack.settings()
    MoveClaims(rack.rack, settings).hold(record_of(rack, uuid), "h2", How(), look(rack))
    rack.hosts["h1"].vms().write_wanted(uuid, "moving")
    rack.hosts["h1"].crash()
    assert rack.hosts["h1"].away().boot(wait_s=0)["started"] == []
    rack.clock.sleep(LATE_S)
    assert tidy(rack) and owners(rack, uuid) == {"h1": "running"} and wanted(rack, "h1", uuid) == "running"


def test_both_ends_tell_with_the_send_and_are_not_asked_again() -> None:
    rack, uuid = rack_with_vm()
    receipt = migrate(rack)
    moved = [call for call in rack.fleet.calls if call[1].startswith("rack_vm.")][-4:]
    assert moved == [("h1", "rack_vm.offer"), ("h2", "rack_vm.receive"), ("h1", "rack_vm.send"), ("h2", "rack_vm.send")]
    assert owners(rack, uuid) == {"h2": "running"} and nothing_of_it(rack, "h1")
    assert receipt["to"]["after"] == "running" and receipt["copied_bytes"] and receipt["generation"] == 2
    assert not rack.hosts["h2"].doors.open_to


@pytest.mark.parametrize("late", ["h1", "h2"])
def test_an_end_that_has_not_told_with_the_send_is_asked(late: str) -> None:
    rack, uuid = rack_with_vm()
    conclude = HostMoves.conclude
    failed: list[str] = []

    def once(self: HostMoves, request: EndMove) -> MoveEnd:
        if self.vms.host == late and not failed:
            failed.append(late)
            raise Unavailable("busy", "the host's lock is held")
        return conclude(self, request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HostMoves, "conclude", once)
        receipt = migrate(rack)
    assert (late, "rack_vm.conclude") in rack.fleet.calls
    assert owners(rack, uuid) == {"h2": "running"} and nothing_of_it(rack, "h1") and receipt["to"]["after"] == "running"


def test_one_that_goes_ahead_of_its_memory_is_not_awaited() -> None:
    rack, _ = rack_with_vm()
    migrate(rack, post_copy=True)
    assert ("h2", "rack_vm.send") not in rack.fleet.calls and ("h2", "rack_vm.conclude") in rack.fleet.calls


def test_a_target_that_is_taken_out_between_the_look_and_the_lock_gets_no_vm(monkeypatch: pytest.MonkeyPatch) -> None:
    rack, uuid = rack_with_vm()

    @contextmanager
    def locked() -> Iterator[None]:
        rack.rack.files.change(
            "hosts.yaml", lambda data: data["hosts"].update({"h2": {"enabled": False}}), lambda folder: None
        )
        yield

    monkeypatch.setattr(rack.claims, "locked", locked)
    with pytest.raises(Refused) as told:
        migrate(rack)
    assert told.value.code == "migration_refused" and owners(rack, uuid) == {"h1": "running"}
    assert open_claims(rack) == []
