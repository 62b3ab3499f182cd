"""Slowing down guesses of passwords, before one is checked: bcrypt is slow on purpose.

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
#: Right passwords cost as much as wrong ones.
LOGINS_PER_USER = 60
#: So many keys are remembered; the oldest go first.
_MOST_KEYS = 10_000


@dataclass
class Throttle:
    """The logins of the last minute: failed ones by user and address, right ones by user."""

    clock: Clock
    _times: dict[Hashable, deque[float]] = field(default_factory=dict)
    _welcome: dict[tuple[str, str], None] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def attempt(self, user: str, address: str) -> float:
        """How long this user has to wait at this address; 0 when it may try, which counts as a failure at once."""
        with self._lock:
            wait = max(self._wait_for((user, address), FAILURES_PER_USER), self._wait_for((user,), LOGINS_PER_USER))
            if (user, address) not in self._welcome:
                wait = max(wait, self._wait_for(address, FAILURES_PER_ADDRESS))
            if wait <= 0:
                for key in ((user, address), address):
                    self._count(key)
            return wait

    def succeeded(self, user: str, address: str) -> None:
        """The right password: this user is known at this address, and its failures there are forgotten."""
        with self._lock:
            self._times.pop((user, address), None)
            if self._times.get(address):
                self._times[address].pop()
            self._count((user,))
            self._welcome[(user, address)] = None
            _forget_oldest(self._welcome)

    def _count(self, key: Hashable) -> None:
        self._times.setdefault(key, deque(maxlen=LOGINS_PER_USER)).append(self.clock.now())
        _forget_oldest(self._times)

    def _wait_for(self, key: Hashable, most: int) -> float:
        times = self._times.get(key)
        if times is None:
            return 0.0
        now = self.clock.now()
        while times and times[0] <= now - WINDOW_S:
            times.popleft()
        if not times:
            del self._times[key]
            return 0.0
        return times[-most] + WINDOW_S - now if len(times) >= most else 0.0


def _forget_oldest(known: dict[Any, Any]) -> None:
    while len(known) > _MOST_KEYS:
        del known[next(iter(known))]
