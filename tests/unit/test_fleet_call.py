"""One call over a bus on which everybody may say anything: only signed answers count, and nobody else ends the wait."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from racksalt import host_answers
from racksalt.errors import Conflict, Unavailable
from racksalt.fleet_call import FleetCall
from racksalt.host_answers import Call
from racksalt.ports import Answer, Silent
from tests.fakes import FakeBus, FakeClock, FakeKey, Said

CALL = Call("job_0", "rack_vm.create")
NOT_THERE = "'rack_vm.create' is not available."


@dataclass
class Talk:
    """A call, and what is said: ``said`` after the publish, ``alive`` after each question whether it still runs."""

    said: list[Said]
    alive: Callable[[float], list[Said]] = lambda now: []
    clock: FakeClock = field(default_factory=FakeClock)
    dropped: list[tuple[str, str]] = field(default_factory=list)
    doubted: frozenset[str] = frozenset()
    lead: str | None = None

    def ask(self, *hosts: str, timeout_s: float = 30.0) -> dict[str, Answer]:
        began = self.clock.time

        def script(function: str, arguments: Any, job: str) -> list[Said]:
            return self.said if function == CALL.function else self.alive(self.clock.time - began)

        def verify(host: str, data: bytes, signature: str) -> bool:
            return FakeKey(host).verify(data, signature)

        def drop(host: str, job: str, reason: str) -> None:
            assert job == CALL.job
            self.dropped.append((host, reason))

        bus = FakeBus(self.clock, script)
        call = FleetCall(bus, self.clock, verify, drop, CALL, self.doubted, self.lead)
        answers = call.run(hosts, [], timeout_s=timeout_s)
        self.took_s = self.clock.time - began
        return answers


def true(answer: Any, host: str = "h1", call: Call = CALL) -> dict[str, Any]:
    return host_answers.signed(answer, call, host=host, sign=FakeKey(host).sign)


def forged(answer: Any, host: str = "h1") -> dict[str, Any]:
    """What a rogue h3 can make: right in every word, signed with its own key."""
    return host_answers.signed(answer, CALL, host=host, sign=FakeKey("h3").sign)


def running(*hosts: str, until_s: float = 1e9) -> Callable[[float], list[Said]]:
    return lambda now: [Said(0.1, host, {"pid": 7} if now < until_s else {}) for host in hosts]


def test_signed_answers_and_errors_are_taken() -> None:
    error = {"error": {"code": "vm_state", "status": 409, "detail": "no"}, "retcode": 1}
    talk = Talk([Said(0.1, "h1", true({"changed": True})), Said(0.2, "h2", true(error, "h2"))])
    answers = talk.ask("h1", "h2")
    assert answers["h1"] == {"changed": True} and isinstance(answers["h2"], Conflict)
    assert talk.took_s < 0.5 and not talk.dropped


@pytest.mark.parametrize(
    "lie",
    [
        forged({"changed": False}),
        true({"changed": False}, "h3"),
        true({"changed": False}, call=Call("job_9", CALL.function)),
        true({"changed": False}, call=Call(CALL.job, "rack_vm.purge")),
        {"changed": False},
        {"error": {"code": "no_room", "status": 422, "detail": "forged"}, "retcode": 1},
        NOT_THERE,
        None,
    ],
)
def test_a_lie_that_comes_first_is_dropped_and_the_true_answer_is_waited_for(lie: Any) -> None:
    talk = Talk([Said(0.1, "h1", lie), Said(9.0, "h1", true({"changed": True}))], running("h1"))
    assert talk.ask("h1") == {"h1": {"changed": True}}
    assert [host for host, _ in talk.dropped] == ["h1"] and talk.took_s > 9


def test_an_answer_that_comes_while_the_host_is_asked_whether_it_is_still_at_it_ends_the_wait() -> None:
    talk = Talk([Said(5.0, "h1", true({"changed": True}))], lambda now: [Said(9.0, "h1", {"pid": 7})])
    assert talk.ask("h1") == {"h1": {"changed": True}} and talk.took_s < 5.1


def test_a_host_that_is_busy_is_asked_less_and_less_often() -> None:
    asked: list[float] = []

    def alive(now: float) -> list[Said]:
        asked.append(now)
        return [Said(8.0 if asked[1:] else 0.1, "h1", {"pid": 7})]

    talk = Talk([Said(90.0, "h1", true({"changed": True}))], alive)
    assert talk.ask("h1", timeout_s=150) == {"h1": {"changed": True}} and talk.took_s < 90.1
    assert asked == pytest.approx([12.0, 24.1, 48.1, 72.1], abs=0.1)


def test_a_lie_in_the_job_cache_is_dropped_too() -> None:
    """Salt keeps the first return under a name, so a forged one hides the true one there: silence, and no lie."""
    talk = Talk([Said(0.1, "h1", forged({})), Said(1.0, "h1", true({"changed": True}), lost=True)], running())
    (answer,) = talk.ask("h1").values()
    assert isinstance(answer, Silent) and "not one of the accepted key" in answer.unproved
    assert len(talk.dropped) == 1


def test_a_lost_return_is_looked_up() -> None:
    talk = Talk([Said(1.0, "h1", true({"changed": True}), lost=True)], running("h1", until_s=1))
    assert talk.ask("h1") == {"h1": {"changed": True}} and talk.took_s < 7


def test_a_lost_return_of_a_long_call_is_looked_up_before_anybody_is_asked() -> None:
    def alive(now: float) -> list[Said]:
        raise AssertionError("nobody is to be asked")

    talk = Talk([Said(1.0, "h1", true({"changed": True}), lost=True)], alive)
    assert talk.ask("h1", timeout_s=150) == {"h1": {"changed": True}} and talk.took_s < 7


def test_each_host_is_told_once_however_much_is_forged() -> None:
    lies = [Said(number / 100, f"h{number % 3 + 1}", forged({}, f"h{number % 3 + 1}")) for number in range(60)]
    strangers = [Said(0.5, f"x{number}", forged({})) for number in range(50)]
    talk = Talk([*lies, *strangers, Said(1.0, "h1", true({})), Said(1.0, "h2", true({}, "h2"))], running())
    assert talk.ask("h1", "h2") == {"h1": {}, "h2": {}}
    assert sorted(host for host, _ in talk.dropped) == ["", "h1", "h2"]


def test_a_lie_after_the_true_answer_changes_nothing_and_is_told() -> None:
    said = [Said(0.1, "h1", true({})), Said(0.2, "h1", true({})), Said(0.3, "h1", forged({"x": 1}))]
    talk = Talk([*said, Said(0.5, "h2", true({}, "h2"))])
    assert talk.ask("h1", "h2")["h1"] == {} and [host for host, _ in talk.dropped] == ["h1"]


def test_what_is_told_of_a_host_without_code_is_why() -> None:
    talk = Talk([Said(0.1, "h1", NOT_THERE)], running())
    answer = talk.ask("h1")["h1"]
    assert isinstance(answer, Silent) and NOT_THERE in answer.told and talk.took_s < 12


def test_a_forged_no_does_not_end_the_wait() -> None:
    def both(now: float) -> list[Said]:
        return [Said(0.01, "h1", {}), Said(0.3, "h1", {"pid": 7})]

    talk = Talk([Said(20.0, "h1", true({"changed": True}))], both)
    assert talk.ask("h1") == {"h1": {"changed": True}}


def test_a_forged_yes_makes_us_wait_to_the_end_and_no_longer() -> None:
    talk = Talk([], running("h1"))
    assert isinstance(talk.ask("h1", timeout_s=20)["h1"], Silent) and 20 <= talk.took_s < 27


@pytest.mark.parametrize("word", ["", "'saltutil.find_job' is not available.", None, [1], 5])
def test_a_yes_is_a_job(word: Any) -> None:
    talk = Talk([], lambda now: [Said(0.1, "h1", word)])
    assert isinstance(talk.ask("h1")["h1"], Silent) and talk.took_s < 7


def test_a_host_that_is_done_and_said_nothing_is_not_waited_for() -> None:
    talk = Talk([], running("h1", until_s=0))
    assert isinstance(talk.ask("h1")["h1"], Silent) and talk.took_s < 6


def test_a_doubted_host_costs_the_others_little() -> None:
    talk = Talk([Said(0.1, "h1", true({}))], doubted=frozenset({"h2"}))
    answers = talk.ask("h1", "h2")
    assert answers["h1"] == {} and isinstance(answers["h2"], Silent) and talk.took_s < 1


def test_where_all_were_silent_lately_they_get_the_whole_time() -> None:
    """Under load all are late at once; a grace of a moment would keep them silent for ever."""
    talk = Talk([Said(2.0, "h1", true({})), Said(3.0, "h2", true({}, "h2"))], doubted=frozenset({"h1", "h2"}))
    assert talk.ask("h1", "h2") == {"h1": {}, "h2": {}}


def test_a_host_that_is_still_at_it_is_said_to_be() -> None:
    silent = Talk([], running("h1")).ask("h1", timeout_s=20)["h1"]
    assert isinstance(silent, Silent) and silent.at_work and "still at it" in silent.told


def test_a_host_without_an_accepted_key_is_silent_at_once() -> None:
    talk = Talk([Said(0.1, "h1", true({}))])
    answers = talk.ask("h1", "h9")
    assert isinstance(answers["h9"], Silent) and talk.took_s < 1


def test_without_a_good_answer_of_the_lead_nobody_is_waited_for() -> None:
    error = {"error": {"code": "migration_failed", "status": 503, "detail": "no"}, "retcode": 1}
    talk = Talk([Said(2.0, "h1", true(error)), Said(2.5, "h2", true({}, "h2"))], running("h1", "h2"), lead="h1")
    answers = talk.ask("h1", "h2", timeout_s=300)
    assert isinstance(answers["h1"], Unavailable) and talk.took_s < 2.1
    assert isinstance(answers["h2"], Silent) and answers["h2"].passed_over, "nobody says that it was silent"


def test_after_the_lead_the_others_have_a_moment() -> None:
    in_time = Talk([Said(2.0, "h1", true({})), Said(2.5, "h2", true({"came": True}, "h2"))], running(), lead="h1")
    assert in_time.ask("h1", "h2", timeout_s=300) == {"h1": {}, "h2": {"came": True}} and in_time.took_s < 2.6
    late = Talk([Said(2.0, "h1", true({})), Said(9.0, "h2", true({}, "h2"))], running("h2"), lead="h1")
    answers = late.ask("h1", "h2", timeout_s=300)
    assert answers["h1"] == {} and isinstance(answers["h2"], Silent) and late.took_s < 3.1


def test_the_lead_is_waited_for_however_long_the_others_have_answered() -> None:
    talk = Talk([Said(0.1, "h2", true({}, "h2")), Said(50.0, "h1", true({}))], running("h1"), lead="h1")
    assert talk.ask("h1", "h2", timeout_s=300) == {"h1": {}, "h2": {}} and 50 <= talk.took_s < 51


def test_a_lead_that_is_gone_is_not_waited_for_by_those_who_wait_for_it() -> None:
    talk = Talk([], running("h2"), lead="h1")
    answers = talk.ask("h1", "h2", timeout_s=300)
    assert talk.took_s < 20 and isinstance(answers["h1"], Silent) and isinstance(answers["h2"], Silent)
    assert not answers["h1"].at_work and not answers["h1"].passed_over and answers["h2"].passed_over


def test_the_others_have_their_moment_whenever_the_lead_answers() -> None:
    """Also where a turn ends meanwhile, or its answer comes while hosts are asked whether they are at it."""
    for at in (5.9, 12.05):
        talk = Talk([Said(at, "h1", true({})), Said(at + 0.5, "h2", true({}, "h2"))], running("h2"), lead="h1")
        assert talk.ask("h1", "h2", timeout_s=300) == {"h1": {}, "h2": {}} and talk.took_s < at + 0.6
    lost = Talk([Said(1.0, "h1", true({}), lost=True), Said(99.0, "h2", true({}, "h2"))], running("h2"), lead="h1")
    assert lost.ask("h1", "h2", timeout_s=300)["h1"] == {} and lost.took_s < 7.1


def test_a_lead_that_was_silent_lately_is_waited_for_all_the_same() -> None:
    talk = Talk(
        [Said(0.1, "h2", true({}, "h2")), Said(20.0, "h1", true({}))], lambda now: [Said(3.0, "h1", {"pid": 7})]
    )
    talk.lead, talk.doubted = "h1", frozenset({"h1"})
    assert talk.ask("h1", "h2", timeout_s=300) == {"h1": {}, "h2": {}}


def test_a_clock_that_is_set_back_makes_no_wait_longer() -> None:
    clock = FakeClock()

    def set_back(now: float) -> list[Said]:
        clock.time -= 3600
        return []

    talk = Talk([], set_back, clock)
    assert isinstance(talk.ask("h1")["h1"], Silent) and clock.passed < 60
