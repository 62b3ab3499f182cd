"""Built images are kept in folders named by a hash of what they were built from, and appear only when whole."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rackbox.guests.overlay import SOURCES

DEFAULT_CACHE = Path("/var/cache/rackbox")
MANIFEST = "image.json"

Image = dict[str, Any]


def default_cache() -> Path:
    """Return the folder named by $RACKBOX_CACHE, else /var/cache/rackbox."""
    return Path(os.environ.get("RACKBOX_CACHE") or DEFAULT_CACHE)


def hash_of_sources(names: Iterable[str]) -> str:
    """Hash files and folders beside this one: their paths, modes and contents.

    Package versions are no part of it: a cached image stays valid when the archive moves on, and a second call needs
    no network. The manifest says which versions are inside; remove the folder to build anew.
    """
    digest = hashlib.sha256()
    for name in sorted(names):
        top = SOURCES / name
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and "__pycache__" not in path.parts:
                mode = path.stat().st_mode & 0o111
                digest.update(f"{path.relative_to(SOURCES)} {mode:o} {path.stat().st_size}\n".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def built_once(cache: Path, name: str, sources: Iterable[str], build: Callable[[Path], Image]) -> Image:
    """Return the image `name` from `cache`, calling `build(folder)` first if it is not there.

    `build` returns the image's description with file names relative to `folder`; callers get absolute paths, for every
    value that names a file there. Two processes may ask at once: one builds, the other waits for it.
    """
    cache = cache.absolute()
    folder = cache / f"guest-{name}-{hash_of_sources(sources)}"
    if not (folder / MANIFEST).exists():
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / f".{folder.name}.lock").open("w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / MANIFEST).exists():
                _build(folder, build)
    return _read(folder)


def _build(folder: Path, build: Callable[[Path], Image]) -> None:
    unfinished = folder.with_name(f".{folder.name}.building")
    for leftover in (unfinished, folder):
        shutil.rmtree(leftover, ignore_errors=True)
    unfinished.mkdir()
    try:
        image = build(unfinished)
        (unfinished / MANIFEST).write_text(json.dumps(image, indent=2) + "\n", encoding="utf-8")
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _read(folder: Path) -> Image:
    image: Image = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    for key in ("kernel", "initrd", "file"):
        if key in image:
            image[key] = str(folder / image[key])
    return image
