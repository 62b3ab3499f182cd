"""The jobs that run on this master now, by the files that Salt keeps of them while they do."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import salt.exceptions
import salt.payload


def of_user(opts: Mapping[str, Any], user: str) -> set[str]:
    """The ids of a user's jobs."""
    found = (job for _, job in records(opts))
    return {str(job.get("jid")) for job in found if job.get("user") == user and _lives(job.get("pid"))}


def records(opts: Mapping[str, Any]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """What each file says; a job that ended meanwhile, or has said nothing of itself yet, is empty.

    Salt's own ``get_running_jobs`` removes the file of a job that is just being started.
    """
    return ((path, _read(path)) for path in _files(Path(opts["cachedir"]) / "proc"))


def _files(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []


def _read(path: Path) -> Mapping[str, Any]:
    try:
        job = salt.payload.loads(path.read_bytes())
    except (OSError, ValueError, salt.exceptions.SaltDeserializationError):
        return {}
    return job if isinstance(job, Mapping) else {}


def _lives(pid: Any) -> bool:
    """A killed job leaves its file behind."""
    if not isinstance(pid, int) or pid < 1:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
