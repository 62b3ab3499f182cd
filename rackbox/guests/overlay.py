"""Our own files that go into a guest, kept as folders beside this file."""

from __future__ import annotations

import shutil
from pathlib import Path

SOURCES = Path(__file__).resolve().parent


def copy_overlay(name: str, target: Path) -> None:
    """Copy the folder `name` to `target`, with a guest's owner and modes, whoever's and however strict the checkout."""
    shutil.copytree(SOURCES / name, target, symlinks=True)
    for path in [target, *target.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
