"""What a domain's XML says about moving it: its disks, its images, what holds it where it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from racksalt import record as record_xml
from racksalt.model import Record


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk as the definition names it; formats are said there and never probed."""

    device: str
    path: str | None
    format: str
    readonly: bool
    backing: str | None = None
    backing_format: str = "qcow2"


def disks(xml: str) -> list[Disk]:
    """Every disk of the domain."""
    return [_disk(element) for element in ElementTree.fromstring(xml).findall("./devices/disk")]


def boot_files(xml: str) -> list[str]:
    """The kernel and the initramfs that QEMU starts directly."""
    root = ElementTree.fromstring(xml)
    return [text for tag in ("kernel", "initrd") if (text := root.findtext(f"./os/{tag}"))]


def obstacles(xml: str) -> list[str]:
    """What of the definition belongs to this very host, in words."""
    return list(_obstacles(ElementTree.fromstring(xml)))


def with_record(xml: str, record: Record) -> str:
    """The same domain with another record."""
    root = ElementTree.fromstring(xml)
    metadata = root.find("metadata")
    if metadata is None:
        metadata = ElementTree.SubElement(root, "metadata")
    for known in metadata.findall(f"{{{record_xml.NAMESPACE}}}vm"):
        metadata.remove(known)
    metadata.append(record_xml.to_element(record))
    return ElementTree.tostring(root, encoding="unicode")


def _disk(element: Element) -> Disk:
    store = element.find("backingStore")
    source = store.find("source") if store is not None else None
    return Disk(
        _attribute(element.find("target"), "dev") or "?",
        _attribute(element.find("source"), "file"),
        _attribute(element.find("driver"), "type") or "raw",
        element.find("readonly") is not None,
        _attribute(source, "file"),
        _attribute(store.find("format"), "type") or "qcow2" if store is not None else "qcow2",
    )


def _obstacles(root: Element) -> Iterator[str]:
    if _attribute(root.find("cpu"), "mode") in ("host-passthrough", "maximum"):
        yield "its CPU is exactly the one of this host; give it a CPU model, and start it anew"
    for device in root.findall("./devices/hostdev"):
        yield f"a device of the host is attached to it ({device.get('type', 'unknown')}); detach it"
    for tag in ("filesystem", "shmem", "tpm", "nvdimm"):
        if root.find(f"./devices/{tag}") is not None:
            yield f"it has a {tag} of this host; detach it"


def _attribute(element: Element | None, name: str) -> str | None:
    return element.get(name) if element is not None else None


def image_of(path: str) -> str:
    """The sum that names a file of the image store."""
    return PurePath(path).name
