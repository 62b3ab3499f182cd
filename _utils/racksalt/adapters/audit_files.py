"""The audit as files of a month each, which are only ever appended to: ``ROOT/audit-YYYY-MM.jsonl``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from racksalt import audit
from racksalt.adapters.system import FileLock
from racksalt.adapters.whole_files import sync_folder
from racksalt.audit import Entry
from racksalt.audit_check import Raw
from racksalt.errors import Unavailable
from racksalt.model import Head
from racksalt.ports import Clock

ROOT = Path("/var/lib/racksalt/audit")

_NAME = re.compile(r"audit-\d{4}-\d{2}\.jsonl")
_BLOCK = 16384


@dataclass(frozen=True, slots=True)
class AuditFiles:
    """The ``Audit`` port. The chain goes on from one month to the next; a line costs the same in a file of any size."""

    master: str
    clock: Clock
    root: Path = ROOT

    def append(self, entry: Entry) -> Head:
        """Durable when it returns; otherwise ``Unavailable``, and no line is left."""
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            with FileLock(self.root / ".lock")():
                return self._append(entry)
        except OSError as error:
            detail = f"the audit in {self.root} cannot be written: {error.strerror}; nothing is changed without it"
            raise Unavailable("audit_unwritable", detail) from error

    def head(self) -> Head | None:
        """The newest whole line."""
        try:
            return self._end()[0]
        except OSError as error:
            raise self._unreadable(error) from error

    def lines(self) -> Iterator[Raw]:
        """Every line of now, the oldest first; what is being written meanwhile is not among them."""
        try:
            for path, size in self._sizes():
                yield from _forwards(path, size)
        except OSError as error:
            raise self._unreadable(error) from error

    def newest(self, *, since: float = 0.0) -> Iterator[bytes]:
        """The lines backwards, down to the beginning of the month of ``since``."""
        try:
            for path in reversed(self._files()):
                if path.name < _name(since):
                    return
                yield from _backwards(path)
        except OSError as error:
            raise self._unreadable(error) from error

    def _sizes(self) -> list[tuple[Path, int]]:
        """The files as they are between two lines."""
        if not self.root.is_dir():
            return []
        with FileLock(self.root / ".lock")():
            return [(path, path.stat().st_size) for path in self._files()]

    def _append(self, entry: Entry) -> Head:
        """What a power cut left unfinished is closed off first, by a line of its own."""
        now = self.clock.now()
        head, torn = self._end()
        text = b""
        for one in [audit.torn(torn), entry] if torn is not None else [entry]:
            line, head = audit.line(one, after=head, at=now, master=self.master)
            text += line + b"\n"
        assert head is not None
        _write(self.root / max([_name(now), *(path.name for path in self._files())]), text)
        return head

    def _end(self) -> tuple[Head | None, bytes | None]:
        """The head, and what stands behind it without being a line."""
        pieces: list[bytes] = []
        for piece in self.newest():
            line = audit.read(piece)
            if line is not None:
                head = Head(line.n, line.hash, self.master)
                return head, b"\n".join(reversed(pieces)) if pieces else None
            pieces.append(piece)
        return None, b"\n".join(reversed(pieces)) if pieces else None

    def _files(self) -> list[Path]:
        """A month's file is never older than the one before, whatever the clock does: a line goes to the last one."""
        if not self.root.is_dir():
            return []
        return sorted(path for path in self.root.iterdir() if _NAME.fullmatch(path.name))

    def _unreadable(self, error: OSError) -> Unavailable:
        return Unavailable("audit_unreadable", f"the audit in {self.root} cannot be read: {error.strerror}")


def _name(at: float) -> str:
    return f"audit-{datetime.fromtimestamp(at, UTC):%Y-%m}.jsonl"


def _write(path: Path, text: bytes) -> None:
    """Append all of ``text`` or nothing of it."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        ends = size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"
        try:
            _write_all(descriptor, text if ends else b"\n" + text)
            os.fsync(descriptor)
            if size == 0:
                sync_folder(path.parent)
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, text: bytes) -> None:
    while text:
        text = text[os.write(descriptor, text) :]


def _forwards(path: Path, size: int) -> Iterator[Raw]:
    with path.open("rb") as file:
        for row, text in enumerate(file, 1):
            if size <= 0:
                return
            size -= len(text)
            yield Raw(path.name, row, text.removesuffix(b"\n"))


def _backwards(path: Path) -> Iterator[bytes]:
    """The lines of a file from the last on, read in blocks from its end."""
    with path.open("rb") as file:
        end = left = file.seek(0, os.SEEK_END)
        rest: list[bytes] = []
        while left > 0:
            start = max(0, left - _BLOCK)
            file.seek(start)
            block = file.read(left - start)
            first, *others = (block.removesuffix(b"\n") if left == end else block).split(b"\n")
            for piece in reversed(others):
                yield piece + b"".join(reversed(rest))
                rest = []
            rest.append(first)
            left = start
        if end > 0:
            yield b"".join(reversed(rest))
