"""Slowing down guesses of passwords, before the master is asked: bcrypt there starves the hosts.

A user is held back only from the address that guessed, so nobody can lock out somebody else. An address that
failed for many users may still log in those who did so from it before.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from racksalt.ports import Clock

WINDOW_S = 60.0
FAILURES_PER_USER = 5
FAILURES_PER_ADDRESS = 30
#: So many keys are remembered; the oldest go first.
_MOST_KEYS = 10_000


@dataclass
class Throttle:
    """Failed logins of the last minute, by user and address."""

    clock: Clock
    _failures: dict[Hashable, deque[float]] = field(default_factory=dict)
    _welcome: dict[tuple[str, str], None] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait_s(self, user: str, address: str) -> float:
        """How long this user has to wait at this address; 0 when it may try."""
        with self._lock:
            wait = self._wait_for((user, address), FAILURES_PER_USER)
            if (user, address) not in self._welcome:
                wait = max(wait, self._wait_for(address, FAILURES_PER_ADDRESS))
            return wait

    def failed(self, user: str, address: str) -> None:
        """A wrong password."""
        with self._lock:
            for key in ((user, address), address):
                self._failures.setdefault(key, deque(maxlen=FAILURES_PER_ADDRESS)).append(self.clock.now())
            _forget_oldest(self._failures)

    def succeeded(self, user: str, address: str) -> None:
        """The right password: this user is known at this address."""
        with self._lock:
            self._failures.pop((user, address), None)
            self._welcome[(user, address)] = None
            _forget_oldest(self._welcome)

    def _wait_for(self, key: Hashable, most: int) -> float:
        times = self._failures.get(key)
        if times is None:
            return 0.0
        now = self.clock.now()
        while times and times[0] <= now - WINDOW_S:
            times.popleft()
        if not times:
            del self._failures[key]
            return 0.0
        return times[-most] + WINDOW_S - now if len(times) >= most else 0.0


def _forget_oldest(known: dict[Any, Any]) -> None:
    while len(known) > _MOST_KEYS:
        del known[next(iter(known))]
