"""A host that waits for a VM: until it is there, has gone again, or had to come."""

from __future__ import annotations

from dataclasses import replace

import pytest

from racksalt import move_xml
from racksalt.errors import NotFound
from racksalt.host_arrivals import HostArrivals
from racksalt.host_requests import MoveEnd, SendMove, Way
from racksalt.model import State
from tests.fakes import FakeRack
from tests.unit.test_rack_migrations import migrate, rack_with_vm, record_of


def awaited(rack: FakeRack, uuid: str, was: State = "running") -> tuple[MoveEnd, float]:
    """What h2 tells of a VM that is to come from h1 within a minute, and how long it takes to tell."""
    host, began = rack.hosts["h2"], rack.clock.time
    after = replace(record_of(rack, uuid), host="h2", generation=2)
    request = SendMove(after, "h1", "h2", began + 60, was, Way(timeout_s=300))
    return HostArrivals(host.moves()).await_arrival(request), rack.clock.time - began


@pytest.mark.parametrize("door", ["open", "shut"])
def test_a_vm_that_does_not_come_is_awaited_until_it_had_to(door: str) -> None:
    rack, uuid = rack_with_vm()
    if door == "open":
        rack.hosts["h2"].doors.open(uuid, "h1", rack.clock.now() + 60)
    told, took_s = awaited(rack, uuid)
    assert told == MoveEnd() and took_s == pytest.approx(60 if door == "open" else 0, abs=1)


@pytest.mark.parametrize("stays", [True, False])
def test_a_vm_that_comes_is_awaited_while_it_does_whatever_the_door_is(stays: bool) -> None:
    """It arrives, or it goes again; its door is shut after a while, as for one that takes long."""
    rack, uuid = rack_with_vm()
    host, began = rack.hosts["h2"], rack.clock.time
    host.doors.open(uuid, "h1", began + 60)

    def is_moving(_: str) -> bool:
        waited_s = rack.clock.time - began
        if waited_s > 50:
            host.doors.close(uuid, "h1")
        if waited_s < 5 or (waited_s > 200 and not stays):
            raise NotFound("vm_not_found", uuid)
        if waited_s > 200 and uuid not in host.hypervisor.xml:
            host.hypervisor.xml[uuid] = move_xml.with_record(rack.hosts["h1"].hypervisor.xml[uuid], record)
            host.hypervisor.states[uuid] = "running"
        return waited_s <= 200

    record = replace(record_of(rack, uuid), host="h2", generation=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host.hypervisor, "is_moving", is_moving)
        told, took_s = awaited(rack, uuid)
    assert took_s == pytest.approx(200, abs=1) and told.state == ("running" if stays else None)


def test_a_vm_that_comes_in_another_state_is_left_to_the_writer() -> None:
    rack, uuid = rack_with_vm()
    migrate(rack)
    rack.hosts["h2"].doors.open(uuid, "h1", rack.clock.now() + 60)
    told, took_s = awaited(rack, uuid, "paused")
    assert told == MoveEnd() and took_s < 2 and rack.hosts["h2"].doors.open_to
