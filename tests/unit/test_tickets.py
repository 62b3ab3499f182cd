"""Tickets: only the holder of the key makes one, for one user, for a moment."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from racksalt import tickets
from racksalt.adapters import key_file

KEY, NOW = b"k" * 32, 1_000_000.0


def test_a_ticket_is_its_users_for_a_moment() -> None:
    ticket = tickets.make(KEY, "alice", now=NOW)
    assert tickets.is_valid(KEY, "alice", ticket, now=NOW + tickets.LIFETIME_S - 1)
    assert not tickets.is_valid(KEY, "alice", ticket, now=NOW + tickets.LIFETIME_S + 1)
    assert not tickets.is_valid(KEY, "alice", ticket, now=NOW - 1)
    assert not tickets.is_valid(KEY, "bob", ticket, now=NOW)
    assert not tickets.is_valid(b"o" * 32, "alice", ticket, now=NOW)


def test_two_tickets_differ() -> None:
    assert tickets.make(KEY, "alice", now=NOW) != tickets.make(KEY, "alice", now=NOW)


@given(st.text(max_size=200))
def test_what_anybody_can_write_is_no_ticket(text: str) -> None:
    assert not tickets.is_valid(KEY, "alice", text, now=NOW)


@pytest.mark.parametrize(
    "change", [lambda t: t[:-1], lambda t: t + "0", lambda t: "9" + t, lambda t: t.replace(".", "..")]
)
def test_a_changed_ticket_is_none(change: object) -> None:
    ticket = tickets.make(KEY, "alice", now=NOW)
    assert not tickets.is_valid(KEY, "alice", change(ticket), now=NOW)  # type: ignore[operator]


def test_the_key_is_made_once_and_roots_alone(tmp_path: Path) -> None:
    path = tmp_path / "new/ticket.key"
    key = key_file.read_or_make(path)
    assert len(key) == 32 and key_file.read_or_make(path) == key
    assert path.stat().st_mode & 0o777 == 0o600 and [p.name for p in path.parent.iterdir()] == ["ticket.key"]
