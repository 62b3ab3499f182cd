"""One tree of errors, with codes that travel from a host to the caller unchanged."""

from __future__ import annotations

import pytest

from racksalt import errors, state_result
from racksalt.errors import BadInput, Conflict, Denied, NotFound, RacksaltError, Refused, Unavailable


@pytest.mark.parametrize("kind", [Denied, NotFound, Conflict, Refused, Unavailable])
def test_an_error_comes_back_from_its_plain_data(kind: type[RacksaltError]) -> None:
    told = errors.from_dict(kind("some_code", "what happened", vm="x", numbers=[1, 2]).as_dict())
    assert type(told) is kind and (told.code, told.detail, str(told)) == ("some_code", "what happened", "what happened")
    assert told.facts == {"vm": "x", "numbers": [1, 2]}


def test_bad_input_comes_back_with_its_problems() -> None:
    told = errors.from_dict(BadInput("wrong", problems=[{"field": "x"}]).as_dict())
    assert type(told) is BadInput and told.code == "bad_input" and told.facts["problems"] == [{"field": "x"}]


def test_what_a_host_tells_without_a_known_status_is_an_error_all_the_same() -> None:
    for data in ({}, {"status": 999}, {"code": 5, "detail": None}):
        assert isinstance(errors.from_dict(data), RacksaltError)


def test_a_salt_function_that_fails_says_so_with_its_exit_code() -> None:
    assert errors.as_result(NotFound("vm_not_found", "no VM")) == {
        "error": {"code": "vm_not_found", "status": 404, "detail": "no VM"},
        "retcode": 1,
    }


@pytest.mark.parametrize(
    ("changes", "test", "error", "result"),
    [
        ({}, False, None, True),
        ({}, True, None, True),
        ({"x": 1}, True, None, None),
        ({"x": 1}, False, None, True),
        ({"x": 1}, False, "no", False),
    ],
)
def test_a_states_result_says_what_is_so(
    changes: dict[str, int], test: bool, error: str | None, result: bool | None
) -> None:
    told = state_result.of("n", changes, test=test, done="it is there", error=error)
    assert told["result"] is result and told["name"] == "n" and told["comment"]
    assert told["changes"] == ({} if error else changes)
