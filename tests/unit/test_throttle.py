"""Guesses are slowed down by user and address, and nobody is locked out by somebody else."""

from __future__ import annotations

from racksalt.api import throttle
from racksalt.api.throttle import FAILURES_PER_ADDRESS, FAILURES_PER_USER, LOGINS_PER_USER, WINDOW_S, Throttle
from tests.fakes import FakeClock

HOME, AWAY = "192.0.2.1", "192.0.2.2"


def fail(guard: Throttle, user: str, address: str, times: int = FAILURES_PER_USER) -> None:
    for _ in range(times):
        guard.attempt(user, address)


def test_a_few_wrong_passwords_are_forgiven() -> None:
    guard = Throttle(FakeClock())
    fail(guard, "alice", HOME, FAILURES_PER_USER - 1)
    assert guard.attempt("alice", HOME) == 0


def test_many_wrong_passwords_have_to_wait_until_the_window_has_passed() -> None:
    clock = FakeClock(tick=0)
    guard = Throttle(clock)
    fail(guard, "alice", HOME)
    assert guard.attempt("alice", HOME) == WINDOW_S
    clock.sleep(WINDOW_S - 1)
    assert guard.attempt("alice", HOME) == 1
    clock.sleep(1)
    assert guard.attempt("alice", HOME) == 0


def test_nobody_locks_out_somebody_at_another_address() -> None:
    guard = Throttle(FakeClock())
    fail(guard, "alice", AWAY, 1000)
    assert guard.attempt("alice", AWAY) > 0 and guard.attempt("alice", HOME) == 0


def test_an_address_that_tries_many_users_has_to_wait_for_each_of_them() -> None:
    guard = Throttle(FakeClock())
    for number in range(FAILURES_PER_ADDRESS):
        guard.attempt(f"user{number}", AWAY)
    assert guard.attempt("never-tried", AWAY) > 0 and guard.attempt("never-tried", HOME) == 0


def test_who_logged_in_from_an_address_before_is_not_held_up_by_its_neighbours() -> None:
    guard = Throttle(FakeClock())
    guard.succeeded("alice", AWAY)
    for number in range(FAILURES_PER_ADDRESS):
        guard.attempt(f"user{number}", AWAY)
    assert guard.attempt("alice", AWAY) == 0 and guard.attempt("bob", AWAY) > 0
    fail(guard, "alice", AWAY)
    assert guard.attempt("alice", AWAY) > 0


def test_the_right_password_wipes_the_slate() -> None:
    guard = Throttle(FakeClock())
    fail(guard, "alice", HOME, FAILURES_PER_USER - 1)
    guard.succeeded("alice", HOME)
    fail(guard, "alice", HOME, FAILURES_PER_USER - 1)
    assert guard.attempt("alice", HOME) == 0


def test_right_passwords_cost_time_too() -> None:
    guard = Throttle(FakeClock())
    for _ in range(LOGINS_PER_USER):
        assert guard.attempt("alice", HOME) == 0
        guard.succeeded("alice", HOME)
    assert guard.attempt("alice", AWAY) > 0 and guard.attempt("bob", HOME) == 0


def test_what_is_remembered_is_bounded() -> None:
    guard = Throttle(FakeClock())
    for number in range(throttle._MOST_KEYS):
        guard.attempt(f"user{number}", f"address{number}")
        guard.succeeded(f"user{number}", f"other{number}")
    assert len(guard._times) <= throttle._MOST_KEYS and len(guard._welcome) <= throttle._MOST_KEYS
