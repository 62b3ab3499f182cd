"""The rack's switch: one bridge on the outer machine, one cable to each node."""

from __future__ import annotations

from pathlib import Path

from .commands import run
from .errors import RackboxError
from .identity import RackIdentity, outer_address

_INTERFACES = Path("/sys/class/net")


def make_bridge(rack: RackIdentity, subnet: int) -> None:
    """Make the bridge with the outer machine's address, or complete one that a killed run left half made."""
    if not (_INTERFACES / rack.bridge).exists():
        _ip("link", "add", rack.bridge, "type", "bridge", "stp_state", "0", "forward_delay", "0")
    _ip("address", "replace", f"{outer_address(subnet)}/24", "dev", rack.bridge)
    _ip("link", "set", rack.bridge, "address", rack.bridge_mac, "addrgenmode", "none", "up")


def remove_bridge(rack: RackIdentity) -> None:
    """Remove the bridge and every cable of this rack that is left."""
    for interface in _INTERFACES.glob(f"vb-{rack.id}-*"):
        _delete(interface.name)
    _delete(rack.bridge)


def remove_port(rack: RackIdentity, node: str) -> None:
    """Remove a cable that a killed node left; the next boot could not make its own otherwise."""
    _delete(rack.port(node))


def has_port(rack: RackIdentity, node: str) -> bool:
    return (_INTERFACES / rack.port(node)).exists()


def unplug(rack: RackIdentity, node: str) -> None:
    """Take the cable out of the switch. The node's own end stays up: its connections stall, nothing is refused."""
    _ip("link", "set", rack.port(node), "nomaster")


def plug(rack: RackIdentity, node: str) -> None:
    """Put the cable back."""
    _ip("link", "set", rack.port(node), "master", rack.bridge, "up")


def is_plugged(rack: RackIdentity, node: str) -> bool:
    """Whether the node's cable is in the rack's switch."""
    master = _INTERFACES / rack.port(node) / "master"
    return master.exists() and master.resolve().name == rack.bridge


def _delete(interface: str) -> None:
    # A cable goes by itself a moment after its node, maybe right before it is deleted here.
    if (_INTERFACES / interface).exists():
        run(["ip", "link", "delete", interface], timeout_s=10, check=False)
    if (_INTERFACES / interface).exists():
        raise RackboxError(f"{interface}: could not be deleted; `ip link delete {interface}` may say why")


def _ip(*words: str) -> None:
    run(["ip", *words], timeout_s=10)
