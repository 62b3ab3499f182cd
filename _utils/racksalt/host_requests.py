"""What the writer asks of one host: the whole request is one value, checked again where it arrives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from racksalt.model import Head, Image, Network, Record, RoomPolicy
from racksalt.names import Note, Sealed, Sha256, Signature, SshKeys, Tags, UserData, Uuid
from racksalt.shape import Matches, Range

Seconds = Annotated[float, Range(0, 3600)]


@dataclass(frozen=True, slots=True)
class FromBus:
    """What each call over the bus carries: its job, which the signed answer names, and the audit's newest line."""

    job: Annotated[str, Matches(r"[0-9A-Za-z_]{1,80}", "a job's name")]
    audit: Head | None = None


@dataclass(frozen=True, slots=True)
class Secrets:
    """What of a new VM nobody but its host may read: every minion can read every job's arguments."""

    ssh_keys: SshKeys = ()
    user_data: UserData | None = None


def seal_context(host: str, uuid: str) -> str:
    """What the secrets are sealed for: they open on this host, for this VM, and nowhere else."""
    return f"racksalt secrets of VM {uuid} on host {host}"


@dataclass(frozen=True, slots=True)
class Ladder:
    """How long each rung of a graceful stop may take; 0 leaves the rung out."""

    acpi_s: Seconds = 20.0
    ctrl_alt_del_s: Seconds = 20.0
    agent_s: Seconds = 20.0


@dataclass(frozen=True, slots=True)
class CreateOnHost:
    """Make and start one VM; refused after ``deadline``, when the writer no longer holds its place.

    ``sealed`` are its :class:`Secrets` as JSON, sealed for this host in :func:`seal_context`.
    """

    record: Record
    image: Image
    network: Network
    room: RoomPolicy
    accelerator: Literal["kvm", "qemu"]
    deadline: float
    sealed: Sealed | None = None
    start: bool = True


Verb = Literal["start", "stop", "restart", "pause", "resume", "suspend", "delete", "note", "tag", "protect"]


@dataclass(frozen=True, slots=True)
class ActOnHost:
    """One change to one VM."""

    uuid: Uuid
    verb: Verb
    hard: bool = False
    ladder: Ladder = field(default_factory=Ladder)
    note: Note | None = None
    tags: Tags | None = None
    protected: bool | None = None


@dataclass(frozen=True, slots=True)
class PurgeOnHost:
    """Remove all that a create which was given up may have left; ``record`` says where to look.

    With ``only_leftovers`` a domain that is there after all stays as it is, with all that belongs to it.
    """

    record: Record
    only_leftovers: bool = False


@dataclass(frozen=True, slots=True)
class NewSignature:
    """A signature for one record; ``sha256`` is of what was signed (:func:`racksalt.record_proof.digest`)."""

    sha256: Sha256
    signature: Signature


@dataclass(frozen=True, slots=True)
class SignOnHost:
    """Write the rack's signatures into the records of these VMs, by UUID."""

    records: Mapping[Uuid, NewSignature]
