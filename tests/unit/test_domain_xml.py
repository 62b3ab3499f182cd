"""The domain's XML: as in the golden files, valid for libvirt, and what is read back is what went in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import libvirt
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from racksalt import domain_xml, record
from racksalt.domain_xml import DiskFile, DomainPlan, KernelBoot, bridge_name
from racksalt.model import Network, Record
from racksalt.shape import parse
from tests.unit.allowed import NASTY_TEXT, values

GOLDEN = Path(__file__).parent / "golden"
PLANS = sorted(GOLDEN.glob("domain-*.yaml"))
TEXTS = st.text(NASTY_TEXT, max_size=40)


def read(path: Path) -> DomainPlan:
    return parse(DomainPlan, yaml.safe_load(path.read_text()))


def indented(xml: str) -> str:
    root = ElementTree.fromstring(xml)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


@pytest.fixture(scope="module")
def connection() -> Iterator[libvirt.virConnect]:
    opened = libvirt.open("test:///default")
    yield opened
    opened.close()


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_a_plan_gives_the_golden_xml(path: Path) -> None:
    assert indented(domain_xml.build(read(path))) == path.with_suffix(".xml").read_text()


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_libvirts_schema_accepts_it_and_keeps_what_it_says(path: Path, connection: libvirt.virConnect) -> None:
    plan = read(path)
    domain = connection.defineXMLFlags(domain_xml.build(plan), libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    try:
        root = ElementTree.fromstring(domain.XMLDesc())
    finally:
        domain.undefine()
    assert record.from_domain(root) == plan.record
    assert said(root) == said(ElementTree.fromstring(domain_xml.build(plan)))


def said(root: ElementTree.Element) -> dict[str, object]:
    """What of the XML comes from the plan."""
    disks = [
        (
            disk.find("source").get("file"),  # type: ignore[union-attr]
            disk.find("driver").get("type"),  # type: ignore[union-attr]
            disk.find("readonly") is not None,
        )
        for disk in root.findall("./devices/disk")
    ]
    cards = [
        (card.find("mac").get("address"), card.find("source").get("network"))  # type: ignore[union-attr]
        for card in root.findall("./devices/interface")
    ]
    return {
        "name": root.findtext("name"),
        "uuid": root.findtext("uuid"),
        "vcpus": root.findtext("vcpu"),
        "boot": [root.findtext(f"./os/{key}") for key in ("kernel", "initrd", "cmdline")],
        "disks": disks,
        "cards": cards,
        "log": root.find("./devices/serial/log").get("file"),  # type: ignore[union-attr]
        "isolated": [port.get("isolated") for port in root.findall("./devices/interface/port")],
    }


@given(values(Record), TEXTS, TEXTS, TEXTS)
def test_what_is_read_back_is_what_went_in(vm: Record, path: str, log: str, cmdline: str) -> None:
    boot = KernelBoot(path, path, cmdline)
    disks = (DiskFile(path, "qcow2"), DiskFile(log, "raw", readonly=True))
    plan = DomainPlan(vm, disks, "kvm", log, boot)
    root = ElementTree.fromstring(domain_xml.build(plan))
    assert record.from_domain(root) == vm
    assert said(root) == {
        "name": vm.domain,
        "uuid": vm.uuid,
        "vcpus": str(vm.vcpus),
        "boot": [path, path, cmdline],
        "disks": [(path, "qcow2", False), (log, "raw", True)],
        "cards": [(nic.mac, nic.network) for nic in vm.nics],
        "log": log,
        "isolated": ["yes"] * len(vm.nics),
    }
    assert {element.tag for element in root} == TOP | ({"memoryBacking"} if vm.huge_pages else set())


TOP = {"name", "uuid", "metadata", "memory", "vcpu", "os", "features", "cpu", "devices"} | {
    f"on_{event}" for event in ("poweroff", "reboot", "crash")
}


def test_a_disks_format_is_always_said() -> None:
    for path in PLANS:
        root = ElementTree.fromstring(domain_xml.build(read(path)))
        assert all(driver.get("type") in ("qcow2", "raw") for driver in root.findall("./devices/disk/driver"))


def network(name: str) -> Network:
    return Network(name, "10.0.0.0/24", "10.0.0.1", "10.0.0.9", "10.0.0.99")


def test_a_bridges_name_is_short_and_each_networks_own() -> None:
    names = ["nat", "production-web", "production-db", "production-we", "a" * 12, "a" * 13, "a" * 63]
    bridges = [bridge_name(network(name)) for name in names]
    assert bridges[0] == "rs-nat" and bridges[4] == "rs-" + "a" * 12
    assert len(set(bridges)) == len(names) and all(len(bridge) <= 15 for bridge in bridges)
