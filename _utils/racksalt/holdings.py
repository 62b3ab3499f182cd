"""What a host holds behind its VMs: how each domain is really defined, the files of the volumes, the planned addresses.

Read for :mod:`racksalt.drift` alone, as it is too much for the bulk read that every list makes. All of it is of one
moment: the host lets nobody make or remove a VM meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from racksalt import record, record_proof
from racksalt.model import Nic
from racksalt.names import Count, Name, Sha256, Uuid, is_uuid
from racksalt.shape import Holds, Matches

FileName = Annotated[
    str, Matches(r"[^/\x00]{1,255}", "a file's name"), Holds(lambda name: name.strip(".") != "", "one")
]
_UUID_LENGTH = 36


@dataclass(frozen=True, slots=True)
class Card:
    """A network card as the domain has it; ``network`` is empty where it is on no network of libvirt's."""

    mac: str
    network: str


@dataclass(frozen=True, slots=True)
class Hardware:
    """What of a domain its record speaks of, and the files of its disks; ``chain`` are those that its disks lie on."""

    vcpus: Count
    memory_mib: Count
    cards: tuple[Card, ...] = ()
    disks: tuple[str, ...] = ()
    chain: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Definition:
    """A domain: ``next`` is what it gets at its next start, ``now`` what it runs with.

    ``record`` is the digest of the record that it had at that moment. Without ``persistent`` there is no next start.
    """

    uuid: Uuid
    next: Hardware
    now: Hardware | None = None
    record: Sha256 | None = None
    persistent: bool = True

    def files(self) -> Iterator[str]:
        """Every file that it needs."""
        for hardware in (self.next, self.now):
            if hardware:
                yield from (*hardware.disks, *hardware.chain)

    def cards(self) -> Iterator[Card]:
        """Every network card, now or at the next start."""
        for hardware in (self.next, self.now):
            if hardware:
                yield from hardware.cards


@dataclass(frozen=True, slots=True)
class Volume:
    """A file of ``volumes/TENANT/``."""

    tenant: Name
    file: FileName
    path: str
    mib: Count

    @property
    def uuid(self) -> str | None:
        """The VM that it was made for."""
        first = self.file[:_UUID_LENGTH]
        return first if is_uuid(first) else None


@dataclass(frozen=True, slots=True)
class Holdings:
    """All that one host holds; ``addresses`` are those that its DHCP servers give."""

    definitions: tuple[Definition, ...] = ()
    volumes: tuple[Volume, ...] = ()
    addresses: tuple[Nic, ...] = ()


def definition_of(uuid: str, saved: Element | None, live: Element | None) -> Definition:
    """A domain from its permanent XML and the one that it runs with; one of them is there."""
    root = saved if saved is not None else live
    assert root is not None, "a domain is defined, or runs"
    known = record.from_domain(root)
    return Definition(
        uuid,
        hardware_of(root),
        hardware_of(live) if live is not None else None,
        record_proof.digest(known) if known else None,
        saved is not None,
    )


def hardware_of(root: Element) -> Hardware:
    """What a domain's XML says of its hardware, at the most that it may get: that is what it takes of its host."""
    cards = tuple(card_of(interface) for interface in root.findall("./devices/interface"))
    disks = [disk for disk in root.findall("./devices/disk") if file_of(disk)]
    chain = tuple(file_of(store) for disk in disks for store in disk.iter("backingStore") if file_of(store))
    return Hardware(
        int(root.findtext("vcpu") or "0"),
        mebibytes(root.find("memory")),
        cards,
        tuple(file_of(disk) for disk in disks),
        chain,
    )


def mebibytes(memory: Element | None) -> int:
    """libvirt prints KiB; Racksalt writes MiB."""
    if memory is None:
        return 0
    amount = int(memory.text or "0")
    return amount if memory.get("unit") == "MiB" else amount // 1024


def card_of(interface: Element) -> Card:
    """A network card of a domain's XML."""
    mac, source = interface.find("mac"), interface.find("source")
    network = source.get("network", "") if source is not None and interface.get("type") == "network" else ""
    return Card(mac.get("address", "") if mac is not None else "", network)


def file_of(disk: Element) -> str:
    """Where a disk is: a file, a device, or what its source says at all."""
    source = disk.find("source")
    if source is None:
        return ""
    return source.get("file") or source.get("dev") or source.get("name") or source.get("volume") or ""


def disks_of(xml: str) -> tuple[str, ...]:
    """Where the disks of a definition are."""
    return hardware_of(ElementTree.fromstring(xml)).disks
