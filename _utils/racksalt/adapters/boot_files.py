"""What this host knows of its boot: files that a reboot takes away."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from racksalt.adapters.whole_files import replace

log = logging.getLogger(__name__)

ROOT = Path("/run/racksalt")


@dataclass(frozen=True, slots=True)
class BootFiles:
    """The ``BootWord`` port."""

    root: Path = ROOT

    def waits(self) -> bool:
        """Whether its VMs have not been started since the boot."""
        return not (self.root / "booted").exists()

    def read(self) -> frozenset[str] | None:
        """The VMs that the writer keeps off; ``None`` before its word came."""
        try:
            return frozenset(json.loads((self.root / "boot-word.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            log.error("the writer's word cannot be read: %s", error)
            return None

    def write(self, keep_off: Collection[str]) -> None:
        """The writer's word."""
        self._make()
        replace(self.root / "boot-word.json", json.dumps(sorted(keep_off)).encode(), mode=0o600)

    def done(self) -> None:
        """Its VMs were started."""
        self._make()
        replace(self.root / "booted", b"", mode=0o600)

    def _make(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
