"""Addresses and MACs, chosen beforehand so that they are unique in the whole rack."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from ipaddress import IPv4Address

from racksalt.errors import BadInput, Conflict, Refused
from racksalt.model import Network, Nic

#: 52:54 is QEMU's; the address's four bytes follow.
OWN_PREFIX = "52:54:"


def plan_nic(network: Network, uuid: str, *, mac: str | None, taken: Collection[Nic]) -> Nic:
    """A network card with a free address, and ``mac`` or the one that belongs to the address.

    The search begins at a place that the UUID decides: an address tells nothing of how many others there are.
    An address always comes with the same MAC, so that a DHCP server which still remembers the lease of a
    deleted VM hands it to its successor.
    """
    macs = {nic.mac for nic in taken}
    if mac is not None:
        _check_mac(network, mac, macs)
    addresses = {nic.address for nic in taken if nic.network == network.name}
    for address in _pool(network, uuid):
        if address not in addresses and (mac or mac_of(address) not in macs):
            return Nic(network.name, mac or mac_of(address), address)
    raise Refused(
        "addresses_exhausted",
        f"network {network.name}: all addresses from {network.pool_first} to {network.pool_last} are in use",
        network=network.name,
    )


def mac_of(address: str) -> str:
    """The MAC that belongs to a planned address: ``52:54`` and the address's four bytes."""
    return OWN_PREFIX + ":".join(f"{byte:02x}" for byte in IPv4Address(address).packed)


def gateway_mac(network: Network) -> str:
    """The gateway's MAC: the same on each host, and never one of :func:`plan_nic`'s."""
    digest = hashlib.sha256(f"{network.name} {network.subnet}".encode()).hexdigest()
    return ":".join(("0a", "72", *(digest[i : i + 2] for i in range(0, 8, 2))))


def _check_mac(network: Network, mac: str, macs: Collection[str]) -> None:
    """A MAC that belongs to an address is the rack's own: asking for it would tell whether it is in use."""
    if mac.startswith(OWN_PREFIX) or mac == gateway_mac(network):
        raise BadInput(f"MAC {mac} is the rack's own; choose one that does not start with {OWN_PREFIX}", mac=mac)
    if mac in macs:
        raise Conflict("mac_in_use", f"MAC {mac} is in use; leave it out to get a free one", mac=mac)


def _pool(network: Network, uuid: str) -> Iterator[str]:
    first, last = int(IPv4Address(network.pool_first)), int(IPv4Address(network.pool_last))
    size = last - first + 1
    offset = int(uuid.replace("-", ""), 16) % size
    for step in range(size):
        address = str(IPv4Address(first + (offset + step) % size))
        if address != network.gateway:
            yield address
