"""Every call that a login could make, from the runners' own signatures: a new function is in it by itself."""

from __future__ import annotations

import ast
import importlib.util
import json
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
from racksalt.errors import Denied, RacksaltError
from tests.fakes import FakeRack

ROOT = Path(__file__).resolve().parents[2]

#: A good value for each parameter that some function cannot do without.
GOOD: dict[str, Any] = {"flavor": "m1.tiny", "image": "tiny"}
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


def with_each_argument(values: Mapping[str, Any]) -> Iterator[CallCase]:
    """Every function that tenants may call × every argument × every one of these values."""
    for function in tenant_functions():
        for parameter in function.parameters:
            for says, value in values.items():
                yield CallCase(function.fun, {**function.good(), parameter: value}, f"{parameter}: {says}")


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

    @contextmanager
    def connected(_opts: Any) -> Iterator[Any]:
        yield rack.rack

    with patch.object(this_rack, "connected", connected):
        yield


def send(user: str, body: Any) -> list[Any]:
    """What the API does with a body once it knows the user: each call's answer, or its error."""
    try:
        calls, _ = lowstate.calls(json.loads(json.dumps(body)))
    except RacksaltError as error:
        return [{"error": error.as_dict()}]
    return [_run(user, call) for call in calls]


def _run(user: str, call: lowstate.Call) -> Any:
    if call.fun not in acl.TENANT_CALLS:
        return {"error": Denied("function_denied", call.fun).as_dict()}
    runner, _, name = call.fun.partition(".")
    module = _module(runner)
    vars(module).update(__opts__={}, __context__={}, __user__=user)
    aliases = {shown: real for real, shown in getattr(module, "__func_alias__", {}).items()}
    return getattr(module, aliases.get(name, name))(**call.kwarg)


def status_of(answer: Any) -> int:
    """The HTTP status that an answer gets."""
    error = answer.get("error") if isinstance(answer, dict) else None
    return int(error["status"]) if isinstance(error, dict) else 200
