"""A rack network on one host: as in the golden files, valid for libvirt, and changed only where it has to be."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import libvirt
import pytest
import yaml
from hypothesis import given

from racksalt import host_networks, host_slices, network_xml
from racksalt.model import Network
from tests.unit.allowed import values
from tests.unit.test_domain_xml import indented

GOLDEN = Path(__file__).parent / "golden"
SPECS = sorted(GOLDEN.glob("network-*.yaml"))


def spec(name: str = "nat", **changed: Any) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((GOLDEN / "network-nat.yaml").read_text())
    return {**found, "name": name, **changed}


@dataclass
class FakeNetworks:
    """A host's networks; like libvirt, it gives each a UUID and changes one only under it."""

    xml: dict[str, str] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)

    def network_xml(self, name: str) -> str | None:
        return self.xml.get(name)

    def network_runs(self, name: str) -> bool:
        return name in self.running

    def define_network(self, xml: str) -> None:
        root = ElementTree.fromstring(xml)
        name = root.findtext("name") or ""
        if name in self.xml:
            assert root.findtext("uuid") == network_xml.uuid_of(self.xml[name]), "the name is taken"
        else:
            ElementTree.SubElement(root, "uuid").text = "3b5f2f40-4a4e-4b0e-9d2c-0b8f9f1d2c3e"
        self.xml[name] = ElementTree.tostring(root, encoding="unicode")

    def run_network(self, name: str) -> None:
        self.running.add(name)


@pytest.fixture
def host() -> FakeNetworks:
    return FakeNetworks()


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_spec_gives_the_golden_xml(path: Path) -> None:
    built = network_xml.build(yaml.safe_load(path.read_text()))
    assert indented(built) == path.with_suffix(".xml").read_text()


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_libvirts_schema_accepts_it_and_keeps_what_it_says(path: Path) -> None:
    xml = path.with_suffix(".xml").read_text()
    connection = libvirt.open("test:///default")
    network = connection.networkDefineXMLFlags(xml, libvirt.VIR_NETWORK_DEFINE_VALIDATE)
    kept = network_xml.facts(network.XMLDesc())
    network.undefine()
    connection.close()
    wanted = network_xml.facts(xml)
    assert {**kept, "options": wanted["options"]} == wanted


@given(values(Network))
def test_what_is_read_back_is_what_went_in(network: Network) -> None:
    told = host_slices._network(network)
    facts = network_xml.facts(network_xml.build(told))
    assert (facts["name"], facts["address"], facts["mac"]) == (network.name, network.gateway, told["gateway_mac"])
    assert f"/{facts['prefix']}" == network.subnet[-3:]
    assert facts["dns"] == "no" and facts["forward"] == "nat" and facts["bridge"] == told["bridge"]
    if network.dns:
        assert facts["options"][-1] == "dhcp-option=6," + ",".join(network.dns)


def test_nothing_differs_from_itself() -> None:
    xml = network_xml.build(spec())
    assert network_xml.differences(xml, xml) == {}
    assert network_xml.differences(None, xml)["name"] == {"old": None, "new": "nat"}


def test_a_difference_is_told_as_old_and_new() -> None:
    changes = network_xml.differences(network_xml.build(spec()), network_xml.build(spec(gateway="10.80.0.2")))
    assert changes == {"address": {"old": "10.80.0.1", "new": "10.80.0.2"}}


def test_a_network_is_defined_started_and_then_left_alone(host: FakeNetworks) -> None:
    planned = host_networks.ensure(host, spec(), test=True)
    assert planned["running"] == {"old": False, "new": True} and host.network_xml("nat") is None
    assert host_networks.ensure(host, spec()) == planned
    assert host.network_runs("nat")
    assert host_networks.ensure(host, spec()) == {}


def test_a_changed_network_is_defined_anew_under_its_own_uuid(host: FakeNetworks) -> None:
    host_networks.ensure(host, spec())
    before = host.network_xml("nat") or ""
    changed = spec(dns=["10.0.0.53"])
    assert list(host_networks.ensure(host, changed, test=True)) == ["options"]
    assert list(host_networks.ensure(host, changed)) == ["options"]
    after = ElementTree.fromstring(host.network_xml("nat") or "")
    assert after.findtext("uuid") == ElementTree.fromstring(before).findtext("uuid")


def test_a_stopped_network_is_started(host: FakeNetworks) -> None:
    host_networks.ensure(host, spec())
    host.running.clear()
    assert host_networks.ensure(host, spec()) == {"running": {"old": False, "new": True}}
    assert host.network_runs("nat")
