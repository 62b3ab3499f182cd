"""Planned addresses of this host's VMs, as files that the network's dnsmasq reads.

``virNetworkUpdate`` could do it too, but it takes the network's firewall rules away and brings them back
(0.5 s, and the traffic of every VM with them) for each address.

dnsmasq follows new files by itself. It notices neither that one vanishes nor that it says something else, and takes no
file whose address it remembers for another MAC, until it is told to read all of them again; for that it runs libvirt's
helper once for each lease it has given out. So it is told only where what it may remember is in the way.
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
#: What was taken back since dnsmasq was told last: it ends with this boot, as dnsmasq does.
_RELEASED = Path("/run/racksalt/released")
#: So much of it may be forgotten by us and remembered by dnsmasq.
_MOST_RELEASED = 200


@dataclass(frozen=True, slots=True)
class LeaseFiles:
    """``ROOT/leases/NETWORK/MAC``: one dhcp-host line each, in dnsmasq's ``dhcp-hostsdir``."""

    root: Path = Path(network_xml.LEASES)
    pids: Path = _PIDS
    released: Path = _RELEASED

    def reserve(self, nic: Nic) -> None:
        """The DHCP server gives this address to this MAC."""
        path, line = self.root / nic.network / nic.mac, f"{nic.mac},{nic.address}\n"
        path.parent.mkdir(parents=True, exist_ok=True)
        remembered = [_text(path), *map(_text, (self.released / nic.network).glob("*"))]
        replace(path, line.encode(), mode=0o644)
        if any(_is_in_the_way(other, nic) for other in remembered if other and other != line):
            self._read_again(nic.network)

    def release(self, nic: Nic, bridge: str | None) -> None:
        """Take it back, and make the server forget the lease; what is not there is not an error."""
        path = self.root / nic.network / nic.mac
        if (line := _text(path)) is not None:
            noted = self._bury(nic, line)
            path.unlink(missing_ok=True)
            if not noted:
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

    def _bury(self, nic: Nic, line: str) -> bool:
        """Whether it is noted what dnsmasq remembers, and that is not too much yet."""
        tombstone = self.released / nic.network / nic.mac
        try:
            tombstone.parent.mkdir(parents=True, exist_ok=True)
            tombstone.write_text(line, "ascii", errors="replace")
            return sum(1 for _ in tombstone.parent.iterdir()) <= _MOST_RELEASED
        except OSError:
            return False

    def _read_again(self, network: str) -> None:
        """Tell dnsmasq; one that is off reads all at its start."""
        told_of = list((self.released / network).glob("*"))
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
            os.kill(int((self.pids / f"{network}.pid").read_text()), signal.SIGHUP)
        for tombstone in told_of:
            tombstone.unlink(missing_ok=True)


def _is_in_the_way(line: str, nic: Nic) -> bool:
    mac, _, address = line.strip().partition(",")
    return mac == nic.mac or address == nic.address


def _text(path: Path) -> str | None:
    """What is in a small file; ``None`` where there is none."""
    try:
        return path.read_text("ascii", errors="replace")
    except FileNotFoundError:
        return None
