"""A rack network on one host: a libvirt network with outward NAT, and DHCP for planned addresses only.

The planned addresses come from a folder of files, which dnsmasq follows by itself
(:mod:`racksalt.adapters.lease_files`). The gateway's own entry is there because libvirt runs a DHCP server,
and one for static addresses only, where it sees a host without a range. DNS of the network's dnsmasq is off:
it would tell one tenant the names of another's VMs. The servers of the rack's files are handed out instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

#: Where the planned addresses of each network are.
LEASES = "/var/lib/racksalt/leases"

_DNSMASQ = "http://libvirt.org/schemas/network/dnsmasq/1.0"

ElementTree.register_namespace("dnsmasq", _DNSMASQ)


def build(spec: Mapping[str, Any], *, uuid: str | None = None) -> str:
    """The network of a pillar slice (:mod:`racksalt.host_slices`); a new definition keeps its ``uuid``."""
    network = Element("network")
    SubElement(network, "name").text = spec["name"]
    if uuid:
        SubElement(network, "uuid").text = uuid
    SubElement(network, "forward", {"mode": "nat"})
    SubElement(network, "bridge", {"name": spec["bridge"], "stp": "off", "delay": "0"})
    SubElement(network, "mac", {"address": spec["gateway_mac"]})
    SubElement(network, "dns", {"enable": "no"})
    prefix = spec["subnet"].partition("/")[2]
    ip = SubElement(network, "ip", {"address": spec["gateway"], "prefix": prefix})
    SubElement(SubElement(ip, "dhcp"), "host", {"mac": spec["gateway_mac"], "ip": spec["gateway"]})
    options = SubElement(network, f"{{{_DNSMASQ}}}options")
    for option in _options(spec):
        SubElement(options, f"{{{_DNSMASQ}}}option", {"value": option})
    return ElementTree.tostring(network, encoding="unicode")


def facts(xml: str) -> dict[str, Any]:
    """What of a network's XML is the rack's to say, whoever wrote it."""
    root = ElementTree.fromstring(xml)
    return {
        "name": root.findtext("name"),
        "forward": _attribute(root, "forward", "mode"),
        "bridge": _attribute(root, "bridge", "name"),
        "mac": _attribute(root, "mac", "address"),
        "dns": _attribute(root, "dns", "enable"),
        "address": _attribute(root, "ip", "address"),
        "prefix": _attribute(root, "ip", "prefix"),
        "options": [option.get("value") for option in root.findall(f"{{{_DNSMASQ}}}options/{{{_DNSMASQ}}}option")],
    }


def uuid_of(xml: str) -> str | None:
    """The UUID that libvirt gave a network."""
    return ElementTree.fromstring(xml).findtext("uuid")


def differences(found: str | None, wanted: str) -> dict[str, dict[str, Any]]:
    """What has to change, as old and new values; empty when nothing has."""
    old = facts(found) if found else {}
    return {key: {"old": old.get(key), "new": value} for key, value in facts(wanted).items() if old.get(key) != value}


def _options(spec: Mapping[str, Any]) -> list[str]:
    options = [f"dhcp-hostsdir={LEASES}/{spec['name']}"]
    return [*options, "dhcp-option=6," + ",".join(spec["dns"])] if spec["dns"] else options


def _attribute(root: Element, path: str, name: str) -> str | None:
    element = root.find(path)
    return element.get(name) if element is not None else None
