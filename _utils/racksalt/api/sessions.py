"""Who is logged in: random tokens, known here by their hash only, and ended by any change of the user."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from racksalt.ports import Clock

#: Of one user.
MOST_SESSIONS = 100


@dataclass(frozen=True, slots=True)
class Session:
    """One login; ``salt_token`` is Salt's own and never leaves the master."""

    user: str
    salt_token: str
    fingerprint: str
    expires_at: float


@dataclass
class Sessions:
    """All logins of this process; ``fingerprint_of`` tells what a user is today."""

    clock: Clock
    fingerprint_of: Callable[[str], str | None]
    _by_hash: dict[str, Session] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self, user: str, salt_token: str, expires_at: float) -> str | None:
        """The token of a new login; ``None`` when the user vanished meanwhile."""
        fingerprint = self.fingerprint_of(user)
        if fingerprint is None:
            return None
        token = secrets.token_hex(32)
        with self._lock:
            self._make_room(user)
            self._by_hash[_hash(token)] = Session(user, salt_token, fingerprint, expires_at)
        return token

    def find(self, token: str) -> Session | None:
        """The login behind a token, if its user is still who logged in; any change ends it for good.

        Where today's user cannot be told, ``fingerprint_of`` raises, and the login stays.
        """
        with self._lock:
            session = self._by_hash.get(_hash(token))
        if session is None:
            return None
        if session.expires_at <= self.clock.now() or self.fingerprint_of(session.user) != session.fingerprint:
            self.close(token)
            return None
        return session

    def close(self, token: str) -> Session | None:
        """End a login."""
        with self._lock:
            return self._by_hash.pop(_hash(token), None)

    def _make_room(self, user: str) -> None:
        """A user's oldest login goes when there are too many; nobody else's does."""
        now = self.clock.now()
        for key in [key for key, session in self._by_hash.items() if session.expires_at <= now]:
            del self._by_hash[key]
        own = [key for key, session in self._by_hash.items() if session.user == user]
        for key in own[: max(0, len(own) - MOST_SESSIONS + 1)]:
            del self._by_hash[key]


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
