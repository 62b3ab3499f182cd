"""Every call that a login could make, from the runners' own table: a new function is in it by itself.

In this process they go the way that the API sends them: the body checked, its secrets put into an envelope by the gate,
the runner's own function, which opens it, and the core behind it.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

from racksalt import acl
from racksalt.adapters import this_rack
from racksalt.api import lowstate
from racksalt.api.gate import Gate
from racksalt.api.sessions import Session
from racksalt.errors import RacksaltError
from racksalt.isolation import Case
from racksalt.rack import Rack
from tests.fakes import FakeRack

ROOT = Path(__file__).resolve().parents[2]
#: Every way in: the client, and the URL, where `/run` has the token in the body.
WAYS = [(client, url) for client in ("runner", "runner_async") for url in ("/", "/run")]

#: A good value for each parameter that some function cannot do without.
GOOD: dict[str, Any] = {"flavor": "m1.tiny", "image": "tiny", "job": "20260101000000000001"}
#: What ``name`` means in each runner.
GOOD_NAMES = {"rack_vm": "own", "rack_host": "h1", "rack_tenant": "acme"}
#: These make something new under ``name``; the others look it up.
MAKERS = ("rack_vm.create", "rack_tenant.create")


@dataclass(frozen=True)
class Function:
    """One function of a runner, with its parameters."""

    fun: str
    parameters: tuple[str, ...]

    @property
    def runner(self) -> str:
        return self.fun.partition(".")[0]

    def good(self) -> dict[str, Any]:
        """Arguments with which a tenant's member may call it."""
        named = {"name": GOOD_NAMES.get(self.runner, "own")} | GOOD
        given = {key: named[key] for key in self.parameters if key in named}
        return given | ({"name": "new"} if self.fun in MAKERS else {})


@dataclass(frozen=True)
class CallCase:
    """One call: who, what, with what."""

    fun: str
    kwarg: Mapping[str, Any]
    says: str

    def body(self, **more: Any) -> dict[str, Any]:
        """The call in Salt's own form."""
        return {"client": "runner", "fun": self.fun, "kwarg": dict(self.kwarg), **more}

    def __str__(self) -> str:
        return f"{self.fun} {json.dumps(self.kwarg, default=str)[:200]} ({self.says})"


@cache
def functions() -> tuple[Function, ...]:
    """Every public function of every runner."""
    return tuple(
        Function(f"{path.stem}.{node.name.rstrip('_')}", tuple(argument.arg for argument in node.args.args))
        for path in sorted((ROOT / "_runners").glob("rack*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    )


def tenant_functions() -> list[Function]:
    """Those that a tenant's login may call."""
    return [function for function in functions() if function.fun in acl.TENANT_CALLS]


@cache
def _module(runner: str) -> ModuleType:
    path = ROOT / "_runners" / f"{runner}.py"
    spec = importlib.util.spec_from_file_location(f"in_process_{runner}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def in_process(rack: FakeRack) -> Iterator[None]:
    """Runners of this process act on ``rack``."""
    with _acting_on(rack.rack):
        yield


@contextmanager
def _acting_on(rack: Rack) -> Iterator[None]:
    @contextmanager
    def connected(_opts: Any) -> Iterator[Rack]:
        yield rack

    with (
        patch.object(this_rack, "connected", connected),
        patch.object(this_rack, "settings", lambda _: rack.settings()),
    ):
        yield


def send(user: str, body: Any) -> list[Any]:
    """What the API does with a body once it knows the user: each call's answer, or its error."""
    try:
        calls, _ = lowstate.calls(json.loads(json.dumps(body)))
    except RacksaltError as error:
        return [{"error": error.as_dict()}]
    return [_run(user, call) for call in calls]


def through_the_api(way: tuple[str, str]) -> Any:
    """A door for :mod:`racksalt.isolation_proof`: one of :data:`WAYS`."""
    client, url = way
    token = {"token": "0" * 64} if url == "/run" else {}

    def door(rack: Rack, user: str, case: Case) -> Any:
        with _acting_on(rack):
            return send(user, {"client": client, "fun": case.fun, "kwarg": dict(case.kwarg), **token})[0]

    return door


def past_the_api(rack: Rack, user: str, case: Case) -> Any:
    """The runner's function alone, as if all fences before it were open."""
    with _acting_on(rack):
        return run_function(user, case.fun, dict(case.kwarg))


class _MasterlessGate(Gate):
    """The API's gate for one call; what it sends to the master is run here, and ``said`` is what the runner said."""

    said: Any = None

    def _send(self, call: lowstate.Call, low: dict[str, Any]) -> Any:
        proved = _called(low["token"], call.fun, low["kwarg"])
        self.said = _unproved(proved)
        return proved if call.is_waited_for else {"tag": "salt/run/1", "jid": "1"}


def _run(user: str, call: lowstate.Call) -> Any:
    """Through the gate. Of a job that nobody waits for, what it would find in the end."""
    gate = _MasterlessGate(opts())
    session = Session(user, salt_token=user, fingerprint="", expires_at=0)
    try:
        answer = gate.run(call, session, address="192.0.2.7")
    except RacksaltError as error:
        return {"error": error.as_dict()}
    return answer if call.is_waited_for else gate.said


def run_function(user: str, fun: str, kwarg: dict[str, Any]) -> Any:
    """A runner's function as Salt calls it; its answer without the proof that the API asks for."""
    return _unproved(_called(user, fun, kwarg))


def _called(user: str, fun: str, kwarg: dict[str, Any]) -> Any:
    runner, _, name = fun.partition(".")
    module = _module(runner)
    vars(module).update(__opts__=opts(), __context__={}, __user__=user)
    aliases = {shown: real for real, shown in getattr(module, "__func_alias__", {}).items()}
    return getattr(module, aliases.get(name, name))(**kwarg)


def _unproved(answer: Any) -> Any:
    return json.loads(answer["answer"]) if isinstance(answer, dict) and "proof" in answer else answer


@cache
def opts() -> dict[str, Any]:
    """The part of the master's configuration that a call needs."""
    folder = tempfile.mkdtemp(prefix="racksalt-")
    return {"racksalt": {"envelope_key": f"{folder}/envelope.key"}, "cachedir": folder}


def status_of(answer: Any) -> int:
    """The HTTP status that an answer gets."""
    error = answer.get("error") if isinstance(answer, dict) else None
    return int(error["status"]) if isinstance(error, dict) else 200
