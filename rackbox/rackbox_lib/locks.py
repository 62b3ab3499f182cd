"""File locks that end with their holder, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def held(path: Path, *, waiting: Callable[[], None] | None = None) -> Iterator[int]:
    """Hold an exclusive lock on `path`; yields its descriptor. `waiting` is called once if somebody else has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _locked(path, waiting)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _locked(path: Path, waiting: Callable[[], None] | None) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting:
                waiting()
                waiting = None
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _is_still(path, descriptor):
            return descriptor
        os.close(descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
    # The holder before us may have removed the file together with its folder.
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return False
