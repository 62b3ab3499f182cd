"""What callers may ask of the rack. The dataclass is the schema: unknown keys and wrong types are refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from racksalt.host_requests import Ladder, Verb
from racksalt.model import Labels, State
from racksalt.names import DottedName, Limit, Mac, Name, Note, SshKey, Tag, UserData, Uuid
from racksalt.shape import Holds, Matches

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
    tags: tuple[Tag, ...] = ()
    note: Note = ""
    protected: bool = False
    ssh_keys: tuple[SshKey, ...] = ()
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
    tags: tuple[Tag, ...] | None = None
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
