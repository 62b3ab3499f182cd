"""The form of a case, and how it is played: steps with what each answers, and the rack as it stands at the end.

A step is a call (``alice rack_vm.create name=web1``), a verb of ``faults.py`` (``silence h1``), or ``before FUNCTION
HOST`` and ``after FUNCTION HOST`` with steps that come in between when the host is asked for that. A call says how it
ends: ``done``, ``unchanged``, ``planned``, ``killed``, the code of its error, or a part of its answer.
"""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import yaml

from racksalt import shape
from racksalt.errors import RacksaltError
from tests.scenarios import view
from tests.scenarios.faults import VERBS
from tests.scenarios.stage import Hook, Killed, Stage, stage

#: What was there at the beginning came so long before the first step: no claim of it is left.
_LONG_AGO_S = 300.0


@dataclass(frozen=True, slots=True)
class Beginning:
    """The rack before the first step: ``vms`` as ``HOST TENANT/NAME`` with arguments, and the rack's files."""

    hosts: Annotated[int, shape.Range(1, 50)] = 3
    room: Mapping[str, int] = field(default_factory=dict)
    vms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """One story; ``tells`` is the rule that it shows."""

    tells: str
    begins: Beginning
    steps: list[Any]
    ends: list[str]


def read(text: str) -> Case:
    """A case from its file."""
    data = yaml.safe_load(text)
    begins = shape.parse(Beginning, data.get("rack", {}))
    assert data.keys() <= {"tells", "rack", "steps", "expect"}, f"unknown keys in {sorted(data)}"
    return Case(data["tells"], begins, data["steps"], data["expect"])


def play(case: Case) -> None:
    """Every step, and the end; what differs is told with all that came before."""
    played = _Play(stage(case.begins.hosts, room=case.begins.room))
    for vm in case.begins.vms:
        host, name, *more = vm.split()
        line = f"root rack_vm.create name={name} host={host} profile=small {' '.join(more)}"
        played.step({line: "done"})
    played.stage.fake.clock.sleep(_LONG_AGO_S)
    played.stage.watch.turn(played.stage.fake.rack, None)
    played.stage.fake.clock.sleep(_LONG_AGO_S)
    played.begun = len(view.audit_lines(played.stage.fake))
    for step in case.steps:
        played.step(step)
    played.check("the end", case.ends, view.lines(played.stage.fake))


@dataclass
class _Play:
    """A case on its way. ``begun`` are the audit's lines of before, ``last`` the last plan and lines."""

    stage: Stage
    log: list[str] = field(default_factory=list)
    begun: int = 0
    last: dict[str, Any] = field(default_factory=dict)

    def step(self, step: Any) -> None:
        line, expected = next(iter(step.items())) if isinstance(step, Mapping) else (step, None)
        words = shlex.split(self._filled(line))
        if line == "look":
            self.check(line, expected, view.lines(self.stage.fake))
        elif line == "audit":
            self.check(line, expected, view.audit_lines(self.stage.fake)[self.begun :])
        elif words[0] in ("before", "after"):
            self._hook(*words, steps=expected)
        elif words[0] in VERBS:
            self.log.append(line)
            plain = [word for word in words[1:] if "=" not in word or words[0] == "edit"]
            VERBS[words[0]](self.stage, *plain, **_arguments(words[1 + len(plain) :], plain=True))
        else:
            self._call(line, words, "done" if expected is None else expected)

    def check(self, line: str, expected: Any, found: Any) -> None:
        self.log.append(f"{line}\n    {textwrap.shorten(str(found), 300)}")
        told = "\n".join(self.log)
        assert _agrees(expected, found), f"{told}\n\nexpected: {yaml.safe_dump(expected)}\nfound: {_dumped(found)}"

    def _hook(self, when: str, function: str, host: str | None = None, *, steps: list[Any]) -> None:
        def then() -> None:
            for step in steps:
                self.step(step)

        self.stage.hooks.append(Hook(when, function, host, then))

    def _call(self, line: str, words: list[str], expected: Any) -> None:
        user, fun, *rest = words
        try:
            answer = self.stage.call(user, fun, _arguments(rest))
        except Killed:
            self.check(line, expected, "killed")
            return
        short = _short(answer)
        plain = answer.as_dict() if isinstance(answer, RacksaltError) else answer
        self.last |= {key: plain[key] for key in ("hash", "lines") if isinstance(plain, Mapping) and key in plain}
        self.check(line, expected, short if isinstance(expected, str) else plain)

    def _filled(self, line: str) -> str:
        """``$job``, ``$plan``, ``$drift`` and ``$uuid:TITLE`` by what they stand for."""
        return re.sub(r"\$(\w+)(?::([a-z0-9/-]+))?", lambda found: self._meant(found[1], found[2]), line)

    def _meant(self, what: str, title: str | None) -> str:
        if what == "uuid":
            return next(uuid for uuid, record in view.records(self.stage.fake).items() if record.title == title)
        if what == "job":
            return self.stage.job
        return str(self.last["hash"] if what == "plan" else self.last["lines"][0]["id"])


def _arguments(words: list[str], *, plain: bool = False) -> dict[str, Any]:
    pairs = (word.partition("=") for word in words)
    return {key: value if plain else yaml.safe_load(value) for key, _, value in pairs}


def _short(answer: Any) -> str:
    if isinstance(answer, RacksaltError):
        return answer.code
    if isinstance(answer, Mapping) and answer.get("test"):
        return "planned"
    return "unchanged" if isinstance(answer, Mapping) and answer.get("changed") is False else "done"


def _agrees(expected: Any, found: Any) -> bool:
    """Whether all that is expected is there; lists have to be whole."""
    if isinstance(expected, Mapping):
        return isinstance(found, Mapping) and all(
            key in found and _agrees(value, found[key]) for key, value in expected.items()
        )
    if isinstance(expected, list):
        return isinstance(found, (list, tuple)) and len(expected) == len(found) and all(map(_agrees, expected, found))
    return bool(expected == found)


def _dumped(found: Any) -> str:
    return yaml.safe_dump(shape.plain(found), sort_keys=False, width=110)
