"""The writer's watch on a fake rack."""

from __future__ import annotations

import json

from racksalt.model import Claim
from racksalt.rack_watch import TICK_S, RackWatch
from tests.fakes import FakeRack, fake_rack
from tests.unit.test_host_vms import vm
from tests.unit.test_rack import own

LATE_S = 600.0


def hold_late(rack: FakeRack) -> None:
    rack.claims.write(Claim(own(vm()), rack.clock.time - LATE_S))


def lines(rack: FakeRack) -> list[str]:
    return [json.loads(text)["kind"] for text in rack.rack.audit.texts]  # type: ignore[attr-defined]


def test_a_claim_past_its_time_is_ended_and_told() -> None:
    rack, watch = fake_rack(), RackWatch()
    hold_late(rack)
    watch.turn(rack.rack, None)
    assert not rack.claims.held and lines(rack) == ["outcome"]


def test_without_claims_hosts_are_asked_once_at_the_beginning() -> None:
    rack, watch = fake_rack(), RackWatch()
    for _ in range(100):
        watch.turn(rack.rack, None)
    assert rack.fleet.calls == [(host, "rack_host.report") for host in ("h1", "h2", "h3")]


def test_a_silent_host_is_asked_less_and_less_often() -> None:
    rack, watch = fake_rack(hosts=1), RackWatch()
    hold_late(rack)
    rack.hosts["h1"].silent = True
    for _ in range(100):
        rack.clock.sleep(TICK_S)
        watch.turn(rack.rack, None)
    assert rack.claims.held and 3 < len(rack.fleet.calls) < 12 and lines(rack) == []
    rack.hosts["h1"].silent = False
    rack.clock.sleep(LATE_S)
    watch.turn(rack.rack, None)
    assert not rack.claims.held


def test_another_master_than_the_writer_ends_nothing() -> None:
    rack = fake_rack()
    hold_late(rack)
    rack.files.data["hosts.yaml"]["writer"] = "other"
    RackWatch().turn(rack.rack, None)
    assert rack.claims.held and {function for _, function in rack.fleet.calls} == {"rack_host.report"}


def test_unsigned_events_are_told_once_a_minute_for_each_sender() -> None:
    rack, watch = fake_rack(), RackWatch()
    for number in range(300):
        watch.turn(rack.rack, {"tag": "racksalt/vm/state", "data": {"id": f"h{number % 3}"}})
    assert lines(rack) == ["dropped"] * 3
    for number in range(10_000):
        watch.turn(rack.rack, {"tag": "racksalt/x", "data": {"id": f"made-up-{number}"}})
    assert len(lines(rack)) < 110


def test_wrong_files_are_tried_again_later() -> None:
    rack, watch = fake_rack(), RackWatch()
    hold_late(rack)
    good = rack.files.data["hosts.yaml"]
    rack.files.data["hosts.yaml"] = {}
    watch.turn(rack.rack, None)
    rack.files.data["hosts.yaml"] = good
    watch.turn(rack.rack, None)
    assert not rack.claims.held
