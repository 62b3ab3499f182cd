"""The API's gate over the rack's real files and password file; only the master is a fake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from racksalt import isolation
from racksalt.adapters import envelope_key, this_rack
from racksalt.adapters.envelope_key import open_envelope
from racksalt.adapters.system import SystemClock
from racksalt.api import lowstate
from racksalt.api.gate import Gate
from racksalt.api.sessions import Session
from racksalt.errors import BadInput, RacksaltError
from racksalt.rack_calls import CALLS

ROOT = Path(__file__).resolve().parents[2]
HOME = "192.0.2.1"
SECRETS = {"user_data": "#cloud-config\npassword: hunter2", "ssh_keys": ["ssh-ed25519 AAAAhunter2"]}


class MasterlessGate(Gate):
    """What goes to the master is kept."""

    def __init__(self, opts: dict[str, Any]) -> None:
        self.told: list[dict[str, Any]] = []
        self.sent: list[dict[str, Any]] = []
        self.forged: Any = None
        super().__init__(opts, tell=lambda **facts: self.told.append(facts))

    def _ask_master(self, user: str) -> dict[str, Any]:
        return {"token": f"salt-{user}", "start": 0, "expire": SystemClock().now() + 100}

    def _send(self, call: lowstate.Call, low: dict[str, Any]) -> Any:
        self.sent.append(low)
        if low["client"] == "runner_async":
            return {"tag": "salt/run/1", "jid": str(len(self.sent))}
        return self.forged or envelope_key.prove(self._opts, low["kwarg"]["envelope"], job="1", answer={"vms": []})

    def codes(self) -> list[tuple[str, str, Any]]:
        return [(facts["kind"], facts["user"], facts.get("code")) for facts in self.told]


@pytest.fixture
def opts(tmp_path: Path) -> dict[str, Any]:
    stored = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
    (tmp_path / "htpasswd").write_text("".join(f"{user}:{stored}\n" for user in ("alice", "bob", "mallory")))
    files = {"rack_files": str(ROOT / "pillar/rack"), "htpasswd": str(tmp_path / "htpasswd")}
    return {"racksalt": {**files, "envelope_key": str(tmp_path / "envelope.key")}, "cachedir": str(tmp_path)}


@pytest.fixture
def gate(opts: dict[str, Any]) -> MasterlessGate:
    return MasterlessGate(opts)


def log_in(gate: Gate, user: str = "alice", password: str = "right", address: str = HOME) -> Session:
    answer = gate.log_in({"username": user, "password": password, "eauth": "rack"}, address)
    return gate.session(answer["token"], address=address)


def refused(gate: Gate, *given: Any, **named: Any) -> str:
    with pytest.raises(RacksaltError) as told:
        log_in(gate, *given, **named)
    return told.value.code


def call(fun: str = "rack_vm.create", client: str = "runner", **kwarg: Any) -> lowstate.Call:
    return lowstate.calls({"client": client, "fun": fun, "kwarg": kwarg})[0][0]


def test_logins_are_told_with_who_and_from_where(gate: MasterlessGate) -> None:
    log_in(gate)
    assert (
        refused(gate, "alice", "wrong") == refused(gate, "nobody", "x") == refused(gate, "mallory") == "login_refused"
    )
    assert gate.codes() == [
        ("login", "alice", None),
        ("login_refused", "alice", "login_refused"),
        ("login_refused", "nobody", "login_refused"),
        ("login_refused", "mallory", "login_refused"),
    ]
    assert {facts["address"] for facts in gate.told} == {HOME} and "wrong" not in repr(gate.told)


@pytest.mark.promise("S14")
def test_a_thousand_guesses_are_told_in_a_few_lines_and_harm_nobody(gate: MasterlessGate) -> None:
    log_in(gate, "bob", address="192.0.2.9")
    gate.told.clear()
    codes = [refused(gate, "alice", "wrong", address="192.0.2.9") for _ in range(500)]
    codes += [refused(gate, f"user{number}", "wrong", address="192.0.2.9") for number in range(500)]
    assert codes.count("login_refused") == 30 and codes.count("login_throttled") == 970
    assert len(gate.told) == 30 + 10
    assert log_in(gate).user == "alice" and log_in(gate, "bob", address="192.0.2.9").user == "bob"


def test_files_that_cannot_be_read_are_nobodys_wrong_password(opts: dict[str, Any]) -> None:
    gate = MasterlessGate({**opts, "racksalt": {**opts["racksalt"], "rack_files": "/nowhere"}})
    assert {refused(gate) for _ in range(20)} == {"rack_unavailable"}


def test_what_a_login_may_not_call_is_told(gate: MasterlessGate) -> None:
    session = log_in(gate)
    with pytest.raises(RacksaltError) as told:
        gate.run(call("rack_host.list"), session, address=HOME)
    assert told.value.code == "function_denied" and not gate.sent
    assert gate.told[-1] == {
        "kind": "refused", "user": "alice", "address": HOME, "fun": "rack_host.list", "code": "function_denied",
    }  # fmt: skip


def test_guessed_tokens_are_told_once(gate: MasterlessGate) -> None:
    for number in range(100):
        with pytest.raises(RacksaltError):
            gate.session(f"guess{number}", address=HOME)
    assert gate.codes() == [("refused", "", "login_needed")]


def test_a_forged_body_of_a_login_is_told(gate: MasterlessGate) -> None:
    token = gate.log_in({"username": "alice", "password": "right", "eauth": "rack"}, HOME)["token"]
    for kwarg in ({"__user__": "root"}, {"envelope": "x"}):
        with pytest.raises(BadInput) as told:
            call(**kwarg)
        gate.note_refused(token, told.value, address=HOME)
        gate.note_refused("none", told.value, address=HOME)
    assert gate.codes()[1:] == [("refused", "alice", "bad_input")], "once a minute"


def test_what_is_refused_before_a_runner_is_told_once_a_minute(gate: MasterlessGate) -> None:
    """It costs a client one request, and the audit's disk a line each time."""
    token = gate.log_in({"username": "alice", "password": "right", "eauth": "rack"}, HOME)["token"]
    session = gate.session(token, address=HOME)
    gate.told.clear()
    for number in range(1000):
        with pytest.raises(RacksaltError):
            gate.run(call(f"rack_host.list{'x' * (number % 9)}"), session, address=HOME)
        gate.note_refused(token, BadInput("no call"), address=HOME)
        gate.note_refused(token, BadInput("no body", code="bad_body"), address=HOME)
    assert [code for _, _, code in gate.codes()] == ["function_denied", "bad_input", "bad_body"]
    assert not gate.sent


@pytest.mark.promise("S13")
@pytest.mark.parametrize("client", ["runner", "runner_async"])
def test_secrets_go_in_the_envelope_only(gate: MasterlessGate, opts: dict[str, Any], client: str) -> None:
    session = log_in(gate)
    asked = call(client=client, name="web1", **SECRETS)
    gate.run(asked, session, address=HOME)
    (low,) = gate.sent
    assert low["client"] == client and low["token"] == "salt-alice"
    assert set(low["kwarg"]) == {"name", "envelope"} and "hunter2" not in json.dumps(low) + repr(asked)
    opened = open_envelope(opts, low["kwarg"]["envelope"], user="alice", fun="rack_vm.create", now=SystemClock().now())
    assert opened == (HOME, SECRETS)


@pytest.mark.promise("S13")
def test_what_a_call_does_not_know_may_be_a_secret_and_goes_in_the_envelope(
    gate: MasterlessGate, opts: dict[str, Any]
) -> None:
    session = log_in(gate)
    given = {"userdata": "#cloud-config\npassword: hunter2", "ladder": 1, "acpi_s": 5}
    gate.run(call("rack_vm.stop", name="web1", hard=True, **given), session, address=HOME)
    (low,) = gate.sent
    assert set(low["kwarg"]) == {"name", "hard", "ladder", "envelope"} and "hunter2" not in json.dumps(low)
    opened = open_envelope(opts, low["kwarg"]["envelope"], user="alice", fun="rack_vm.stop", now=SystemClock().now())
    assert opened == (HOME, {"userdata": given["userdata"], "acpi_s": 5})


@pytest.mark.parametrize(
    ("kwarg", "fields"),
    [
        ({"unknown": 5}, ["unknown"]),
        ({"unknown": {}, "nonsense": 1}, ["nonsense", "unknown"]),
        ({"unknown": {"__pub_user": "root"}}, ["unknown"]),
        ({"unknown": None}, ["unknown"]),
        ({"nonsense": 1}, ["nonsense"]),
    ],
)
@pytest.mark.parametrize("fun", ["rack_vm.list", "rack_vm.create"])
def test_no_name_of_an_argument_hides_that_it_is_unknown(
    gate: MasterlessGate, opts: dict[str, Any], fun: str, kwarg: dict[str, Any], fields: list[str]
) -> None:
    gate.run(call(fun, **kwarg), log_in(gate), address=HOME)
    (low,) = gate.sent
    assert unknown_fields(opts, fun, low["kwarg"]) == fields


def test_an_envelope_in_an_envelope_is_an_unknown_argument(opts: dict[str, Any]) -> None:
    inner = envelope_key.make_envelope(opts, user="alice", fun="rack_vm.list", address=HOME, secret_arguments={})
    outer = envelope_key.make_envelope(
        opts, user="alice", fun="rack_vm.list", address=HOME, secret_arguments={"envelope": inner}
    )
    assert unknown_fields(opts, "rack_vm.list", {"envelope": outer}) == ["envelope"]


def unknown_fields(opts: dict[str, Any], fun: str, kwarg: dict[str, Any]) -> list[str]:
    """What the runner refuses of these arguments; it asks no host for that."""
    folder = opts["cachedir"]
    more = {"audit": f"{folder}/audit", "claims": f"{folder}/claims"}
    known = isolation.arguments(CALLS[fun])
    told = this_rack.answer(
        fun,
        {**{name: kwarg.get(name) for name in known}, "unknown": {k: v for k, v in kwarg.items() if k not in known}},
        user="alice",
        opts={**opts, "racksalt": {**opts["racksalt"], **more}, "pki_dir": folder, "id": "master_master"},
        context={},
    )
    _, answer = envelope_key.proved(opts, kwarg["envelope"], told)
    assert answer["error"]["code"] == "bad_input", answer
    return sorted(problem["field"] for problem in answer["error"]["problems"])


def test_every_call_brings_its_address(gate: MasterlessGate, opts: dict[str, Any]) -> None:
    gate.run(call("rack_vm.list"), log_in(gate), address="2001:db8::1")
    envelope = gate.sent[0]["kwarg"]["envelope"]
    opened = open_envelope(opts, envelope, user="alice", fun="rack_vm.list", now=SystemClock().now())
    assert opened == ("2001:db8::1", {})


@pytest.mark.promise("S15")
def test_an_answer_that_is_not_the_runners_is_dropped(gate: MasterlessGate, opts: dict[str, Any]) -> None:
    """A host may guess a job's name, and put an answer of its own on the master's bus."""
    session = log_in(gate)
    other = envelope_key.make_envelope(opts, user="alice", fun="rack_vm.list", address=HOME, secret_arguments={})
    true = envelope_key.prove(opts, other, job="1", answer={"vms": ["theirs"]})
    for forged in ({"vms": ["theirs"]}, true, {**true, "proof": ""}, {"error": {"code": "x", "detail": "y"}}, "no"):
        gate.forged = forged
        with pytest.raises(RacksaltError) as told:
            gate.run(call("rack_vm.list"), session, address=HOME)
        assert told.value.code == "internal" and "theirs" not in str(told.value.facts)
        assert gate.codes()[-1] == ("refused", "alice", "answer_unproved")
    assert len(gate.told) == 1 + 5, "each is told once"


def test_jobs_that_nobody_waits_for_are_bounded_too(gate: MasterlessGate) -> None:
    session = log_in(gate)
    jobs = [gate.run(call("rack_vm.list", "runner_async"), session, address=HOME) for _ in range(20)]
    assert jobs[0] == {"tag": "salt/run/1", "jid": "1"}
    with pytest.raises(RacksaltError) as told:
        gate.run(call("rack_vm.list", "runner_async"), session, address=HOME)
    assert told.value.code == "too_many_calls"
    assert gate.run(call("rack_vm.list"), session, address=HOME) == {"vms": []}
    assert gate.run(call("rack_vm.list", "runner_async"), log_in(gate, "bob"), address=HOME)["jid"]
