"""Short-lived proofs that the API has checked a password, for the master's eauth.

The master's own port takes logins from anywhere and as fast as they come. So a password is worth nothing there:
only the API, which throttles, checks it, and what it hands to the master is a ticket that nobody else can make.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

#: A ticket is used at once, by the process that made it.
LIFETIME_S = 30


def make(key: bytes, user: str, *, now: float) -> str:
    """A ticket for one login of ``user``."""
    head = f"{int(now)}.{secrets.token_hex(8)}"
    return f"{head}.{_proof(key, user, head)}"


def is_valid(key: bytes, user: str, ticket: str, *, now: float) -> bool:
    """Whether the holder of ``key`` made this ticket for ``user`` a moment ago."""
    head, _, proof = ticket.rpartition(".")
    made_at = head.partition(".")[0]
    if not made_at.isascii() or not made_at.isdigit() or not 0 <= now - int(made_at) <= LIFETIME_S:
        return False
    return hmac.compare_digest(_proof(key, user, head).encode(), proof.encode("utf-8", "replace"))


def _proof(key: bytes, user: str, head: str) -> str:
    return hmac.new(key, f"racksalt login\n{user}\n{head}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()
