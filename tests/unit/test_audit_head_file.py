"""What a host remembers of the audit: never less than it knew, and nothing that could stop it from working."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from racksalt.adapters import audit_head_file
from racksalt.adapters.audit_head_file import keep, read
from racksalt.model import Head
from tests.unit.allowed import values

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var/audit-head.json"


def head(count: int, master: str = "m1", digit: str = "a") -> Head:
    return Head(count, digit * 64, master)


def test_before_the_first_there_is_none(path: Path) -> None:
    assert read(path) == ()


def test_the_newest_is_kept(path: Path) -> None:
    keep(head(3), path)
    keep(head(7), path)
    keep(head(5), path)
    assert read(path) == (head(7),) and path.stat().st_mode & 0o777 == 0o600


def test_each_master_has_its_own(path: Path) -> None:
    keep(head(7), path)
    keep(head(2, "m2"), path)
    keep(head(8), path)
    assert set(read(path)) == {head(8), head(2, "m2")}


def test_a_second_line_of_the_same_number_is_not_believed(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keep(head(7), path)
    keep(head(7, digit="b"), path)
    assert read(path) == (head(7),) and "a second line 7" in caplog.text


def test_of_many_masters_the_last_ones_are_kept(path: Path) -> None:
    for number in range(20):
        keep(head(1, f"m{number}"), path)
    assert [known.master for known in read(path)] == [f"m{number}" for number in range(12, 20)]


@given(st.lists(values(Head), max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
def test_any_head_comes_back(path: Path, heads: list[Head]) -> None:
    path.unlink(missing_ok=True)
    for one in heads:
        keep(one, path)
    newest = {one.master: max(other.count for other in heads if other.master == one.master) for one in heads}
    assert {one.master: one.count for one in read(path)} == newest


@pytest.mark.parametrize(
    "rubbish", ["", "{", "{}", "[1]", '[{"count": -1}]', pytest.param("[" * 100_000, id="deep"), "\0" * 100]
)
def test_rubbish_is_as_good_as_nothing_and_is_written_over(
    path: Path, caplog: pytest.LogCaptureFixture, rubbish: str
) -> None:
    path.parent.mkdir()
    path.write_text(rubbish)
    assert read(path) == () and "cannot be read" in caplog.text
    keep(head(1), path)
    assert read(path) == (head(1),)


def test_what_cannot_be_written_is_only_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    keep(head(1), tmp_path / "file/audit-head.json")
    assert "no witness of line 1" in caplog.text


def test_a_lock_that_is_held_too_long_is_only_logged(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_head_file, "_WAIT_S", 0.02)
    keep(head(1), path)
    with audit_head_file.FileLock(path.with_name(f".{path.name}.lock"))():
        keep(head(2), path)
    assert read(path) == (head(1),) and "no witness of line 2" in caplog.text


def keep_some(path: Path, first: int) -> None:
    for count in range(first, 200, 4):
        keep(head(count), path)


def test_calls_at_once_never_go_back(path: Path) -> None:
    processes = [FORK.Process(target=keep_some, args=(path, first)) for first in (1, 2, 3, 4)]
    for process in processes:
        process.start()
    known = 0
    while any(process.is_alive() for process in processes):
        counts = [one.count for one in read(path)]
        assert counts == [] or counts[0] >= known
        known = counts[0] if counts else 0
    assert read(path) == (head(199),)
