"""What the core needs from outside, as protocols: one real adapter and one fake for each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from racksalt.audit import Entry
from racksalt.audit_check import Raw
from racksalt.errors import RacksaltError
from racksalt.holdings import Definition, Volume
from racksalt.host_requests import KeepSnapshot, MoveProgress, MoveStats, Way
from racksalt.job_trail import Kept, Running
from racksalt.model import Claim, Domain, Head, HostConfig, HostReport, Look, Nic, Record, SnapshotHead
from racksalt.record_proof import Ring
from racksalt.shape import Path
from racksalt.tls_certificates import TlsPair

T = TypeVar("T")


class Clock(Protocol):
    """Time, so that tests need not wait."""

    def now(self) -> float:
        """Seconds since the epoch; somebody may set them forward or back."""

    def steady(self) -> float:
        """Seconds that only go on: how long something takes, within one process."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SourceFile(Protocol):
    """One of the rack's files as it was read."""

    @property
    def path(self) -> str: ...

    @property
    def data(self) -> Any: ...

    @property
    def problem(self) -> dict[str, Any] | None: ...

    def line_of(self, path: Path) -> int: ...


class SourceFolder(Protocol):
    """Files of a rack that can be read."""

    def read(self, name: str) -> SourceFile: ...


class RackFiles(SourceFolder, Protocol):
    """The folder of the rack's files, read and changed."""

    def once(self, names: Collection[str], parse: Callable[[SourceFolder], T]) -> T:
        """What ``parse`` makes of these files; its value of before, where none of them has changed since.

        Nobody may change the value.
        """

    def stamp(self, names: Collection[str]) -> Hashable:
        """What stands for these files as they are: another one after each change."""

    def locked(self) -> AbstractContextManager[None]: ...

    def change(self, name: str, edit: Callable[[Any], None], check: Callable[[SourceFolder], Any]) -> None: ...


class Hypervisor(Protocol):
    """The domains of this host. Every call names a domain by UUID; unknown ones raise ``NotFound``."""

    def report(self, *, cpu: bool = True) -> HostReport:
        """Everything in one bulk read; without the CPU for who does not ask for it."""

    def domains(self, uuids: Collection[str] | None = None) -> tuple[Domain, ...]:
        """Those of these that there are, or all of them, in one bulk read."""

    def define(self, xml: str) -> None: ...

    def undefine(self, uuid: str) -> None: ...

    def start(self, uuid: str) -> None: ...

    def state(self, uuid: str) -> str: ...

    def press_power(self, uuid: str) -> None:
        """Send the ACPI power button."""

    def press_ctrl_alt_del(self, uuid: str) -> None: ...

    def ask_agent_to_halt(self, uuid: str) -> None:
        """Ask the guest agent; raises ``Conflict`` where none answers."""

    def destroy(self, uuid: str) -> None:
        """Cut the power."""

    def suspend(self, uuid: str) -> None: ...

    def resume(self, uuid: str) -> None: ...

    def save(self, uuid: str) -> None:
        """Write its memory to disk and stop it; the next start goes on from there."""

    def discard_save(self, uuid: str) -> None:
        """Forget the saved memory; the next start boots."""

    def write_record(self, uuid: str, xml: str) -> None:
        """Replace Racksalt's element in the domain's metadata, for now and for the next start."""

    def is_moving(self, uuid: str) -> bool:
        """Whether it is on its way to another host, or from one."""

    def reserve_address(self, nic: Nic) -> None: ...

    def release_address(self, nic: Nic) -> None: ...

    def reserved(self) -> tuple[Nic, ...]:
        """The planned addresses of all networks."""

    def definition(self, uuid: str) -> str:
        """What a domain gets at its next start, as XML that can be defined again."""

    def definitions(self) -> tuple[Definition, ...]:
        """Every domain, as it is defined and as it runs."""

    def set_aside(self, uuid: str) -> str:
        """Take a definition out that nothing runs of, and return it; ``Refused`` where anything would be lost by it."""


class MoveHypervisor(Protocol):
    """What moving a domain to another host takes of libvirt."""

    def disk_bytes(self, uuid: str, device: str) -> tuple[int, int]:
        """A disk's virtual size, and what of it is written."""

    def snapshots(self, uuid: str) -> list[str]:
        """The names of its snapshots and checkpoints, which do not move along."""

    def start_paused(self, uuid: str) -> None:
        """Start it, and let its guest run no instruction."""

    def move(self, record: Record, target: str, way: Way, *, shared: bool) -> None:
        """Move it, and return when it is there for good and not here; ``record`` is its record from then on.

        The disks that are not read-only go along, unless they are ``shared``. A paused one stays paused. Raises
        ``Unavailable`` (``migration_failed``); then it mostly goes on here.
        """

    def abort_move(self, uuid: str) -> None:
        """End its move; where there is none, nothing is done."""

    def move_stats(self, uuid: str) -> MoveStats | None:
        """What the move that brought it here counted, however often it is asked; ``None`` before its end, and after
        one that went ahead of its memory. Raises ``NotFound`` without the VM.
        """

    def move_progress(self, uuid: str) -> MoveProgress | None:
        """How far its move to another host has come; ``None`` where there is none."""


class MoveDoors(Protocol):
    """The migration port as moves need it: several from one source each have a door of their own."""

    def open(self, uuid: str, source: str, until_s: float) -> None:
        """Let ``source`` in for this VM, until then. As :meth:`MigrationPort.open`."""

    def is_open(self, uuid: str) -> bool:
        """Whether somebody is let in for this VM now."""

    def close(self, uuid: str, source: str) -> None:
        """Not for this VM any more; the last one shuts ``source`` out."""


class MoveLock(Protocol):
    """Held while a VM is being sent: one at a time on this host. Raises ``Unavailable`` (``busy``)."""

    def __call__(self, uuid: str, *, wait_s: float) -> AbstractContextManager[None]: ...


class DiskInMaking(Protocol):
    """A disk that is no VM's yet."""

    def keep(self) -> str:
        """Wait for it, and put it in its place; returns its path. Raises ``Refused`` (``disk_failed``)."""

    def drop(self) -> None:
        """Stop making it, and leave nothing of it. One that is kept stays."""


class Volumes(Protocol):
    """The disks of this host's VMs, in ``volumes/TENANT/UUID…``."""

    def begin(self, tenant: str, uuid: str, *, size_bytes: int, backing: str | None, format: str) -> DiskInMaking:
        """Begin to make a thin qcow2 over an image, or an empty one, out of the way of all files that there are."""

    def write_seed(self, tenant: str, uuid: str, files: Mapping[str, str]) -> str:
        """A NoCloud seed with these files; returns its path."""

    def paths(self, tenant: str, uuid: str) -> tuple[str, str]:
        """Where this VM's disk and its seed are, or would be."""

    def exists(self, path: str) -> bool: ...

    def read_seed(self, tenant: str, uuid: str) -> bytes:
        """The seed as it is; raises ``NotFound`` where there is none."""

    def copy_seed(self, tenant: str, uuid: str, data: bytes) -> str:
        """A seed that :meth:`read_seed` has read elsewhere; returns its path."""

    def remove(self, tenant: str, uuid: str, *, disks: bool = True) -> list[str]:
        """Delete all that belongs to this VM, or only what is not a disk; returns the paths that were there."""

    def console_log(self, uuid: str) -> str:
        """Where the VM's serial console is written; :meth:`remove` takes it too."""

    def image_path(self, sha256: str) -> str:
        """Where the image store holds it; raises ``NotFound`` where it does not."""

    def all(self) -> tuple[Volume, ...]:
        """Every file there is."""

    def set_aside(self, tenant: str, files: Collection[str]) -> list[str]:
        """Move these files out of the way; the paths that they have then."""

    def keep(self, name: str, text: str) -> str:
        """Write a text beside what was moved out of the way; its path."""


class HostLock(Protocol):
    """One writer at a time on this host."""

    def __call__(self) -> AbstractContextManager[None]: ...


class HostKey(Protocol):
    """The key that proves this host to its master; only this host has it."""

    def sign(self, data: bytes) -> str: ...

    def seal_with(self, key: str, text: str, *, context: str) -> str:
        """A text for another host, whose public key this is. Raises ``Unavailable`` (``host_key``)."""

    def unseal(self, sealed: str, *, context: str) -> str:
        """What was sealed for this host in this context; anything else is ``Refused``."""


class MigrationPort(Protocol):
    """Which hosts may open a connection to this host's libvirt and QEMUs; without a word from here, none."""

    def open(self, source: str, until_s: float) -> None:
        """Let this host in (a name, or an address) until then, in seconds since the epoch.

        Said again, the new deadline holds. ``Refused`` (``claim_expired``) where it is over here already.
        """

    def close(self, source: str) -> None:
        """Let it open no more connections; also where it may not anyway. What it has open goes on."""


class TlsAuthority(Protocol):
    """The rack's certificate authorities, on its master."""

    def pairs_of(self, host: HostConfig) -> Mapping[str, TlsPair]:
        """The host's certificates, by purpose; made where there are none, or where they are due."""


@dataclass(frozen=True, slots=True)
class Silent:
    """A host that did not answer; it may be off, cut off, or slow, and what it did is not known.

    ``unproved`` says what came under its name without its signature, which proves nothing: mostly why its minion
    could not call the function. It is for the operator to read, and never for a decision.
    """

    waited_s: float
    unproved: str = ""
    #: Whether it said to the last that it is still at it.
    at_work: bool = False
    #: Whether it was not waited for any more, as the one that mattered had answered, or was not there.
    passed_over: bool = False

    @property
    def told(self) -> str:
        """One line for the operator."""
        if self.passed_over:
            return f"was not waited for after {self.waited_s} s"
        if self.at_work:
            return f"still at it after {self.waited_s} s"
        if self.unproved:
            return f"gave no answer that it signed in {self.waited_s} s; {self.unproved}"
        return f"silent for {self.waited_s} s"


Answer = Any | RacksaltError | Silent


@dataclass(frozen=True, slots=True)
class Return:
    """What came over the bus for a job, under the name of a host."""

    job: str
    host: str
    value: Any


class Bus(Protocol):
    """Salt's bus as it is: whoever has an accepted key may return anything in anybody's name."""

    def new_job(self) -> str:
        """A job's name that nobody has had, or can guess."""

    def publish(self, hosts: Sequence[str], function: str, arguments: Sequence[Any], *, job: str) -> Collection[str]:
        """One job for these hosts; those whose minion is known. Raises ``Unavailable``."""

    def next_return(self, jobs: Collection[str], *, wait_s: float) -> Return | None:
        """The next return of any of these jobs; ``None`` when the time is over."""

    def kept_returns(self, job: str) -> Mapping[str, Any]:
        """The first return that came under each name, also when nobody listened."""


class Fleet(Protocol):
    """All hosts, over the bus."""

    def ask(
        self,
        hosts: Sequence[str],
        function: str,
        request: Mapping[str, Any],
        *,
        timeout_s: float,
        lead: str | None = None,
    ) -> dict[str, Answer]:
        """One call to each host; each answers with plain data, an error, or not at all.

        Only what a host has signed is an answer, its error too. With a ``lead`` the other hosts are waited for as long
        as that one is, and a moment more where it answers well: they are ``passed_over`` then.
        """

    def seal(self, host: str, text: str, *, context: str) -> str:
        """A text that only ``host`` can read, in this context only. Raises ``Unavailable`` without its key."""

    def public_key(self, host: str) -> str:
        """The host's accepted key in PEM, for another host that has something to seal. As :meth:`seal`."""

    def proves(self, host: str, data: bytes, signature: str) -> bool:
        """Whether the accepted key of ``host`` made this signature."""


class Claims(Protocol):
    """What is held for VMs in the making; durable, one writer."""

    def locked(self) -> AbstractContextManager[None]: ...

    def all(self) -> list[Claim]:
        """Every claim that can be read."""

    def certain(self) -> list[Claim]:
        """Every claim; raises where one cannot be read."""

    def write(self, claim: Claim) -> None: ...

    def remove(self, uuid: str) -> None: ...


class Audit(Protocol):
    """The chain of lines of this master; durable, one writer."""

    def append(self, entry: Entry) -> Head:
        """Write a line; the head with it. Raises ``Unavailable``, and then there is none."""

    def head(self) -> Head | None:
        """The newest line; ``None`` before the first."""

    def lines(self) -> Iterator[Raw]:
        """All lines of now, the oldest first, as they stand there."""

    def newest(self, *, since: float = 0.0) -> Iterator[bytes]:
        """The lines from the newest on, at least those from ``since`` on."""


class Jobs(Protocol):
    """What Salt knows of the runner calls of this rack on this master, and their processes."""

    @property
    def keeps_s(self) -> float:
        """How long Salt keeps what a job answered."""

    def running(self) -> list[Running]:
        """Jobs with a process; also those whose process was killed."""

    def newest(self) -> Iterator[Kept]:
        """Jobs that ended, without what they answered, the last first."""

    def read(self, job: str) -> Kept | None:
        """What is kept of a job that ended."""

    def stop(self, job: str) -> bool:
        """Ask a job's process to end; whether there is one."""


class SaltAcl(Protocol):
    """What Salt itself makes of the master's configuration: the one that this process was started with."""

    def functions(self) -> Mapping[str, Collection[str]]:
        """All functions that Salt knows here, by kind: ``runner``, ``wheel``, ``local``."""

    def settings(self) -> Mapping[str, Any]:
        """The settings that decide who may call what."""

    def entries(self, login: str, groups: Sequence[str]) -> list[Any]:
        """The entries of ``external_auth`` that Salt applies to a login in these groups."""

    def admits(self, entries: Sequence[Any], kind: str, fun: str) -> bool:
        """Whether Salt's own checker lets a login with these entries call a function of this kind."""

    def file_of(self, key: str) -> str:
        """Where ``key`` is set, for people."""


class KeyRing(Protocol):
    """The keys that sign the rack's records; only their making and their rotation write them."""

    def read(self) -> Ring:
        """Every key; raises ``Unavailable`` (``rack_key_missing``) where there is none, or a damaged one."""

    def add(self) -> Ring:
        """Make the next key; the ring with it."""

    def keep_only(self, number: int) -> list[int]:
        """Remove every older key for good; the numbers of those that went."""


class PlanStore(Protocol):
    """Plans that were read or begun, as plain data by their hash: a cache, which anyone may delete."""

    def keep(self, name: str, plan: Mapping[str, Any]) -> None: ...

    def read(self, name: str) -> Any:
        """What was kept under this hash; nothing proves that it is what it was."""


class LastKnown(Protocol):
    """The last look at the hosts, and the last report of each: a cache, which anyone may delete."""

    def locked(self) -> AbstractContextManager[None]:
        """One look at a time; who waited for another's may use that one."""

    def look(self) -> Look | None: ...

    def write_look(self, look: Look) -> None: ...

    def read(self) -> dict[str, HostReport]: ...

    def read_one(self, host: str) -> HostReport | None: ...

    def clear(self, *, keep: Collection[str]) -> None:
        """Drop the last look, and every report but those of the hosts in ``keep``."""

    def write(self, report: HostReport) -> None: ...

    def live(self) -> dict[str, HostReport]:
        """The reports that the hosts' own events keep up to date; only the watch of a master writes them."""

    def live_one(self, host: str) -> HostReport | None: ...

    def write_live(self, report: HostReport) -> None: ...

    def drop_live(self, host: str) -> None: ...

    def touched(self) -> dict[str, float]:
        """When each host was last asked to change something, or was silent: what was read of it before is too old."""

    def touched_unclaimed(self) -> dict[str, float]:
        """The same without what a claim tells of until the host is read again: enough where claims are counted too."""

    def touch(self, host: str, at: float, *, claimed: bool = False) -> None: ...

    def part(self) -> Look | None:
        """The newest look at only some of the hosts."""

    def write_part(self, look: Look) -> None: ...


class SnapshotStore(Protocol):
    """Snapshots of the inventory: the newest whole one of each master, in sealed pieces."""

    def heads(self) -> tuple[SnapshotHead, ...]:
        """What there is."""

    def read(self, master: str, name: str) -> str | None:
        """A piece of a master's snapshot."""

    def keep(self, asked: KeepSnapshot) -> list[str]:
        """Take these pieces; the names of those that are still missing. Without any, it is the newest from now on."""


class Snapshots(SnapshotStore, Protocol):
    """The master's own copy of the newest snapshot that it has made or read, and the seal on all of them."""

    def seal(self, data: bytes, label: str, ring: Ring) -> str:
        """The same text for the same content, label and key."""

    def unseal(self, text: str, label: str, ring: Ring) -> bytes:
        """What was sealed; ``Refused`` (``snapshot_unreadable``) for anything else."""


class BootWord(Protocol):
    """What this host knows since it booted of the VMs that it may start."""

    def waits(self) -> bool:
        """Whether its VMs have not been started since the boot."""

    def read(self) -> frozenset[str] | None:
        """The VMs that the writer keeps off; ``None`` before its word came."""

    def write(self, keep_off: Collection[str]) -> None:
        """The writer's word."""

    def done(self) -> None:
        """Its VMs were started."""


class SavedRacks(Protocol):
    """Files on the master that operators name, with a rack as ``rack_host.inventory`` told it."""

    def read(self, path: str) -> str:
        """A file's text; ``NotFound`` (``inventory_not_found``), or ``BadInput`` (``bad_inventory_file``)."""
