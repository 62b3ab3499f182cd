"""What a tenant uses, and whether more may be added."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

from racksalt.errors import Denied
from racksalt.model import Quota, Record, Tenant

_UNITS = {"vms": "VMs", "vcpus": "vCPUs", "memory_mib": "MiB memory", "disk_gib": "GiB disk"}


@dataclass(frozen=True, slots=True)
class Usage:
    """What the VMs of one tenant add up to, the ones in the making included."""

    vms: int = 0
    vcpus: int = 0
    memory_mib: int = 0
    disk_gib: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.vms + other.vms,
            self.vcpus + other.vcpus,
            self.memory_mib + other.memory_mib,
            self.disk_gib + other.disk_gib,
        )

    def __sub__(self, other: Usage) -> Usage:
        return Usage(
            self.vms - other.vms,
            self.vcpus - other.vcpus,
            self.memory_mib - other.memory_mib,
            self.disk_gib - other.disk_gib,
        )


def usage(records: Iterable[Record]) -> Usage:
    """The sum over these VMs."""
    counted = list(records)
    return Usage(
        len(counted),
        sum(record.vcpus for record in counted),
        sum(record.memory_mib for record in counted),
        sum(record.disk_gib for record in counted),
    )


def check(tenant: Tenant, used: Usage, asked: Usage) -> None:
    """Refuse what would pass the tenant's quota, with each limit that it would pass."""
    over = [name for name in _names() if _is_over(tenant.quota, used, asked, name)]
    if not over:
        return
    parts = [
        f"{getattr(used, name)} of {getattr(tenant.quota, name)} {_UNITS[name]} in use, {getattr(asked, name)} asked"
        for name in over
    ]
    raise Denied(
        "quota_exceeded",
        f"tenant {tenant.name}: {'; '.join(parts)}; delete something or ask the operator for more",
        tenant=tenant.name,
        limits=[
            {
                "what": name,
                "limit": getattr(tenant.quota, name),
                "used": getattr(used, name),
                "asked": getattr(asked, name),
            }
            for name in over
        ],
    )


def _names() -> list[str]:
    return [field.name for field in fields(Usage)]


def _is_over(quota: Quota, used: Usage, asked: Usage, name: str) -> bool:
    limit: int = getattr(quota, name)
    more: int = getattr(asked, name)
    total: int = getattr(used, name) + more
    return limit != -1 and more > 0 and total > limit
