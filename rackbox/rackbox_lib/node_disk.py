"""A node's disk: its own overlay on the shared base, with what makes the node itself written into it."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from .commands import run
from .errors import RackboxError
from .identity import MASTER, MASTER_PATH, RackIdentity, hosts_file, node_address

_MASTER_PROGRAMS = ("salt", "salt-api", "salt-cp", "salt-key", "salt-master", "salt-run")

_NETWORK = """\
[Match]
Name=host0

[Link]
MACAddress={mac}

[Network]
Address={address}/24
LinkLocalAddressing=no
IPv6AcceptRA=no
LLMNR=no
MulticastDNS=no
ConfigureWithoutCarrier=yes
IgnoreCarrierLoss=yes
"""

# Short waits, so that a rack on one machine comes back at once after a fault.
_MINION = """\
id: {node}
master: salt
hash_type: sha256
acceptance_wait_time: 1
acceptance_wait_time_max: 0
auth_timeout: 5
auth_tries: 100
master_tries: -1
random_reauth_delay: 1
recon_default: 100
recon_max: 1000
recon_randomize: false
tcp_keepalive: true
tcp_keepalive_idle: 5
tcp_keepalive_cnt: 3
tcp_keepalive_intvl: 2
"""


@dataclass(frozen=True)
class NodeDisk:
    """The layers of one node below `folder`."""

    folder: Path

    @property
    def root(self) -> Path:
        """Where the layers are mounted as one."""
        return self.folder / "root"

    @property
    def _origin(self) -> Path:
        return self.folder / "origin.json"

    def base(self, subnet: int) -> Path | None:
        """The base it was made on; None unless it was made to the end for this network and the base is there."""
        try:
            origin = json.loads(self._origin.read_text())
        except FileNotFoundError:
            return None
        base = Path(origin["base"])
        return base if origin["subnet"] == subnet and base.exists() else None

    def make(self, rack: RackIdentity, node: str, base: Path, subnet: int) -> None:
        """Make a blank disk."""
        for name in ("upper", "work", "root"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.mount(base)
        _write_identity(self.root, rack, node, subnet)
        part = self._origin.with_suffix(".part")
        part.write_text(json.dumps({"base": str(base), "subnet": subnet}))
        part.rename(self._origin)

    def mount(self, base: Path) -> None:
        """Mount it, unless it is."""
        if os.path.ismount(self.root):
            return
        # A run that was killed between two steps leaves a half-made work folder, which overlayfs then refuses.
        shutil.rmtree(self.folder / "work", ignore_errors=True)
        (self.folder / "work").mkdir()
        options = f"lowerdir={base},upperdir={self.folder / 'upper'},workdir={self.folder / 'work'}"
        run(["mount", "-t", "overlay", "overlay", "-o", options, self.root], timeout_s=30)

    def remove(self) -> None:
        """Unmount and delete it."""
        unmount_below(self.folder)
        if self.folder.exists():
            shutil.rmtree(self.folder)


def unmount_below(folder: Path) -> None:
    """Unmount everything below `folder`, innermost first, and nothing else."""
    for place in sorted(mounts_below(folder, Path("/proc/self/mountinfo").read_text()), reverse=True):
        run(["umount", place], timeout_s=30)


def mounts_below(folder: Path, mountinfo: str) -> list[Path]:
    """Mount points below `folder`."""
    places = [Path(_unescape(line.split()[4])) for line in mountinfo.splitlines()]
    return [place for place in places if place.is_relative_to(folder)]


def _unescape(word: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        word = word.replace(code, character)
    return word


def _write_identity(root: Path, rack: RackIdentity, node: str, subnet: int) -> None:
    network = _NETWORK.format(mac=rack.mac(node), address=node_address(subnet, node))
    files = {
        "etc/machine-id": f"{uuid.uuid4().hex}\n",
        "etc/hostname": f"{node}\n",
        "etc/hosts": hosts_file(subnet),
        "etc/systemd/network/10-host0.network": network,
        "etc/salt/minion_id": node,
        "etc/salt/minion.d/rackbox.conf": _MINION.format(node=node),
    }
    for path, text in files.items():
        _write(root, path, text)
    if node == MASTER:
        (root / MASTER_PATH.lstrip("/")).mkdir()
        for name in _MASTER_PROGRAMS:
            (root / "usr/local/bin" / name).symlink_to(f"{MASTER_PATH}/bin/{name}")


def _write(root: Path, path: str, text: str) -> None:
    target = root / path
    if target.is_symlink():
        raise RackboxError(f"{target}: is a link in the base, and would lead out of the node")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
