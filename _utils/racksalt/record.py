"""A VM's record to and from the ``<metadata>`` of its libvirt domain."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

from racksalt.errors import BadInput
from racksalt.model import Record
from racksalt.names import SIGNATURE
from racksalt.shape import parse

#: The XML namespace of the record, and the prefix that libvirt shows.
NAMESPACE = "urn:racksalt:vm:1"
PREFIX = "racksalt"

_TEXTS = (
    *("rack", "uuid", "tenant", "name", "host", "flavor", "image"),
    *("affinity", "anti_affinity", "spread", "request_id", "signature", "wanted"),
)
_NUMBERS = ("created_at", "vcpus", "memory_mib", "disk_gib", "generation")
_SWITCHES = ("numa", "huge_pages")

ElementTree.register_namespace(PREFIX, NAMESPACE)


def to_element(record: Record) -> ElementTree.Element:
    """The record as one ``vm`` element in Racksalt's namespace."""
    element = ElementTree.Element(_tag("vm"))
    for key in (*_TEXTS, *_NUMBERS):
        value = getattr(record, key)
        if value is not None:
            element.set(key, str(value))
    element.set("protected", "yes" if record.protected else "no")
    for key in _SWITCHES:
        if getattr(record, key):
            element.set(key, "yes")
    for nic in record.nics:
        ElementTree.SubElement(element, _tag("nic"), {"network": nic.network, "mac": nic.mac, "address": nic.address})
    for key, label in record.labels.items():
        ElementTree.SubElement(element, _tag("label"), {"key": key, "value": label})
    for tag in record.tags:
        ElementTree.SubElement(element, _tag("tag")).text = tag
    if record.note:
        ElementTree.SubElement(element, _tag("note")).text = record.note
    return element


def to_xml(record: Record) -> str:
    """The record as text, for ``virDomainSetMetadata``."""
    return ElementTree.tostring(to_element(record), encoding="unicode")


def from_domain(domain: ElementTree.Element) -> Record | None:
    """The record in a whole domain's XML; ``None`` where there is none, or it says what none of ours would."""
    element = domain.find(f"./metadata/{_tag('vm')}")
    if element is None:
        return None
    try:
        return from_element(element)
    except (BadInput, ValueError):
        return None


def from_element(element: ElementTree.Element) -> Record:
    """The record in a ``vm`` element; raises :class:`BadInput` where a value is not allowed.

    What cannot be a signature is none: the record is then an unsigned one, that can be signed anew.
    """
    data: dict[str, Any] = {key: element.get(key) for key in _TEXTS if element.get(key) is not None}
    if not re.fullmatch(SIGNATURE, data.get("signature", "")):
        data.pop("signature", None)
    data |= {key: int(element.get(key) or "0") for key in _NUMBERS if element.get(key) is not None}
    data |= {key: element.get(key) == "yes" for key in ("protected", *_SWITCHES)}
    data["nics"] = [dict(nic.attrib) for nic in element.findall(_tag("nic"))]
    data["tags"] = [tag.text or "" for tag in element.findall(_tag("tag"))]
    data["labels"] = {label.get("key", ""): label.get("value", "") for label in element.findall(_tag("label"))}
    note = element.find(_tag("note"))
    data["note"] = (note.text or "") if note is not None else ""
    return parse(Record, data)


def _tag(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"
