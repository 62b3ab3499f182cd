"""M13: `make demo` as on a fresh machine (an empty cache), and again."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from tests.bench.figures import Figure

ROOT = Path(__file__).resolve().parents[2]


def measure() -> list[Figure]:
    """Three whole runs: everything built anew, nothing to do, and after a `down` with the cache kept."""
    cache = Path(tempfile.mkdtemp(prefix="rackbox-bench-", dir="/var/cache"))
    try:
        fresh, again = _demo(cache), _demo(cache)
        _down(cache)
        warm = _demo(cache)
        _down(cache)
    finally:
        shutil.rmtree(cache)
    return [
        Figure("M13", "demo with an empty cache", fresh, None, "", "s", "< 360 s", fresh < 360),
        Figure("M13", "demo again, rack up", again, None, "", "s", "< 30 s", again < 30),
        Figure("M13", "demo anew, things built before", warm, None, "", "s", "-", None),
    ]


def _demo(cache: Path) -> float:
    began = time.monotonic()
    _rackbox(cache, "demo")
    return time.monotonic() - began


def _down(cache: Path) -> None:
    _rackbox(cache, "down")


def _rackbox(cache: Path, verb: str) -> None:
    env = {**os.environ, "RACKBOX": "benchdemo", "RACKBOX_CACHE": str(cache)}
    subprocess.run([ROOT / "rackbox/rackbox", verb], env=env, check=True, timeout=900, stdout=subprocess.DEVNULL)
