"""The rack as its writer sees it: reports, silent hosts, and how claims end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from racksalt.errors import Refused
from racksalt.inventory import Inventory
from racksalt.model import Claim, HostReport, Record, Room
from racksalt.rack import CLAIM_GRACE_S, silent_hosts
from tests.fakes import FakeRack, fake_rack
from tests.unit.test_host_vms import UUID, request, vm


def look(rack: FakeRack) -> Inventory:
    return rack.rack.inventory(rack.rack.settings())


def hold(rack: FakeRack, record: Record, *, age_s: float = 0.0, settled_at: float | None = None) -> None:
    rack.claims.write(Claim(record, rack.clock.time - age_s, settled_at))


def own(record: Record) -> Record:
    return replace(record, rack="test")


def make(rack: FakeRack, number: int = 1) -> Record:
    """A VM that is really there, on h1."""
    record = own(vm(number))
    rack.hosts["h1"].vms().create(replace(request(rack.clock, number), record=record))
    return record


LATE_S = CLAIM_GRACE_S + 1


def test_a_report_is_kept_as_the_last_known_one() -> None:
    rack = fake_rack()
    make(rack)
    look(rack)
    rack.hosts["h1"].silent = True
    seen = look(rack)
    assert [one.state for one in seen.vms()] == ["unknown"]
    assert list(silent_hosts(seen)) == ["h1"] and "silent for" in silent_hosts(seen)["h1"]


def test_a_report_is_as_old_as_the_moment_before_the_question() -> None:
    rack = fake_rack(hosts=1)
    rack.fleet.before = lambda host, function: rack.clock.sleep(5)
    began = rack.clock.time
    report = look(rack).hosts["h1"].report
    assert report is not None and report.read_at < began + 1


def test_a_host_cannot_report_under_another_name() -> None:
    rack = fake_rack(hosts=2)
    said = rack.hosts["h1"].vms().report()
    rack.hosts["h1"].hypervisor.report = lambda: replace(said, host="h2")  # type: ignore[method-assign]
    views = look(rack).hosts
    assert views["h1"].report is not None and views["h1"].report.host == "h1"
    assert set(rack.rack.last_known.read()) == {"h1", "h2"}


def test_a_host_that_tells_an_error_counts_as_silent_with_its_words() -> None:
    rack = fake_rack()

    def down(step: str) -> None:
        raise Refused("libvirt_down", "libvirt does not answer")

    rack.hosts["h2"].hypervisor.fault = down
    assert silent_hosts(look(rack)) == {"h2": "libvirt does not answer"}


@pytest.mark.parametrize("answer", [None, "text", [], {}, {"host": "h1"}, {"host": "h1", "total": {}, "more": 1}])
def test_a_host_that_answers_nonsense_counts_as_silent(answer: object) -> None:
    rack = fake_rack()
    rack.hosts["h1"].call = lambda function, request: answer  # type: ignore[method-assign]
    seen = look(rack)
    assert "cannot be read" in silent_hosts(seen)["h1"] and seen.hosts["h2"].answers


def test_a_settled_claim_goes_when_a_report_shows_it_for_long_enough() -> None:
    rack = fake_rack()
    hold(rack, make(rack), settled_at=rack.clock.time)
    rack.rack.tidy_claims(look(rack))
    assert rack.claims.held
    rack.clock.sleep(LATE_S)
    rack.rack.tidy_claims(look(rack))
    assert not rack.claims.held and rack.vms_on_hosts() == ["acme.web1"]


def test_a_settled_claim_of_a_silent_host_stays() -> None:
    rack = fake_rack()
    record = make(rack)
    rack.hosts["h1"].silent = True
    rack.claims.write(Claim(record, rack.clock.time, rack.clock.time))
    rack.clock.sleep(10 * LATE_S)
    rack.rack.tidy_claims(look(rack))
    assert list(rack.claims.held) == [record.uuid]


def test_an_open_claim_within_its_time_is_left_alone() -> None:
    rack = fake_rack()
    hold(rack, own(vm()))
    rack.rack.tidy_claims(look(rack))
    assert list(rack.claims.held) == [UUID.format(1)]
    assert ("h1", "rack_vm.purge") not in rack.fleet.calls


def test_a_late_claim_that_the_host_shows_has_become_a_vm() -> None:
    rack = fake_rack()
    hold(rack, make(rack), age_s=LATE_S)
    rack.rack.tidy_claims(look(rack))
    assert not rack.claims.held and rack.vms_on_hosts() == ["acme.web1"]
    assert ("h1", "rack_vm.purge") not in rack.fleet.calls


def test_a_late_claim_that_the_host_does_not_show_is_purged_there() -> None:
    rack = fake_rack()
    rack.hosts["h1"].volumes.files.add(f"/volumes/acme/{UUID.format(1)}.qcow2")
    hold(rack, own(vm()), age_s=LATE_S)
    rack.rack.tidy_claims(look(rack))
    assert not rack.claims.held and rack.leftovers() == []


def test_a_late_claim_of_a_silent_host_stays_until_it_answers() -> None:
    rack = fake_rack()
    hold(rack, own(vm()), age_s=LATE_S)
    rack.hosts["h1"].silent = True
    rack.rack.tidy_claims(look(rack))
    assert rack.claims.held
    rack.hosts["h1"].silent = False
    rack.rack.tidy_claims(look(rack))
    assert not rack.claims.held


def test_a_claim_stays_when_the_purge_is_not_confirmed() -> None:
    rack = fake_rack()
    hold(rack, own(vm()), age_s=LATE_S)
    seen = look(rack)
    rack.hosts["h1"].loses_returns = True
    rack.rack.tidy_claims(seen)
    assert rack.claims.held


def test_a_claim_of_a_host_that_is_in_no_file_any_more_stays() -> None:
    rack = fake_rack()
    hold(rack, own(vm(host="h9")), age_s=LATE_S)
    rack.rack.tidy_claims(look(rack))
    assert rack.claims.held


def test_the_last_known_reports_may_be_deleted_at_any_time() -> None:
    rack = fake_rack()
    make(rack)
    before = look(rack)
    rack.rack.last_known.reports.clear()  # type: ignore[attr-defined]
    after = look(rack)
    assert [one.as_dict() for one in after.vms()] == [one.as_dict() for one in before.vms()]
    assert isinstance(rack.rack.last_known.read()["h1"], HostReport)
    assert after.loads()[0].used == before.loads()[0].used != Room()
