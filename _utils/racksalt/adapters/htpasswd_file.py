"""The central password file: htpasswd with bcrypt, read anew whenever it changed."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from passlib.apache import HtpasswdFile
from passlib.hash import bcrypt

#: No password is longer: bcrypt looks at 72 bytes, and hashing more is work given away.
_LONGEST = 72
#: Checked where there is nobody's else.
_NOBODYS = "$2b$12$RR05VvWNdWUkqGG5WOTo3epa6lvHiOPoioaTV2CDSdNJDSLEmZOJ."


@dataclass(frozen=True, slots=True)
class Htpasswd:
    """The ``Passwords`` protocol of :mod:`racksalt.logins`."""

    path: Path
    _salt: bytes = field(default_factory=lambda: secrets.token_bytes(16), repr=False)

    def check(self, user: str, password: str) -> bool:
        """Whether the password is the user's; other schemes than bcrypt are not accepted."""
        hashes = self._hashes()
        stored, other = hashes.get(user), self._somebodys(user, hashes)
        fits = len(password.encode("utf-8", "replace")) <= _LONGEST and "\0" not in password
        if stored is None or not _is_sound(stored):
            bcrypt.verify("", other)
            return False
        return bool(bcrypt.verify(password if fits else "", stored)) and fits

    def hash_of(self, user: str) -> str | None:
        """The stored hash; a name that no such file can hold has none."""
        return self._hashes().get(user)

    def _somebodys(self, user: str, hashes: dict[str, str]) -> str:
        """A hash of somebody else, the same one for a name each time.

        Hashes may differ in their cost; so names that are not there take the time of those that are.
        """
        usable = sorted(stored for stored in hashes.values() if _is_sound(stored))
        digest = hashlib.sha256(self._salt + user.encode("utf-8", "replace")).digest()
        return usable[int.from_bytes(digest[:8], "big") % len(usable)] if usable else _NOBODYS

    def _hashes(self) -> dict[str, str]:
        if not self.path.exists():
            return {}
        file = HtpasswdFile(str(self.path), default_scheme="bcrypt")
        found = {user: file.get_hash(user) for user in file.users()}
        return {user: stored.decode() if isinstance(stored, bytes) else stored for user, stored in found.items()}


def _is_sound(stored: str) -> bool:
    try:
        bcrypt.from_string(stored)
    except ValueError:
        return False
    return True
