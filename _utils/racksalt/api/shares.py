"""How much of the API one user, or one address, may take at the same time, so that there is always some left.

A call that is waited for holds a thread here and a process on the master; one that is not, a process; a password's
check, a processor.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from racksalt.api.throttle import TooMany
from racksalt.ports import Clock

T = TypeVar("T", bound=Hashable)

CALLS_AT_ONCE = 20
#: A user that has so many may start another one however busy the others keep the API.
_ALWAYS = 2
#: So long a started job may take until the master lists it.
_UNSEEN_S = 10


@dataclass
class CallsAtOnce:
    """The calls that are being carried out; above ``shared`` in all, a user gets a few only."""

    shared: int
    most: int = CALLS_AT_ONCE
    _running: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def one_more(self, user: str) -> Iterator[None]:
        """Refuses what is too much."""
        with self._lock:
            most = self.most if self._running.total() < self.shared else min(self.most, _ALWAYS)
            if self._running[user] >= most:
                raise _too_many(most, user)
            self._running[user] += 1
        try:
            yield
        finally:
            with self._lock:
                _less(self._running, user)


@dataclass
class JobsAtOnce:
    """The jobs that nobody waits for; ``listed`` are those of a user that the master knows to run, by their id."""

    clock: Clock
    listed: Callable[[str], Set[str]]
    most: int = CALLS_AT_ONCE
    _starting: Counter[str] = field(default_factory=Counter)
    _unseen: dict[str, dict[str, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def one_more(self, user: str) -> Iterator[Callable[[str], None]]:
        """Refuses what is too much; what it yields is told the id of the job once it was started."""
        with self._lock:
            if self._starting[user] + self._count(user) >= self.most:
                raise _too_many(self.most, user)
            self._starting[user] += 1
        try:
            yield lambda jid: self._started(user, jid)
        finally:
            with self._lock:
                _less(self._starting, user)

    def _started(self, user: str, jid: str) -> None:
        with self._lock:
            self._unseen.setdefault(user, {})[jid] = self.clock.steady()

    def _count(self, user: str) -> int:
        """A job that was started a moment ago counts too, until it is listed or could have ended long since."""
        listed, now = self.listed(user), self.clock.steady()
        unseen = {
            jid: at for jid, at in self._unseen.pop(user, {}).items() if jid not in listed and now - at < _UNSEEN_S
        }
        if unseen:
            self._unseen[user] = unseen
        return len(listed) + len(unseen)


@dataclass
class Turns:
    """Whose password is checked: a few at a time, one of each ``key``, and not many that wait for it."""

    at_once: int
    most_waiting: int = 24
    most_waiting_of_one: int = 10
    _busy: set[Hashable] = field(default_factory=set)
    _waiting: Counter[Hashable] = field(default_factory=Counter)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    @contextmanager
    def one_of(self, key: Hashable) -> Iterator[None]:
        """Waits for its turn; refuses where too many do."""
        with self._changed:
            if self._waiting.total() >= self.most_waiting or self._waiting[key] >= self.most_waiting_of_one:
                raise TooMany("login_throttled", "too many logins at once; wait 1 s", retry_after_s=1)
            self._waiting[key] += 1
            self._changed.wait_for(lambda: key not in self._busy and len(self._busy) < self.at_once)
            _less(self._waiting, key)
            self._busy.add(key)
        try:
            yield
        finally:
            with self._changed:
                self._busy.remove(key)
                self._changed.notify_all()


def _less(counts: Counter[T], key: T) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]


def _too_many(most: int, user: str) -> TooMany:
    return TooMany(
        "too_many_calls",
        f"{most} calls of user {user} are being carried out; wait for one to end",
        retry_after_s=1,
    )
