"""The inventory as canonical JSON: two racks with the same hosts and VMs have the same bytes.

It holds what the rack is, and nothing of the moment: no ages, no read times, no run states. So it is the same after
the cache was deleted, or on a new master, when all hosts answer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from racksalt import shape
from racksalt.inventory import HostView, Inventory, domains_of
from racksalt.model import Domain


def value(seen: Inventory) -> dict[str, Any]:
    """The inventory as plain data; every list is sorted by host and UUID."""
    return {
        "rack": seen.rack,
        "hosts": [_host(view) for _, view in sorted(seen.hosts.items())],
        "vms": sorted((shape.plain(vm.record) for vm in seen.vms()), key=_by_uuid),
        "unknown": _domains(seen, unproven=True),
        "foreign": _domains(seen, unproven=False),
    }


def canonical(plain: Mapping[str, Any]) -> bytes:
    """Plain data as JSON with sorted keys and no spaces, in ASCII."""
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def told(seen: Inventory) -> dict[str, Any]:
    """The inventory with its fingerprint and its sizes."""
    plain = value(seen)
    return {
        "sha256": hashlib.sha256(canonical(plain)).hexdigest(),
        "hosts": len(plain["hosts"]),
        "vms": len(plain["vms"]),
        "inventory": plain,
    }


def _host(view: HostView) -> dict[str, Any]:
    report = view.report
    return {
        "name": view.config.name,
        "total": shape.plain(report.total) if report else None,
        "config": shape.plain(view.config),
        "cpu": shape.plain(report.cpu) if report and report.cpu else None,
        "numa": shape.plain(report.numa) if report else [],
    }


def _domains(seen: Inventory, *, unproven: bool) -> list[dict[str, Any]]:
    """Domains without a record that counts: with another one, or with none."""
    found = [
        _domain(host, domain)
        for host, view in seen.hosts.items()
        for domain in domains_of(view)
        if domain.record is None and (domain.unproven is not None) == unproven
    ]
    return sorted(found, key=lambda one: (one["host"], one["uuid"]))


def _domain(host: str, domain: Domain) -> dict[str, Any]:
    return {"host": host, "uuid": domain.uuid, "name": domain.name, "room": shape.plain(domain.room)}


def _by_uuid(record: Mapping[str, Any]) -> tuple[str, str]:
    return record["host"], record["uuid"]
