"""Whose a client's address is, for limits that are counted by address."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Network, ip_address

_OWN_BITS = 64


def origin(address: str) -> str:
    """The address itself; of IPv6 the network of 64 bits, as one client has all of its addresses."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(IPv6Network((int(parsed) >> _OWN_BITS << _OWN_BITS, _OWN_BITS)))
