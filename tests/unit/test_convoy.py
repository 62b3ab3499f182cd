"""Members of a convoy ask together, and each gets what is its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import ANY

import pytest

from racksalt import convoy, host_several
from racksalt.convoy import Convoy
from racksalt.errors import BadInput, Conflict, NotFound, RacksaltError, Unavailable
from racksalt.ports import Answer, Fleet, Silent


class Fleets:
    """A fleet whose hosts answer by ``act(host, request)``; what was called is kept."""

    def __init__(self, act: Callable[[str, Mapping[str, Any]], Any]) -> None:
        self.act, self.calls = act, list[tuple[list[str], str, Mapping[str, Any], float, str | None]]()

    def ask(
        self,
        hosts: Sequence[str],
        function: str,
        request: Mapping[str, Any],
        *,
        timeout_s: float,
        lead: str | None = None,
    ) -> dict[str, Answer]:
        self.calls.append((list(hosts), function, request["request"], timeout_s, lead))
        return {host: self._one(host, request["request"]) for host in hosts}

    def _one(self, host: str, request: Mapping[str, Any]) -> Answer:
        try:
            if not host_several.are_in(request):
                return self.act(host, request)
            return host_several.as_far_as_told(request, host, lambda one: self.act(host, one))
        except RacksaltError as error:
            return error


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is."""
    monkeypatch.setattr(convoy, "_GATHER_S", 10.0)


def together(acts: list[Callable[[Fleet], Any]], fleet: Any) -> list[Any]:
    """What each member returned or raised."""

    made = Convoy(len(acts), 2)

    def run(act: Callable[[Fleet], Any]) -> Any:
        try:
            return act(made.fleet(fleet))
        except BaseException as error:
            return error
        finally:
            made.leave()

    with ThreadPoolExecutor(len(acts)) as threads:
        return list(threads.map(run, acts))


def asks(
    number: int, function: str = "rack_vm.offer", *hosts: str, lead: str | None = None, **more: Any
) -> Callable[[Fleet], Any]:
    def member(fleet: Fleet) -> Any:
        return fleet.ask(hosts or ["h1"], function, {"request": {"n": number, **more}}, timeout_s=5.0, lead=lead)

    return member


def test_one_call_for_all_and_each_has_its_own_answer() -> None:
    fleet = Fleets(lambda host, one: {"told": one["n"]})
    told = together([asks(n) for n in range(5)], fleet)
    assert told == [{"h1": {"told": n}} for n in range(5)]
    assert fleet.calls == [(["h1"], "rack_vm.offer", {"several": {"h1": ANY}, "abreast": 2}, ANY, None)]


def test_each_host_does_its_own() -> None:
    fleet = Fleets(lambda host, one: {"told": [host, one["n"]]})
    told = together([asks(n, "rack_vm.receive", f"h{2 + n % 2}") for n in range(4)], fleet)
    assert told == [{f"h{2 + n % 2}": {"told": [f"h{2 + n % 2}", n]}} for n in range(4)]
    assert len(fleet.calls) == 1 and sorted(fleet.calls[0][0]) == ["h2", "h3"]


def test_an_error_is_the_one_members_alone() -> None:
    def act(host: str, one: Mapping[str, Any]) -> Any:
        if one["n"] == 1:
            raise NotFound("vm_not_found", "no VM")
        if one["n"] == 2:
            raise ZeroDivisionError("by zero")
        return one["n"]

    first, second, third = (answers["h1"] for answers in together([asks(n) for n in range(3)], Fleets(act)))
    assert first == 0 and second.code == "vm_not_found"
    assert third.code == "host_failed" and "by zero" in third.detail


def test_where_one_matters_only_it_is_asked() -> None:
    fleet = Fleets(lambda host, one: one["n"])
    told = together([asks(n, "rack_vm.send", "h1", "h2", lead="h1") for n in range(2)], fleet)
    assert told[1]["h1"] == 1 and told[1]["h2"].passed_over and fleet.calls[0][0] == ["h1"]


def test_who_has_ended_is_not_waited_for_and_who_is_alone_asks_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convoy, "_GATHER_S", 30.0)
    fleet = Fleets(lambda host, one: one["n"])
    began = time.monotonic()
    told = together([asks(7, "rack_vm.send", "h1", "h2", lead="h1"), lambda fleet: "ended"], fleet)
    assert time.monotonic() - began < 20
    assert told == [{"h1": 7, "h2": 7}, "ended"]
    assert fleet.calls == [(["h1", "h2"], "rack_vm.send", {"n": 7}, 5.0, "h1")]


def test_what_is_asked_of_one_vm_alone_goes_past_the_others() -> None:
    fleet = Fleets(lambda host, one: one["n"])
    told = together([asks(n, "rack_vm.recall") for n in range(2)], fleet)
    assert told == [{"h1": 0}, {"h1": 1}] and len(fleet.calls) == 2


def test_silence_and_what_cannot_be_read_are_everybodys() -> None:
    class Other(Fleets):
        def _one(self, host: str, request: Mapping[str, Any]) -> Answer:
            return self.act(host, request)

    for answer, code in (
        (Silent(5.0), None),
        (Conflict("busy", "its lock"), "busy"),
        ([1], "host_failed"),
        ({}, "host_failed"),
    ):
        told = [
            answers["h1"] for answers in together([asks(n) for n in range(2)], Other(lambda host, one, a=answer: a))
        ]
        assert [getattr(one, "code", None) for one in told] == [code] * 2
        assert answer == Silent(5.0) or told[0] is not told[1], "an error is changed on its way"
    odd = Other(lambda host, one: [{"answer": 1}, {"neither": 1}])
    assert {getattr(one["h1"], "code", one["h1"]) for one in together([asks(n) for n in range(2)], odd)} == {
        1,
        "host_failed",
    }


def test_a_call_that_cannot_be_made_fails_for_all_and_each_has_an_error_of_its_own() -> None:
    class Away(Fleets):
        def ask(self, *call: Any, **how: Any) -> Any:
            raise Unavailable("rack_unavailable", "no master")

    first, second = together([asks(n) for n in range(2)], Away(lambda host, one: None))
    assert first.code == second.code == "rack_unavailable" and first is not second


def test_a_failure_that_nobody_foresaw_is_told_by_the_one_that_met_it() -> None:
    class Broken(Fleets):
        def ask(self, *call: Any, **how: Any) -> Any:
            raise ZeroDivisionError

    told = together([asks(n) for n in range(3)], Broken(lambda host, one: None))
    assert sorted(type(one).__name__ for one in told) == ["Unavailable", "Unavailable", "ZeroDivisionError"]


def test_what_has_no_room_in_an_answer_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_several, "MOST_BYTES", 200)
    done: list[int] = []

    def act(host: str, one: Mapping[str, Any]) -> Any:
        done.append(one["n"])
        return {"told": one["n"], "seed": "x" * 60}

    fleet = Fleets(act)
    told = together([asks(n) for n in range(6)], fleet)
    assert [answers["h1"]["told"] for answers in told] == list(range(6))
    assert len(fleet.calls) == 3


def test_what_has_no_room_in_a_request_goes_in_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_several, "MOST_BYTES", 100)
    fleet = Fleets(lambda host, one: one["n"])
    told = together([asks(n, seed="x" * 30) for n in range(6)], fleet)
    assert [answers["h1"] for answers in told] == list(range(6)) and len(fleet.calls) == 3
    fleet.calls.clear()
    assert together([asks(n, seed="x" * 300) for n in range(2)], fleet) == [{"h1": 0}, {"h1": 1}]
    assert [sorted(call[2]) for call in fleet.calls] == [["n", "seed"]] * 2, "each by itself"


def test_hosts_that_leave_all_for_later_are_asked_for_each() -> None:
    class Later(Fleets):
        def _one(self, host: str, request: Mapping[str, Any]) -> Answer:
            several = host_several.are_in(request)
            return [{"later": True} for _ in request["several"][host]] if several else request["n"]

    fleet = Later(lambda host, one: None)
    told = together([asks(n, "rack_vm.conclude", "h1", "h2") for n in range(4)], fleet)
    assert told == [{"h1": n, "h2": n} for n in range(4)] and len(fleet.calls) < 10


WAYS: list[Any] = [host_several.in_turn, host_several.as_far_as_told, host_several.side_by_side]


def test_a_host_refuses_what_is_no_list_of_requests() -> None:
    for several in ([], {"h1": {}}, {"h1": [1]}, {"h1": [{}] * 101}):
        for way in WAYS:
            with pytest.raises(RacksaltError) as told:
                way({"several": several, "abreast": 2}, "h1", lambda *one: one)
            assert told.value.code == "bad_input"
            assert way({"several": {"h2": [{}]}, "abreast": 2}, "h1", lambda *one: one) == []
            assert way({"several": {"h1": [{}, {}]}, "abreast": 2}, "h1", lambda *one: 1) == [{"answer": 1}] * 2


def test_so_many_are_sent_at_the_same_time_and_no_more() -> None:
    now, most, lock = [0], [0], threading.Lock()

    def act(nth: int, one: Mapping[str, Any]) -> int:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        threading.Event().wait(0.02)
        with lock:
            now[0] -= 1
        assert nth == one["n"]
        return nth

    request = host_several.request_of({"h1": [{"n": n} for n in range(9)]}, abreast=3)
    assert host_several.side_by_side(request, "h1", act) == [{"answer": n} for n in range(9)] and most == [3]
    for many in (0, 101, True, None, "2"):
        with pytest.raises(RacksaltError):
            host_several.side_by_side({**request, "abreast": many}, "h1", act)


def late(member: Callable[[Fleet], Any], after: threading.Event) -> Callable[[Fleet], Any]:
    def waits(fleet: Fleet) -> Any:
        assert after.wait(10)
        return member(fleet)

    return waits


def test_as_long_as_one_joins_every_so_often_the_others_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convoy, "_GATHER_S", 1.0)

    def slower(number: int) -> Callable[[Fleet], Any]:
        def member(fleet: Fleet) -> Any:
            threading.Event().wait(0.4 * number)
            return asks(number)(fleet)

        return member

    fleet = Fleets(lambda host, one: one["n"])
    assert together([slower(n) for n in range(4)], fleet) == [{"h1": n} for n in range(4)] and len(fleet.calls) == 1
    monkeypatch.setattr(convoy, "_GATHER_MOST_S", 0.5)
    assert "turn_missed" in [getattr(one["h1"], "code", "") for one in together([slower(n) for n in range(4)], fleet)]


def test_who_still_looks_at_hosts_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convoy, "_GATHER_S", 0.5)

    def act(host: str, one: Mapping[str, Any]) -> Any:
        if one["n"] == 99:
            threading.Event().wait(0.8)
        return one["n"]

    def looks(number: int) -> Callable[[Fleet], Any]:
        def member(fleet: Fleet) -> Any:
            asks(99, "rack_host.report")(fleet)
            return asks(number)(fleet)

        return member

    fleet = Fleets(act)
    assert together([asks(0), *(looks(n) for n in range(1, 6))], fleet) == [{"h1": n} for n in range(6)]
    assert [call[1] for call in fleet.calls].count("rack_vm.offer") == 1


@pytest.mark.parametrize("function", ["rack_vm.offer", "rack_vm.receive", "rack_vm.send"])
def test_who_comes_late_has_missed_its_turn(function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convoy, "_GATHER_S", 0.01)
    asked = threading.Event()

    def act(host: str, one: Mapping[str, Any]) -> Any:
        asked.set()
        return one["n"]

    fleet = Fleets(act)
    members = [asks(0, function), asks(1, function), late(asks(2, function, "h1", "h2"), asked)]
    *others, missed = together(members, fleet)
    assert [answers for answers in others if isinstance(answers["h1"], int)]
    assert {host: error.code for host, error in missed.items()} == {"h1": "turn_missed", "h2": "turn_missed"}
    assert missed["h1"] is not missed["h2"]


def test_who_has_moved_and_is_late_to_tell_is_heard_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convoy, "_GATHER_S", 0.01)
    asked = threading.Event()

    def act(host: str, one: Mapping[str, Any]) -> Any:
        asked.set()
        return one["n"]

    fleet = Fleets(act)
    function = "rack_vm.conclude"
    told = together([asks(0, function), late(asks(1, function), asked)], fleet)
    assert told == [{"h1": 0}, {"h1": 1}] and len(fleet.calls) == 2


def test_a_host_that_knows_nothing_of_several_lets_each_go_alone() -> None:
    class Older(Fleets):
        def _one(self, host: str, request: Mapping[str, Any]) -> Answer:
            return BadInput("several: found something, allowed: record, key, seed")

    told = [answers["h1"] for answers in together([asks(n) for n in range(3)], Older(lambda host, one: None))]
    assert [error.code for error in told] == ["turn_missed"] * 3 and len({id(error) for error in told}) == 3
    assert "older version" in told[0].detail
