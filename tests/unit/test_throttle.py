"""Guesses are slowed down by user and address, and nobody is locked out by somebody else."""

from __future__ import annotations

from racksalt.api import throttle
from racksalt.api.throttle import (
    FAILURES_PER_ADDRESS,
    FAILURES_PER_USER,
    LOGINS_PER_USER,
    PENDING_S,
    WINDOW_S,
    Seldom,
    Throttle,
)
from tests.fakes import FakeClock

HOME, AWAY = "192.0.2.1", "192.0.2.2"


def fail(guard: Throttle, user: str, address: str, times: int = FAILURES_PER_USER) -> None:
    for _ in range(times):
        if guard.attempt(user, address) == 0:
            guard.failed(user, address)


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
        fail(guard, f"user{number}", AWAY, 1)
    assert guard.attempt("never-tried", AWAY) > 0 and guard.attempt("never-tried", HOME) == 0


def test_who_logged_in_from_an_address_before_is_not_held_up_by_its_neighbours() -> None:
    guard = Throttle(FakeClock())
    guard.succeeded("alice", AWAY)
    for number in range(FAILURES_PER_ADDRESS):
        fail(guard, f"user{number}", AWAY, 1)
    assert guard.attempt("alice", AWAY) == 0 and guard.attempt("bob", AWAY) > 0
    fail(guard, "alice", AWAY)
    assert guard.attempt("alice", AWAY) > 0


def test_attempts_at_the_same_time_hold_up_each_other_for_a_moment_only() -> None:
    """A program that logs in twenty times at once has made no mistake."""
    guard = Throttle(FakeClock(tick=0))
    waits = [guard.attempt("alice", HOME) for _ in range(20)]
    assert waits == [0] * FAILURES_PER_USER + [PENDING_S] * (20 - FAILURES_PER_USER)
    for _ in range(FAILURES_PER_USER):
        guard.succeeded("alice", HOME)
    assert guard.attempt("alice", HOME) == 0
    guard.failed("alice", HOME)
    fail(guard, "alice", HOME)
    assert guard.attempt("alice", HOME) == WINDOW_S


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


def test_a_thousand_guesses_for_one_user_and_over_many_harm_nobody_else() -> None:
    guard = Throttle(FakeClock(tick=0))
    guard.succeeded("bob", AWAY)
    tried = sum(guard.attempt("alice", AWAY) == 0 for _ in range(1000))
    tried += sum(guard.attempt(f"user{number}", AWAY) == 0 for number in range(1000))
    assert tried == FAILURES_PER_ADDRESS, "so many passwords are checked"
    assert guard.attempt("bob", AWAY) == 0 and guard.attempt("alice", HOME) == 0 and guard.attempt("bob", HOME) == 0


def test_all_of_a_clients_network_is_one_address() -> None:
    guard = Throttle(FakeClock(tick=0))
    for number in range(FAILURES_PER_ADDRESS):
        guard.attempt(f"user{number}", f"2001:db8::{number:x}")
    assert guard.attempt("alice", "2001:db8::ffff") > 0 and guard.attempt("alice", "2001:db8:0:1::1") == 0


def test_an_attempt_that_came_to_nothing_is_none() -> None:
    guard = Throttle(FakeClock(tick=0))
    for _ in range(100):
        assert guard.attempt("alice", HOME) == 0
        guard.forgive("alice", HOME)


def test_who_is_known_where() -> None:
    guard = Throttle(FakeClock())
    guard.succeeded("alice", HOME)
    assert guard.knows("alice", HOME) and not guard.knows("alice", AWAY) and not guard.knows("bob", HOME)


def test_news_are_told_once_a_minute_and_a_few_of_an_address() -> None:
    clock = FakeClock(tick=0)
    seldom = Seldom(clock)
    assert [seldom.is_news("alice", HOME, code="bad_input") for _ in range(100)].count(True) == 1
    users = [f"user{number}" for number in range(1000)]
    assert sum(seldom.is_news(user, AWAY, code="bad_input") for user in users) == throttle._TOLD_OF_ONE_ADDRESS
    assert seldom.is_news("bob", HOME, code="bad_input") and seldom.is_news("alice", HOME, code="function_denied")
    clock.sleep(WINDOW_S)
    assert seldom.is_news("alice", HOME, code="bad_input") and seldom.is_news("alice", AWAY, code="bad_input")


def test_many_codes_and_many_addresses_are_bounded_too() -> None:
    seldom = Seldom(FakeClock(tick=0))
    codes = [f"code{number}" for number in range(100)]
    assert sum(seldom.is_news("alice", HOME, code=code) for code in codes) == throttle._TOLD_OF_ONE_ADDRESS
    addresses = [f"2001:db8:0:{number:x}::1" for number in range(5000)]
    told = sum(seldom.is_news("", address, code="login_needed") for address in addresses)
    assert told == throttle._TOLD_IN_ALL - throttle._TOLD_OF_ONE_ADDRESS


def test_a_clock_that_is_set_back_locks_nobody_out_and_mutes_nothing() -> None:
    clock = FakeClock(tick=0)
    guard, seldom = Throttle(clock), Seldom(clock)
    for _ in range(FAILURES_PER_USER):
        assert guard.attempt("alice", "10.0.0.1") == 0
        guard.failed("alice", "10.0.0.1")
    assert seldom.is_news("alice", "10.0.0.1", code="login_refused")
    clock.time -= 3600
    assert 0 < guard.attempt("alice", "10.0.0.1") <= WINDOW_S
    clock.sleep(WINDOW_S)
    assert guard.attempt("alice", "10.0.0.1") == 0
    assert seldom.is_news("alice", "10.0.0.1", code="login_refused")
