"""Addresses and MACs, chosen beforehand so that they are unique in the whole rack."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from racksalt.errors import BadInput, Conflict, Refused
from racksalt.model import Network, Nic

#: 52:54 is QEMU's; the address's four bytes follow.
OWN_PREFIX = "52:54:"


@dataclass(frozen=True, slots=True)
class Taken:
    """The addresses and MACs that are in use; ``before`` is a larger value that this one adds to."""

    addresses: Set[tuple[str, str]] = frozenset()
    macs: Set[str] = frozenset()
    before: Taken | None = field(default=None, repr=False)

    @classmethod
    def of(cls, nics: Iterable[Nic], *, before: Taken | None = None) -> Taken:
        """What these network cards take."""
        known = list(nics)
        return cls({(nic.network, nic.address) for nic in known}, {nic.mac for nic in known}, before)

    def plus(self, nics: Iterable[Nic]) -> Taken:
        """This, and what these take: work for them alone."""
        return Taken.of(nics, before=self)

    def has_address(self, network: str, address: str) -> bool:
        """Whether the address is in use in this network."""
        return (network, address) in self.addresses or (
            self.before is not None and self.before.has_address(network, address)
        )

    def has_mac(self, mac: str) -> bool:
        """Whether the MAC is in use in any network."""
        return mac in self.macs or (self.before is not None and self.before.has_mac(mac))


def plan_nic(network: Network, uuid: str, *, mac: str | None, taken: Taken) -> Nic:
    """A network card with a free address, and ``mac`` or the one that belongs to the address.

    The search begins at a place that the UUID decides: an address tells nothing of how many others there are.
    Unless another MAC is asked for, an address always comes with the same one, so that a DHCP server which still
    remembers the lease of a deleted VM hands it to its successor.
    """
    if mac is not None:
        _check_mac(network, mac, taken)
        return Nic(network.name, mac, free_address(network, uuid, taken=taken))
    for address in _pool(network, uuid):
        if not taken.has_address(network.name, address) and not taken.has_mac(mac_of(address)):
            return Nic(network.name, mac_of(address), address)
    raise _exhausted(network)


def free_address(network: Network, uuid: str, *, taken: Taken) -> str:
    """An address that nobody has, for a card with a MAC of its own."""
    free = (address for address in _pool(network, uuid) if not taken.has_address(network.name, address))
    address = next(free, None)
    if address is None:
        raise _exhausted(network)
    return address


def _exhausted(network: Network) -> Refused:
    return Refused(
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


def _check_mac(network: Network, mac: str, taken: Taken) -> None:
    """A MAC that belongs to an address is the rack's own: asking for it would tell whether it is in use."""
    if mac.startswith(OWN_PREFIX) or mac == gateway_mac(network):
        raise BadInput(f"MAC {mac} is the rack's own; choose one that does not start with {OWN_PREFIX}", mac=mac)
    if taken.has_mac(mac):
        raise Conflict("mac_in_use", f"MAC {mac} is in use; leave it out to get a free one", mac=mac)


def _pool(network: Network, uuid: str) -> Iterator[str]:
    first, last = int(IPv4Address(network.pool_first)), int(IPv4Address(network.pool_last))
    size = last - first + 1
    offset = int(uuid.replace("-", ""), 16) % size
    for step in range(size):
        address = str(IPv4Address(first + (offset + step) % size))
        if address != network.gateway:
            yield address
