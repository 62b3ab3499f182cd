"""What callers may ask of the rack. The dataclass is the schema: unknown keys and wrong types are refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from racksalt import audit
from racksalt.host_requests import Ladder, Verb
from racksalt.job_trail import JobState
from racksalt.model import Labels, State
from racksalt.names import (
    Count,
    DottedName,
    Ipv4,
    JobId,
    Limit,
    Mac,
    Moment,
    Name,
    Note,
    Sha256,
    SshKeys,
    Tag,
    Tags,
    UserData,
    UserName,
    Uuid,
    When,
)
from racksalt.shape import Holds, Items, Matches, Range

#: What a line of drift is called.
DriftId = Annotated[str, Matches(r"d[0-9a-f]{11}", "the id of a line of rack_host.drift")]
#: ``name``, ``tenant/name`` or a UUID.
VmReference = Annotated[
    str,
    Matches(
        r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(/[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?",
        "a VM as NAME, TENANT/NAME or UUID",
    ),
]
#: A file on the master; only operators name one, and nothing of what is in it is repeated.
SavedPath = Annotated[
    str, Matches(r"/[^\x00-\x1f\x7f]{1,1000}", "an absolute path of a file that rack_host.inventory wrote")
]
NamePart = Annotated[str, Holds(lambda text: len(text) <= 63 and text.isprintable(), "at most 63 printable characters")]


@dataclass(frozen=True, slots=True)
class CreateVm:
    """A new VM: a flavor and an image, or a profile that names them; ``name`` may be ``tenant/name``."""

    name: VmReference
    tenant: Name | None = None
    flavor: DottedName | None = None
    image: DottedName | None = None
    profile: DottedName | None = None
    network: Name | None = None
    mac: Mac | None = None
    host: Name | None = None
    labels: Labels = field(default_factory=dict)
    affinity: Name | None = None
    anti_affinity: Name | None = None
    spread: Name | None = None
    tags: Tags = ()
    note: Note = ""
    protected: bool = False
    ssh_keys: SshKeys = ()
    user_data: UserData | None = None
    start: bool = True
    request_id: Uuid | None = None
    test: bool = False


@dataclass(frozen=True, slots=True)
class ExplainVm(CreateVm):
    """A new VM that is only asked about; operators also on a rack that was saved as ``inventory``."""

    inventory: SavedPath | None = None


@dataclass(frozen=True, slots=True)
class ActOnVm:
    """One change to a VM."""

    name: VmReference
    verb: Verb
    tenant: Name | None = None
    hard: bool = False
    ladder: Ladder = field(default_factory=Ladder)
    note: Note | None = None
    tags: Tags | None = None
    protected: bool | None = None
    test: bool = False


@dataclass(frozen=True, slots=True)
class MigrateVm:
    """Move a VM to ``target``, or to the host that suits it best; ``live`` is what the caller takes it for."""

    name: VmReference
    tenant: Name | None = None
    target: Name | None = None
    live: bool | None = None
    bandwidth_mib_s: Annotated[int, Range(0, 1_000_000)] = 0
    auto_converge: bool = False
    post_copy: bool = False
    timeout_s: Annotated[float, Range(1, 7 * 86400)] | None = None
    test: bool = False


@dataclass(frozen=True, slots=True)
class ShowVm:
    """One VM."""

    name: VmReference
    tenant: Name | None = None


@dataclass(frozen=True, slots=True)
class ListVms:
    """VMs by tag, host (operators only), state, and part of the name."""

    tenant: Name | None = None
    tag: Tag | None = None
    host: Name | None = None
    state: State | None = None
    q: NamePart | None = None


@dataclass(frozen=True, slots=True)
class NoArguments:
    """A call without arguments."""


@dataclass(frozen=True, slots=True)
class NamedHost:
    """One host."""

    name: Name


@dataclass(frozen=True, slots=True)
class SwitchHost:
    """Take a host into placement or out of it."""

    name: Name
    reason: Note = ""
    test: bool = False


@dataclass(frozen=True, slots=True)
class RebuildInventory:
    """Read all hosts anew."""

    test: bool = False


@dataclass(frozen=True, slots=True)
class DrainHost:
    """Empty a host; ``apply`` is the hash of a plan that was read. ``partial`` leaves behind what cannot be moved.

    ``inventory`` is a file with a rack that was saved; with it, only a plan is told.
    """

    name: Name
    apply: Sha256 | None = None
    partial: bool = False
    inventory: SavedPath | None = None
    test: bool = False


@dataclass(frozen=True, slots=True)
class BalanceRack:
    """Move VMs so that hosts are alike in load; each move has to gain ``min_gain`` of the score."""

    apply: Sha256 | None = None
    max_moves: Annotated[int, Range(1, 10000)] | None = None
    min_gain: Annotated[float, Range(0, 1000)] | None = None
    test: bool = False


@dataclass(frozen=True, slots=True)
class UpdateHosts:
    """Bring hosts up to date one after the other, all where none is named; with ``reboot`` each is booted again."""

    hosts: Annotated[tuple[Name, ...], Items(1000, once=True)] = ()
    reboot: bool = False
    apply: Sha256 | None = None
    test: bool = False


@dataclass(frozen=True, slots=True)
class ForgetHost:
    """Give up a host that is away; ``vms`` is how many VMs are lost with it."""

    name: Name
    vms: Count | None = None
    test: bool = False


@dataclass(frozen=True, slots=True)
class FindHosts:
    """Which hosts could take a flavor; ``inventory`` is a file with a rack that was saved."""

    flavor: DottedName
    tenant: Name | None = None
    labels: Labels = field(default_factory=dict)
    affinity: Name | None = None
    anti_affinity: Name | None = None
    spread: Name | None = None
    inventory: SavedPath | None = None


@dataclass(frozen=True, slots=True)
class CountRoom:
    """How many more VMs of a flavor fit; ``inventory`` is a file with a rack that was saved."""

    flavor: DottedName
    tenant: Name | None = None
    labels: Labels = field(default_factory=dict)
    inventory: SavedPath | None = None


@dataclass(frozen=True, slots=True)
class LoseHost:
    """One host that might be lost, or each; ``inventory`` is a file with a rack that was saved."""

    host: Name | None = None
    inventory: SavedPath | None = None


@dataclass(frozen=True, slots=True)
class ShareCpu:
    """The hosts whose CPU is asked for; ``inventory`` is a file with a rack that was saved."""

    inventory: SavedPath | None = None


@dataclass(frozen=True, slots=True)
class CheckAcl:
    """The fences of one login, or of all."""

    login: UserName | None = None


@dataclass(frozen=True, slots=True)
class ListTenants:
    """Reading them changes nothing, so ``test`` makes no difference."""

    test: bool = False


@dataclass(frozen=True, slots=True)
class OneTenant:
    """One tenant; the caller's own where it is left out."""

    name: Name | None = None


@dataclass(frozen=True, slots=True)
class CreateTenant:
    """A new tenant; a limit that is left out is the rack's default."""

    name: Name
    description: Note = ""
    quota: Mapping[Literal["vms", "vcpus", "memory_mib", "disk_gib"], Limit] = field(default_factory=dict)
    test: bool = False


@dataclass(frozen=True, slots=True)
class SetQuota:
    """New limits for a tenant; what is left out stays. Without any, the quota is shown."""

    name: Name | None = None
    vms: Limit | None = None
    vcpus: Limit | None = None
    memory_mib: Limit | None = None
    disk_gib: Limit | None = None
    test: bool = False

    @property
    def only_reads(self) -> bool:
        return (self.vms, self.vcpus, self.memory_mib, self.disk_gib) == (None, None, None, None)


@dataclass(frozen=True, slots=True)
class AdoptVm:
    """Take in a VM that does not count; ``tenant`` and ``name`` are what the caller takes it for.

    ``flavor`` and ``address`` are for one without any record.
    """

    uuid: Uuid | None = None
    host: Name | None = None
    tenant: Name | None = None
    name: Name | None = None
    flavor: DottedName | None = None
    address: Ipv4 | None = None
    all: bool = False
    test: bool = False


@dataclass(frozen=True, slots=True)
class Drift:
    """Where hosts and records disagree; ``adopt`` or ``revert`` is the id of one line to be set right.

    The other arguments are of the VM that a domain without a record becomes.
    """

    host: Name | None = None
    adopt: DriftId | None = None
    revert: DriftId | None = None
    tenant: Name | None = None
    name: Name | None = None
    flavor: DottedName | None = None
    address: Ipv4 | None = None
    test: bool = False

    @property
    def only_reads(self) -> bool:
        return self.adopt is None and self.revert is None


@dataclass(frozen=True, slots=True)
class ReadStatus:
    """The rack on one page; what went wrong is told of the last ``since`` seconds."""

    since: Annotated[int, Range(1, 31 * 86400)] = 3600
    limit: Annotated[int, Range(1, 100)] = 10


@dataclass(frozen=True, slots=True)
class RotateKey:
    """Sign every record with a new key."""

    test: bool = False


@dataclass(frozen=True, slots=True)
class ListAudit:
    """The newest lines of the audit that match all that is given."""

    user: NamePart | None = None
    tenant: Name | None = None
    fun: NamePart | None = None
    kind: audit.Kind | None = None
    since: Moment | When | None = None
    job: JobId | None = None
    limit: Annotated[int, Range(1, 10000)] = 100


@dataclass(frozen=True, slots=True)
class ListJobs:
    """The newest jobs that match all that is given; ``user`` is for operators."""

    user: NamePart | None = None
    fun: NamePart | None = None
    state: JobState | None = None
    limit: Annotated[int, Range(1, 1000)] = 50


@dataclass(frozen=True, slots=True)
class ShowJob:
    """One job."""

    job: JobId


@dataclass(frozen=True, slots=True)
class CancelJob:
    """End one job."""

    job: JobId
    test: bool = False
