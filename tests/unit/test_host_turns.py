"""VMs that leave a host by one call: each in its turn, and this host's until then."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from racksalt import host_several, shape
from racksalt.errors import Unavailable
from racksalt.host_requests import SendMove, Sent, Way
from racksalt.host_turns import HostTurns
from racksalt.model import Record
from tests.fake_moves import FakeMoves
from tests.fakes import FakeClock, FakeHypervisor
from tests.unit.test_migration import AFTER

UUIDS = [f"00000000-0000-4000-8000-{n:012}" for n in range(6)]


def record(n: int) -> Record:
    return replace(AFTER, uuid=UUIDS[n])


@dataclass
class Source:
    """A host of which each departure is ``act(uuid)``."""

    act: Callable[[str], Any] = lambda uuid: None
    clock: FakeClock = field(default_factory=FakeClock)
    mover: FakeMoves = field(default_factory=lambda: FakeMoves("h1", FakeHypervisor()))
    connections: int = 0
    sent: list[str] = field(default_factory=list)

    def send(self, move: SendMove, held: Any) -> Sent:
        assert move.record.uuid in self.mover.sending, "its lock is held"
        self.act(move.record.uuid)
        held.close()
        self.sent.append(move.record.uuid)
        return Sent("running")

    @contextmanager
    def connected(self) -> Iterator[Any]:
        self.connections += 1
        yield self

    def asked(self, *numbers: int, until: float = 60.0, abreast: int = 1, more: Any = ()) -> list[dict[str, Any]]:
        """What is told of each."""
        deadline = self.clock.now() + until
        requests: list[Mapping[str, Any]] = [
            shape.plain(SendMove(record(n), "h1", "h2", deadline, "running", Way(), shared=True)) for n in numbers
        ]
        request = host_several.request_of({"h1": [*requests, *more]}, abreast=abreast)
        return HostTurns(self.mover.lock, self.clock, self.connected).send(request, "h1")


def codes(told: list[dict[str, Any]]) -> list[str]:
    return [one["error"]["code"] if "error" in one else "sent" for one in told]


def test_who_waits_is_held_until_its_turn_and_who_has_left_is_not() -> None:
    source, held = Source(), list[set[str]]()
    source.act = lambda uuid: held.append(set(source.mover.sending))
    assert codes(source.asked(0, 1, 2)) == ["sent"] * 3
    assert held == [set(UUIDS[:3]), set(UUIDS[1:3]), set(UUIDS[2:3])] and not source.mover.sending
    assert source.sent == UUIDS[:3] and source.connections == 3


def test_each_turn_has_a_connection_of_its_own_and_so_many_come_at_a_time() -> None:
    both = threading.Barrier(2, timeout=10)
    source = Source(lambda uuid: both.wait())
    assert codes(source.asked(0, 1, 2, 3, abreast=2)) == ["sent"] * 4 and source.connections == 4


def test_a_turn_that_comes_too_late_is_missed_and_nothing_has_begun() -> None:
    source = Source()
    source.act = lambda uuid: source.clock.sleep(35)
    told = source.asked(0, 1, 2, 3)
    assert codes(told) == ["sent", "sent", "turn_missed", "turn_missed"]
    assert source.sent == UUIDS[:2] and source.connections == 2 and not source.mover.sending
    assert "may be asked for alone" in told[2]["error"]["detail"]


def test_a_vm_that_is_named_twice_moves_once() -> None:
    source = Source()
    assert codes(source.asked(0, 0, 1)) == ["sent", "busy", "sent"] and source.sent == UUIDS[:2]


def test_one_that_somebody_else_looks_at_keeps_no_other_back() -> None:
    source = Source()
    with source.mover.lock(UUIDS[1], wait_s=0):
        assert codes(source.asked(0, 1, 2)) == ["sent", "busy", "sent"]
        assert set(source.mover.sending) == {UUIDS[1]}
    assert not source.mover.sending


def test_what_fails_is_the_one_moves_alone() -> None:
    def act(uuid: str) -> None:
        if uuid == UUIDS[0]:
            raise Unavailable("migration_failed", "connection refused")
        if uuid == UUIDS[1]:
            raise ZeroDivisionError("by zero")

    source = Source(act)
    told = source.asked(0, 1, 2, more=[{}, {"record": 1}, {"record": {"uuid": "../../etc/passwd"}}])
    assert codes(told) == ["migration_failed", "host_failed", "sent", "bad_input", "bad_input", "bad_input"]
    assert source.sent == UUIDS[2:3] and not source.mover.sending


@pytest.mark.parametrize("deadline", [-10.0, 19.0])
def test_what_came_too_late_from_the_first_is_missed_too(deadline: float) -> None:
    source = Source()
    assert codes(source.asked(0, 1, until=deadline)) == ["turn_missed"] * 2 and not source.connections
