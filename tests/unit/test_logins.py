"""Who may log in, in which groups, and what ends a login."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from racksalt import logins
from racksalt.adapters.htpasswd_file import Htpasswd
from racksalt.model import User
from racksalt.settings import Settings, load
from tests.fakes import FakeFiles, rack_files


@dataclass
class FakePasswords:
    """Hashes by user."""

    hashes: dict[str, str] = field(default_factory=lambda: {"alice": "$2b$x", "olivia": "$2b$y", "root": "$2b$z"})

    def check(self, user: str, password: str) -> bool:
        return user in self.hashes

    def hash_of(self, user: str) -> str | None:
        return self.hashes.get(user)


@pytest.fixture
def settings() -> Settings:
    return load(FakeFiles(rack_files()))


def with_user(settings: Settings, name: str, **changed: Any) -> Settings:
    user = replace(settings.users.get(name, User(name, {"acme": "member"})), **changed)
    return replace(settings, users={**settings.users, name: user})


def test_users_of_the_file_may_log_in_and_nobody_else(settings: Settings) -> None:
    assert all(logins.may_log_in(user, settings) for user in ("alice", "bob", "carol", "olivia"))
    assert not any(logins.may_log_in(user, settings) for user in ("dave", "", "ALICE", "alice\n", "alice ", "*"))


@pytest.mark.parametrize("user", ["root", "sudo_alice", "salt", "unknown", "reactor", "x_master", "master", "h1", "h3"])
def test_a_reserved_name_may_not_log_in_even_if_the_file_had_it(user: str, settings: Settings) -> None:
    assert not logins.may_log_in(user, with_user(settings, user))
    assert logins.groups(user, with_user(settings, user, operator=True)) == []


def test_a_name_that_is_a_shell_operators_may_not_log_in(settings: Settings) -> None:
    widened = replace(settings, shell_operators=("root", "ali*"))
    assert not logins.may_log_in("alice", widened) and logins.may_log_in("bob", widened)


def test_the_writers_name_may_not_log_in(settings: Settings) -> None:
    assert not logins.may_log_in("alice", replace(settings, writer="alice"))


def test_groups_are_constants(settings: Settings) -> None:
    assert logins.groups("alice", settings) == ["tenant"]
    assert logins.groups("olivia", settings) == ["operator"]
    assert logins.groups("olivia", with_user(settings, "olivia", tenants={"acme": "member"})) == ["tenant", "operator"]
    assert logins.groups("alice", with_user(settings, "alice", tenants={})) == []
    assert logins.groups("dave", settings) == []


def test_a_fingerprint_is_the_same_until_password_tenants_or_role_change(settings: Settings) -> None:
    before = logins.fingerprint("alice", settings, FakePasswords())
    assert before and before == logins.fingerprint("alice", settings, FakePasswords())
    others = [
        logins.fingerprint("alice", settings, FakePasswords({"alice": "$2b$other"})),
        logins.fingerprint("alice", with_user(settings, "alice", tenants={"acme": "reader"}), FakePasswords()),
        logins.fingerprint("alice", with_user(settings, "alice", tenants={}), FakePasswords()),
        logins.fingerprint("alice", with_user(settings, "alice", operator=True), FakePasswords()),
        logins.fingerprint("alice", replace(settings, users={}), FakePasswords()),
        logins.fingerprint("alice", settings, FakePasswords({})),
    ]
    assert before not in others and others[-2:] == [None, None] and len(set(others)) == 5


def test_the_hash_is_not_in_the_fingerprint(settings: Settings) -> None:
    assert "$2b" not in (logins.fingerprint("alice", settings, FakePasswords()) or "")


def hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


def test_the_password_file_takes_bcrypt_only_and_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "htpasswd"
    file = Htpasswd(path)
    assert not file.check("alice", "secret") and file.hash_of("alice") is None
    path.write_text(f"alice:{hashed('secret')}\nbob:{{SHA}}5en6G6MezRroT3XKqkdPOmY/BfQ=\ncarol:secret\n")
    assert file.check("alice", "secret")
    assert not file.check("alice", "Secret") and not file.check("alice", "") and not file.check("dave", "secret")
    assert not file.check("bob", "secret") and not file.check("carol", "secret")
    path.write_text(f"alice:{hashed('other')}\n")
    assert not file.check("alice", "secret") and file.check("alice", "other")


@pytest.mark.parametrize("password", ["x" * 73, "x" * 10240, "ü" * 40])
def test_a_password_longer_than_bcrypt_looks_at_is_wrong(tmp_path: Path, password: str) -> None:
    path = tmp_path / "htpasswd"
    path.write_text(f"alice:{hashed(password.encode()[:72].decode(errors='ignore'))}\n")
    assert not Htpasswd(path).check("alice", password)


@pytest.mark.parametrize("user", ["a:b", "alice\nroot", "", "\x00", "x" * 1000, "\ud800"])
def test_a_name_that_no_password_file_can_hold_is_nobody(tmp_path: Path, user: str) -> None:
    path = tmp_path / "htpasswd"
    path.write_text(f"alice:{hashed('secret')}\n")
    assert not Htpasswd(path).check(user, "secret")
