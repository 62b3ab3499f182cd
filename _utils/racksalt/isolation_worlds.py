"""A rack in two editions that differ in nothing but what a login must not know.

In the second one everything foreign has another name, UUID, address, MAC, host, note, and there is one more of it. So
a login that gets the same answer to the same question in both has learnt nothing. Sizes and the room of hosts are the
same, as a tenant may know by rule whether its VM fits.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from racksalt.inventory import HostView, Inventory
from racksalt.isolation import Own
from racksalt.isolation_probe import PretendedJob, PretendedRack, job_id, pretended
from racksalt.model import (
    Claim,
    Domain,
    Flavor,
    HostConfig,
    HostReport,
    KernelImage,
    Network,
    Nic,
    Quota,
    Record,
    Room,
    Tenant,
    User,
)
from racksalt.settings import Settings

#: Of everything real, so much takes part: what holds for some holds for more.
_MOST_FOREIGN = 4
_MOST_OWN = 2
_MOST_HOSTS = 3
_ROOM = Room(4096, 2**24, 2**20)
_MARK = "a-mark-of-others"
_LATER_S = 10**6
_OWN_JOB = 1
_FOREIGN_JOBS = 1000
_OTHER_JOBS = 2000


@dataclass(frozen=True, slots=True)
class Worlds:
    """The two editions for one login; ``foreign`` are the ways to name what is others' in the first one, or only read.

    ``unique`` are words of the first one that stand for one foreign thing wherever they appear. ``writable`` are the
    tenants in which the login may change something.
    """

    one: PretendedRack
    other: PretendedRack
    own: Own
    foreign: Mapping[str, Any]
    unique: frozenset[str]
    writable: frozenset[str]


def worlds(user: User, settings: Settings, seen: Inventory, *, now: float) -> Worlds:
    """Both editions for a user of at least one tenant, with real and made-up VMs of its own and of others."""
    stranger = _free_name("stranger", settings.tenants)
    current = _with_made_up(user, settings, stranger)
    hosts, network = list(current.hosts), next(iter(current.networks))
    real = [vm.record for vm in seen.vms()]
    own = [*_some(real, user.tenants, _MOST_OWN), *_made_up_own(user, seen.rack, network)]
    foreign = [*_some_foreign(real, user), *_made_up_foreign(seen.rack, stranger, network)]
    placed = [replace(record, host=hosts[number % len(hosts)]) for number, record in enumerate([*own, *foreign])]
    own, foreign = placed[: len(own)], placed[len(own) :]
    renamed = _renamed(foreign)
    hosts_renamed = {name: f"other-host-{number}" for number, name in enumerate(hosts)}
    there = {"job that runs": _FOREIGN_JOBS, "job that ended": _FOREIGN_JOBS + 1}
    jobs = {says: job_id(number, now=now) for says, number in there.items()}
    moved = [replace(record, host=hosts_renamed[record.host]) for record in (*own, *renamed)]
    return Worlds(
        _edition(current, placed, _jobs(user, own[-1], foreign, now=now, first=_FOREIGN_JOBS), now),
        _edition(
            _renamed_settings(current, user, renamed, hosts_renamed),
            moved,
            _jobs(user, own[-1], renamed, now=now, first=_OTHER_JOBS),
            now,
        ),
        Own(own[-1].tenant, own[-1].title, hosts[0], "probe", "probe", job_id(_OWN_JOB, now=now)),
        {
            **_ways_to_name(foreign[-2], own[-1], current),
            "claim": foreign[-1].title,
            **jobs,
            **_real_names(foreign),
            **_only_read(own, user),
        },
        frozenset(_unique(foreign)) - frozenset(_unique(own)) | set(jobs.values()),
        frozenset(name for name, role in user.tenants.items() if role == "member"),
    )


def _edition(current: Settings, records: Iterable[Record], jobs: Sequence[PretendedJob], now: float) -> PretendedRack:
    """The last record is a claim in flight, the others are domains; each host has room and answers."""
    *there, coming = records
    views = {
        name: HostView(
            current.hosts[name],
            HostReport(name, _ROOM, tuple(_domain(record) for record in there if record.host == name), "", now),
            True,
        )
        for name in current.hosts
    }
    seen = Inventory(current.rack, views, (Claim(coming, now + _LATER_S),))
    return pretended(current, seen, jobs, now=now)


def _jobs(user: User, own: Record, foreign: Iterable[Record], *, now: float, first: int) -> list[PretendedJob]:
    """One of the login's own, and two of each other tenant, of which one still runs."""
    mine = PretendedJob(job_id(_OWN_JOB, now=now), user.name, own.tenant, own.title, True)
    others = [record for record in foreign for _ in range(2)]
    return [
        mine,
        *(
            PretendedJob(
                job_id(first + number, now=now), f"u-{record.tenant}", record.tenant, record.title, number % 2 == 0
            )
            for number, record in enumerate(others)
        ),
    ]


def _domain(record: Record) -> Domain:
    room = record.room
    return Domain(record.uuid, record.domain, "running", room.vcpus, room.memory_mib, room.disk_gib, record)


def _with_made_up(user: User, settings: Settings, stranger: str) -> Settings:
    """Some real hosts with room, no limits for the login's tenants, and what a create needs."""
    host = _free_name("strange-host", settings.hosts)
    some = [config for _, config in zip(range(_MOST_HOSTS), settings.hosts.values(), strict=False)]
    hosts = {config.name: HostConfig(config.name) for config in [*some, HostConfig(host)]}
    own = {name: replace(tenant, quota=Quota(-1, -1, -1, -1)) for name, tenant in settings.tenants.items()}
    network = Network("probe", "10.255.0.0/16", "10.255.0.1", "10.255.0.16", "10.255.255.254")
    return replace(
        settings,
        hosts=hosts,
        tenants={**own, stranger: Tenant(stranger, _MARK)},
        users={user.name: user, f"u-{stranger}": User(f"u-{stranger}", {stranger: "member"})},
        flavors={**settings.flavors, "probe": Flavor("probe", 1, 16, 1)},
        images={**settings.images, "probe": KernelImage("probe", "kernel", "0" * 64, "0" * 64)},
        networks={**settings.networks} or {"probe": network},
    )


def _some(records: Iterable[Record], tenants: Iterable[str], most: int) -> list[Record]:
    known = set(tenants)
    return [record for _, record in zip(range(most), (r for r in records if r.tenant in known), strict=False)]


def _some_foreign(records: Iterable[Record], user: User) -> list[Record]:
    """One VM of each of some other tenants."""
    first: dict[str, Record] = {}
    for record in records:
        if record.tenant not in user.tenants:
            first.setdefault(record.tenant, record)
    return list(first.values())[:_MOST_FOREIGN]


def _made_up_own(user: User, rack: str, network: str) -> Iterator[Record]:
    """One in each tenant; the last one is where the login may do most."""
    for number, tenant in enumerate(sorted(user.tenants, key=lambda name: user.tenants[name] == "member")):
        nic = Nic(
            network, f"02:00:01:00:{number // 256:02x}:{number % 256:02x}", f"192.0.{number // 256}.{number % 256}"
        )
        yield _record(rack, tenant, f"own-probe-{number}", nic)


def _made_up_foreign(rack: str, stranger: str, network: str) -> Iterator[Record]:
    for number in range(3):
        nic = Nic(network, f"02:00:02:00:00:{number:02x}", f"198.51.100.{number}")
        made = _record(rack, stranger, f"strange-vm-{number}", nic)
        yield replace(made, note=_MARK, tags=(_MARK,), anti_affinity=_MARK, request_id=_uuid(made.name, "request"))


def _record(rack: str, tenant: str, name: str, nic: Nic) -> Record:
    known = _uuid(tenant, name)
    return Record(rack, known, tenant, name, "", "probe", "probe", 10**9, 1, 16, 1, (nic,))


def _renamed(foreign: list[Record]) -> list[Record]:
    """Each foreign record under another name, and one more; the addresses in use are the same, each another VM's."""
    tenants = {record.tenant: f"other-{number}" for number, record in enumerate(foreign)}
    nics = [record.nics for record in foreign]
    told = [
        replace(
            record,
            uuid=_uuid("other", str(number)),
            tenant=tenants[record.tenant],
            name=f"other-vm-{number}",
            note="another note",
            tags=("another-tag",),
            anti_affinity=record.anti_affinity and f"other-group-{number}",
            request_id=_uuid("other request", str(number)),
            nics=tuple(replace(nic, mac=f"02:00:03:00:{number:02x}:{n:02x}") for n, nic in enumerate(nics[number - 1])),
        )
        for number, record in enumerate(foreign)
    ]
    return [
        replace(told[0], uuid=_uuid("one", "more"), name="one-more", vcpus=0, memory_mib=0, disk_gib=0, nics=()),
        *told,
    ]


def _renamed_settings(current: Settings, user: User, renamed: list[Record], hosts: Mapping[str, str]) -> Settings:
    """The same files with other tenants, users and hosts than the login's own, and as many again."""
    own = {name: tenant for name, tenant in current.tenants.items() if name in user.tenants}
    others = [*dict.fromkeys(record.tenant for record in renamed), "one-more-tenant"]
    return replace(
        current,
        hosts={hosts[name]: replace(config, name=hosts[name]) for name, config in current.hosts.items()},
        tenants={**own, **{name: Tenant(name, "another text") for name in others}},
        users={user.name: user, **{f"u-{name}": User(f"u-{name}", {name: "member"}) for name in others}},
    )


def _ways_to_name(victim: Record, own: Record, current: Settings) -> dict[str, Any]:
    """Every way to name what belongs to the stranger."""
    nic = victim.nics[0]
    return {
        "name": victim.name,
        "tenant/name": victim.title,
        "uuid": victim.uuid,
        "upper uuid": victim.uuid.upper(),
        "domain": victim.domain,
        "tenant": victim.tenant,
        "own name, foreign tenant": f"{victim.tenant}/{own.name}",
        "new name, foreign tenant": f"{victim.tenant}/new-vm",
        "path": f"{own.tenant}/../{victim.title}",
        "twice": f"{victim.tenant}/{victim.title}",
        "everything": "*",
        "pattern": ".*",
        "list": [victim.title],
        "mapping": {"tenant": victim.tenant, "name": victim.name},
        "keyword": f"tenant={victim.tenant}",
        "mac": nic.mac,
        "address": nic.address,
        "request": victim.request_id,
        "group": victim.anti_affinity,
        "user": f"u-{victim.tenant}",
        "operator": "root",
        "host": victim.host,
        "another host": list(current.hosts)[-1],
        "master": current.writer,
        "file": "@/etc/shadow",
    }


def _real_names(foreign: list[Record]) -> dict[str, Any]:
    """The real rack's own."""
    told: dict[str, Any] = {}
    for number, record in enumerate(foreign[:-3]):
        told |= {
            f"real tenant {number}": record.tenant,
            f"real VM {number}": record.title,
            f"real UUID {number}": record.uuid,
        }
    return told


def _only_read(own: list[Record], user: User) -> dict[str, Any]:
    """What the login may see and not change."""
    read = next((record for record in own if user.tenants[record.tenant] == "reader"), None)
    if read is None:
        return {}
    return {
        "VM only read": read.title,
        "UUID only read": read.uuid,
        "tenant only read": read.tenant,
        "new name, tenant only read": f"{read.tenant}/new-vm",
    }


def _unique(records: Iterable[Record]) -> Iterator[str]:
    for record in records:
        yield record.uuid
        yield from (record.request_id,) if record.request_id else ()
        for nic in record.nics:
            yield from (nic.mac, nic.address)
        if record.note == _MARK:
            yield _MARK


def _uuid(*parts: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "racksalt isolation " + "/".join(parts)))


def _free_name(name: str, taken: Iterable[str]) -> str:
    known = set(taken)
    numbered = (f"{name}-{number}" for number in range(len(known) + 1))
    return next(one for one in (name, *numbered) if one not in known)
