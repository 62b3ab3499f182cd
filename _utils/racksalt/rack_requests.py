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
    DottedName,
    JobId,
    Limit,
    Mac,
    Moment,
    Name,
    Note,
    SshKeys,
    Tag,
    Tags,
    UserData,
    UserName,
    Uuid,
    When,
)
from racksalt.shape import Holds, Matches, Range

#: ``name``, ``tenant/name`` or a UUID.
VmReference = Annotated[
    str,
    Matches(
        r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(/[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?",
        "a VM as NAME, TENANT/NAME or UUID",
    ),
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
    anti_affinity: Name | None = None
    tags: Tags = ()
    note: Note = ""
    protected: bool = False
    ssh_keys: SshKeys = ()
    user_data: UserData | None = None
    start: bool = True
    request_id: Uuid | None = None
    test: bool = False


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
class FindHosts:
    """Which hosts could take a flavor."""

    flavor: DottedName
    tenant: Name | None = None
    labels: Labels = field(default_factory=dict)
    anti_affinity: Name | None = None


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
    """Sign a VM whose record does not count; ``tenant`` and ``name`` are what the caller takes it for."""

    uuid: Uuid | None = None
    host: Name | None = None
    tenant: Name | None = None
    name: Name | None = None
    all: bool = False
    test: bool = False


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
