"""What the core needs from outside, as protocols: one real adapter and one fake for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from racksalt.errors import RacksaltError
from racksalt.model import Claim, HostReport, Look, Nic
from racksalt.shape import Path


class Clock(Protocol):
    """Time, so that tests need not wait."""

    def now(self) -> float:
        """Seconds since the epoch."""

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

    def locked(self) -> AbstractContextManager[None]: ...

    def change(self, name: str, edit: Callable[[Any], None], check: Callable[[SourceFolder], Any]) -> None: ...


class Hypervisor(Protocol):
    """The domains of this host. Every call names a domain by UUID; unknown ones raise ``NotFound``."""

    def report(self) -> HostReport:
        """Everything in one bulk read."""

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

    def reserve_address(self, nic: Nic) -> None: ...

    def release_address(self, nic: Nic) -> None: ...


class Volumes(Protocol):
    """The disks of this host's VMs, in ``volumes/TENANT/UUID…``."""

    def create(self, tenant: str, uuid: str, *, size_gib: int, backing: str | None, format: str) -> str:
        """A thin qcow2 over an image of the store, or empty; returns its path."""

    def write_seed(self, tenant: str, uuid: str, files: Mapping[str, str]) -> str:
        """A NoCloud seed with these files; returns its path."""

    def remove(self, tenant: str, uuid: str) -> list[str]:
        """Delete all that belongs to this VM; returns the paths that were there."""

    def console_log(self, uuid: str) -> str:
        """Where the VM's serial console is written; :meth:`remove` takes it too."""

    def image_path(self, sha256: str) -> str:
        """Where the image store holds it; raises ``NotFound`` where it does not."""


class HostLock(Protocol):
    """One writer at a time on this host."""

    def __call__(self) -> AbstractContextManager[None]: ...


@dataclass(frozen=True, slots=True)
class Silent:
    """A host that did not answer; it may be off, cut off, or slow, and what it did is not known."""

    waited_s: float


Answer = Any | RacksaltError | Silent


class Fleet(Protocol):
    """All hosts, over the bus."""

    def ask(
        self, hosts: Sequence[str], function: str, request: Mapping[str, Any], *, timeout_s: float
    ) -> dict[str, Answer]:
        """One call to each host; each answers with plain data, an error, or not at all."""


class Claims(Protocol):
    """What is held for VMs in the making; durable, one writer."""

    def locked(self) -> AbstractContextManager[None]: ...

    def all(self) -> list[Claim]:
        """Every claim that can be read."""

    def certain(self) -> list[Claim]:
        """Every claim; raises where one cannot be read."""

    def write(self, claim: Claim) -> None: ...

    def remove(self, uuid: str) -> None: ...


class LastKnown(Protocol):
    """The last look at the hosts, and the last report of each: a cache, which anyone may delete."""

    def locked(self) -> AbstractContextManager[None]:
        """One look at a time; who waited for another's may use that one."""

    def look(self) -> Look | None: ...

    def write_look(self, look: Look) -> None: ...

    def read(self) -> dict[str, HostReport]: ...

    def read_one(self, host: str) -> HostReport | None: ...

    def write(self, report: HostReport) -> None: ...
