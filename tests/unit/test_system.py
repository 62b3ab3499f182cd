"""Locks of files: one holder among threads and processes, and free again when the holder dies."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from racksalt.adapters.system import FileLock, SystemClock
from racksalt.errors import Unavailable

HOLD = """
import sys
from pathlib import Path
from racksalt.adapters.system import FileLock
with FileLock(Path(sys.argv[1]))():
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until it is told to go, or killed."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_another_process_is_kept_out_and_told_what_to_do(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(Unavailable) as told, FileLock(tmp_path / "lock", timeout_s=0.05)():
        pass
    assert told.value.code == "busy" and "lock" in told.value.detail and "try again" in told.value.detail


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_lock_is_free_when_its_holder_dies(tmp_path: Path, holder: subprocess.Popen[str], end: int) -> None:
    holder.send_signal(end)
    with FileLock(tmp_path / "lock", timeout_s=5)():
        pass


def test_a_lock_is_handed_over_when_its_holder_is_done(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    assert holder.stdin is not None
    threading.Timer(0.02, holder.stdin.close).start()
    with FileLock(tmp_path / "lock", timeout_s=5)():
        pass


def test_one_thread_at_a_time(tmp_path: Path) -> None:
    lock, inside, most = FileLock(tmp_path / "x/lock"), [0], [0]

    def work() -> None:
        for _ in range(5):
            with lock():
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.001)
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_a_lock_is_free_after_an_error_inside(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock", timeout_s=0.05)
    with pytest.raises(ZeroDivisionError), lock():
        raise ZeroDivisionError
    with lock():
        pass


def test_the_clock_is_the_machines() -> None:
    clock = SystemClock()
    before = clock.now()
    clock.sleep(0.001)
    assert before < clock.now() <= time.time()


def test_a_lock_in_a_folder_that_cannot_be_written_says_so() -> None:
    with pytest.raises(Unavailable) as told, FileLock(Path("/proc/none/lock"))():
        pass
    assert told.value.code == "not_written"


def test_whether_a_lock_is_held_is_told_without_making_one(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "x/lock")
    assert not lock.is_held() and not (tmp_path / "x").exists()
    with lock():
        assert lock.is_held()
    assert not lock.is_held() and lock.path.exists()
