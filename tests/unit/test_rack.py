"""The rack as its writer sees it: reports, silent hosts, and how claims end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from racksalt.errors import Refused
from racksalt.host_creates import HostCreates
from racksalt.inventory import Inventory
from racksalt.model import HostReport, Look, Record, Room
from racksalt.rack import silent_hosts
from tests.fakes import FakeRack, fake_rack, signed
from tests.unit.test_host_vms import request, vm


def look(rack: FakeRack) -> Inventory:
    return rack.rack.inventory(rack.rack.settings())


def own(record: Record) -> Record:
    return signed(replace(record, rack="test"))


def make(rack: FakeRack, number: int = 1) -> Record:
    """A VM that is really there, on h1."""
    record = own(vm(number))
    HostCreates(rack.hosts["h1"].vms()).create(replace(request(rack.clock, number), record=record))
    return record


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


def test_the_last_known_reports_may_be_deleted_at_any_time() -> None:
    rack = fake_rack()
    make(rack)
    before = look(rack)
    rack.rack.last_known.reports.clear()  # type: ignore[attr-defined]
    after = look(rack)
    assert [one.as_dict() for one in after.vms()] == [one.as_dict() for one in before.vms()]
    assert isinstance(rack.rack.last_known.read()["h1"], HostReport)
    assert after.loads()[0].used == before.loads()[0].used != Room()


def test_a_report_that_could_not_be_kept_is_no_answer_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk the one of before is still there, which does not have what was made since."""
    rack = fake_rack()
    look(rack)
    monkeypatch.setattr(rack.rack.last_known, "write", lambda report: None)
    make(rack)
    assert [vm.record.name for vm in look(rack).vms()] == ["web1"], "who asked himself has it"
    assert rack.rack.recent_inventory(rack.rack.settings()) is None
    monkeypatch.undo()
    look(rack)
    assert rack.rack.recent_inventory(rack.rack.settings()) is not None


def test_a_shared_look_whose_report_could_not_be_kept_tells_so() -> None:
    rack = fake_rack()
    look(rack)
    later = rack.clock.time + 1.5 * rack.clock.tick
    rack.rack.last_known.write_look(Look(later, dict.fromkeys(rack.hosts, "")))
    seen = look(rack)
    assert {view.error for view in seen.hosts.values()} == {"its report was lost; ask again"}
    assert not any(view.answers for view in seen.hosts.values())


def test_a_part_of_a_look_whose_report_could_not_be_kept_tells_so(monkeypatch: pytest.MonkeyPatch) -> None:
    rack = fake_rack(hosts=2)
    look(rack)
    settings = rack.rack.settings()
    rack.rack.last_known.write_live(replace(rack.rack.last_known.read_one("h2"), read_at=rack.clock.now()))
    rack.clock.sleep(1)
    monkeypatch.setattr(rack.rack.last_known, "write", lambda report: None)
    seen = rack.rack.live_inventory(settings)
    assert seen.hosts["h2"].answers and seen.hosts["h1"].error == "its report was lost; ask again"


def test_what_events_add_to_a_look_is_as_new_as_it() -> None:
    """A deletion writes what is known of its host, which others may share a look of."""
    rack = fake_rack()
    record = make(rack)
    look(rack)
    looked = rack.rack.last_known.read_one("h1")
    assert looked is not None
    rack.rack.last_known.write_live(replace(looked, uptime_s=looked.uptime_s + 1, read_at=looked.read_at - 3))
    rack.rack.forget_vm("h1", record.uuid)
    recent = rack.rack.recent_inventory(rack.rack.settings())
    assert recent is not None and recent.hosts["h1"].answers and recent.vms() == []
