"""What stays of a move that was cut off: who may start the VM meanwhile, and what comes late does nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from racksalt import record as records
from racksalt import shape
from racksalt.errors import Conflict, Refused, Unavailable
from racksalt.host_arrivals import HostArrivals
from racksalt.host_departures import HostDepartures
from racksalt.host_requests import ActOnHost, EndMove, RecallMove, Verb, WithdrawMove
from racksalt.migration import How
from racksalt.model import Claim
from racksalt.move_claims import MoveClaims
from racksalt.rack_pending import keep_off
from racksalt.rack_watch import RackWatch
from tests.fakes import FakeRack
from tests.unit.test_rack import look
from tests.unit.test_rack_migrations import (
    LATE_S,
    migrate,
    owners,
    rack_with_vm,
    record_of,
    tidy,
    wanted,
)


def claimed(rack: FakeRack, uuid: str) -> Claim:
    """A move from h1 to h2, claimed and not begun."""
    return MoveClaims(rack.rack, rack.rack.settings()).hold(record_of(rack, uuid), "h2", How(), look(rack))


@pytest.mark.promise("P1")
@pytest.mark.parametrize("verb", ["start", "restart"])
def test_a_host_starts_nothing_that_may_run_elsewhere_not_even_by_hand(verb: Verb) -> None:
    rack, uuid = rack_with_vm()
    source = rack.hosts["h1"]
    source.vms().write_wanted(uuid, "moving")
    source.crash()
    with pytest.raises(Conflict) as told:
        source.vms().act(ActOnHost(uuid, verb, hard=verb == "restart"))
    assert told.value.code == "vm_moving" and owners(rack, uuid) == {"h1": "stopped"}


@pytest.mark.parametrize("answers", [True, False])
def test_it_is_free_again_where_its_target_was_taken_out_of_the_rack(answers: bool) -> None:
    rack, uuid = rack_with_vm()
    claimed(rack, uuid)
    rack.hosts["h1"].vms().write_wanted(uuid, "moving")
    rack.hosts["h1"].crash()
    rack.rack.files.change("hosts.yaml", lambda data: data["hosts"].pop("h2"), lambda folder: None)
    rack.hosts["h1"].silent = not answers
    rack.clock.sleep(LATE_S)
    assert bool(tidy(rack)) is answers and bool(rack.claims.all()) is not answers
    rack.hosts["h1"].silent = False
    rack.clock.sleep(LATE_S)
    tidy(rack)
    assert not rack.claims.all() and owners(rack, uuid) == {"h1": "running"}
    assert wanted(rack, "h1", uuid) == "running"


def test_its_source_starts_at_a_boot_what_has_not_begun_to_leave() -> None:
    rack, uuid = rack_with_vm()
    claimed(rack, uuid)
    assert keep_off("h1", look(rack)) == ()
    rack.hosts["h1"].vms().write_wanted(uuid, "moving")
    assert keep_off("h1", look(rack)) == (uuid,)


def test_one_that_has_arrived_and_whose_host_lost_its_power_runs_again_after_the_look() -> None:
    rack, uuid = rack_with_vm()
    before = rack.fleet.before

    def power(host: str, function: str) -> None:
        if function == "rack_vm.send" and host == "h2":
            rack.hosts["h2"].crash()
            rack.hosts["h2"].silent = rack.hosts["h1"].silent = True

    rack.fleet.before = power
    with pytest.raises(Unavailable):
        migrate(rack)
    rack.fleet.before = before
    rack.hosts["h1"].silent = rack.hosts["h2"].silent = False
    rack.hosts["h2"].word.write(keep_off("h2", look(rack)))
    assert rack.hosts["h2"].away().boot(wait_s=0)["started"] == []
    rack.clock.sleep(LATE_S)
    RackWatch().tick(rack.rack)
    assert owners(rack, uuid) == {"h2": "running"} and wanted(rack, "h2", uuid) == "running"


def test_one_that_was_stopped_before_it_was_sent_is_not_booted_by_a_look() -> None:
    rack, uuid = rack_with_vm()
    claim = claimed(rack, uuid)
    migrate_end = EndMove(claim.record, "h1", "running", looked=True)
    target = rack.hosts["h2"]
    arrived = replace(claim.record, wanted="stopped")
    target.hypervisor.xml[uuid] = rack.hosts["h1"].hypervisor.xml[uuid]
    target.hypervisor.states[uuid] = "paused"
    target.hypervisor.write_record(uuid, records.to_xml(arrived))
    assert target.moves().conclude(migrate_end).state == "stopped"


def test_what_comes_after_its_time_undoes_nothing() -> None:
    rack, uuid = rack_with_vm()
    claim = claimed(rack, uuid)
    source, target = rack.hosts["h1"], rack.hosts["h2"]
    late = rack.clock.time - 1
    with pytest.raises(Refused) as told:
        HostArrivals(target.moves()).withdraw(WithdrawMove(claim.record, "h1", late, looked=True))
    assert told.value.code == "claim_expired"
    with pytest.raises(Refused) as told:
        HostDepartures(source.moves()).recall(RecallMove(uuid, "running", late))
    assert told.value.code == "claim_expired" and owners(rack, uuid) == {"h1": "running"}
    assert shape.parse(WithdrawMove, shape.plain(WithdrawMove(claim.record, "h1", late))).deadline == late


def test_a_note_that_comes_after_the_mark_goes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    rack, uuid = rack_with_vm(start=False)
    source = rack.hosts["h1"]
    start_paused = source.mover.start_paused

    def started(known: str) -> None:
        start_paused(known)
        before = replace(source.vms(), is_sent=lambda uuid: False)  # that it is being sent was not known yet
        before.act(ActOnHost(known, "note", note="late"))

    monkeypatch.setattr(source.mover, "start_paused", started)
    migrate(rack)
    assert record_of(rack, uuid).note == "late" and wanted(rack, "h2", uuid) == "stopped"
