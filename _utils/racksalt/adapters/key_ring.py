"""The rack's signing keys as files beside the master's own keys; the newest number signs, all of them verify."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from racksalt.adapters.system import FileLock
from racksalt.adapters.whole_files import replace, sync_folder
from racksalt.errors import Unavailable
from racksalt.record_proof import Ring

_BYTES = 32
_NAME = re.compile(r"rack-([1-9][0-9]{0,5})\.key")


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """The ``KeyRing`` port: ``ROOT/rack-N.key``, 32 random bytes each.

    Reading never makes a key: a ring that was lost would come back as another one, and no VM of the rack would count.
    """

    root: Path

    def read(self) -> Ring:
        """Every key."""
        found = {number: self._key(path) for number, path in self._files().items()}
        keys = {number: key for number, key in found.items() if key is not None}
        if not keys:
            raise self._missing(f"{self.root} has no key")
        return Ring(keys)

    def add(self) -> Ring:
        """Make the next key, or the first one."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.root.chmod(0o700)
        with FileLock(self.root / ".lock")():
            number = max(self._files(), default=0) + 1
            replace(self.root / f"rack-{number}.key", secrets.token_bytes(_BYTES), mode=0o600)
        return self.read()

    def keep_only(self, number: int) -> list[int]:
        """Remove every key that is older than ``number``."""
        older = {known: path for known, path in self._files().items() if known < number}
        for path in older.values():
            path.unlink(missing_ok=True)
        sync_folder(self.root)
        return sorted(older)

    def _files(self) -> dict[int, Path]:
        named = [(path, _NAME.fullmatch(path.name)) for path in self.root.glob("rack-*.key")]
        return {int(match[1]): path for path, match in named if match}

    def _key(self, path: Path) -> bytes | None:
        """``None`` for a key that a rotation removed just now."""
        try:
            key = path.read_bytes()
        except FileNotFoundError:
            return None
        if len(key) != _BYTES:
            raise self._missing(f"{path} has {len(key)} bytes, not {_BYTES}")
        return key

    def _missing(self, found: str) -> Unavailable:
        return Unavailable(
            "rack_key_missing",
            f"the rack's signing key: {found}; restore {self.root} from the master's backup; on a new rack, apply the "
            "highstate to the master",
            path=str(self.root),
        )
