"""Claims in flight as one small file each: durable, and gone when settled long ago."""

from __future__ import annotations

import json
import logging
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from racksalt import shape
from racksalt.adapters.system import FileLock
from racksalt.adapters.whole_files import replace, sync_folder
from racksalt.errors import BadInput, Unavailable
from racksalt.model import Claim

log = logging.getLogger(__name__)

ROOT = Path("/var/lib/racksalt/claims")


@dataclass(frozen=True, slots=True)
class ClaimFiles:
    """The ``Claims`` port: ``ROOT/UUID.json`` under one lock."""

    root: Path = ROOT
    #: What was read before: under the lock only those that are new or changed are read again.
    _known: dict[str, tuple[tuple[int, int], Claim]] = field(default_factory=dict, repr=False, compare=False)

    def locked(self) -> AbstractContextManager[None]:
        """What is unique in the rack is decided by one at a time."""
        self._make_root()
        return FileLock(self.root / ".lock")()

    def all(self) -> list[Claim]:
        """Every claim that can be read; one that vanishes meanwhile was settled."""
        claims, wrong = self._read()
        for path, error in wrong:
            log.error("claim %s cannot be read: %s", path, error)
        return claims

    def certain(self) -> list[Claim]:
        """Every claim; refuses while one cannot be read, as what it holds is not known."""
        claims, wrong = self._read()
        for path, error in wrong:
            detail = f"{path}: {error}; see whether its VM is there, then remove the file"
            raise Unavailable("claim_unreadable", detail) from error
        return claims

    def write(self, claim: Claim) -> None:
        """Durable when it returns."""
        self._make_root()
        content = json.dumps(shape.plain_set(claim)).encode()
        replace(self._path(claim.record.uuid), content, mode=0o600)

    def remove(self, uuid: str) -> None:
        """The claim has ended."""
        self._path(uuid).unlink(missing_ok=True)
        if self.root.is_dir():
            sync_folder(self.root)

    def _read(self) -> tuple[list[Claim], list[tuple[str, Exception]]]:
        """All claims, and each file that is none with what is wrong."""
        claims: list[Claim] = []
        wrong: list[tuple[str, Exception]] = []
        if not self.root.is_dir():
            return claims, wrong
        with os.scandir(self.root) as entries:
            files = [entry for entry in entries if entry.name.endswith(".json")]
        for gone in self._known.keys() - {entry.name for entry in files}:
            self._known.pop(gone, None)
        for entry in files:
            try:
                claims.append(self._claim(entry))
            except FileNotFoundError:
                continue
            except (BadInput, ValueError) as error:
                wrong.append((entry.path, error))
        return claims, wrong

    def _claim(self, entry: os.DirEntry[str]) -> Claim:
        """A claim is never changed in place: each writing of it is another file."""
        now = entry.stat()
        version = (now.st_ino, now.st_mtime_ns)
        known = self._known.get(entry.name)
        if known is not None and known[0] == version:
            return known[1]
        claim = shape.parse(Claim, json.loads(Path(entry.path).read_text(encoding="utf-8")))
        self._known[entry.name] = (version, claim)
        return claim

    def _make_root(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def _path(self, uuid: str) -> Path:
        return self.root / f"{uuid}.json"
