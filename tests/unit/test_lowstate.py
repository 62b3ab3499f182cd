"""The body of a call: what is not listed is refused, whatever Salt would make of it."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from racksalt.api import lowstate
from racksalt.api.lowstate import Call, Credentials
from racksalt.errors import BadInput

CALL = {"client": "runner", "fun": "rack_vm.list", "kwarg": {"tag": "x"}}


def test_one_call_and_several_are_read_in_order() -> None:
    assert lowstate.calls(CALL) == ([Call("rack_vm.list", {"tag": "x"})], None)
    calls, token = lowstate.calls([CALL, {**CALL, "fun": "rack_vm.show", "token": "t"}])
    assert [call.fun for call in calls] == ["rack_vm.list", "rack_vm.show"] and token == "t"
    assert lowstate.calls({"client": "runner", "fun": "rack_vm.list"}) == ([Call("rack_vm.list", {})], None)


@pytest.mark.parametrize(
    "key",
    [
        "username", "user", "password", "eauth", "arg", "args", "tgt", "tgt_type", "ret", "timeout", "full_return",
        "__user__", "__pub_user", "__opts__", "__kwarg__", "__current_eauth", "key", "auth", "batch", "kwargs",
        "asynchronous", "print_event", "resource_id", "metadata", "cmd", "match", "jid", "delimiter",
    ],
)  # fmt: skip
def test_a_key_that_a_call_does_not_have_is_refused(key: str) -> None:
    with pytest.raises(BadInput) as told:
        lowstate.calls({**CALL, key: "x"})
    assert told.value.status == 400 and key in told.value.detail


def test_a_call_that_is_not_waited_for() -> None:
    (call,), _ = lowstate.calls({**CALL, "client": "runner_async"})
    assert (call.fun, call.kwarg, call.is_waited_for) == ("rack_vm.list", {"tag": "x"}, False)


@pytest.mark.parametrize(
    "key", ["__user__", "__pub_user", "__kwarg__", "__opts__", "__", "__id__", "__jid_event__", "envelope"]
)
def test_a_forged_argument_is_refused(key: str) -> None:
    with pytest.raises(BadInput):
        lowstate.calls({**CALL, "kwarg": {key: "root"}})


@pytest.mark.parametrize(
    "client", ["local", "local_async", "runner_sync", "wheel_async", "wheel", "ssh", "RUNNER", "", None, 1, ["runner"]]
)
def test_a_client_other_than_the_runner_is_refused(client: Any) -> None:
    with pytest.raises(BadInput):
        lowstate.calls({**CALL, "client": client})


@pytest.mark.parametrize(
    "fun",
    [
        "rack_vm",
        "rack_vm.",
        ".list",
        "a.b.c",
        "rack_vm.list\n",
        "rack vm.list",
        "Rack.x",
        "a" * 41 + ".b",
        ["rack_vm.list"],
        None,
        5,
        "ｒack.x",
    ],
)
def test_a_function_is_a_module_and_a_name(fun: Any) -> None:
    with pytest.raises(BadInput):
        lowstate.calls({**CALL, "fun": fun})


@pytest.mark.parametrize("kwarg", [["tenant=beta"], "tenant=beta", 5, True])
def test_arguments_are_a_mapping(kwarg: Any) -> None:
    with pytest.raises(BadInput):
        lowstate.calls({**CALL, "kwarg": kwarg})


@pytest.mark.parametrize("body", [None, "x", 5, True, [], [None], ["x"], [[CALL]], [CALL] * 11, {}, [CALL, {}]])
def test_a_body_that_is_no_list_of_calls_is_refused(body: Any) -> None:
    with pytest.raises(BadInput):
        lowstate.calls(body)


def test_one_body_has_one_token() -> None:
    with pytest.raises(BadInput):
        lowstate.calls([{**CALL, "token": "a"}, {**CALL, "token": "b"}])


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b"{'a': 1}", b"[" * 100_000, b'{"a": 1} x', b"1" * 5000],
    ids=lambda body: repr(body[:9]),
)
def test_what_is_no_json_is_bad_input(body: bytes) -> None:
    with pytest.raises(BadInput) as told:
        lowstate.from_json(body)
    assert told.value.code == "bad_body"


def test_a_form_is_single_values_with_json_arguments() -> None:
    body = b"client=runner&fun=rack_vm.list&kwarg=%7B%22tag%22%3A%22x%22%7D"
    assert lowstate.calls(lowstate.from_form(body)) == ([Call("rack_vm.list", {"tag": "x"})], None)
    assert lowstate.from_form(b"") == {}


@pytest.mark.parametrize(
    "body",
    [b"fun=a&fun=b", b"fun", b"&&&=", b"kwarg={", b"\xff=1", b"&".join(b"a%d=1" % n for n in range(101))],
    ids=lambda b: repr(b[:9]),
)
def test_what_is_no_such_form_is_bad_input(body: bytes) -> None:
    with pytest.raises(BadInput) as told:
        lowstate.from_form(body)
    assert told.value.code == "bad_body"


def test_a_login_comes_alone_or_in_a_list_of_one() -> None:
    given_ = {"username": "alice", "password": "s", "eauth": "rack"}
    assert lowstate.credentials(given_) == lowstate.credentials([given_]) == Credentials("alice", "s")


@pytest.mark.parametrize(
    "changed",
    [
        {"eauth": "pam"}, {"eauth": None}, {"token": "t"}, {"username": ["alice"]}, {"password": 5}, {"password": None},
        {"__user__": "root"}, {"client": "x"}, {"username": "a" * 10240}, {"password": "a" * 10240},
        {"username": "a\ud800"}, {"password": "a\x00b"},
    ],
    ids=lambda changed: repr(changed)[:30],
)  # fmt: skip
def test_a_login_holds_nothing_else(changed: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        lowstate.credentials({"username": "alice", "password": "s", **changed})


@pytest.mark.parametrize("data", [None, [], [1], "x", [{}, {}]])
def test_a_body_without_a_login_is_refused(data: Any) -> None:
    with pytest.raises(BadInput):
        lowstate.credentials(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["client", "fun", "kwarg", "token", "x"]), inner)
    ),
    max_leaves=8,
)


@given(JSON)
def test_any_json_is_calls_or_bad_input(data: Any) -> None:
    body = json.dumps(data).encode()
    try:
        calls, _ = lowstate.calls(lowstate.from_json(body))
    except BadInput:
        return
    assert all(isinstance(call.fun, str) and isinstance(call.kwarg, dict) for call in calls)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_form_or_bad_input(body: bytes) -> None:
    with contextlib.suppress(BadInput):
        assert isinstance(lowstate.from_form(body), dict)
