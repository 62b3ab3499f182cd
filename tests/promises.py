"""The promises: ``@pytest.mark.promise("P8")`` names the one that a test keeps, ``--promises`` prints the table.

A test may hold many cases; ``sample`` takes a seeded part of them unless FULL is set in the environment.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

T = TypeVar("T")

_FILE = "promises.json"
_PROMISE = "promise"
_OUTCOMES = pytest.StashKey["Outcomes"]()


def full() -> bool:
    """Whether every case is to run."""
    return bool(os.environ.get("FULL"))


def sample(cases: Sequence[T], at_most: int) -> list[T]:
    """All cases with FULL, else a part of them that PROMISES_SEED chooses; always in order."""
    if full() or len(cases) <= at_most:
        return list(cases)
    chosen = random.Random(os.environ.get("PROMISES_SEED", "0")).sample(range(len(cases)), at_most)
    return [cases[index] for index in sorted(chosen)]


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--promises``."""
    parser.addoption("--promises", action="store_true", help=f"print the table of promises and write {_FILE}")


class Outcomes:
    """What became of each promise's tests; the workers that share the tests tell it with their reports."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str], str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A promise is kept when set-up, test and tear-down all passed."""
        for name, promise in report.user_properties:
            key = (str(promise), report.nodeid)
            if name == _PROMISE and (report.failed or (report.skipped and self.found.get(key) != "failed")):
                self.found[key] = report.outcome
            elif name == _PROMISE:
                self.found.setdefault(key, report.outcome)


def pytest_configure(config: pytest.Config) -> None:
    """No outcome yet."""
    config.stash[_OUTCOMES] = Outcomes()
    config.pluginmanager.register(config.stash[_OUTCOMES], "promises-outcomes")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Each report says whose promise it is about."""
    report = yield
    report.user_properties += [(_PROMISE, str(mark.args[0])) for mark in item.iter_markers("promise")]
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The table, and the same as JSON."""
    if not config.getoption("--promises"):
        return
    found = sorted(config.stash[_OUTCOMES].found.items(), key=lambda item: (_by_number(item[0][0]), item[0][1]))
    terminalreporter.section("promises" + (", every case" if full() else ", a sample of the cases"))
    for (promise, test), outcome in found:
        terminalreporter.line(f"{promise:<5} {outcome:<8} {test}")
    listed = [{"id": promise, "test": test, "outcome": outcome} for (promise, test), outcome in found]
    (Path(config.rootpath) / _FILE).write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")


def _by_number(promise: str) -> tuple[str, int]:
    letters, digits = re.fullmatch(r"(\D*)(\d*)", promise).groups()  # type: ignore[union-attr]
    return letters, int(digits or 0)
