"""What the writer asks of one host: the whole request is one value, checked again where it arrives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from racksalt.model import Image, Network, Record, RoomPolicy
from racksalt.names import Note, SshKey, Tag, UserData, Uuid
from racksalt.shape import Range

Seconds = Annotated[float, Range(0, 3600)]


@dataclass(frozen=True, slots=True)
class Ladder:
    """How long each rung of a graceful stop may take; 0 leaves the rung out."""

    acpi_s: Seconds = 20.0
    ctrl_alt_del_s: Seconds = 20.0
    agent_s: Seconds = 20.0


@dataclass(frozen=True, slots=True)
class CreateOnHost:
    """Make and start one VM; refused after ``deadline``, when the writer no longer holds its place."""

    record: Record
    image: Image
    network: Network
    room: RoomPolicy
    accelerator: Literal["kvm", "qemu"]
    deadline: float
    ssh_keys: tuple[SshKey, ...] = ()
    user_data: UserData | None = None
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
    tags: tuple[Tag, ...] | None = None
    protected: bool | None = None


@dataclass(frozen=True, slots=True)
class PurgeOnHost:
    """Remove all that a create which was given up may have left; ``record`` says where to look."""

    record: Record
