"""What the writer asks of one host: the whole request is one value, checked again where it arrives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from racksalt.model import CpuModel, Head, Image, MasterId, Network, Record, RoomPolicy, SnapshotHead, State
from racksalt.names import Count, Ipv4, Name, Note, PublicKey, Sealed, Sha256, Signature, SshKeys, Tags, UserData, Uuid
from racksalt.shape import Items, Matches, Range

Seconds = Annotated[float, Range(0, 3600)]
Bytes = Annotated[int, Range(0, 2**63)]
#: A sealed piece of a snapshot.
PieceText = Annotated[str, Matches(r"[0-9]{1,6}\.[A-Za-z0-9+/]{1,16000000}={0,2}", "a sealed piece")]
#: Where a host is reached: its name, or its address.
Address = Name | Ipv4


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
    cpu: CpuModel | None = None


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
class SettleOnHost:
    """The writer's word to a host that was away: VMs to delete, and those that it may not start at its boot."""

    deletions: tuple[Record, ...] = ()
    keep_off: tuple[Uuid, ...] = ()


@dataclass(frozen=True, slots=True)
class KeepSnapshot:
    """A snapshot of the inventory to keep: the names of all its pieces, and the texts of those that are new."""

    head: SnapshotHead
    names: Annotated[tuple[Sha256, ...], Items(4000)]
    texts: Mapping[Sha256, PieceText] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReadSnapshot:
    """Pieces of a master's snapshot that are asked back; a host gives as many of them as one answer takes."""

    master: MasterId
    names: Annotated[tuple[Sha256, ...], Items(4000)]


@dataclass(frozen=True, slots=True)
class SnapshotPieces:
    """The answer to it."""

    texts: Mapping[Sha256, PieceText]


@dataclass(frozen=True, slots=True)
class NewSignature:
    """A signature for one record; ``sha256`` is of what was signed (:func:`racksalt.record_proof.digest`)."""

    sha256: Sha256
    signature: Signature


@dataclass(frozen=True, slots=True)
class SignOnHost:
    """Write the rack's signatures into the records of these VMs, by UUID."""

    records: Mapping[Uuid, NewSignature]


def seed_context(host: str, uuid: str) -> str:
    """What the seed of a VM that moves is sealed for: for this host and this VM."""
    return f"racksalt seed of VM {uuid} for host {host}"


@dataclass(frozen=True, slots=True)
class MoveDisk:
    """A VM's own disk, as both ends have to have it; ``backing`` is the image below it."""

    size_bytes: Bytes
    used_bytes: Bytes
    format: Literal["qcow2"] = "qcow2"
    backing: Sha256 | None = None
    backing_format: Literal["qcow2", "raw"] = "qcow2"


@dataclass(frozen=True, slots=True)
class OfferMove:
    """Whether this VM can leave, and what its new host needs: the key seals the seed for ``to``, and nobody else.

    ``record`` is the one of afterwards. Without ``seed`` none is sent: both hosts have the same files.
    """

    record: Record
    key: PublicKey
    seed: bool = True


@dataclass(frozen=True, slots=True)
class MoveOffer:
    """The answer to it; ``images`` are the other files of the image store that the VM uses."""

    state: State
    generation: Count
    memory_mib: Count
    disk: MoveDisk
    images: tuple[Sha256, ...] = ()
    seed: Sealed | None = None


@dataclass(frozen=True, slots=True)
class ReceiveMove:
    """Make everything that the VM needs here, and let ``source`` in; refused after ``deadline``.

    ``source`` is an address, or a name that resolves here. With ``shared`` its files are here already.
    """

    record: Record
    source: Address
    room: RoomPolicy
    deadline: float
    offer: MoveOffer
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Way:
    """How the memory and the disks go: 0 MiB/s is as fast as they can; after ``timeout_s`` it is given up."""

    bandwidth_mib_s: Annotated[int, Range(0, 1_000_000)] = 0
    auto_converge: bool = False
    post_copy: bool = False
    timeout_s: Annotated[float, Range(1, 7 * 86400)] = 600.0


@dataclass(frozen=True, slots=True)
class SendMove:
    """Move the VM to ``target``, an address, or a name that resolves here; it has to begin before ``deadline``.

    Where ``record.host`` is asked too, it waits until the VM, which ``was`` in this state, has come from ``source``.
    """

    record: Record
    source: Address
    target: Address
    deadline: float
    was: State
    way: Way = field(default_factory=Way)
    shared: bool = False

    def ended(self, was: State) -> EndMove:
        """What is left to do when it is there; ``was`` is the state that the source has found it in."""
        return EndMove(self.record, self.source, was, self.shared)


@dataclass(frozen=True, slots=True)
class Sent:
    """The source's answer to it, when the VM is at its target for good; ``was`` is the state that it was in.

    ``end`` is what the source tells of itself, as to an :class:`EndMove`.
    """

    was: State
    end: MoveEnd | None = None


@dataclass(frozen=True, slots=True)
class EndMove:
    """What there is to do at both ends once the VM is on ``record.host``.

    ``source`` is where ``record.host`` let it in from. ``looked`` says that the writer has seen the VM at its new host
    by itself: an older copy at the source is then removed, and a VM that ran goes on.
    """

    record: Record
    source: Address
    was: State
    shared: bool = False
    looked: bool = False


@dataclass(frozen=True, slots=True)
class MoveStats:
    """What libvirt counted of a move."""

    copied_bytes: Bytes
    transfer_ms: Count
    pause_ms: Count


@dataclass(frozen=True, slots=True)
class ReadProgress:
    """How far the move of a VM from this host has come."""

    uuid: Uuid


@dataclass(frozen=True, slots=True)
class MoveProgress:
    """What libvirt counts while it moves a VM, memory and disk together; what a guest writes anew counts again.

    ``passes`` is how often its memory has been gone through.
    """

    copied_bytes: Bytes
    left_bytes: Bytes
    passes: Count

    @property
    def percent(self) -> int:
        """Of what is known to be copied, the part that is; never all of it while it still moves."""
        whole = self.copied_bytes + self.left_bytes
        return min(99, 100 * self.copied_bytes // whole) if whole else 0


@dataclass(frozen=True, slots=True)
class MoveEnd:
    """What one end tells of itself afterwards; ``state`` is ``None`` where the VM is not.

    ``stats`` are known at its new host.
    """

    state: State | None = None
    generation: Count = 0
    stats: MoveStats | None = None


@dataclass(frozen=True, slots=True)
class RecallMove:
    """Whether the source is still sending; ``abort`` ends it. A VM that was stopped is stopped again.

    Without ``abort`` the writer has seen that the VM is nowhere else: one that ran goes on. Refused after ``deadline``:
    by then somebody else may look, or move it.
    """

    uuid: Uuid
    was: State
    deadline: float
    abort: bool = False


@dataclass(frozen=True, slots=True)
class WithdrawMove:
    """Remove what a move that did not happen left at ``record.host``.

    A domain that is there stays, with all that is its own; with ``looked`` the writer has seen the VM at its source,
    and a copy here that does not run goes too. Refused after ``deadline``: what is here then may be another move's.
    """

    record: Record
    source: Address
    deadline: float
    shared: bool = False
    looked: bool = False
