"""What guests may reach of their host and of each other: one nft table on each host.

Isolated ports keep guests apart on their bridge, but not by way of the gateway: libvirt's own rules let a bridge's
packets back into the same bridge, and into everything that the host itself reaches. This table drops before they do.
What is accepted here libvirt's rules judge after it, as their chains come later on the same hooks.

Guests are known by their bridge's name, which begins alike in every network of the rack: nothing that is missing in
the rack's files, or was taken out of them while guests are on it, opens a way.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from racksalt.domain_xml import BRIDGE_PREFIX
from racksalt.shape import Holds

TABLE = "racksalt"
#: Every bridge of the rack, as nft matches interfaces whose names begin alike.
_GUESTS = f'"{BRIDGE_PREFIX}*"'


def _is_subnet(text: str) -> bool:
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError:
        return False
    return str(network) == text and network.prefixlen > 0


#: Hosts may have a single address (/32), too.
ManagementSubnet = Annotated[str, Holds(_is_subnet, "an IPv4 network like 192.0.2.0/24")]


@dataclass(frozen=True, slots=True)
class GuestFirewall:
    """The networks of the hosts, where no guest gets to."""

    management: tuple[ManagementSubnet, ...]


class HostFirewall(Protocol):
    """A table on this host: the guests' one, or the one of the migration ports."""

    def text(self) -> str | None: ...

    def is_loaded(self) -> bool: ...

    def load(self, text: str) -> None: ...


def render(spec: GuestFirewall) -> str:
    """The table for ``nft -f``: loading it replaces the one before in one step, or fails and leaves that one.

    The lines are written for nft's parser: each chain's closing brace stands on a line of its own.
    """
    head = ["# Managed by Racksalt.", f"table inet {TABLE}", f"delete table inet {TABLE}"]
    chains = [*_chain("guest_forward", "forward", _forward(spec)), *_chain("guest_input", "input", _INPUT)]
    return "\n".join([*head, f"table inet {TABLE} {{", *chains, "}", ""])


def differences(found: str | None, wanted: str, *, loaded: bool) -> dict[str, dict[str, Any]]:
    """What has to change, as old and new values: the text that was loaded last, and whether its table is there."""
    changes: dict[str, dict[str, Any]] = {}
    if found != wanted:
        changes["rules"] = {"old": found, "new": wanted}
    if not loaded:
        changes["loaded"] = {"old": False, "new": True}
    return changes


def ensure(firewall: HostFirewall, spec: GuestFirewall, *, test: bool = False) -> dict[str, Any]:
    """Make the guests' table what it has to be; returns what changes, empty when nothing does."""
    return bring(firewall, render(spec), test=test)


def bring(firewall: HostFirewall, wanted: str, *, test: bool) -> dict[str, Any]:
    """Load this text unless it was loaded last, and its table is there."""
    changes = differences(firewall.text(), wanted, loaded=firewall.is_loaded())
    if changes and not test:
        firewall.load(wanted)
    return changes


def _forward(spec: GuestFirewall) -> list[str]:
    """The rack's networks are IPv4 only, so IPv6 of a guest has nowhere to go."""
    rules = [f"iifname {_GUESTS} meta nfproto ipv6 drop", f"iifname {_GUESTS} oifname {_GUESTS} drop"]
    return [*rules, f"iifname {_GUESTS} ip daddr {_subnets(spec.management)} drop"] if spec.management else rules


#: DHCP, and answers to what the host itself began; a connection that a guest began is never such an answer.
_INPUT = [
    f"iifname {_GUESTS} ct direction reply ct state established,related accept",
    f"iifname {_GUESTS} meta nfproto ipv4 udp dport 67 accept",
    f"iifname {_GUESTS} drop",
]


def _chain(name: str, hook: str, rules: list[str]) -> list[str]:
    head = f"type filter hook {hook} priority filter - 10"
    lines = [head + "; policy accept;", *rules]
    return [f"\tchain {name} {{", *(f"\t\t{line}" for line in lines), "\t}"]


def _subnets(subnets: Iterable[str]) -> str:
    """nft refuses a set of networks that overlap."""
    networks = ipaddress.collapse_addresses(map(ipaddress.IPv4Network, subnets))
    return "{ " + ", ".join(map(str, networks)) + " }"
