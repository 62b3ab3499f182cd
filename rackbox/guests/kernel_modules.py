"""Which kernel modules a guest needs, in an order in which plain insmod can load them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from rackbox.guests.command import GuestError


class ModuleTree:
    """The modules of an unpacked kernel package, read without depmod."""

    def __init__(self, root: Path) -> None:
        """Index all modules under `root`."""
        self._files = {_canonical(path.stem): path for path in root.rglob("*.ko")}

    def in_load_order(self, wanted: Sequence[str]) -> list[Path]:
        """Return the files of `wanted` and of all that they depend on, each after what it needs.

        Raises GuestError for a name that the kernel has no module for.
        """
        ordered: dict[str, Path] = {}
        for name in wanted:
            self._add(_canonical(name), ordered)
        return list(ordered.values())

    def _add(self, name: str, ordered: dict[str, Path]) -> None:
        if name in ordered:
            return
        if name not in self._files:
            raise GuestError(f"the kernel has no module {name}; it may be built in now: take it off the list")
        path = self._files[name]
        for needed in _dependencies(path):
            self._add(needed, ordered)
        ordered[name] = path


def _canonical(name: str) -> str:
    return name.replace("-", "_")


def _dependencies(module: Path) -> list[str]:
    """Read the `depends=` line that every module carries in its .modinfo section."""
    found = re.search(rb"\0depends=([^\0]*)\0", module.read_bytes())
    return [_canonical(name) for name in found[1].decode().split(",") if name] if found else []
