"""libvirt moving a domain between two hosts, in memory: its steps, and what it leaves when one of them fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from racksalt import move_xml
from racksalt.errors import NotFound, Refused, Unavailable
from racksalt.host_requests import MoveProgress, MoveStats, Way
from racksalt.model import Record
from racksalt.ports import Clock

if TYPE_CHECKING:
    from tests.fakes import FakeHypervisor

#: A move's steps, as libvirt takes them: up to ``finish`` the guest is the source's, from then on the target's.
STEPS = ("begin", "prepare", "perform", "finish", "confirm")


@dataclass
class FakeDoors:
    """Who is let in for which VM, until when."""

    open_to: dict[tuple[str, str], float] = field(default_factory=dict)
    fault: Callable[[str], None] = lambda step: None
    #: With one, nobody is let in after the time.
    clock: Clock | None = None

    def open(self, uuid: str, source: str, until_s: float) -> None:
        self.fault("open")
        self.open_to[uuid, source] = until_s

    def close(self, uuid: str, source: str) -> None:
        self.fault("close")
        self.open_to.pop((uuid, source), None)

    def is_open(self, uuid: str) -> bool:
        return any(known == uuid for known, _ in self.open_to)

    def let_in(self, source: str) -> bool:
        now = self.clock.now() if self.clock else 0.0
        return any(name == source and now < until_s for (_, name), until_s in self.open_to.items())


@dataclass
class FakePort:
    """The migration port: who may open a connection, until when by ``clock``."""

    clock: Clock
    until: dict[str, float] = field(default_factory=dict)

    def open(self, source: str, until_s: float) -> None:
        if until_s <= self.clock.now():
            raise Refused("claim_expired", "the migration had to begin before")
        self.until[source] = until_s

    def close(self, source: str) -> None:
        self.until.pop(source, None)

    def lets_in(self, source: str) -> bool:
        return self.until.get(source, 0.0) > self.clock.now()


@dataclass
class FakeMoves:
    """One host's side; ``at(step)`` may raise at any of :data:`STEPS`, or do something else to the hosts.

    ``lingers`` says that what has come to the target stays there for a while when the move fails.
    """

    host: str
    hypervisor: FakeHypervisor
    peers: Mapping[str, FakeHypervisor] = field(default_factory=dict)
    doors: Mapping[str, FakeDoors] = field(default_factory=dict)
    at: Callable[[str], None] = lambda step: None
    lingers: bool = False
    kept: dict[str, list[str]] = field(default_factory=dict)
    aborted: list[str] = field(default_factory=list)
    sent: list[tuple[str, Way, bool]] = field(default_factory=list)
    sending: dict[str, object] = field(default_factory=dict)

    @contextmanager
    def lock(self, uuid: str, *, wait_s: float) -> Iterator[None]:
        mine = object()
        if self.sending.setdefault(uuid, mine) is not mine:
            raise Unavailable("busy", "held")
        try:
            yield
        finally:
            del self.sending[uuid]

    def disk_bytes(self, uuid: str, device: str) -> tuple[int, int]:
        return 2**30, 5 * 2**20

    def snapshots(self, uuid: str) -> list[str]:
        return self.kept.get(uuid, [])

    def start_paused(self, uuid: str) -> None:
        self.hypervisor.start(uuid)
        self.hypervisor.suspend(uuid)

    def move(self, record: Record, target: str, way: Way, *, shared: bool) -> None:
        self.sent.append((target, way, shared))
        other, uuid = self.peers[target], record.uuid
        try:
            self._move(record, other, self.doors.get(target))
        except Unavailable:
            self.hypervisor.moving.discard(uuid)
            if uuid in other.moving and not self.lingers:
                self._forget(other, uuid)
            raise

    def abort_move(self, uuid: str) -> None:
        self.aborted.append(uuid)

    def move_stats(self, uuid: str) -> MoveStats | None:
        if uuid not in self.hypervisor.states:
            raise NotFound("vm_not_found", uuid)
        return None if uuid in self.hypervisor.moving else MoveStats(140 * 2**20, 1500, 40)

    def move_progress(self, uuid: str) -> MoveProgress | None:
        return MoveProgress(30 * 2**20, 90 * 2**20, 1) if uuid in self.hypervisor.moving else None

    def end_lingering(self, uuid: str) -> None:
        """What libvirt does by itself at the target after a while."""
        self._forget(self.hypervisor, uuid)

    def _move(self, record: Record, other: Any, door: FakeDoors | None) -> None:
        uuid, here = record.uuid, self.hypervisor
        self.at("begin")
        here.moving.add(uuid)
        if door is not None and not door.let_in(self.host):
            raise Unavailable("migration_failed", "connection refused")
        other.xml[uuid] = move_xml.with_record(here.xml[uuid], record)
        other.states[uuid] = "paused"
        other.moving.add(uuid)
        other.transient.add(uuid)
        self.at("prepare")
        self.at("perform")
        other.transient.discard(uuid)
        other.moving.discard(uuid)
        other.states[uuid] = here.states[uuid]
        self.at("finish")
        here.moving.discard(uuid)
        del here.xml[uuid], here.states[uuid]
        self.at("confirm")

    def _forget(self, other: Any, uuid: str) -> None:
        other.moving.discard(uuid)
        other.transient.discard(uuid)
        other.xml.pop(uuid, None)
        other.states.pop(uuid, None)
