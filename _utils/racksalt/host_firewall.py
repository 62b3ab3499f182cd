"""What guests may reach of their host and of each other: one nft table on each host.

Isolated ports keep guests apart on their bridge, but not by way of the gateway: libvirt's own rules let a bridge's
packets back into the same bridge, and into everything that the host itself reaches. This table drops before they do.
What is accepted here libvirt's rules judge after it, as their chains come later on the same hooks.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from racksalt.shape import Holds, Matches

TABLE = "racksalt"


def _is_subnet(text: str) -> bool:
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError:
        return False
    return str(network) == text and network.prefixlen > 0


#: A bridge as :func:`racksalt.domain_xml.bridge_name` names it: never a host's own interface, never a pattern.
Bridge = Annotated[str, Matches(r"rs-[a-z0-9-]{1,12}", "a bridge of the rack like rs-nat")]
#: Hosts may have a single address (/32), too.
ManagementSubnet = Annotated[str, Holds(_is_subnet, "an IPv4 network like 192.0.2.0/24")]


@dataclass(frozen=True, slots=True)
class GuestFirewall:
    """The bridges that guests are on, and the networks of the hosts, where no guest gets to."""

    bridges: tuple[Bridge, ...]
    management: tuple[ManagementSubnet, ...]


class HostFirewall(Protocol):
    """The guests' table on this host."""

    def text(self) -> str | None: ...

    def is_loaded(self) -> bool: ...

    def load(self, text: str) -> None: ...


def render(spec: GuestFirewall) -> str:
    """The table for ``nft -f``: loading it replaces the one before in one step, or fails and leaves that one.

    The lines are written for nft's parser: each chain's closing brace stands on a line of its own.
    """
    head = ["# Managed by Racksalt.", f"table inet {TABLE}", f"delete table inet {TABLE}"]
    chains = [*_chain("guest_forward", "forward", _forward(spec)), *_chain("guest_input", "input", _input(spec))]
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
    wanted = render(spec)
    changes = differences(firewall.text(), wanted, loaded=firewall.is_loaded())
    if changes and not test:
        firewall.load(wanted)
    return changes


def _forward(spec: GuestFirewall) -> list[str]:
    """The rack's networks are IPv4 only, so IPv6 of a guest has nowhere to go."""
    if not spec.bridges:
        return []
    bridges = _names(spec.bridges)
    rules = [f"iifname {bridges} meta nfproto ipv6 drop", f"iifname {bridges} oifname {bridges} drop"]
    return [*rules, f"iifname {bridges} ip daddr {_subnets(spec.management)} drop"] if spec.management else rules


def _input(spec: GuestFirewall) -> list[str]:
    """DHCP, and answers to what the host itself began; a connection that a guest began is never such an answer."""
    if not spec.bridges:
        return []
    bridges = _names(spec.bridges)
    return [
        f"iifname {bridges} ct direction reply ct state established,related accept",
        f"iifname {bridges} meta nfproto ipv4 udp dport 67 accept",
        f"iifname {bridges} drop",
    ]


def _chain(name: str, hook: str, rules: list[str]) -> list[str]:
    head = f"type filter hook {hook} priority filter - 10"
    lines = [head + "; policy accept;", *rules]
    return [f"\tchain {name} {{", *(f"\t\t{line}" for line in lines), "\t}"]


def _names(bridges: Iterable[str]) -> str:
    return _set(f'"{name}"' for name in sorted(set(bridges)))


def _subnets(subnets: Iterable[str]) -> str:
    """nft refuses a set of networks that overlap."""
    return _set(str(network) for network in ipaddress.collapse_addresses(map(ipaddress.IPv4Network, subnets)))


def _set(items: Iterable[str]) -> str:
    return "{ " + ", ".join(items) + " }"
