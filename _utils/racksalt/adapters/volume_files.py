"""Disks and seeds of VMs as files; disks are made by ``qemu-img``."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import shutil
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from racksalt import shape
from racksalt.adapters.whole_files import replace, sync_folder
from racksalt.errors import BadInput, NotFound, Refused, Unavailable
from racksalt.holdings import Volume

log = logging.getLogger(__name__)

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

    def begin(self, tenant: str, uuid: str, *, size_bytes: int, backing: str | None, format: str) -> QcowInMaking:
        """Begin to make a thin qcow2 of this size, over ``backing`` in its stated ``format`` or empty.

        The backing file's format is said here and never probed: a guest could write another header.
        """
        return QcowInMaking(self._folder(tenant) / f"{uuid}.qcow2", size_bytes, backing, format)

    def paths(self, tenant: str, uuid: str) -> tuple[str, str]:
        """Where this VM's disk and its seed are, or would be."""
        folder = self.root / "volumes" / tenant
        return str(folder / f"{uuid}.qcow2"), str(folder / f"{uuid}-seed.iso")

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        return Path(path).exists()

    def read_seed(self, tenant: str, uuid: str) -> bytes:
        """The seed as it is."""
        path = Path(self.paths(tenant, uuid)[1])
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            raise NotFound("disk_missing", f"the seed {path} is not there", path=str(path)) from error

    def copy_seed(self, tenant: str, uuid: str, data: bytes) -> str:
        """A seed that :meth:`read_seed` has read elsewhere."""
        path = self._folder(tenant) / f"{uuid}-seed.iso"
        replace(path, data, mode=0o600)
        return str(path)

    def write_seed(self, tenant: str, uuid: str, files: Mapping[str, str]) -> str:
        """An ISO 9660 with the label that NoCloud looks for."""
        path, image = self._folder(tenant) / f"{uuid}-seed.iso", _seed_image(files)
        try:
            path.unlink(missing_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(image)
        except OSError as error:
            raise Refused("disk_failed", f"the seed {path} cannot be written: {error.strerror}") from error
        return str(path)

    def remove(self, tenant: str, uuid: str, *, disks: bool = True) -> list[str]:
        """Delete this VM's files and its console's log, or only that; the folder stays, another create may need it."""
        folder = self.root / "volumes" / tenant
        removed = []
        files = [*folder.glob(f"{uuid}*"), *folder.glob(f".{uuid}*")] if disks else []
        for path in sorted([*files, *self.logs.glob(f"{uuid}.console.log*")]):
            path.unlink(missing_ok=True)
            removed.append(str(path))
        return removed

    def all(self) -> tuple[Volume, ...]:
        """Every file in the tenants' folders, with the room that it takes; what is being written is none yet."""
        found = []
        for path in sorted(self.root.glob("volumes/*/*")):
            with contextlib.suppress(FileNotFoundError, BadInput):
                if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
                    mib = path.stat().st_blocks * 512 // 2**20
                    told = {"tenant": path.parent.name, "file": path.name, "path": str(path), "mib": mib}
                    found.append(shape.parse(Volume, told))
        return tuple(found)

    def set_aside(self, tenant: str, files: Collection[str]) -> list[str]:
        """Move them into ``ROOT/lost/TENANT``, where nobody ever writes over them; on another disk they stay."""
        folder = self._lost(tenant)
        moved: list[str] = []
        for name in files:
            path, aside = self.root / "volumes" / tenant / name, _free(folder / name)
            try:
                path.rename(aside)
            except OSError as error:
                detail = f"{path} cannot be moved to {folder}: {error.strerror}; move it by hand"
                raise Refused("not_set_aside", detail, moved=moved) from error
            moved.append(str(aside))
        sync_folder(folder)
        return moved

    def keep(self, name: str, text: str) -> str:
        """Write a text into ``ROOT/lost``, beside those of the same name."""
        path = _free(self._lost() / name)
        replace(path, text.encode(), mode=0o600)
        return str(path)

    def total_gib(self) -> int:
        """The size of the file system that holds the volumes."""
        folder = self.root / "volumes"
        folder.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(folder).total // 2**30

    def _folder(self, tenant: str) -> Path:
        folder = self.root / "volumes" / tenant
        folder.mkdir(parents=True, exist_ok=True, mode=0o711)
        return folder

    def _lost(self, tenant: str = "") -> Path:
        folder = self.root / "lost" / tenant
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder


class QcowInMaking:
    """The ``DiskInMaking`` port: ``qemu-img`` at work, under a name that is no VM's."""

    def __init__(self, path: Path, size_bytes: int, backing: str | None, format: str) -> None:
        self._path, self._aside = path, path.with_name(f".{path.name}")
        over = ["-b", backing, "-F", format] if backing else []
        command = ["qemu-img", "create", "-q", "-f", "qcow2", *over, str(self._aside), str(size_bytes)]
        self._program = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self._ended = False

    def keep(self) -> str:
        """Wait for it, and put it in its place."""
        try:
            _, told = self._program.communicate(timeout=_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise Refused("disk_failed", f"qemu-img: it took longer than {_TIMEOUT_S} s") from error
        self._ended = True
        if self._program.returncode != 0:
            raise Refused("disk_failed", f"qemu-img: {told.strip()[-500:]}")
        self._aside.chmod(0o600)
        self._aside.replace(self._path)
        return str(self._path)

    def drop(self) -> None:
        """Stop making it, and leave nothing of it; one that is in its place stays there."""
        if not self._ended:
            self._program.kill()
            self._program.communicate()
            self._ended = True
        try:
            self._aside.unlink(missing_ok=True)
        except OSError as error:
            log.error("the disk %s, which no VM has, stays: %s", self._aside, error.strerror)


def _seed_image(files: Mapping[str, str]) -> bytes:
    try:
        from racksalt.adapters import seed_iso
    except ModuleNotFoundError as error:
        raise Unavailable("pycdlib_missing", "python3-pycdlib is not installed here; apply the highstate") from error
    return seed_iso.image(files)


def _free(path: Path) -> Path:
    """This path, or the first one after it that nothing has."""
    more = (path.with_name(f"{path.name}.{number}") for number in itertools.count(2))
    return next(one for one in itertools.chain([path], more) if not os.path.lexists(one))
