"""Passwords are checked with the same work for whoever is there, and whoever is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bcrypt
import pytest
from passlib.hash import bcrypt as checked_with

from racksalt.adapters.htpasswd_file import Htpasswd


def hashed(password: str, rounds: int = 4) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds)).decode()


@pytest.fixture
def passwords(tmp_path: Path) -> Htpasswd:
    lines = [f"alice:{hashed('right')}", f"bob:{hashed('other', 5)}", "carol:$2b$broken", "dave:$1$x$y", "erin:plain"]
    (tmp_path / "htpasswd").write_text("\n".join(lines) + "\n")
    return Htpasswd(tmp_path / "htpasswd")


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The cost of each hash that was checked."""
    found: list[str] = []
    real = checked_with.verify

    def verify(password: str, stored: str) -> Any:
        found.append(stored.split("$")[2])
        return real(password, stored)

    monkeypatch.setattr(checked_with, "verify", verify)
    return found


def test_the_right_password_and_no_other(passwords: Htpasswd) -> None:
    assert passwords.check("alice", "right") and passwords.check("bob", "other")
    for user, password in [("alice", "other"), ("alice", ""), ("carol", ""), ("dave", "y"), ("erin", "plain")]:
        assert not passwords.check(user, password)
    assert not passwords.check("alice", "right\0") and not passwords.check("alice", "r" * 73)


@pytest.mark.parametrize("user", ["alice", "bob", "carol", "dave", "erin", "nobody", "a:b", "", "x" * 64, "\ud800"])
@pytest.mark.parametrize("password", ["right", "", "x" * 500, "a\0b"], ids=["right", "empty", "long", "NUL"])
def test_each_check_is_one_bcrypt_of_a_cost_of_the_file(
    passwords: Htpasswd, costs: list[str], user: str, password: str
) -> None:
    passwords.check(user, password)
    assert len(costs) == 1 and costs[0] in {"04", "05"}


def test_names_that_are_not_there_cost_what_those_cost_that_are(passwords: Htpasswd, costs: list[str]) -> None:
    names = [f"nobody{number}" for number in range(30)]
    for name in names:
        passwords.check(name, "x")
    assert set(costs) == {"04", "05"}
    first = list(costs)
    costs.clear()
    for name in names:
        passwords.check(name, "x")
    assert costs == first, "a name costs the same each time"


def test_without_a_file_a_check_costs_too(tmp_path: Path, costs: list[str]) -> None:
    assert not Htpasswd(tmp_path / "none").check("alice", "x") and costs == ["12"]
