"""The record of a VM comes back from its XML as it was, and what none of ours would say is no record."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given

from racksalt import record
from racksalt.model import Nic, Record
from tests.unit.allowed import values

RECORD = Record(
    rack="r",
    uuid="0b5f2f40-4a4e-4b0e-9d2c-0b8f9f1d2c3e",
    tenant="acme",
    name="web1",
    host="h1",
    flavor="m1.tiny",
    image="debian-12",
    created_at=1_700_000_000,
    vcpus=1,
    memory_mib=128,
    disk_gib=1,
    nics=(Nic("nat", "52:54:0a:50:00:10", "10.80.0.16"),),
    tags=("role=web", "prod"),
    anti_affinity="web",
    note="<b>front</b> & \"back\" ']]>' &ENT; {{ x }}\n\n  -- end --",
    protected=True,
    generation=3,
    request_id="1b5f2f40-4a4e-4b0e-9d2c-0b8f9f1d2c3e",
    labels={"disk": "ssd"},
    spread="web",
)


def domain(vm: str) -> ElementTree.Element:
    """A domain's XML as libvirt hands it out, with ``vm`` in its metadata."""
    return ElementTree.fromstring(f"<domain><name>x</name><metadata>{vm}</metadata></domain>")


def changed(**attributes: str | None) -> ElementTree.Element:
    """A record's element with some attributes set anew or taken away."""
    element = record.to_element(RECORD)
    for key, value in attributes.items():
        if value is None:
            del element.attrib[key]
        else:
            element.set(key, value)
    return domain(ElementTree.tostring(element, encoding="unicode"))


@given(values(Record))
def test_any_record_comes_back_from_its_text(vm: Record) -> None:
    assert record.from_domain(domain(record.to_xml(vm))) == vm


@pytest.mark.parametrize(
    "change", [{}, {"nics": (), "tags": ()}, {"note": "", "anti_affinity": None, "protected": False}]
)
def test_a_record_with_and_without_its_optional_parts_comes_back(change: dict[str, Any]) -> None:
    vm = replace(RECORD, **change)
    assert record.from_domain(domain(record.to_xml(vm))) == vm


def test_the_text_is_one_element_in_our_namespace() -> None:
    root = ElementTree.fromstring(record.to_xml(RECORD))
    assert root.tag == f"{{{record.NAMESPACE}}}vm"
    assert all(element.tag.startswith(f"{{{record.NAMESPACE}}}") for element in root.iter())
    assert {element.tag.rpartition("}")[2] for element in root} == {"nic", "label", "tag", "note"}


@pytest.mark.parametrize(
    "xml",
    [
        "",
        "<vm/>",
        '<other xmlns="urn:other">text</other>',
        f'<vm xmlns="{record.NAMESPACE}"/>',
        f'<vm xmlns="{record.NAMESPACE}2" name="web1"/>',
        '<libosinfo xmlns="http://libosinfo.org/xmlns/libvirt/domain/1.0"><os id="x"/></libosinfo>',
    ],
)
def test_what_is_not_ours_is_no_record(xml: str) -> None:
    assert record.from_domain(domain(xml)) is None


def test_a_domain_without_metadata_has_no_record() -> None:
    assert record.from_domain(ElementTree.fromstring("<domain/>")) is None


@pytest.mark.parametrize(
    "attributes",
    [
        {"name": "../x"},
        {"name": ""},
        {"name": None},
        {"tenant": "acme2\n"},
        {"uuid": "no"},
        {"vcpus": "many"},
        {"vcpus": "-1"},
        {"vcpus": "1.5"},
        {"vcpus": "9" * 5000},
        {"generation": "0"},
        {"created_at": None},
        {"request_id": "x"},
    ],
    ids=str,
)
def test_a_record_with_a_value_that_is_not_allowed_is_none(attributes: dict[str, str | None]) -> None:
    assert record.from_domain(changed(**attributes)) is None


def test_a_record_with_a_broken_card_is_none() -> None:
    broken = record.to_xml(RECORD).replace('mac="52:54:0a:50:00:10"', 'mac="x"')
    assert record.from_domain(domain(broken)) is None
    more = record.to_xml(RECORD).replace('mac="52:54:0a:50:00:10"', 'mac="52:54:0a:50:00:10" more="1"')
    assert record.from_domain(domain(more)) is None


def test_the_signature_is_kept() -> None:
    signed = replace(RECORD, signature="12:" + "a" * 64)
    assert record.from_domain(domain(record.to_xml(signed))) == signed


@pytest.mark.parametrize("text", ["", "x", "0:" + "a" * 64, "1:" + "A" * 64, "1:" + "a" * 63, "1:" + "a" * 64 + "\n"])
def test_what_cannot_be_a_signature_is_none(text: str) -> None:
    assert record.from_domain(changed(signature=text)) == RECORD
