"""What names a rack and its nodes: ids, addresses, interface names. Pure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from .errors import RackboxError

MAX_HOSTS = 20
MASTER = "master"
CGROUP_ROOT = "rackbox"
CHECKOUT = Path(__file__).resolve().parent.parent.parent
# Where nodes see Salt's environments.
HOSTS_PATH = "/opt/racksalt"
MASTER_PATH = "/opt/racksalt-master"


@dataclass(frozen=True)
class RackIdentity:
    """One rack: the same name in another checkout is another rack."""

    name: str
    checkout: Path

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9-]{1,20}", self.name):
            raise RackboxError(f"rack name {self.name!r}: use 1 to 20 of a-z, 0-9 and -")

    @property
    def id(self) -> str:
        """Six hex digits from the checkout's path and the name."""
        return hashlib.sha256(f"{self.checkout}\0{self.name}".encode()).hexdigest()[:6]

    @property
    def state_dir(self) -> Path:
        """Where all that belongs to this rack alone lives."""
        return self.checkout / ".rackbox" / self.name

    @property
    def bridge(self) -> str:
        return f"rkb-{self.id}"

    @property
    def cgroup(self) -> str:
        """Its folder below each cgroup mount."""
        return f"{CGROUP_ROOT}/{self.id}"

    @property
    def bridge_mac(self) -> str:
        """Fixed, because a bridge otherwise takes a port's, and another one whenever a cable comes or goes."""
        return self._mac(0xFF)

    def machine(self, node: str) -> str:
        """The name systemd-nspawn gets: short, since an interface name of 15 characters at most is made of it."""
        return f"{self.id}-{'m' if node == MASTER else node}"

    def port(self, node: str) -> str:
        """The outer end of the node's cable, as systemd-nspawn names it."""
        return f"vb-{self.machine(node)}"

    def mac(self, node: str) -> str:
        """A locally administered address, unique among racks through the id."""
        return self._mac(node_number(node))

    def _mac(self, last: int) -> str:
        return ":".join(["02", "77", self.id[0:2], self.id[2:4], self.id[4:6], f"{last:02x}"])


def node_number(node: str) -> int:
    """0 for the master, N for hN. Raises RackboxError for any other name."""
    if node == MASTER:
        return 0
    match = re.fullmatch(r"h([1-9][0-9]?)", node)
    if not match or int(match[1]) > MAX_HOSTS:
        raise RackboxError(f"no node {node!r}: nodes are master and h1 to h{MAX_HOSTS}")
    return int(match[1])


def node_names(hosts: int) -> list[str]:
    """The master and that many hosts, in order."""
    if not 0 <= hosts <= MAX_HOSTS:
        raise RackboxError(f"{hosts} hosts asked for: a rack has 0 to {MAX_HOSTS}")
    return [MASTER, *(f"h{number}" for number in range(1, hosts + 1))]


def node_address(subnet: int, node: str) -> str:
    """The node's address in rack network 10.77.`subnet`.0/24."""
    return f"10.77.{subnet}.{10 + node_number(node)}"


def outer_address(subnet: int) -> str:
    """The outer machine's address in that network."""
    return f"10.77.{subnet}.1"


def hosts_file(subnet: int) -> str:
    """/etc/hosts of a node. It names every node a rack can have, so it stays true when hosts are added."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost", f"{outer_address(subnet)} outer"]
    for name in node_names(MAX_HOSTS):
        alias = f"{name} salt" if name == MASTER else name
        lines.append(f"{node_address(subnet, name)} {alias}")
    return "\n".join(lines) + "\n"
