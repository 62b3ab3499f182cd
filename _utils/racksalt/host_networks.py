"""The rack's networks on one host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from racksalt import network_xml


class HostNetworks(Protocol):
    """The networks of this host's libvirt."""

    def network_xml(self, name: str) -> str | None: ...

    def network_runs(self, name: str) -> bool: ...

    def define_network(self, xml: str) -> None: ...

    def run_network(self, name: str) -> None: ...


def ensure(networks: HostNetworks, spec: Mapping[str, Any], *, test: bool = False) -> dict[str, Any]:
    """Make a network what the rack's files say; returns what changes, empty when nothing does.

    A running network takes a new definition when it is started again, as that cuts
    off its VMs for a moment: the operator chooses when.
    """
    name = spec["name"]
    found = networks.network_xml(name)
    wanted = network_xml.build(spec, uuid=network_xml.uuid_of(found) if found else None)
    changes: dict[str, Any] = dict(network_xml.differences(found, wanted))
    if changes and not test:
        networks.define_network(wanted)
    if not networks.network_runs(name):
        changes["running"] = {"old": False, "new": True}
        if not test:
            networks.run_network(name)
    return changes
