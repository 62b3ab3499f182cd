"""The nouns of a rack, as frozen values.

Memory is in MiB, disks in GiB of virtual size, times in seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from racksalt.names import (
    Count,
    CpuName,
    CpuNames,
    DottedName,
    ImageUrl,
    Ipv4,
    LabelKey,
    LabelValue,
    Limit,
    Mac,
    Name,
    Note,
    Sha256,
    Signature,
    Subnet,
    Tags,
    UserData,
    UserName,
    Uuid,
    When,
)
from racksalt.shape import Holds, Items, Matches, Range

Role = Literal["reader", "member"]
#: What was last asked of a VM.
Wanted = Literal["running", "stopped", "moving"]
State = Literal["running", "paused", "suspended", "stopped", "crashed", "unknown"]
Labels = Annotated[Mapping[LabelKey, LabelValue], Items(64)]
#: The image of a VM that the rack did not make, and its flavor where none was said; no file may name one so.
ADOPTED = "adopted"


@dataclass(frozen=True, slots=True)
class Room:
    """An amount of what VMs take from a host."""

    vcpus: Count = 0
    memory_mib: Count = 0
    disk_gib: Count = 0

    def __add__(self, other: Room) -> Room:
        return Room(self.vcpus + other.vcpus, self.memory_mib + other.memory_mib, self.disk_gib + other.disk_gib)

    def __sub__(self, other: Room) -> Left:
        return Left(self.vcpus - other.vcpus, self.memory_mib - other.memory_mib, self.disk_gib - other.disk_gib)


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of a :class:`Room`; negative where more is in use than there is."""

    vcpus: int
    memory_mib: int
    disk_gib: int


@dataclass(frozen=True, slots=True)
class Overcommit:
    """How often each unit of a host may be promised."""

    vcpus: Annotated[float, Range(0.1, 64)] = 4.0
    memory: Annotated[float, Range(0.1, 8)] = 1.0
    disk: Annotated[float, Range(0.1, 16)] = 1.0


@dataclass(frozen=True, slots=True)
class RoomPolicy:
    """What of a host may be given to VMs: ``int((total - reserve) * overcommit)``, at most ``cap``."""

    reserve: Room = field(default_factory=Room)
    overcommit: Overcommit = field(default_factory=Overcommit)
    cap: Mapping[Literal["vcpus", "memory_mib", "disk_gib"], Count] = field(default_factory=dict)
    vm_overhead_mib: Count = 64


@dataclass(frozen=True, slots=True)
class HostConfig:
    """A host as the rack's files know it.

    ``failure_domain`` is what it fails together with others of the same name. ``tenants`` are the only ones whose VMs
    it takes; none named: everybody's. Hosts with the same ``storage`` share the folder of volumes. ``address`` is where
    other hosts reach it, if not under its name.
    """

    name: Name
    enabled: bool = True
    reason: Note = ""
    labels: Labels = field(default_factory=dict)
    accelerator: Literal["kvm", "qemu"] = "kvm"
    room: RoomPolicy = field(default_factory=RoomPolicy)
    failure_domain: Name | None = None
    tenants: Annotated[tuple[Name, ...], Items(64)] = ()
    storage: Name | None = None
    address: Ipv4 | None = None


@dataclass(frozen=True, slots=True)
class Migrations:
    """How many VMs may be on the move at the same time, and how fast: 0 MiB/s is as fast as they can."""

    per_host: Annotated[int, Range(1, 100)] = 2
    rack: Annotated[int, Range(1, 1000)] = 8
    bandwidth_mib_s: Annotated[int, Range(0, 1_000_000)] = 0


@dataclass(frozen=True, slots=True)
class CpuModel:
    """A CPU that guests get: a model that libvirt knows, and features besides."""

    model: CpuName
    features: Annotated[tuple[CpuName, ...], Items(256, once=True)] = ()


@dataclass(frozen=True, slots=True)
class Flavor:
    """A size under a name; ``labels`` are what a host must carry to take it.

    With ``numa`` a VM has to find room in one NUMA cell of its host. With ``huge_pages`` its memory is of those
    huge pages that the host keeps.
    """

    name: DottedName
    vcpus: Annotated[int, Range(1, 512)]
    memory_mib: Annotated[int, Range(16, 16 * 1024 * 1024)]
    disk_gib: Annotated[int, Range(1, 64 * 1024)]
    labels: Labels = field(default_factory=dict)
    numa: bool = False
    huge_pages: bool = False

    @property
    def room(self) -> Room:
        return Room(self.vcpus, self.memory_mib, self.disk_gib)


@dataclass(frozen=True, slots=True)
class DiskImage:
    """A disk that a VM starts from as a thin copy; ``sha256`` names its file in the image store."""

    name: DottedName
    kind: Literal["disk"]
    sha256: Sha256
    format: Literal["qcow2", "raw"]
    min_disk_gib: Annotated[int, Range(1, 64 * 1024)] = 1
    url: ImageUrl | None = None


@dataclass(frozen=True, slots=True)
class KernelImage:
    """A kernel and an initramfs that a VM boots directly, with an empty disk beside them."""

    name: DottedName
    kind: Literal["kernel"]
    kernel: Sha256
    initrd: Sha256
    cmdline: Annotated[str, Holds(lambda text: text.isprintable() and len(text) < 2000, "one line")] = ""
    min_disk_gib: Annotated[int, Range(1, 64 * 1024)] = 1
    kernel_url: ImageUrl | None = None
    initrd_url: ImageUrl | None = None


Image = DiskImage | KernelImage


@dataclass(frozen=True, slots=True)
class Network:
    """A network with outward NAT, the same on each host; addresses are unique in the whole rack."""

    name: Name
    subnet: Subnet
    gateway: Ipv4
    pool_first: Ipv4
    pool_last: Ipv4
    kind: Literal["nat"] = "nat"
    dns: tuple[Ipv4, ...] = ()


@dataclass(frozen=True, slots=True)
class Profile:
    """Defaults for a create, under one name."""

    name: DottedName
    flavor: DottedName
    image: DottedName
    network: Name | None = None
    user_data: UserData = ""


@dataclass(frozen=True, slots=True)
class Quota:
    """The most that a tenant may have; -1 is unlimited."""

    vms: Limit = 10
    vcpus: Limit = 20
    memory_mib: Limit = 10240
    disk_gib: Limit = 100


@dataclass(frozen=True, slots=True)
class Tenant:
    """A namespace with its quota; ``labels`` are what a host must carry to take its VMs."""

    name: Name
    description: Note = ""
    quota: Quota = field(default_factory=Quota)
    labels: Labels = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class User:
    """A login, its role in each tenant, and whether it is the rack's operator."""

    name: UserName
    tenants: Mapping[Name, Role] = field(default_factory=dict)
    operator: bool = False


@dataclass(frozen=True, slots=True)
class Nic:
    """A network card with its planned address."""

    network: Name
    mac: Mac
    address: Ipv4


@dataclass(frozen=True, slots=True)
class Record:
    """What a VM is: kept in the ``<metadata>`` of its domain, and nowhere else.

    ``generation`` rises with each change of where or what it is; ``request_id`` is the create that made it.
    ``labels`` are what its host must carry. ``affinity``, ``anti_affinity`` and ``spread`` are groups of its tenant:
    on the same host, on different hosts, in different failure domains. ``numa`` and ``huge_pages`` are its flavor's.
    ``wanted`` is what was last asked of it: a host starts again at its boot what should run. One that is ``moving`` to
    another host is left to the writer: it may run there by then.
    ``signature`` is the rack's, over all but tags, note, protection and ``wanted`` (:mod:`racksalt.record_proof`).
    """

    rack: Name
    uuid: Uuid
    tenant: Name
    name: Name
    host: Name
    flavor: DottedName
    image: DottedName
    created_at: When
    vcpus: Count
    memory_mib: Count
    disk_gib: Count
    nics: tuple[Nic, ...] = ()
    tags: Tags = ()
    anti_affinity: Name | None = None
    note: Note = ""
    protected: bool = False
    generation: Annotated[int, Range(1, 10**9)] = 1
    request_id: Uuid | None = None
    signature: Signature | None = None
    labels: Labels = field(default_factory=dict)
    affinity: Name | None = None
    spread: Name | None = None
    numa: bool = False
    huge_pages: bool = False
    wanted: Wanted | None = None

    @property
    def title(self) -> str:
        """The VM as people write it: ``tenant/name``."""
        return f"{self.tenant}/{self.name}"

    @property
    def domain(self) -> str:
        """Its libvirt name; a dot is in no name, so two VMs never meet here. An adopted one keeps the one it had."""
        return f"{self.tenant}.{self.name}"

    @property
    def is_adopted(self) -> bool:
        """Whether it was there before the rack took it in, with a name, disks and cards of its own."""
        return self.image == ADOPTED

    @property
    def room(self) -> Room:
        return Room(self.vcpus, self.memory_mib, self.disk_gib)


@dataclass(frozen=True, slots=True)
class Domain:
    """One domain as libvirt on its host shows it; ``record`` is ``None`` for what Racksalt did not make.

    On the master, ``record`` is one that counts, and ``unproven`` one that does not: unsigned, or of something else.
    ``incoming`` is one that is being moved here: it takes room, and is not a VM of this host yet.
    """

    uuid: Uuid
    name: str
    state: State
    vcpus: Count
    memory_mib: Count
    disk_gib: Count
    record: Record | None = None
    unproven: Record | None = None
    incoming: bool = False

    @property
    def room(self) -> Room:
        return Room(self.vcpus, self.memory_mib, self.disk_gib)


#: The kernel's id of one boot.
Boot = Annotated[str, Holds(lambda text: len(text) <= 64 and text.isprintable(), "the id of a boot")]
Uptime = Annotated[float, Range(0, 1e12)]


@dataclass(frozen=True, slots=True)
class Head:
    """The newest line of a master's audit: its number, from 1 on, and its hash, which stands for all lines before."""

    count: Count
    sha256: Sha256
    master: Annotated[str, Holds(lambda text: len(text) <= 255 and text.isprintable(), "a master's id")] = ""


@dataclass(frozen=True, slots=True)
class HostCpu:
    """What libvirt can give to guests of this host: the model nearest to its CPU, with all features.

    ``models`` are the names that it can run here. Features and models are words in one text each: as lists, a rack
    would read longer in them than in its VMs.
    """

    model: CpuName
    vendor: CpuName
    features: CpuNames
    models: CpuNames


@dataclass(frozen=True, slots=True)
class NumaCell:
    """One NUMA cell of a host: its threads and its memory; ``huge_mib`` of that is in huge pages."""

    vcpus: Count
    memory_mib: Count
    huge_mib: Count = 0


#: Also the name of a folder.
MasterId = Annotated[str, Matches(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,253}[A-Za-z0-9])?", "a master's id")]


SnapshotProof = Annotated[str, Holds(lambda text: len(text) <= 1000 and text.isascii(), "a sealed text")]


@dataclass(frozen=True, slots=True)
class SnapshotHead:
    """A snapshot of the inventory that a host keeps for a master; a higher version is a newer one of any master.

    ``proof`` is sealed by a master of the rack over the rest: a host can only name what was given to hosts once.
    """

    master: MasterId
    version: Annotated[int, Range(1, 10**15)]
    root: Sha256
    proof: SnapshotProof = ""


#: No host has more domains; one that tells of more would fill its master.
MOST_DOMAINS = 10_000


@dataclass(frozen=True, slots=True)
class HostReport:
    """All that one bulk read of a host tells.

    ``boot`` and ``uptime_s`` are when the read began by the host's own clock, which only goes forward: they put what a
    host says in order. ``read_at`` is when, by the master's clock, it cannot have begun earlier.
    """

    host: Name
    total: Room
    domains: Annotated[tuple[Domain, ...], Items(MOST_DOMAINS)] = ()
    hypervisor: str = ""
    read_at: float = 0.0
    boot: Boot = ""
    uptime_s: Uptime = 0.0
    #: The newest that each master told this host.
    audit_heads: Annotated[tuple[Head, ...], Items(32)] = ()
    #: The newest snapshot of each master that this host keeps.
    snapshots: Annotated[tuple[SnapshotHead, ...], Items(32)] = ()
    #: Whether it has booted, and waits for the writer's word before it starts its VMs.
    waits: bool = False
    cpu: HostCpu | None = None
    numa: Annotated[tuple[NumaCell, ...], Items(1024)] = ()


@dataclass(frozen=True, slots=True)
class Look:
    """One bulk read of all hosts: when it began, and each host with what was wrong with its answer, or nothing."""

    began: float
    hosts: Mapping[Name, str]


@dataclass(frozen=True, slots=True)
class Together:
    """Moves that begin together, of which so many are under way at the same time as is ``abreast``."""

    convoy: str
    abreast: Count


@dataclass(frozen=True, slots=True)
class Claim:
    """Room, a name and addresses held for a VM that is being made on ``record.host``.

    ``settled_at`` is set when the host confirmed it: readers whose look at the host began earlier still have to count
    it. ``ending`` says that it is over, and what its host has still to confirm as gone: all of it, or what a create
    that was cut off left, but no VM. ``adopts`` is for a VM that was there before: nothing of it is ever removed.
    ``moves_from`` is the host that has the VM until its move to ``record.host`` is settled, ``was`` its state there,
    and ``shared`` says that both ends have the same files, so that nobody removes them. ``together`` are the moves that
    it is one of.
    """

    record: Record
    deadline: float
    settled_at: float | None = None
    ending: Literal["no", "leftovers", "all"] = "no"
    adopts: bool = False
    moves_from: Name | None = None
    was: State | None = None
    shared: bool = False
    together: Together | None = None

    @property
    def is_moving(self) -> bool:
        """Whether it is of a move that nobody has confirmed yet."""
        return self.moves_from is not None and self.settled_at is None
