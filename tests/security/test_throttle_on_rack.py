"""S14: guessing is slow, and harms nobody but who guesses. S18: slow clients hold up nobody. On a real rack."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from tests.on_rack import Api, CallRefused, RealRack, at_once
from tests.promises import full

#: Normal calls take tenths of a second; the rack shares a few processors with all its hosts.
GENEROUS_S = 15.0


@pytest.fixture(autouse=True)
def throttle_forgets(rack: RealRack) -> Iterator[None]:
    """The next test logs in again; the address is the same for all of them."""
    yield
    rack._logins.clear()
    rack.master.run(["systemctl", "restart", "salt-api"], timeout_s=60)
    _until_served(rack)


def _until_served(rack: RealRack) -> None:
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError):
            rack.fresh_api().request("GET", "/", token=None)
            return
        assert time.monotonic() < deadline, "salt-api does not come back"
        time.sleep(0.5)


def _guess(api: Api) -> int:
    try:
        api.login()
    except CallRefused as refused:
        return refused.status
    return 200


def _slowest(calls: list[Callable[[], object]]) -> float:
    taken = []
    for call in calls:
        started = time.monotonic()
        call()
        taken.append(time.monotonic() - started)
    return max(taken)


def _bob_logs_in_and_calls(rack: RealRack) -> None:
    bob = rack.fresh_api(rack.env["BETA_USER"], rack.env["BETA_PASSWORD"]).login()
    assert "vms" in bob.call("rack_vm.list")


@pytest.mark.promise("S14")
@pytest.mark.parametrize("spread", [False, True], ids=["one user", "a thousand users"])
def test_a_thousand_wrong_passwords_from_one_address(rack: RealRack, *, spread: bool) -> None:
    """They come from this machine, as bob does, who is known there; so the address is the same."""
    _bob_logs_in_and_calls(rack)
    guesses = 1000 if full() else 300
    statuses: list[int] = []

    def attack() -> None:
        names = [f"user{number}" if spread else rack.env["ACME_USER"] for number in range(guesses)]
        statuses.extend(at_once([lambda name=name: _guess(rack.fresh_api(name, "wrong")) for name in names], threads=8))

    attacking = threading.Thread(target=attack)
    attacking.start()
    slowest = _slowest([lambda: _bob_logs_in_and_calls(rack)] * 5)
    attacking.join(300)
    assert slowest < GENEROUS_S
    assert set(statuses) == {401, 429} and statuses.count(401) <= 31 and len(statuses) == guesses
    listed = rack.run("rack_host.list")
    assert listed.code == 0 and all(host["answers"] for host in listed.data["hosts"]), "the master serves its hosts"


@pytest.mark.promise("S14")
def test_an_unknown_name_is_answered_as_slowly_as_a_known_one(rack: RealRack) -> None:
    """Counted, not timed tightly: with the same bcrypt behind both, neither takes a multiple of the other."""

    def guess_s(name: str) -> float:
        started = time.monotonic()
        assert _guess(rack.fresh_api(name, "wrong")) == 401
        return time.monotonic() - started

    known = sorted(guess_s(user) for user in ("alice", "carol", "olivia") for _ in range(3))
    unknown = sorted(guess_s(f"nobody{number}") for number in range(9))
    assert 1 / 4 < known[4] / unknown[4] < 4


@pytest.mark.promise("S18")
def test_slow_clients_hold_up_nobody(rack: RealRack) -> None:
    _bob_logs_in_and_calls(rack)
    alice = rack.api("ACME")
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(_connected(rack)) for _ in range(200)]
        for tls in slow:
            with contextlib.suppress(OSError):
                tls.sendall(b"POST / HTTP/1.1\r\nHost: rack\r\nContent-Length: 9000\r\n\r\n{")
        calls = [lambda: alice.call("rack_vm.list"), lambda: _bob_logs_in_and_calls(rack)]
        assert _slowest(calls * 3) < GENEROUS_S


def _connected(rack: RealRack) -> ssl.SSLSocket:
    at = urlsplit(rack.env["RACK_URL"])
    assert at.hostname
    tcp = socket.create_connection((at.hostname, at.port or 443), timeout=10)
    return ssl.create_default_context(cafile=rack.env["RACK_CA"]).wrap_socket(tcp, server_hostname=at.hostname)
