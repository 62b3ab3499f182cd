"""Files that are whole after any crash: the old one or the new one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from racksalt.errors import Unavailable


def replace(path: Path, content: bytes, *, mode: int | None = None) -> None:
    """Write a file so that after any crash the old or the new one is there, whole.

    Raises ``Unavailable`` where it cannot be written: a full disk, or a read-only one. The old one stays then.
    """
    try:
        _replace(path, content, mode=mode)
    except OSError as error:
        raise Unavailable(
            "not_written", f"{path} cannot be written: {error.strerror}; nothing was changed, make room and try again"
        ) from error


def _replace(path: Path, content: bytes, *, mode: int | None) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(mode if mode is not None else _mode_of(path))
        Path(temporary).replace(path)
        sync_folder(path.parent)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def sync_folder(path: Path) -> None:
    """Make a rename or a deletion in this folder last through a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777 if path.exists() else 0o644
