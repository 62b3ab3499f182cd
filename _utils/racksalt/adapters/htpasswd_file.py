"""The central password file: htpasswd with bcrypt, read anew whenever it changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from passlib.apache import HtpasswdFile
from passlib.hash import bcrypt

#: No password is longer: bcrypt looks at 72 bytes, and hashing more is work given away.
_LONGEST = 72
#: Checked for who is not there, so that the time of an answer does not tell who is.
_NOBODYS = "$2b$12$RR05VvWNdWUkqGG5WOTo3epa6lvHiOPoioaTV2CDSdNJDSLEmZOJ."


@dataclass(frozen=True, slots=True)
class Htpasswd:
    """The ``Passwords`` protocol of :mod:`racksalt.logins`."""

    path: Path

    def check(self, user: str, password: str) -> bool:
        """Whether the password is the user's; other schemes than bcrypt are not accepted."""
        stored = self.hash_of(user)
        fits = len(password.encode("utf-8", "replace")) <= _LONGEST and "\0" not in password
        if stored is None or not stored.startswith("$2") or not fits:
            bcrypt.verify("", _NOBODYS)
            return False
        try:
            return bool(bcrypt.verify(password, stored))
        except ValueError:
            return False

    def hash_of(self, user: str) -> str | None:
        """The stored hash; a name that no such file can hold has none."""
        try:
            found = self._file().get_hash(user) if self.path.exists() else None
        except ValueError:
            return None
        return found.decode() if isinstance(found, bytes) else found

    def _file(self) -> HtpasswdFile:
        return HtpasswdFile(str(self.path), default_scheme="bcrypt")
