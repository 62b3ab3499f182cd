"""The audit's files: durable lines, one chain for all processes, and what a power cut leaves behind."""

from __future__ import annotations

import errno
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from racksalt import audit, audit_check
from racksalt.adapters import audit_files
from racksalt.adapters.audit_files import AuditFiles
from racksalt.audit import Act
from racksalt.errors import Unavailable
from racksalt.model import Head
from racksalt.ports import Audit
from tests.fakes import FakeAudit, FakeClock

FORK = multiprocessing.get_context("fork")

#: 2026-11-30 23:59:50 UTC.
AT = 1796083190.0


@pytest.fixture
def files(tmp_path: Path) -> AuditFiles:
    return AuditFiles("master", FakeClock(AT), tmp_path / "audit")


def entry(number: int = 1, note: str = "") -> audit.Entry:
    return audit.intent(Act("alice", "rack_vm.stop", job=str(number), arguments={"note": note}))


def check(files: Audit, **heads: Head) -> dict[str, Any]:
    return audit_check.check(files.lines(), heads)


def month(files: AuditFiles) -> Path:
    return files.root / "audit-2026-11.jsonl"


# The port, for the real one and the fake alike.


@pytest.fixture(params=["files", "fake"])
def port(request: pytest.FixtureRequest, files: AuditFiles) -> Audit:
    return files if request.param == "files" else FakeAudit(FakeClock(AT))


def test_before_the_first_line_there_is_nothing(port: Audit, tmp_path: Path) -> None:
    assert port.head() is None and list(port.lines()) == [] and list(port.newest()) == []
    assert list(tmp_path.iterdir()) == []


def test_lines_form_one_chain(port: Audit) -> None:
    heads = [port.append(entry(number)) for number in range(1, 6)]
    assert [head.count for head in heads] == [1, 2, 3, 4, 5] and port.head() == heads[-1]
    assert {head.master for head in heads} == {"master"}
    assert check(port, h1=heads[2])["ok"]
    oldest = [raw.text for raw in port.lines()]
    assert list(port.newest()) == oldest[::-1] and [raw.row for raw in port.lines()] == [1, 2, 3, 4, 5]


def test_a_line_is_told_as_it_was_given(port: Audit) -> None:
    port.append(entry(7, "front page"))
    line = audit.read(next(iter(port.newest())))
    assert line and line.data["job"] == "7" and line.data["arguments"] == {"note": "front page"}


# Files.


def test_files_are_for_their_owner_only(files: AuditFiles) -> None:
    files.append(entry())
    assert files.root.stat().st_mode & 0o777 == 0o700 and month(files).stat().st_mode & 0o777 == 0o600


def test_the_chain_goes_on_in_the_next_month(files: AuditFiles) -> None:
    for _ in range(3):
        files.append(entry())
        files.clock.sleep(20 * 86400)
    names = sorted(path.name for path in files.root.glob("audit*"))
    assert names == ["audit-2026-11.jsonl", "audit-2026-12.jsonl", "audit-2027-01.jsonl"]
    assert check(files)["ok"] and check(files)["lines"] == 3
    assert len(list(files.newest(since=AT + 20 * 86400))) == 2


def test_a_clock_that_is_set_back_does_not_part_the_chain(files: AuditFiles) -> None:
    files.append(entry())
    files.clock.sleep(-40 * 86400)
    files.append(entry())
    assert [path.name for path in files.root.glob("audit*")] == ["audit-2026-11.jsonl"] and check(files)["ok"]


def test_files_of_other_names_are_none_of_the_audit(files: AuditFiles) -> None:
    files.append(entry())
    for name in ("audit-2026-12.jsonl.bak", "audit-2026-1.jsonl", "x.jsonl", ".audit-2026-12.jsonl"):
        (files.root / name).write_text("rubbish")
    assert files.append(entry()).count == 2 and check(files)["ok"]


def test_an_empty_file_does_not_end_the_chain(files: AuditFiles) -> None:
    files.append(entry())
    (files.root / "audit-2026-12.jsonl").touch()
    assert files.append(entry()).count == 2 and check(files)["ok"]


def test_a_line_is_on_the_disk_when_append_returns(files: AuditFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    files.append(entry())
    assert synced == ["audit-2026-11.jsonl", "audit"], "a new file's name too"
    files.append(entry())
    assert synced[2:] == ["audit-2026-11.jsonl"]


def test_a_line_reads_no_more_of_a_long_file(files: AuditFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(400):
        files.append(entry(number))
    read: list[int] = []
    real = audit.read

    def counted(text: bytes) -> audit.Line | None:
        read.append(len(text))
        return real(text)

    monkeypatch.setattr(audit, "read", counted)
    assert files.append(entry()).count == 401 and len(read) == 1


@pytest.mark.parametrize("block", [1, 2, 3, 7, 64, 1000, 100_000])
def test_lines_are_read_backwards_in_any_blocks(files: AuditFiles, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    heads = [files.append(entry(number, "n" * number)) for number in range(12)]
    monkeypatch.setattr(audit_files, "_BLOCK", block)
    assert list(files.newest()) == [raw.text for raw in files.lines()][::-1] and files.head() == heads[-1]


@given(st.binary(max_size=40).map(lambda text: text.replace(b"a", b"\n")), st.integers(1, 9))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_backwards_is_forwards_reversed(files: AuditFiles, text: bytes, block: int) -> None:
    files.root.mkdir(exist_ok=True)
    month(files).write_bytes(text)
    forwards = [raw.text for raw in files.lines()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit_files, "_BLOCK", block)
        assert list(files.newest()) == forwards[::-1]


# Power cuts.


def test_wherever_the_last_line_is_cut_the_chain_goes_on(files: AuditFiles) -> None:
    """Every length from nothing of the last line to all but its newline."""
    heads = [files.append(entry(number)) for number in (1, 2, 3)]
    whole = month(files).read_bytes()
    before = whole[: whole[:-1].rindex(b"\n") + 1]
    for length in range(len(before), len(whole)):
        month(files).write_bytes(whole[:length])
        is_cut = len(before) < length < len(whole) - 1
        told = check(files)
        assert [one["what"] for one in told["problems"]] == (["torn"] if is_cut else [])
        assert files.head() == heads[2 if length == len(whole) - 1 else 1]
        head = files.append(entry(4))
        told = check(files)
        assert told["ok"] and len(told["torn"]) == int(is_cut) and told["head"]["sha256"] == head.sha256
        assert head.count == (3 if length == len(before) else 4)
        assert files.append(entry(5)).count == head.count + 1 and check(files)["ok"]


def test_a_line_that_lacks_only_its_newline_counts(files: AuditFiles) -> None:
    heads = [files.append(entry(number)) for number in (1, 2)]
    month(files).write_bytes(month(files).read_bytes()[:-1])
    assert files.head() == heads[1]
    files.append(entry(3))
    assert check(files, h1=heads[1])["ok"] and check(files)["lines"] == 3 and check(files)["torn"] == []


@pytest.mark.parametrize(
    "rubbish", [b"\0" * 40_000, b"\0" * 10 + b"\n", b"\n", b"\n\n", b"x\ny\n", b'{"n":', b"\xff\xfe"]
)
def test_any_rubbish_at_the_end_is_closed_off(files: AuditFiles, rubbish: bytes) -> None:
    files.append(entry(1))
    with month(files).open("ab") as file:
        file.write(rubbish)
    assert files.append(entry(2)).count == 3
    told = check(files)
    assert told["ok"] and len(told["torn"]) == 1


def test_the_torn_first_line_of_a_month_is_closed_off(files: AuditFiles) -> None:
    files.append(entry(1))
    (files.root / "audit-2026-12.jsonl").write_bytes(b'{"n":2,')
    files.clock.sleep(20)
    assert files.append(entry(2)).count == 3
    assert check(files)["ok"] and len(check(files)["torn"]) == 1


def test_a_torn_last_line_of_a_month_is_closed_off_in_the_next(files: AuditFiles) -> None:
    files.append(entry(1))
    with month(files).open("ab") as file:
        file.write(b'{"n":2,')
    files.clock.sleep(20)
    files.append(entry(2))
    assert check(files)["ok"] and len(check(files)["torn"]) == 1
    assert len((files.root / "audit-2026-12.jsonl").read_bytes().splitlines()) == 2


def test_the_torn_first_line_of_all_is_closed_off(files: AuditFiles) -> None:
    files.root.mkdir()
    month(files).write_bytes(b'{"n":1')
    assert files.head() is None and files.append(entry()).count == 2
    assert check(files)["ok"]


def test_a_torn_closing_line_is_closed_off_too(files: AuditFiles) -> None:
    files.append(entry(1))
    for _ in range(3):
        with month(files).open("ab") as file:
            file.write(b'{"n":2,"time"')
        size = month(files).stat().st_size
        files.append(entry(2))
        os.truncate(month(files), size + 30)
    files.append(entry(3))
    told = check(files)
    assert told["ok"] and told["lines"] == 3 and len(told["torn"]) == 1


def test_a_changed_last_line_is_not_closed_off_but_named(files: AuditFiles) -> None:
    files.append(entry(1))
    files.append(entry(2))
    text = month(files).read_bytes()
    month(files).write_bytes(text.replace(b'"job":"2"', b'"job":"9"'))
    assert files.append(entry(3)).count == 3
    told = check(files)
    assert [(one["what"], one["n"]) for one in told["problems"]] == [("changed", 2)] and told["torn"] == []


# A disk that is full, or fails.


def refuse_writes(monkeypatch: pytest.MonkeyPatch, *, after: int) -> None:
    """A disk that takes ``after`` more bytes."""
    left = after
    real = os.write

    def write(descriptor: int, data: bytes) -> int:
        nonlocal left
        if left == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = real(descriptor, data[:left])
        left -= done
        return done

    monkeypatch.setattr(os, "write", write)


@pytest.mark.parametrize("after", [0, 1, 100, 250])
def test_a_full_disk_refuses_the_line_and_leaves_nothing_of_it(
    files: AuditFiles, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    files.append(entry(1))
    before = month(files).read_bytes()
    with monkeypatch.context() as patch:
        refuse_writes(patch, after=after)
        with pytest.raises(Unavailable, match="No space left") as told:
            files.append(entry(2))
    assert told.value.code == "audit_unwritable" and month(files).read_bytes() == before
    assert files.append(entry(3)).count == 2 and check(files)["ok"]


def test_a_real_full_disk_refuses_the_line(files: AuditFiles) -> None:
    files.root.mkdir()
    month(files).symlink_to("/dev/full")
    with pytest.raises(Unavailable, match="No space left"):
        files.append(entry())


def test_a_failing_sync_refuses_the_line(files: AuditFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    files.append(entry(1))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(Unavailable) as told:
            files.append(entry(2))
    assert told.value.code == "audit_unwritable" and files.append(entry(3)).count == 2


def test_a_folder_that_cannot_be_made_refuses_the_line(tmp_path: Path) -> None:
    (tmp_path / "audit").write_text("a file")
    with pytest.raises(Unavailable) as told:
        AuditFiles("master", FakeClock(AT), tmp_path / "audit").append(entry())
    assert told.value.code == "audit_unwritable"


def test_files_that_cannot_be_read_are_an_error_of_their_own(files: AuditFiles) -> None:
    files.append(entry())
    (files.root / "audit-2026-12.jsonl").mkdir()
    looks = (files.head, lambda: list(files.lines()), lambda: list(files.newest()), lambda: files.append(entry()))
    for look in looks:
        with pytest.raises(Unavailable) as told:
            look()
        assert told.value.code == "audit_unreadable"


# Many at once.


def write_some(root: Path, process: int, start: Any) -> None:
    files = AuditFiles("master", FakeClock(AT), root)
    start.wait()
    for number in range(25):
        files.append(entry(process * 100 + number))


def test_processes_that_write_at_once_make_one_chain(files: AuditFiles) -> None:
    start = FORK.Barrier(6)
    processes = [FORK.Process(target=write_some, args=(files.root, number, start)) for number in range(6)]
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        assert check(files)["ok"], "a check meanwhile meets whole lines only"
    assert [process.exitcode for process in processes] == [0] * 6
    assert check(files)["ok"] and check(files)["lines"] == 150


def kill_while_writing(root: Path) -> None:
    files = AuditFiles("master", FakeClock(AT), root)
    while True:
        files.append(entry(1, "n" * 190))


def killed(root: Path) -> Iterator[Path]:
    """The folder after each of some writers was killed at some moment."""
    for milliseconds in range(20, 60, 5):
        process = FORK.Process(target=kill_while_writing, args=(root,))
        process.start()
        process.join(milliseconds / 1000)
        process.kill()
        process.join()
        yield root


def test_a_killed_writer_breaks_nothing(files: AuditFiles) -> None:
    for _ in killed(files.root):
        files.append(entry(2))
        assert check(files)["ok"]
