"""No user takes all of the API, and no address all of the processors."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from racksalt.api.origins import origin
from racksalt.api.shares import CallsAtOnce, JobsAtOnce, Turns
from racksalt.api.throttle import TooMany
from tests.fakes import FakeClock


def test_a_user_has_so_many_calls_and_gets_them_back() -> None:
    calls = CallsAtOnce(shared=100, most=3)
    for _ in range(2):
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(calls.one_more("alice"))
            with pytest.raises(TooMany) as told, calls.one_more("alice"):
                pass
            assert told.value.code == "too_many_calls" and told.value.facts["retry_after_s"] == 1
            with calls.one_more("bob"):
                pass
    assert not calls._running


def test_in_a_busy_api_others_still_have_a_few() -> None:
    calls = CallsAtOnce(shared=4, most=10)
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(calls.one_more("alice"))
        for _ in range(2):
            stack.enter_context(calls.one_more("bob"))
        for user in ("alice", "bob"):
            with pytest.raises(TooMany), calls.one_more(user):
                pass


def test_jobs_count_from_their_start_until_they_are_listed_no_more() -> None:
    clock, listed = FakeClock(), set[str]()
    jobs = JobsAtOnce(clock, lambda _: listed, most=3)

    def start(jid: str) -> None:
        with jobs.one_more("alice") as started:
            started(jid)

    for jid in "123":
        start(jid)
    with pytest.raises(TooMany):
        start("4")
    listed |= {"1", "2", "3"}
    clock.sleep(60)
    with pytest.raises(TooMany):
        start("4")
    listed.clear()
    start("4")
    start("5")
    clock.sleep(60)
    for jid in "678":
        start(jid)


def test_a_start_that_failed_does_not_count() -> None:
    jobs = JobsAtOnce(FakeClock(), lambda _: set(), most=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), jobs.one_more("alice"):
            raise ZeroDivisionError
    with jobs.one_more("alice"), pytest.raises(TooMany), jobs.one_more("alice"):
        pass


def test_one_password_of_an_address_is_checked_at_a_time_and_a_few_in_all() -> None:
    turns = Turns(at_once=2)
    now: list[str] = []
    seen: list[tuple[str, ...]] = []
    lock = threading.Lock()

    def check(key: str) -> None:
        with turns.one_of(key):
            with lock:
                now.append(key)
                seen.append(tuple(now))
            threading.Event().wait(0.005)
            with lock:
                now.remove(key)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(check, ["a", "a", "a", "b", "b", "c", "a", "d"] * 3))
    assert all(len(set(keys)) == len(keys) <= 2 for keys in seen) and max(map(len, seen)) == 2
    assert not turns._busy and not turns._waiting


def test_too_many_that_wait_are_refused_and_others_are_not() -> None:
    turns = Turns(at_once=2, most_waiting_of_one=1)
    refused: list[TooMany] = []

    def wait() -> None:
        try:
            with turns.one_of("a"):
                pass
        except TooMany as error:
            refused.append(error)

    with turns.one_of("a"):
        threads = [threading.Thread(target=wait) for _ in range(5)]
        for thread in threads:
            thread.start()
        while len(refused) < 4:
            threading.Event().wait(0.001)
        with turns.one_of("b"):
            pass
    for thread in threads:
        thread.join(5)
    assert len(refused) == 4 and refused[0].code == "login_throttled"


@pytest.mark.parametrize(
    ("address", "whose"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),
        ("nowhere", "nowhere"),
    ],
)
def test_whose_an_address_is(address: str, whose: str) -> None:
    assert origin(address) == whose
