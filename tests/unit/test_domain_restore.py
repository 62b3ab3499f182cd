"""Definitions against records: what differs, what a record can take over, and the way back."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given

from racksalt import domain_restore, domain_xml, holdings
from racksalt.domain_restore import differences, restored, taken_over
from racksalt.domain_xml import DiskFile, DomainPlan
from racksalt.holdings import Card, Hardware
from racksalt.model import ADOPTED, Nic, Record
from tests.unit.allowed import values
from tests.unit.test_record import RECORD

OTHER = Nic("dmz", "52:54:00:00:00:77", "10.81.0.7")


def definition(vm: Record) -> str:
    disk = DiskFile(f"/var/lib/racksalt/volumes/{vm.tenant}/{vm.uuid}.qcow2", "qcow2")
    return domain_xml.build(DomainPlan(vm, (disk,), "qemu", "/var/log/console.log"))


def hardware(xml: str) -> Hardware:
    return holdings.hardware_of(ElementTree.fromstring(xml))


@given(values(Record))
def test_what_was_built_for_a_record_does_not_differ_from_it(vm: Record) -> None:
    assert differences(hardware(definition(vm)), vm) == []


@given(values(Record), values(Record))
def test_any_other_vms_definition_is_put_back_and_then_does_not_differ(vm: Record, other: Record) -> None:
    """But for its own disk, which only the operator can attach again."""
    vm = replace(vm, image="tiny", nics=tuple({nic.mac: nic for nic in vm.nics}.values()))
    xml = definition(replace(other, tenant=vm.tenant, uuid=vm.uuid))
    assert differences(hardware(restored(xml, vm)), vm) == []
    assert differences(hardware(definition(vm)), vm) == []


def test_nothing_else_is_changed() -> None:
    xml = definition(RECORD)
    same = ElementTree.canonicalize(restored(xml, RECORD), strip_text=True)
    assert same == ElementTree.canonicalize(xml, strip_text=True)


def test_a_disk_that_was_added_leaves_the_definition_and_the_own_one_stays() -> None:
    root = ElementTree.fromstring(definition(RECORD))
    disk = ElementTree.SubElement(root.find("devices"), "disk", {"type": "block"})  # type: ignore[arg-type]
    ElementTree.SubElement(disk, "source", {"dev": "/dev/sdz"})
    xml = ElementTree.tostring(root, encoding="unicode")
    assert [one.found for one in differences(hardware(xml), RECORD)] == ["disk /dev/sdz more"]
    assert [path.rpartition("/")[2] for path in hardware(restored(xml, RECORD)).disks] == [f"{RECORD.uuid}.qcow2"]


def test_an_empty_drive_is_no_disk() -> None:
    root = ElementTree.fromstring(definition(RECORD))
    ElementTree.SubElement(root.find("devices"), "disk", {"type": "file", "device": "cdrom"})  # type: ignore[arg-type]
    assert differences(hardware(ElementTree.tostring(root, encoding="unicode")), RECORD) == []


def test_an_adopted_vm_has_disks_and_cards_of_its_own() -> None:
    vm = replace(RECORD, image=ADOPTED, nics=())
    own = Hardware(RECORD.vcpus, RECORD.memory_mib, (Card("00:16:3e:00:00:01", ""),), ("/srv/web.img",))
    assert differences(own, vm) == []
    assert [one.found for one in differences(replace(own, vcpus=9), vm)] == ["9 vCPUs"]


@pytest.mark.parametrize("number", [0, 1])
def test_a_record_takes_over_sizes_and_cards_that_are_gone(number: int) -> None:
    vm = replace(RECORD, nics=(*RECORD.nics, OTHER))
    gone = replace(vm, vcpus=3, memory_mib=99, nics=tuple(nic for at, nic in enumerate(vm.nics) if at != number))
    taken = taken_over(hardware(definition(gone)), vm)
    assert taken == gone


def test_what_has_no_place_in_a_record_is_not_taken_over() -> None:
    assert taken_over(hardware(definition(replace(RECORD, nics=(*RECORD.nics, OTHER)))), RECORD) is None
    bare = replace(hardware(definition(RECORD)), disks=())
    assert taken_over(bare, RECORD) is None


def test_the_files_of_a_vm_are_its_own_by_folder_and_name() -> None:
    assert domain_restore.is_own(f"/var/lib/racksalt/volumes/{RECORD.tenant}/{RECORD.uuid}-seed.iso", RECORD)
    assert not domain_restore.is_own(f"/srv/volumes/other/{RECORD.uuid}.qcow2", RECORD)
