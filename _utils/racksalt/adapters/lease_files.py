"""Planned addresses of this host's VMs, as files that the network's dnsmasq reads.

``virNetworkUpdate`` could do it too, but it takes the network's firewall rules away and brings them back
(0.5 s, and the traffic of every VM with them) for each address.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from racksalt import network_xml, shape
from racksalt.adapters.whole_files import replace
from racksalt.errors import BadInput
from racksalt.model import Nic

_PIDS = Path("/run/libvirt/network")


@dataclass(frozen=True, slots=True)
class LeaseFiles:
    """``ROOT/leases/NETWORK/MAC``: one dhcp-host line each, in dnsmasq's ``dhcp-hostsdir``."""

    root: Path = Path(network_xml.LEASES)
    pids: Path = _PIDS

    def reserve(self, nic: Nic) -> None:
        """The DHCP server gives this address to this MAC."""
        folder = self.root / nic.network
        folder.mkdir(parents=True, exist_ok=True)
        replace(folder / nic.mac, f"{nic.mac},{nic.address}\n".encode(), mode=0o644)
        self._read_again(nic.network)

    def release(self, nic: Nic, bridge: str | None) -> None:
        """Take it back, and make the server forget the lease; what is not there is not an error."""
        (self.root / nic.network / nic.mac).unlink(missing_ok=True)
        self._read_again(nic.network)
        if bridge:
            command = ["dhcp_release", bridge, nic.address, nic.mac]
            with contextlib.suppress(FileNotFoundError, subprocess.TimeoutExpired):
                subprocess.run(command, capture_output=True, timeout=10, check=False)

    def all(self) -> Iterator[Nic]:
        """Every planned address; what has not the form of one is none."""
        for path in sorted(self.root.glob("*/*")):
            with contextlib.suppress(OSError, UnicodeDecodeError, BadInput):
                mac, _, address = path.read_text("ascii").strip().partition(",")
                nic = shape.parse(Nic, {"network": path.parent.name, "mac": mac, "address": address})
                if path.name == nic.mac:
                    yield nic

    def _read_again(self, network: str) -> None:
        """dnsmasq notices new files by itself; vanished ones only when told. One that is off reads all at its start."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
            os.kill(int((self.pids / f"{network}.pid").read_text()), signal.SIGHUP)
