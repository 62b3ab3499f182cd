"""A domain's definition as its record says, whoever changed it: pure, from XML to XML.

Only what the record speaks of is set right; everything else that somebody wrote stays. No file is touched: a disk that
was added goes out of the definition, and stays where it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from racksalt import domain_xml, holdings
from racksalt.holdings import Hardware
from racksalt.model import Record


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which a domain is not as its record says."""

    found: str
    expected: str


def differences(hardware: Hardware, vm: Record) -> list[Difference]:
    """All of them. Of the disks and cards that it brought, the record of an adopted VM says nothing."""
    wrong = [
        Difference(f"{found} {unit}", f"{expected} {unit}")
        for unit, found, expected in (
            ("vCPUs", hardware.vcpus, vm.vcpus),
            ("MiB", hardware.memory_mib, vm.memory_mib),
        )
        if found != expected
    ]
    cards = {card.mac: card.network for card in hardware.cards}
    for nic in vm.nics:
        if nic.mac not in cards:
            wrong.append(Difference(f"no card {nic.mac}", f"card {nic.mac} in {nic.network}"))
        elif cards[nic.mac] != nic.network:
            there = cards[nic.mac] or "no network of the rack"
            wrong.append(Difference(f"card {nic.mac} in {there}", f"card {nic.mac} in {nic.network}"))
    more = [
        *(f"card {mac}" for mac in _more_cards(hardware, vm)),
        *(f"disk {one}" for one in _more_disks(hardware, vm)),
    ]
    wrong += [Difference(f"{one} more", f"no {one}") for one in more]
    if not vm.is_adopted and not any(is_own(path, vm) for path in hardware.disks):
        wrong.append(Difference("its own disk is not in the definition", f"its disk {vm.uuid}.qcow2"))
    return wrong


def taken_over(hardware: Hardware, vm: Record) -> Record | None:
    """The record that says what the definition does; ``None`` where no record could.

    A card that is gone frees its address. What was added has no place in a record: it is put back, or left.
    """
    macs = {(card.mac, card.network) for card in hardware.cards}
    nics = tuple(nic for nic in vm.nics if (nic.mac, nic.network) in macs)
    new = replace(vm, vcpus=hardware.vcpus, memory_mib=hardware.memory_mib, nics=nics)
    return None if differences(hardware, new) else new


def restored(xml: str, vm: Record) -> str:
    """The definition with what the record says."""
    root = ElementTree.fromstring(xml)
    hardware = holdings.hardware_of(root)
    devices = root.find("devices")
    assert devices is not None, "libvirt writes devices into every domain"
    if hardware.vcpus != vm.vcpus:
        _set(root, "vcpu", str(vm.vcpus)).attrib.pop("current", None)
    if hardware.memory_mib != vm.memory_mib:
        for tag in ("memory", "currentMemory"):
            _set(root, tag, str(vm.memory_mib)).set("unit", "MiB")
    _restore_cards(devices, hardware, vm)
    for disk in list(devices.findall("disk")):
        if holdings.file_of(disk) in _more_disks(hardware, vm):
            devices.remove(disk)
    return ElementTree.tostring(root, encoding="unicode")


def is_own(path: str, vm: Record) -> bool:
    """Whether a file was made for this VM: by its folder and its name."""
    return f"/volumes/{vm.tenant}/{vm.uuid}" in path


def _restore_cards(devices: Element, hardware: Hardware, vm: Record) -> None:
    wanted = {nic.mac: nic for nic in vm.nics}
    more: Collection[str] = list(_more_cards(hardware, vm))
    there = set()
    for interface in list(devices.findall("interface")):
        card = holdings.card_of(interface)
        nic = wanted.get(card.mac)
        if card.mac in more or (nic is not None and nic.network != card.network):
            devices.remove(interface)
        else:
            there.add(card.mac)
    for nic in vm.nics:
        if nic.mac not in there:
            domain_xml.add_interface(devices, nic)


def _more_cards(hardware: Hardware, vm: Record) -> Iterator[str]:
    own = {nic.mac for nic in vm.nics}
    return (card.mac for card in hardware.cards if card.mac not in own and not vm.is_adopted)


def _more_disks(hardware: Hardware, vm: Record) -> list[str]:
    return [] if vm.is_adopted else [path for path in hardware.disks if not is_own(path, vm)]


def _set(root: Element, tag: str, text: str) -> Element:
    element = root.find(tag)
    if element is None:
        element = ElementTree.SubElement(root, tag)
    element.text = text
    return element
