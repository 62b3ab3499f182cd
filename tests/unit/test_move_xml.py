"""What a domain's XML says about moving it."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from racksalt import domain_xml, move_xml, record
from racksalt.domain_xml import DiskFile, DomainPlan, KernelBoot
from tests.unit.test_record import RECORD


def definition() -> str:
    disks = (
        DiskFile("/volumes/acme/1.qcow2", "qcow2", backing=DiskFile("/images/" + "a" * 64, "raw", readonly=True)),
        DiskFile("/volumes/acme/1-seed.iso", "raw", readonly=True),
    )
    boot = KernelBoot("/images/" + "b" * 64, "/images/" + "c" * 64, "quiet")
    return domain_xml.build(DomainPlan(RECORD, disks, "qemu", "/logs/1", boot))


def test_disks_are_told_with_the_image_below_and_no_header_is_read() -> None:
    disk, seed = move_xml.disks(definition())
    assert (disk.device, disk.path, disk.format, disk.readonly) == ("vda", "/volumes/acme/1.qcow2", "qcow2", False)
    assert (disk.backing, disk.backing_format) == ("/images/" + "a" * 64, "raw")
    assert (seed.path, seed.readonly, seed.backing) == ("/volumes/acme/1-seed.iso", True, None)


def test_files_that_qemu_starts_directly_are_told() -> None:
    assert [move_xml.image_of(path) for path in move_xml.boot_files(definition())] == ["b" * 64, "c" * 64]


def test_another_record_takes_the_place_of_the_one_that_is_there() -> None:
    after = replace(RECORD, host="h9", generation=7)
    root = ElementTree.fromstring(move_xml.with_record(definition(), after))
    assert record.from_domain(root) == after
    assert len(root.findall(f"./metadata/{{{record.NAMESPACE}}}vm")) == 1


def test_a_domain_without_metadata_gets_its_record() -> None:
    bare = move_xml.with_record("<domain><name>x</name></domain>", RECORD)
    assert record.from_domain(ElementTree.fromstring(bare)) == RECORD


def test_an_ordinary_vm_has_nothing_that_holds_it() -> None:
    assert move_xml.obstacles(definition()) == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('mode="custom"', 'mode="host-passthrough"', "its CPU is exactly"),
        ("<devices>", '<devices><hostdev type="pci"/>', "a device of the host"),
        ("<devices>", "<devices><filesystem/>", "filesystem of this host"),
    ],
)
def test_what_belongs_to_the_host_is_named_with_what_to_do(old: str, new: str, says: str) -> None:
    (told,) = move_xml.obstacles(definition().replace(old, new))
    assert says in told and ";" in told
