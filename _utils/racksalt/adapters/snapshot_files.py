"""Snapshots of the inventory as files: on the hosts that keep them, and the writer's own copy.

``ROOT/MASTER/newest.json`` names the pieces of the newest whole one; they lie beside it under their names. The pieces
of a newer one are collected first, and only when all are there it takes the place of the older one.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path

from racksalt import shape
from racksalt.adapters.system import FileLock
from racksalt.adapters.whole_files import replace
from racksalt.errors import RacksaltError, Refused
from racksalt.host_requests import KeepSnapshot
from racksalt.model import SnapshotHead

log = logging.getLogger(__name__)

ROOT = Path("/var/lib/racksalt/snapshots")

_MOST_MASTERS = 8
_MOST_PIECES = 4000
_MOST_BYTES = 256 * 1024 * 1024
_NEWEST = "newest.json"


@dataclass(frozen=True, slots=True)
class SnapshotFiles:
    """The ``SnapshotStore`` port."""

    root: Path = ROOT

    def heads(self) -> tuple[SnapshotHead, ...]:
        """The newest whole snapshot of each master."""
        found = (self.head(path.parent.name) for path in sorted(self.root.glob(f"*/{_NEWEST}")))
        return tuple(head for head in found if head is not None)

    def head(self, master: str) -> SnapshotHead | None:
        """The newest whole snapshot of one master."""
        try:
            return shape.parse(SnapshotHead, json.loads((self.root / master / _NEWEST).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError, RacksaltError) as error:
            log.error("%s cannot be read: %s", self.root / master / _NEWEST, error)
            return None

    def read(self, master: str, name: str) -> str | None:
        """A piece of a master's snapshot."""
        try:
            return (self.root / master / name).read_text(encoding="ascii")
        except (OSError, ValueError):
            return None

    def keep(self, asked: KeepSnapshot) -> list[str]:
        """Take these pieces; the names of those that are still missing. Without any, it is the newest from now on."""
        folder = self.root / asked.head.master
        self._make(folder)
        with FileLock(folder / ".lock")():
            known = self.head(asked.head.master)
            if known is not None and known.version >= asked.head.version:
                return []
            for name, text in asked.texts.items():
                self._take(folder / name, text)
            missing = [name for name in asked.names if not (folder / name).is_file()]
            if not missing:
                replace(folder / _NEWEST, json.dumps(shape.plain(asked.head)).encode() + b"\n", mode=0o600)
                self._drop_others(folder, set(asked.names))
            return missing

    def _make(self, folder: Path) -> None:
        others = [path for path in self.root.glob("*/") if path != folder]
        if not folder.is_dir() and len(others) >= _MOST_MASTERS:
            raise Refused("snapshot_refused", f"{self.root} has snapshots of {len(others)} masters; remove old ones")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def _take(self, path: Path, text: str) -> None:
        if hashlib.sha256(text.encode()).hexdigest() != path.name:
            raise Refused("snapshot_refused", f"piece {path.name[:12]}… has another content than its name says")
        files = [file.stat().st_size for file in path.parent.iterdir()]
        if len(files) >= _MOST_PIECES or sum(files) + len(text) > _MOST_BYTES:
            raise Refused("snapshot_refused", f"{path.parent} is full: {len(files)} files, {sum(files)} bytes")
        if not path.is_file():
            replace(path, text.encode(), mode=0o600)

    def _drop_others(self, folder: Path, names: set[str]) -> None:
        for path in folder.iterdir():
            if len(path.name) == 64 and path.name not in names:
                path.unlink(missing_ok=True)
