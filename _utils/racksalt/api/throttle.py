"""Slowing down guesses of passwords, before one is checked: bcrypt is slow on purpose.

A user is held back only from the address that guessed, so nobody can lock out somebody else. An address that
failed for many users may still log in those who did so from it before.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from racksalt.api.origins import origin
from racksalt.errors import RacksaltError
from racksalt.ports import Clock

WINDOW_S = 60.0
FAILURES_PER_USER = 5
FAILURES_PER_ADDRESS = 30
#: How long one waits where attempts at the same time may still turn out to be right.
PENDING_S = 1.0
#: Right passwords cost as much as wrong ones.
LOGINS_PER_USER = 60
#: So many keys are remembered; the oldest go first.
_MOST_KEYS = 10_000
#: Told of one address within the window, whatever the users' names, and of all together.
_TOLD_OF_ONE_ADDRESS = 10
_TOLD_IN_ALL = 300


class TooMany(RacksaltError):
    """Too many wrong passwords, logins or calls."""

    status = 429


@dataclass
class Throttle:
    """The logins of the last minute: failed ones by user and address, right ones by user."""

    clock: Clock
    _times: dict[Hashable, deque[float]] = field(default_factory=dict)
    _pending: Counter[Hashable] = field(default_factory=Counter)
    _welcome: dict[tuple[str, str], None] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def attempt(self, user: str, address: str) -> float:
        """How long this user has to wait at this address; 0 when it may try, which counts as a failure at once."""
        address = origin(address)
        with self._lock:
            wait = max(self._wait_for((user, address), FAILURES_PER_USER), self._wait_for((user,), LOGINS_PER_USER))
            if (user, address) not in self._welcome:
                wait = max(wait, self._wait_for(address, FAILURES_PER_ADDRESS))
            if wait <= 0:
                for key in ((user, address), address):
                    self._count(key)
                    self._pending[key] += 1
            return wait

    def succeeded(self, user: str, address: str) -> None:
        """The right password: this user is known at this address, and its failures there are forgotten."""
        address = origin(address)
        with self._lock:
            self._is_known(user, address)
            self._times.pop((user, address), None)
            self._forget_last(address)
            self._count((user,))
            self._welcome[(user, address)] = None
            _forget_oldest(self._welcome)

    def failed(self, user: str, address: str) -> None:
        """The wrong password: the attempt stays counted."""
        with self._lock:
            self._is_known(user, origin(address))

    def forgive(self, user: str, address: str) -> None:
        """The attempt came to nothing, and not because of its password."""
        address = origin(address)
        with self._lock:
            self._is_known(user, address)
            for key in ((user, address), address):
                self._forget_last(key)

    def knows(self, user: str, address: str) -> bool:
        """Whether this user logged in from this address before."""
        with self._lock:
            return (user, origin(address)) in self._welcome

    def _is_known(self, user: str, address: str) -> None:
        """What became of an attempt."""
        for key in ((user, address), address):
            self._pending[key] -= 1
            if self._pending[key] <= 0:
                del self._pending[key]

    def _forget_last(self, key: Hashable) -> None:
        if self._times.get(key):
            self._times[key].pop()

    def _count(self, key: Hashable) -> None:
        self._times.setdefault(key, deque(maxlen=LOGINS_PER_USER)).append(self.clock.steady())
        _forget_oldest(self._times)

    def _wait_for(self, key: Hashable, most: int) -> float:
        times = self._times.get(key)
        if times is None:
            return 0.0
        now = self.clock.steady()
        while times and times[0] <= now - WINDOW_S:
            times.popleft()
        if not times:
            del self._times[key]
            return 0.0
        if len(times) < most:
            return 0.0
        return PENDING_S if len(times) - self._pending[key] < most else times[-most] + WINDOW_S - now


@dataclass
class Seldom:
    """What could be said as fast as a client sends: once a minute of a user, address and code.

    Of one address a few are said, and of all addresses together not more than fit on any disk.
    """

    clock: Clock
    _told: dict[tuple[str, str, str], float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def is_news(self, user: str, address: str, *, code: str) -> bool:
        """Whether to say it."""
        address = origin(address)
        with self._lock:
            since = self.clock.steady() - WINDOW_S
            while self._told and next(iter(self._told.values())) <= since:
                del self._told[next(iter(self._told))]
            of_address = sum(1 for _, told, _ in self._told if told == address)
            if (user, address, code) in self._told or of_address >= _TOLD_OF_ONE_ADDRESS:
                return False
            if len(self._told) >= _TOLD_IN_ALL:
                return False
            self._told[(user, address, code)] = self.clock.steady()
            return True


def _forget_oldest(known: dict[Any, Any]) -> None:
    while len(known) > _MOST_KEYS:
        del known[next(iter(known))]
