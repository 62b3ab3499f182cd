"""Which moves a host has let in, as a file each: the migration port of a source stays open for the others of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from racksalt.adapters.whole_files import replace
from racksalt.ports import Clock, MigrationPort

#: Gone with the next boot, like what the kernel lets in.
ROOT = Path("/run/racksalt/doors")


@dataclass(frozen=True, slots=True)
class DoorFiles:
    """The ``MoveDoors`` port: ``ROOT/UUID`` says for whom, until when. The caller holds the host's lock."""

    port: MigrationPort
    clock: Clock
    root: Path = ROOT

    def open(self, uuid: str, source: str, until_s: float) -> None:
        """Let ``source`` in for this VM, until then; not for less than another move of it was promised."""
        self.port.open(source, max([until_s, *self._promised(source)]))
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        replace(self.root / uuid, json.dumps({"source": source, "until_s": until_s}).encode(), mode=0o600)

    def is_open(self, uuid: str) -> bool:
        """Whether somebody is let in for this VM now."""
        found = _read(self.root / uuid)
        return found is not None and found[1] > self.clock.now()

    def close(self, uuid: str, source: str) -> None:
        """Not for this VM any more; the last one shuts ``source`` out."""
        (self.root / uuid).unlink(missing_ok=True)
        if not list(self._promised(source)):
            self.port.close(source)

    def _promised(self, source: str) -> Iterator[float]:
        """Until when this source is let in for other moves; what is over is forgotten."""
        for path in self.root.glob("[!.]*"):
            found = _read(path)
            if found is None or found[1] <= self.clock.now():
                path.unlink(missing_ok=True)
            elif found[0] == source:
                yield found[1]


def _read(path: Path) -> tuple[str, float] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return str(found["source"]), float(found["until_s"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
