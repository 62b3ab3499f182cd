import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest

from rackbox_lib.processes import Process, read_process, send_signal


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def known(sleeper: "subprocess.Popen[bytes]") -> Process:
    process = read_process(sleeper.pid)
    assert process is not None
    return process


def test_the_process_itself_is_hit(sleeper: "subprocess.Popen[bytes]") -> None:
    assert send_signal(known(sleeper), signal.SIGTERM)
    assert sleeper.wait(timeout=5) == -signal.SIGTERM


def test_a_later_process_with_the_same_id_is_not_hit(sleeper: "subprocess.Popen[bytes]") -> None:
    earlier = replace(known(sleeper), start_ticks=known(sleeper).start_ticks - 1)
    assert not send_signal(earlier, signal.SIGTERM)
    assert sleeper.poll() is None


def test_another_program_under_the_same_id_is_not_hit(sleeper: "subprocess.Popen[bytes]") -> None:
    other = replace(known(sleeper), argv=("systemd-nspawn", "--boot"))
    assert not send_signal(other, signal.SIGTERM)
    assert sleeper.poll() is None


def test_an_ended_process_is_not_there(sleeper: "subprocess.Popen[bytes]") -> None:
    process = known(sleeper)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert read_process(sleeper.pid) is None
    sleeper.wait(timeout=5)
    assert not send_signal(process, signal.SIGTERM)


def test_pid_1_of_a_node_is_told_by_its_ids() -> None:
    assert Process(900, 1, ("systemd",), (900, 1)).is_namespace_init
    assert not Process(901, 1, ("systemd",), (901, 2)).is_namespace_init
    assert not Process(1, 1, ("init",), (1,)).is_namespace_init
    assert not Process(902, 1, ("nested",), (902, 50, 1)).is_namespace_init
