"""Several moves from one source: the door is shut when the last of them is over, and not before."""

from __future__ import annotations

from pathlib import Path

import pytest

from racksalt.adapters.move_doors import DoorFiles
from racksalt.errors import Refused
from tests.fake_moves import FakePort
from tests.fakes import FakeClock

ONE, TWO = "0b5f2f40-4a4e-4b0e-9d2c-0b8f9f1d2c3e", "1b5f2f40-4a4e-4b0e-9d2c-0b8f9f1d2c3e"


@pytest.fixture
def doors(tmp_path: Path) -> DoorFiles:
    clock = FakeClock()
    return DoorFiles(FakePort(clock), clock, tmp_path / "doors")


def lets_in(doors: DoorFiles, source: str) -> bool:
    return doors.port.lets_in(source)  # type: ignore[attr-defined,no-any-return]


def test_a_source_is_let_in_until_its_move_is_over(doors: DoorFiles) -> None:
    doors.open(ONE, "h1", doors.clock.now() + 60)
    assert lets_in(doors, "h1") and not lets_in(doors, "h2")
    doors.close(ONE, "h1")
    doors.close(ONE, "h1")
    assert not lets_in(doors, "h1") and list(doors.root.iterdir()) == []


def test_the_end_of_one_move_leaves_the_others_theirs(doors: DoorFiles) -> None:
    doors.open(ONE, "h1", doors.clock.now() + 60)
    doors.open(TWO, "h1", doors.clock.now() + 30)
    doors.close(ONE, "h1")
    assert lets_in(doors, "h1")
    doors.close(TWO, "h1")
    assert not lets_in(doors, "h1")


def test_a_later_move_takes_no_time_from_an_earlier_one(doors: DoorFiles) -> None:
    doors.open(ONE, "h1", doors.clock.now() + 60)
    doors.open(TWO, "h1", doors.clock.now() + 10)
    doors.clock.sleep(30)
    assert lets_in(doors, "h1")


def test_a_move_that_is_past_its_time_holds_no_door(doors: DoorFiles) -> None:
    doors.open(ONE, "h1", doors.clock.now() + 10)
    doors.clock.sleep(20)
    (doors.root / "rest").write_text("{", encoding="utf-8")
    doors.open(TWO, "h1", doors.clock.now() + 10)
    doors.close(TWO, "h1")
    assert not lets_in(doors, "h1") and list(doors.root.iterdir()) == []


def test_a_deadline_that_is_over_opens_nothing(doors: DoorFiles) -> None:
    with pytest.raises(Refused) as told:
        doors.open(ONE, "h1", doors.clock.now() - 1)
    assert told.value.code == "claim_expired" and not lets_in(doors, "h1")


def test_a_door_is_open_until_it_is_closed_or_its_time_is_over(doors: DoorFiles) -> None:
    assert not doors.is_open(ONE)
    doors.open(ONE, "h1", doors.clock.now() + 10)
    assert doors.is_open(ONE) and not doors.is_open(TWO)
    doors.close(ONE, "h1")
    assert not doors.is_open(ONE)
    doors.open(ONE, "h1", doors.clock.now() + 10)
    doors.clock.sleep(11)
    assert not doors.is_open(ONE)
