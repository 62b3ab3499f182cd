"""The machine's own clock and locks."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from racksalt.errors import Unavailable
from racksalt.host_feed import Moment

_BOOT = Path("/proc/sys/kernel/random/boot_id")


class SystemClock:
    """Real time."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def steady(self) -> float:
        """Seconds since some moment, whatever the clock is set to."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


def moment() -> Moment:
    """Now by the clock that nobody sets: it goes on while the machine sleeps, and all its processes have the same."""
    return Moment(_BOOT.read_text(encoding="ascii").strip(), time.clock_gettime(time.CLOCK_BOOTTIME))


@dataclass(frozen=True, slots=True)
class FileLock:
    """One holder at a time among all processes and threads; freed by the kernel when its holder dies."""

    path: Path
    timeout_s: float = 60.0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._opened() as lock:
            self._take(lock.fileno())
            yield

    def is_held(self) -> bool:
        """Whether somebody has it now."""
        try:
            with self.path.open(encoding="utf-8") as lock:
                fcntl.flock(lock.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def _opened(self) -> IO[str]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            return self.path.open("a", encoding="utf-8")
        except OSError as error:
            raise Unavailable("not_written", f"{self.path} cannot be opened: {error.strerror}") from error

    def _take(self, descriptor: int) -> None:
        until = time.monotonic() + self.timeout_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise Unavailable("busy", f"{self.path} was held for {self.timeout_s:.0f} s; try again") from None
                time.sleep(0.005)
