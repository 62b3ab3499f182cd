"""The rack's signature on a VM's record: a host can show what it was given, and make nothing up.

What a host may change by itself, with the master off, is not signed: tags, note and protection.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from racksalt.model import Domain, HostReport, Record

#: What kind of text is signed, in which form; another form gets another number.
_KIND = "racksalt record 1"
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Ring:
    """The rack's keys by number: the newest one signs, all of them verify."""

    keys: Mapping[int, bytes]

    def __or__(self, other: Ring) -> Ring:
        return Ring({**self.keys, **other.keys})

    @property
    def newest(self) -> int:
        return max(self.keys)


def signed_bytes(record: Record) -> bytes:
    """The part of a record that is signed, as canonical JSON: sorted keys, no spaces, ASCII.

    What records did not have from the beginning is only there where it is set: what was signed before stays valid.
    """
    fields = {
        "kind": _KIND,
        "rack": record.rack,
        "uuid": record.uuid,
        "tenant": record.tenant,
        "name": record.name,
        "host": record.host,
        "flavor": record.flavor,
        "image": record.image,
        "created_at": record.created_at,
        "vcpus": record.vcpus,
        "memory_mib": record.memory_mib,
        "disk_gib": record.disk_gib,
        "nics": [[nic.network, nic.mac, nic.address] for nic in record.nics],
        "anti_affinity": record.anti_affinity,
        "generation": record.generation,
        "request_id": record.request_id,
    }
    later = {
        "labels": dict(record.labels),
        "affinity": record.affinity,
        "spread": record.spread,
        "numa": record.numa,
        "huge_pages": record.huge_pages,
    }
    fields |= {key: value for key, value in later.items() if value}
    return _canonical(fields).encode("ascii")


def digest(record: Record) -> str:
    """What tells two signed parts apart, for a host, which has no key."""
    return hashlib.sha256(signed_bytes(record)).hexdigest()


def sign(record: Record, ring: Ring) -> Record:
    """The record with the newest key's signature, ``KEY:HEX``."""
    mac = hmac.digest(ring.keys[ring.newest], signed_bytes(record), "sha256").hex()
    return replace(record, signature=f"{ring.newest}:{mac}")


def key_of(record: Record) -> int | None:
    """The number of the key that the signature names."""
    return int(record.signature.partition(":")[0]) if record.signature else None


def is_valid(record: Record, ring: Ring) -> bool:
    """Whether a key of the ring made this record's signature."""
    if record.signature is None:
        return False
    number, _, mac = record.signature.partition(":")
    key = ring.keys.get(int(number))
    if key is None:
        return False
    return hmac.compare_digest(hmac.digest(key, signed_bytes(record), "sha256").hex(), mac)


def proven(report: HostReport, host: str, *, rack: str, ring: Ring) -> HostReport:
    """The report with only those records that count: of this rack, this host and their own domain, and signed.

    Every other one is moved to ``unproven``, whatever the host says about it.
    """
    return replace(report, domains=tuple(_proven(domain, host, rack, ring) for domain in report.domains))


def _proven(domain: Domain, host: str, rack: str, ring: Ring) -> Domain:
    record = domain.record
    if record is None:
        return domain if domain.unproven is None else replace(domain, unproven=None)
    own = record.rack == rack and record.host == host and record.uuid == domain.uuid
    if own and is_valid(record, ring):
        return domain if domain.unproven is None else replace(domain, unproven=None)
    return replace(domain, record=None, unproven=record)
