"""Who may log in, by the rack's files and the central password file."""

from __future__ import annotations

import hashlib
from fnmatch import fnmatchcase
from typing import Protocol

from racksalt import acl
from racksalt.settings import Settings, is_reserved_user


class Passwords(Protocol):
    """The central password file."""

    def check(self, user: str, password: str) -> bool: ...

    def hash_of(self, user: str) -> str | None: ...


def may_log_in(user: str, settings: Settings) -> bool:
    """Whether this name is a user of the rack, and none that the shell or Salt could be taken for."""
    reserved = is_reserved_user(user, {**settings.hosts, settings.writer: None})
    shell = any(fnmatchcase(user, pattern) for pattern in settings.shell_operators)
    return user in settings.users and not reserved and not shell


def groups(user: str, settings: Settings) -> list[str]:
    """The constant groups of a user: ``tenant``, ``operator``."""
    if not may_log_in(user, settings):
        return []
    known = settings.users[user]
    return ([acl.TENANT_GROUP] if known.tenants else []) + ([acl.OPERATOR_GROUP] if known.operator else [])


def fingerprint(user: str, settings: Settings, passwords: Passwords) -> str | None:
    """Changes with the user's password, tenants and roles; ``None`` when the user may not log in at all."""
    stored = passwords.hash_of(user)
    if stored is None or not may_log_in(user, settings):
        return None
    known = settings.users[user]
    rights = f"{stored}\n{sorted(known.tenants.items())}\n{known.operator}"
    return hashlib.sha256(rights.encode()).hexdigest()
