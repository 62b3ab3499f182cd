"""Tokens: random, stored hashed, and ended by time, logout or any change of the user."""

from __future__ import annotations

import threading

import pytest

from racksalt.api import sessions
from racksalt.api.sessions import Sessions
from racksalt.errors import Unavailable
from tests.fakes import FakeClock


class Users(dict[str, str]):
    """Today's fingerprints."""

    def __call__(self, user: str) -> str | None:
        return self.get(user)


def opened(users: Users | None = None, *, lasts_s: float = 100) -> tuple[Sessions, FakeClock, str]:
    clock = FakeClock()
    logged = Sessions(clock, users if users is not None else Users(alice="today"))
    token = logged.open("alice", "salt-token", clock.time + lasts_s)
    assert token is not None
    return logged, clock, token


def test_a_token_is_its_login() -> None:
    logged, _, token = opened()
    session = logged.find(token)
    assert session is not None and (session.user, session.salt_token) == ("alice", "salt-token")


def test_tokens_are_long_random_and_not_kept() -> None:
    logged, clock, token = opened()
    tokens = {logged.open("alice", "s", clock.time + 9) for _ in range(50)} | {token}
    assert len(tokens) == 51 and all(len(one or "") == 64 for one in tokens)
    assert token not in repr(logged) and token != "salt-token"


@pytest.mark.parametrize("token", ["", "x", "0" * 64, "salt-token", "\ud800"[:0], "é"])
def test_a_guessed_token_is_nothing(token: str) -> None:
    logged, _, real = opened()
    assert logged.find(token) is None and logged.find(real.upper()) is None
    assert logged.find(sessions._hash(real)) is None and logged.find(real) is not None


def test_a_login_ends_with_its_time() -> None:
    logged, clock, token = opened(lasts_s=100)
    clock.sleep(99)
    assert logged.find(token)
    clock.sleep(1)
    assert logged.find(token) is None


@pytest.mark.parametrize("now", ["changed", None])
def test_a_login_ends_with_any_change_of_the_user_and_does_not_come_back(now: str | None) -> None:
    users = Users(alice="today")
    logged, _, token = opened(users)
    if now:
        users["alice"] = now
    else:
        del users["alice"]
    assert logged.find(token) is None
    users["alice"] = "today"
    assert logged.find(token) is None


def test_a_login_stays_while_its_user_cannot_be_told() -> None:
    class Files(Users):
        broken = False

        def __call__(self, user: str) -> str | None:
            if self.broken:
                raise Unavailable("rack_unavailable", "the rack's files are wrong")
            return super().__call__(user)

    files = Files(alice="today")
    logged, _, token = opened(files)
    files.broken = True
    with pytest.raises(Unavailable):
        logged.find(token)
    files.broken = False
    assert logged.find(token) is not None


def test_a_user_that_vanished_during_the_login_gets_no_token() -> None:
    assert Sessions(FakeClock(), Users()).open("alice", "s", 10**9) is None


def test_a_closed_login_is_over_and_the_others_go_on() -> None:
    logged, clock, token = opened()
    other = logged.open("alice", "s2", clock.time + 9)
    assert logged.close(token) is not None and logged.close(token) is None
    assert logged.find(token) is None and logged.find(other or "") is not None


def test_a_users_oldest_login_goes_and_nobody_elses() -> None:
    logged, clock, first = opened(Users(alice="today", bob="today"))
    bobs = logged.open("bob", "s", clock.time + 100) or ""
    newest = [logged.open("alice", "s", clock.time + 100) or "" for _ in range(sessions.MOST_SESSIONS)]
    assert logged.find(first) is None and logged.find(bobs) is not None and all(map(logged.find, newest))
    clock.sleep(200)
    logged.open("alice", "s", clock.time + 100)
    assert len(logged._by_hash) == 1


def test_many_threads_may_log_in_and_out() -> None:
    logged, clock, _ = opened()
    failed: list[str] = []

    def work() -> None:
        for _ in range(50):
            token = logged.open("alice", "s", clock.time + 10**6) or ""
            if logged.find(token) is None or logged.close(token) is None:
                failed.append(token)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and len(logged._by_hash) == 1
