"""Disks and seeds of VMs as files, made by ``qemu-img`` and ``xorrisofs``."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from racksalt.errors import NotFound, Refused

ROOT = Path("/var/lib/racksalt")
_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class VolumeFiles:
    """``ROOT/images/SHA256`` and ``ROOT/volumes/TENANT/UUID…``."""

    root: Path = ROOT
    logs: Path = Path("/var/log/libvirt/qemu")

    def console_log(self, uuid: str) -> str:
        """Where virtlogd writes the VM's serial console, and older parts of it beside."""
        return str(self.logs / f"{uuid}.console.log")

    def image_path(self, sha256: str) -> str:
        """The image's file in the store."""
        path = self.root / "images" / sha256
        if not path.is_file():
            raise NotFound(
                "image_missing", f"image {sha256} is not in the store {path.parent}; apply the highstate", sha256=sha256
            )
        return str(path)

    def create(self, tenant: str, uuid: str, *, size_gib: int, backing: str | None, format: str) -> str:
        """A thin qcow2 of ``size_gib``, over ``backing`` in its stated ``format`` or empty.

        The backing file's format is said here and never probed: a guest could write another header.
        """
        path = self._folder(tenant) / f"{uuid}.qcow2"
        over = ["-b", backing, "-F", format] if backing else []
        _run(["qemu-img", "create", "-q", "-f", "qcow2", *over, str(path), f"{size_gib}G"])
        path.chmod(0o600)
        return str(path)

    def write_seed(self, tenant: str, uuid: str, files: Mapping[str, str]) -> str:
        """An ISO 9660 with the label that NoCloud looks for."""
        path = self._folder(tenant) / f"{uuid}-seed.iso"
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".seed-") as folder:
            for name, text in files.items():
                (Path(folder) / name).write_text(text, encoding="utf-8")
            _run(["xorrisofs", "-quiet", "-volid", "cidata", "-joliet", "-rock", "-output", str(path), folder])
        path.chmod(0o600)
        return str(path)

    def remove(self, tenant: str, uuid: str) -> list[str]:
        """Delete this VM's files and its console's log; the tenant's folder stays, another create may need it."""
        folder = self.root / "volumes" / tenant
        removed = []
        for path in sorted([*folder.glob(f"{uuid}*"), *self.logs.glob(f"{uuid}.console.log*")]):
            path.unlink(missing_ok=True)
            removed.append(str(path))
        return removed

    def total_gib(self) -> int:
        """The size of the file system that holds the volumes."""
        folder = self.root / "volumes"
        folder.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(folder).total // 2**30

    def _folder(self, tenant: str) -> Path:
        folder = self.root / "volumes" / tenant
        folder.mkdir(parents=True, exist_ok=True, mode=0o711)
        return folder


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise Refused("disk_failed", f"{command[0]}: {done.stderr.strip()[-500:]}")
