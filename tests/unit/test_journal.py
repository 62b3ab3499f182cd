"""Errors in a host's journal: by priority, and by what Salt writes in front of its lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from racksalt.adapters.journal import Journal
from racksalt.errors import Unavailable


def journal(tmp_path: Path, *entries: dict[str, object] | str, code: int = 0) -> Journal:
    """A journal with these entries, read by a program that writes down how it was called."""
    texts = [one if isinstance(one, str) else json.dumps(one) for one in entries]
    (tmp_path / "out").write_text("\n".join(texts))
    program = tmp_path / "journalctl"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/called\ncat {tmp_path}/out\nexit {code}\n')
    program.chmod(0o755)
    return Journal(str(program))


def entry(
    message: object, priority: str = "6", unit: str = "salt-minion.service", second: int = 0
) -> dict[str, object]:
    at = str(1_767_225_600_000_000 + second * 1_000_000)
    return {"MESSAGE": message, "PRIORITY": priority, "_SYSTEMD_UNIT": unit, "__REALTIME_TIMESTAMP": at}


def test_errors_are_found_by_priority_and_by_salts_own_word(tmp_path: Path) -> None:
    told = journal(
        tmp_path,
        entry("all is well"),
        entry("internal error: x", "3", "libvirtd.service", 1),
        entry("[ERROR   ] an unforeseen failure", second=2),
        entry("[WARNING ] the guest said [ERROR   ]"),
        entry("[ERROR   ] Task was destroyed but it is pending!\n", second=3),
        entry([1, 2, 3], "3"),
        "no JSON",
    ).errors(since_s=60, limit=10)
    assert told.count == 2 and [line.unit for line in told.lines] == ["libvirtd.service", "salt-minion.service"]
    assert told.lines[0].time == "2026-01-01T00:00:01.000Z" and told.lines[0].text == "internal error: x"
    assert "--since=-60s" in (tmp_path / "called").read_text()


def test_all_are_counted_and_the_newest_told(tmp_path: Path) -> None:
    read = journal(tmp_path, *(entry(f"error {number}", "3", second=number) for number in range(5)))
    assert [line.text for line in read.errors(since_s=60, limit=2).lines] == ["error 3", "error 4"]
    assert (read.errors(since_s=60, limit=0).count, read.errors(since_s=60, limit=0).lines) == (5, ())


def test_a_long_line_is_cut(tmp_path: Path) -> None:
    (line,) = journal(tmp_path, entry("x" * 5000, "0")).errors(since_s=60, limit=1).lines
    assert len(line.text) == 300


@pytest.mark.parametrize("program", ["/nonexistent/journalctl", ""])
def test_a_journal_that_cannot_be_read_is_said(tmp_path: Path, program: str) -> None:
    read = Journal(program) if program else journal(tmp_path, code=1)
    with pytest.raises(Unavailable) as told:
        read.errors(since_s=60, limit=1)
    assert told.value.code == "journal_unreadable"
