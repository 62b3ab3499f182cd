"""What a host remembers of the audit of its masters: the newest head that each of them sent.

It is a witness against lines that were cut off on the master, and no more: a host that cannot write it goes on working.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path

from racksalt import shape
from racksalt.adapters.system import FileLock
from racksalt.adapters.whole_files import replace
from racksalt.errors import RacksaltError
from racksalt.model import Head

log = logging.getLogger(__name__)

PATH = Path("/var/lib/racksalt/audit-head.json")

#: Of so many masters a head is kept; of more, those that were heard last.
_MOST_MASTERS = 8
_WAIT_S = 5.0


def read(path: Path = PATH) -> tuple[Head, ...]:
    """The newest head of each master; none where nothing can be read."""
    try:
        return shape.parse(tuple[Head, ...], json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, RecursionError, RacksaltError) as error:
        log.error("%s cannot be read: %s", path, error)
        return ()


def keep(head: Head, path: Path = PATH) -> None:
    """Remember ``head``, where it is newer than what its master sent before: calls may overtake each other."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock"), _WAIT_S)():
            _keep(head, path)
    except (OSError, RacksaltError) as error:
        log.error("%s cannot be written, so this host is no witness of line %s: %s", path, head.count, error)


def _keep(head: Head, path: Path) -> None:
    heads = {known.master: known for known in read(path)}
    known = heads.pop(head.master, None)
    if known is None or head.count > known.count:
        _write([*heads.values(), head][-_MOST_MASTERS:], path)
    elif head.count == known.count and head.sha256 != known.sha256:
        log.error(
            "the master %r sent a second line %s of its audit: %s, and before %s; the first one is kept",
            *(head.master, head.count, head.sha256, known.sha256),
        )


def _write(heads: Iterable[Head], path: Path) -> None:
    replace(path, json.dumps([shape.plain(head) for head in heads]).encode() + b"\n", mode=0o600)
