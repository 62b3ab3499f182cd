"""The machine-wide cache of built things: an entry is whole or not there."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from . import locks
from .commands import Options
from .progress import Progress


@dataclass(frozen=True)
class Build:
    """A build in progress: the folder to fill, and how its programs are run.

    They end with a killed rackbox, and keep the entry's lock until then, so nobody builds in the folder meanwhile.
    """

    folder: Path
    final: Path
    log: Path
    options: Options


def cache_dir() -> Path:
    """Where built things are kept: RACKBOX_CACHE, or /var/cache/rackbox."""
    return Path(os.environ.get("RACKBOX_CACHE") or "/var/cache/rackbox")


def digest(parts: Iterable[str | bytes]) -> str:
    """Twelve hex digits for what an entry is made from."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()[:12]


def tree_digest(folder: Path) -> str:
    """One digest for names, modes and contents of all files below `folder`."""
    parts: list[str | bytes] = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            parts += [f"{path.relative_to(folder)} {path.stat().st_mode & 0o777:o}", path.read_bytes()]
    return digest(parts)


def entry(kind: str, key: str, build: Callable[[Build], None], progress: Progress) -> Path:
    """The folder `kind-key` of the cache, built first if it is not there yet.

    Several callers at once, in any process, build it once. What a killed build left is removed by the next one.
    """
    target = cache_dir() / f"{kind}-{key}"
    if target.is_dir():
        return target
    waiting = lambda: progress.say(f"{kind}: another rackbox builds it, waiting")  # noqa: E731
    with locks.held(cache_dir() / f".{target.name}.lock", waiting=waiting) as lock_fd:
        if target.is_dir():
            return target
        part = cache_dir() / f".{target.name}.part"
        log = cache_dir() / f"{target.name}.log"
        if part.exists():
            shutil.rmtree(part)
        log.unlink(missing_ok=True)
        part.mkdir(parents=True)
        build(Build(part, target, log, Options(log=log, held_fds=(lock_fd,), bound=True)))
        part.rename(target)
    return target
