"""Who is logged in: random tokens, known here by their hash only, and ended by any change of the user."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from racksalt.ports import Clock

_MOST_SESSIONS = 50_000


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
            self._drop_expired()
            self._by_hash[_hash(token)] = Session(user, salt_token, fingerprint, expires_at)
        return token

    def find(self, token: str) -> Session | None:
        """The login behind a token, if its user is still who logged in."""
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

    def _drop_expired(self) -> None:
        if len(self._by_hash) < _MOST_SESSIONS:
            return
        now = self.clock.now()
        alive = {key: session for key, session in self._by_hash.items() if session.expires_at > now}
        self._by_hash = dict(list(alive.items())[-_MOST_SESSIONS // 2 :])


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
