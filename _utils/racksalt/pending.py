"""What waits for hosts that are away, as ``pending.yaml`` has it: written before the user is told.

A deletion frees its VM's quota at once. Its name, its addresses and its room are held until the host says that it is
gone, as until then the VM may well run. A host that was given up holds nothing more: what it shows when it comes back
does not count until the operator adopts it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from racksalt import shape
from racksalt.model import HostReport, Nic, Record
from racksalt.names import Count, DottedName, Name, Note, Uuid, When


@dataclass(frozen=True, slots=True)
class Deletion:
    """A VM that its host has still to delete, with all that it holds until then; ``vm`` is its name."""

    host: Name
    tenant: Name
    vm: Name
    flavor: DottedName
    image: DottedName
    created_at: When
    vcpus: Count
    memory_mib: Count
    disk_gib: Count
    nics: tuple[Nic, ...]
    since: When
    by: Note = ""

    @property
    def title(self) -> str:
        """The VM as people write it."""
        return f"{self.tenant}/{self.vm}"


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A host that was given up; ``adopted`` are VMs that it showed later, and that count again."""

    since: When
    by: Note = ""
    adopted: tuple[Uuid, ...] = ()


@dataclass(frozen=True, slots=True)
class PendingFile:
    """``pending.yaml``."""

    deletions: Mapping[Uuid, Deletion] = field(default_factory=dict)
    forgotten: Mapping[Name, Forgotten] = field(default_factory=dict)


def deletion_of(record: Record, *, since: float, by: str) -> Deletion:
    """What has to be kept of a VM that is to be deleted."""
    return Deletion(
        record.host,
        record.tenant,
        record.name,
        record.flavor,
        record.image,
        record.created_at,
        record.vcpus,
        record.memory_mib,
        record.disk_gib,
        record.nics,
        int(since),
        by,
    )


def record_of(uuid: str, deletion: Deletion, *, rack: str) -> Record:
    """The VM's record, as far as it is kept: unsigned, for what is counted and what is removed."""
    return Record(
        rack,
        uuid,
        deletion.tenant,
        deletion.vm,
        deletion.host,
        deletion.flavor,
        deletion.image,
        deletion.created_at,
        deletion.vcpus,
        deletion.memory_mib,
        deletion.disk_gib,
        deletion.nics,
    )


def held(
    deletions: Mapping[str, Deletion], forgotten: Mapping[str, Forgotten], hosts: Mapping[str, object], *, rack: str
) -> dict[str, Record]:
    """The records of VMs that are to be deleted, by UUID, on the rack's hosts that were not given up."""
    return {
        uuid: record_of(uuid, deletion, rack=rack)
        for uuid, deletion in deletions.items()
        if deletion.host in hosts and deletion.host not in forgotten
    }


def counting(report: HostReport, forgotten: Forgotten | None) -> HostReport:
    """The report with only those records that still count after its host was given up."""
    if forgotten is None:
        return report
    domains = tuple(
        domain
        if domain.record is None or domain.uuid in forgotten.adopted
        else replace(domain, record=None, unproven=domain.record)
        for domain in report.domains
    )
    return replace(report, domains=domains)


def write_deletion(data: Any, uuid: str, deletion: Deletion) -> None:
    """Put it into the file's data."""
    entry = {key: value for key, value in shape.plain(deletion).items() if value != ""}
    _section(data, "deletions")[uuid] = entry


def drop_deletions(data: Any, uuids: list[str]) -> None:
    """Take what is done out of the file's data."""
    section = _section(data, "deletions")
    for uuid in uuids:
        section.pop(uuid, None)


def write_forgotten(data: Any, host: str, forgotten: Forgotten | None) -> None:
    """Put a host that is given up into the file's data, or take it out."""
    section = _section(data, "forgotten")
    if forgotten is None:
        section.pop(host, None)
    else:
        section[host] = shape.plain(forgotten)


def _section(data: Any, name: str) -> Any:
    if data.get(name) is None:
        data[name] = {}
    return data[name]
