"""A rack that only pretends: reads are served from one value, and whatever would change something is written down.

The same code as ever runs on it; no host is asked, no file is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from racksalt import audit
from racksalt.audit import Entry
from racksalt.audit_check import Raw
from racksalt.errors import NotFound
from racksalt.host_requests import KeepSnapshot
from racksalt.inventory import Inventory
from racksalt.job_trail import Kept, Running
from racksalt.model import Claim, Head, HostReport, Look, SnapshotHead
from racksalt.noted_fleet import READS
from racksalt.ports import Answer, Silent, SourceFile, SourceFolder
from racksalt.rack import Rack
from racksalt.record_proof import Ring
from racksalt.settings import Settings

T = TypeVar("T")

_NO_LINE = Head(0, "0" * 64)
#: The jobs were asked for so long ago.
_AGO_S = 600.0


@dataclass(frozen=True, slots=True)
class Effect:
    """What a call would have changed, and whose; ``None`` where it is no single tenant's."""

    what: str
    tenant: str | None


@dataclass(slots=True)
class Effects:
    """All that was tried on one pretended rack; ``owners`` are the tenants of its VMs by UUID, and of its jobs."""

    owners: Mapping[str, str]
    seen: list[Effect] = field(default_factory=list)

    def note(self, what: str, tenant: str | None = None) -> None:
        """Write one down."""
        self.seen.append(Effect(what, tenant))

    def of_known(self, what: str, known: str) -> None:
        """Write down one on a VM or a job."""
        self.note(what, self.owners.get(known))


@dataclass(frozen=True, slots=True)
class _Files:
    effects: Effects

    @contextmanager
    def locked(self) -> Iterator[None]:
        yield

    def read(self, name: str) -> SourceFile:
        raise NotImplementedError("the pretended rack has its settings as a value")

    def once(self, names: Collection[str], parse: Callable[[SourceFolder], T]) -> T:
        raise NotImplementedError("the pretended rack has its settings as a value")

    def stamp(self, names: Collection[str]) -> Hashable:
        raise NotImplementedError("the pretended rack has its settings as a value")

    def change(self, name: str, edit: Callable[[Any], None], check: Callable[[SourceFolder], Any]) -> None:
        for tenant in _tenants_of(name, edit) or (None,):
            self.effects.note(f"change {name}", tenant)


def _tenants_of(name: str, edit: Callable[[Any], None]) -> list[str]:
    """Whose VMs an edit of ``pending.yaml`` puts there; the other files are the rack's."""
    if name != "pending.yaml":
        return []
    data: dict[str, Any] = {}
    edit(data)
    return [entry["tenant"] for entry in data.get("deletions", {}).values()]


@dataclass(frozen=True, slots=True)
class _Fleet:
    effects: Effects

    def ask(
        self,
        hosts: Sequence[str],
        function: str,
        request: Mapping[str, Any],
        *,
        timeout_s: float,
        lead: str | None = None,
    ) -> dict[str, Answer]:
        if function not in READS:
            self._note(function, request.get("request", {}))
        return {host: Silent(timeout_s) for host in hosts}

    def seal(self, host: str, text: str, *, context: str) -> str:
        return ".".join(["sealed" * 4] * 3)

    def public_key(self, host: str) -> str:
        return ""

    def proves(self, host: str, data: bytes, signature: str) -> bool:
        return False

    def _note(self, function: str, request: Mapping[str, Any]) -> None:
        record = request.get("record")
        if isinstance(record, Mapping):
            self.effects.note(function, record.get("tenant"))
        elif isinstance(request.get("uuid"), str):
            self.effects.of_known(function, request["uuid"])
        else:
            self.effects.note(function)


@dataclass(frozen=True, slots=True)
class _Claims:
    effects: Effects
    held: tuple[Claim, ...]

    @contextmanager
    def locked(self) -> Iterator[None]:
        yield

    def all(self) -> list[Claim]:
        return list(self.held)

    def certain(self) -> list[Claim]:
        return list(self.held)

    def write(self, claim: Claim) -> None:
        self.effects.note("write a claim", claim.record.tenant)

    def remove(self, uuid: str) -> None:
        """Of a claim that this call itself has written, or of one that is held."""
        if uuid in {claim.record.uuid for claim in self.held}:
            self.effects.of_known("remove a claim", uuid)


@dataclass(frozen=True, slots=True)
class _LastKnown:
    effects: Effects

    def locked(self) -> Any:
        return nullcontext()

    def look(self) -> Look | None:
        return None

    def write_look(self, look: Look) -> None:
        self.effects.note("write the last look at the hosts")

    def read(self) -> dict[str, HostReport]:
        return {}

    def read_one(self, host: str) -> HostReport | None:
        return None

    def clear(self, *, keep: Collection[str]) -> None:
        self.effects.note("drop the hosts' last reports")

    def write(self, report: HostReport) -> None:
        self.effects.note("write a host's last report")

    def live(self) -> dict[str, HostReport]:
        return {}

    def live_one(self, host: str) -> HostReport | None:
        return None

    def write_live(self, report: HostReport) -> None:
        self.effects.note("write what a host's events add up to")

    def drop_live(self, host: str) -> None:
        self.effects.note("drop what a host's events add up to")

    def touched(self) -> dict[str, float]:
        return {}

    def touched_unclaimed(self) -> dict[str, float]:
        return {}

    def touch(self, host: str, at: float, *, claimed: bool = False) -> None:
        """A note for readers; what was done to the host is written down where it was asked."""

    def part(self) -> Look | None:
        return None

    def write_part(self, look: Look) -> None:
        self.effects.note("write the last look at some hosts")


@dataclass(frozen=True, slots=True)
class _KeyRing:
    """A key of its own: what it signs is worth nothing."""

    effects: Effects

    def read(self) -> Ring:
        return Ring({1: b"pretended" * 4})

    def add(self) -> Ring:
        self.effects.note("make a key")
        return self.read()

    def keep_only(self, number: int) -> list[int]:
        self.effects.note("remove keys")
        return []


@dataclass(frozen=True, slots=True)
class _Audit:
    """Takes every line, as an audit changes nothing; has what it was made with."""

    told: tuple[bytes, ...]

    def append(self, entry: Entry) -> Head:
        return _NO_LINE

    def head(self) -> Head | None:
        return _NO_LINE

    def lines(self) -> Iterator[Raw]:
        return (Raw("audit.jsonl", row, text) for row, text in enumerate(self.told, 1))

    def newest(self, *, since: float = 0.0) -> Iterator[bytes]:
        return reversed(self.told)


@dataclass(frozen=True, slots=True)
class _Jobs:
    effects: Effects
    lives: tuple[Running, ...]
    keeps_s: float = 86400.0

    def running(self) -> list[Running]:
        return list(self.lives)

    def newest(self) -> Iterator[Kept]:
        return iter(())

    def read(self, job: str) -> Kept | None:
        return None

    def stop(self, job: str) -> bool:
        self.effects.of_known("stop a job", job)
        return True


@dataclass(frozen=True, slots=True)
class _NoAcl:
    """Nobody asks a pretended rack for its fences."""

    def functions(self) -> Mapping[str, Collection[str]]:
        return {}

    def settings(self) -> Mapping[str, Any]:
        return {}

    def entries(self, login: str, groups: Sequence[str]) -> list[Any]:
        return []

    def admits(self, entries: Sequence[Any], kind: str, fun: str) -> bool:
        return False

    def file_of(self, key: str) -> str:
        return ""


@dataclass(frozen=True, slots=True)
class _NoSnapshots:
    """A pretended rack is read from its values alone."""

    def heads(self) -> tuple[SnapshotHead, ...]:
        return ()

    def read(self, master: str, name: str) -> str | None:
        return None

    def keep(self, asked: KeepSnapshot) -> list[str]:
        return []

    def seal(self, data: bytes, label: str, ring: Ring) -> str:
        return ""

    def unseal(self, text: str, label: str, ring: Ring) -> bytes:
        return b""


@dataclass(slots=True)
class _Clock:
    """Time goes on by waiting alone, so that a call's waiting can be told exactly."""

    begin: float
    waited_s: float = 0.0

    def now(self) -> float:
        return self.begin + self.waited_s

    def steady(self) -> float:
        return self.waited_s

    def sleep(self, seconds: float) -> None:
        self.waited_s += seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class PretendedRack(Rack):
    """A rack whose files and hosts are the values ``current`` and ``seen``."""

    current: Settings
    seen: Inventory
    effects: Effects
    waits: _Clock

    def settings(self) -> Settings:
        """As it is given."""
        return self.current

    def is_current(self, known: Settings) -> bool:
        """Nobody changes a value."""
        return True

    def inventory(self, current: Settings) -> Inventory:
        """As it is given."""
        return self.seen

    def live_inventory(self, current: Settings) -> Inventory:
        """As it is given."""
        return self.seen

    def recent_inventory(self, current: Settings) -> Inventory | None:
        """As it is given."""
        return self.seen

    def take(self) -> tuple[tuple[Effect, ...], float]:
        """What was tried since the last time, and for how many seconds there was waiting; time is as before."""
        waited_s, self.waits.waited_s = self.waits.waited_s, 0.0
        effects, self.effects.seen = tuple(self.effects.seen), []
        return effects, waited_s


@dataclass(frozen=True, slots=True)
class PretendedJob:
    """A change that was begun: its user, its tenant, what it is done to. ``runs`` says that it has not ended."""

    job: str
    user: str
    tenant: str
    object: str
    runs: bool


def job_id(number: int, *, now: float) -> str:
    """The id of a job that was asked for a while ago: its time, to the microsecond."""
    return f"{datetime.fromtimestamp(now - _AGO_S, UTC):%Y%m%d%H%M%S}{number:06d}"


class _NoPlans:
    """Nobody has read a plan of a pretended rack."""

    def keep(self, name: str, plan: Mapping[str, Any]) -> None:
        """Kept nowhere."""

    def read(self, name: str) -> Any:
        return {}


class _NoFiles:
    """On a pretended rack nobody reads the master's files."""

    def read(self, path: str) -> str:
        raise NotFound("inventory_not_found", "a pretended rack has no files")


def pretended(current: Settings, seen: Inventory, jobs: Sequence[PretendedJob] = (), *, now: float) -> PretendedRack:
    """The rack that these values describe, on its writer."""
    owners = {record.uuid: record.tenant for record in seen.records()} | {job.job: job.tenant for job in jobs}
    effects = Effects(owners)
    clock = _Clock(now)
    running = tuple(Running(job.job, "rack_vm.start", job.user, True) for job in jobs if job.runs)
    return PretendedRack(
        files=_Files(effects),
        fleet=_Fleet(effects),
        claims=_Claims(effects, seen.claims),
        last_known=_LastKnown(effects),
        clock=clock,
        master=current.writer,
        ring=_KeyRing(effects),
        audit=_Audit(tuple(_lines(jobs, current.writer, now))),
        jobs=_Jobs(effects, running),
        acl=_NoAcl(),
        snapshots=_NoSnapshots(),
        plans=_NoPlans(),
        saved=_NoFiles(),
        current=current,
        seen=seen,
        effects=effects,
        waits=clock,
    )


def _lines(jobs: Iterable[PretendedJob], master: str, now: float) -> Iterator[bytes]:
    """The audit of these jobs."""
    head: Head | None = None
    for job in jobs:
        act = audit.Act(job.user, "rack_vm.start", None, job.job, job.tenant, job.object)
        for entry in (audit.intent(act), *(() if job.runs else (audit.outcome(act),))):
            text, head = audit.line(entry, after=head, at=now - _AGO_S / 2, master=master)
            yield text
