"""A graceful stop, rung by rung, with the seconds that each was given."""

from __future__ import annotations

import pytest

from racksalt import domain_xml, stop_ladder
from racksalt.errors import Conflict, RacksaltError, Refused
from racksalt.host_requests import Ladder
from tests.fakes import FakeClock, FakeHypervisor
from tests.unit.test_domain_xml import PLANS, read

PLAN = read(PLANS[0])
UUID = PLAN.record.uuid


def running(*obeys: str) -> FakeHypervisor:
    hypervisor = FakeHypervisor(obeys=frozenset(obeys))
    hypervisor.define(domain_xml.build(PLAN))
    hypervisor.start(UUID)
    return hypervisor


def stop(
    hypervisor: FakeHypervisor, ladder: Ladder | None = None, *, hard: bool = False
) -> list[tuple[str, str, float]]:
    clock = FakeClock(tick=0)
    steps = stop_ladder.rungs(hypervisor, ladder or Ladder(), hard=hard)
    told = stop_ladder.descend(hypervisor, UUID, steps, clock)
    return [(step["rung"], step["result"], step["seconds"]) for step in told]


@pytest.mark.parametrize(
    ("obeys", "wanted"),
    [
        (["acpi"], [("acpi", "stopped", 0)]),
        (["ctrl_alt_del"], [("acpi", "ignored", 20), ("ctrl_alt_del", "stopped", 0)]),
        (["agent"], [("acpi", "ignored", 20), ("ctrl_alt_del", "ignored", 20), ("agent", "stopped", 0)]),
        (
            [],
            [
                ("acpi", "ignored", 20),
                ("ctrl_alt_del", "ignored", 20),
                ("agent", "unavailable", 0),
                ("hard", "stopped", 0),
            ],
        ),
    ],
)
def test_each_rung_is_given_its_time_and_the_first_that_works_ends_it(
    obeys: list[str], wanted: list[tuple[str, str, float]]
) -> None:
    hypervisor = running(*obeys)
    told = stop(hypervisor)
    assert [step[:2] for step in told] == [step[:2] for step in wanted]
    assert [step[2] for step in told] == pytest.approx([step[2] for step in wanted], abs=0.25)
    assert hypervisor.state(UUID) == "stopped"


def test_a_hard_stop_cuts_the_power_at_once() -> None:
    assert stop(running("acpi"), hard=True) == [("hard", "stopped", 0)]


def test_a_rung_of_no_seconds_is_left_out() -> None:
    told = stop(running(), Ladder(0, 3, 0))
    assert [step[:2] for step in told] == [("ctrl_alt_del", "ignored"), ("hard", "stopped")]
    assert told[0][2] == pytest.approx(3, abs=0.25)


def test_a_guest_that_takes_its_time_is_waited_for() -> None:
    hypervisor = running()
    clock = FakeClock(tick=0)

    class Slow(FakeClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if self.time > clock.time + 7:
                hypervisor.states[UUID] = "stopped"

    told = stop_ladder.descend(hypervisor, UUID, stop_ladder.rungs(hypervisor, Ladder(), hard=False), Slow(tick=0))
    assert [(step["rung"], step["result"]) for step in told] == [("acpi", "stopped")]
    assert told[0]["seconds"] == pytest.approx(7, abs=0.5)


def test_a_guest_that_stops_just_before_it_is_asked_is_stopped() -> None:
    hypervisor = running()
    hypervisor.states[UUID] = "crashed"
    assert [step[:2] for step in stop(hypervisor)] == [("acpi", "stopped")]


def test_a_guest_that_stops_while_it_is_asked_is_stopped() -> None:
    hypervisor = running()

    def gone(uuid: str) -> None:
        hypervisor.states[uuid] = "stopped"
        raise Conflict("vm_state", "domain is not running")

    hypervisor.press_power = gone  # type: ignore[method-assign]
    assert [step[:2] for step in stop(hypervisor)] == [("acpi", "stopped")]


@pytest.mark.parametrize("rung", ["acpi", "ctrl_alt_del", "agent"])
def test_a_polite_rung_that_goes_wrong_is_told_and_the_next_one_asks(rung: str) -> None:
    hypervisor = running("agent")

    def fail(step: str) -> None:
        if step == rung:
            raise Refused("libvirt_refused", "libvirt: guest agent command failed")

    hypervisor.fault = fail
    told = {step[0]: step[1] for step in stop(hypervisor)}
    assert told[rung] == "failed" and list(told.values())[-1] == "stopped"
    assert hypervisor.state(UUID) == "stopped"


def test_a_guest_that_stops_although_asking_went_wrong_is_stopped() -> None:
    hypervisor = running()

    def gone(uuid: str) -> None:
        hypervisor.states[uuid] = "stopped"
        raise Refused("libvirt_refused", "libvirt: cannot acquire state change lock")

    hypervisor.press_power = gone  # type: ignore[method-assign]
    assert [step[:2] for step in stop(hypervisor)] == [("acpi", "stopped")]


@pytest.mark.parametrize("error", [Refused("libvirt_refused", "stuck in D state"), Conflict("vm_state", "not now")])
def test_a_power_cut_that_fails_after_polite_rungs_is_told(error: RacksaltError) -> None:
    hypervisor = running()

    def fail(step: str) -> None:
        if step == "destroy":
            raise error

    hypervisor.fault = fail
    with pytest.raises(type(error)):
        stop(hypervisor)


def test_a_power_cut_that_fails_is_told() -> None:
    hypervisor = running()

    def fails(uuid: str) -> None:
        raise Refused("libvirt_refused", "stuck in D state")

    hypervisor.destroy = fails  # type: ignore[method-assign]
    with pytest.raises(Refused):
        stop(hypervisor, hard=True)
