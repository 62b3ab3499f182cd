"""Short progress lines with elapsed seconds."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import TextIO


class Progress:
    """Prints one line for each step; safe to call from several threads."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._start = clock()
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        """Print `text` with the seconds since this object was made."""
        with self._lock:
            print(f"[{self._clock() - self._start:6.1f} s] {text}", file=self._stream or sys.stdout, flush=True)


class Silence(Progress):
    """Says nothing; for tests."""

    def say(self, text: str) -> None:
        return
