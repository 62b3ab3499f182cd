"""Who may open a connection to this host's libvirt and to what its QEMUs listen on for a migration: one nft table.

A certificate of the rack opens nothing by itself, as it makes its holder root of every libvirt that it reaches. For one
migration the destination lets one host in, until a deadline; the kernel forgets it by itself then. Connections that
were opened in time go on, so that a migration that takes longer than it should is not cut off in the middle.

Only a packet that opens a connection is looked at, and no connection tracking is asked: nothing that it forgets, or
never saw, ends a migration.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterable
from typing import Any

from racksalt.errors import BadInput, Refused
from racksalt.host_firewall import HostFirewall, bring

TABLE = "racksalt_moves"
TLS_PORT = 16514
#: QEMU's ports, of ``migration_port_min`` and ``migration_port_max`` in ``qemu.conf``: memory, and disks by NBD.
DATA_PORTS = (49152, 49215)

#: The sources that are let in, by family.
_SETS = {4: ("sources4", "ipv4_addr", "ip"), 6: ("sources6", "ipv6_addr", "ip6")}


def render() -> str:
    """The table for ``nft -f``. Loading it again makes its rules what they are here, and keeps who is let in."""
    sets = [
        line
        for name, kind, _ in _SETS.values()
        for line in (f"\tset {name} {{", f"\t\ttype {kind}", "\t\tflags timeout", "\t}")
    ]
    chain = ["\tchain closed {", "\t\ttype filter hook input priority filter - 10; policy accept;"]
    rules = [f"\t\t{rule}" for rule in _rules()]
    head = ["# Managed by Racksalt.", f"table inet {TABLE} {{", *sets, *chain, "\t}", "}"]
    return "\n".join(
        [*head, f"flush chain inet {TABLE} closed", f"table inet {TABLE} {{", chain[0], *rules, "\t}", "}", ""]
    )


def ensure(firewall: HostFirewall, *, test: bool = False) -> dict[str, Any]:
    """Make the table what it has to be; returns what changes, empty when nothing does."""
    return bring(firewall, render(), test=test)


def opening(sources: Iterable[str], *, until_s: float, now: float) -> str:
    """Lets these addresses in until then (seconds since the epoch), whatever was said of them before."""
    left_s = math.ceil(until_s - now)
    if left_s <= 0:
        raise Refused(
            "claim_expired",
            f"the migration had to begin before {until_s:.0f}, here it is {now:.0f}; look at the clocks of both hosts",
            deadline=until_s,
            now=now,
        )
    return "".join(_forget(source) + _element("add", source, f" timeout {left_s}s") for source in _checked(sources))


def closing(sources: Iterable[str]) -> str:
    """Lets these addresses in no more; no matter whether they were."""
    return "".join(_forget(source) for source in _checked(sources))


def _rules() -> list[str]:
    known = [f"{family} saddr @{name} accept" for name, _, family in _SETS.values()]
    ports = f"{{ {TLS_PORT}, {DATA_PORTS[0]}-{DATA_PORTS[1]} }}"
    return [*known, f"tcp dport {ports} tcp flags & (fin | syn | rst | ack) == syn reject with tcp reset"]


def _forget(source: str) -> str:
    """nft refuses to delete what is not there, and keeps the deadline of what is: so first add, then delete."""
    return _element("add", source) + _element("delete", source)


def _element(verb: str, source: str, more: str = "") -> str:
    name = _SETS[ipaddress.ip_address(source).version][0]
    return f"{verb} element inet {TABLE} {name} {{ {source}{more} }}\n"


def _checked(sources: Iterable[str]) -> list[str]:
    """Addresses as nft takes them; an IPv4 address that is written as an IPv6 one is the IPv4 address."""
    found: dict[str, None] = {}
    for source in sources:
        try:
            address = ipaddress.ip_address(source)
        except ValueError:
            raise BadInput(f"source {source!r}: allowed is an IP address", source=source) from None
        if isinstance(address, ipaddress.IPv6Address):
            if address.scope_id:
                raise BadInput(f"source {source!r}: allowed is an address without a zone", source=source)
            address = address.ipv4_mapped or address
        found[str(address)] = None
    return list(found)
