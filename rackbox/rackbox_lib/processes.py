"""Processes as /proc tells them, and signals that cannot hit a stranger."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """One process; `start_ticks` tells it from a later one with the same id."""

    pid: int
    start_ticks: int
    argv: tuple[str, ...]
    namespace_pids: tuple[int, ...]

    @property
    def is_namespace_init(self) -> bool:
        """Whether it is PID 1 of a namespace right below ours."""
        return len(self.namespace_pids) == 2 and self.namespace_pids[-1] == 1


def read_process(pid: int, proc: Path = PROC) -> Process | None:
    """The process with that id, or None when there is none or it is a zombie."""
    folder = proc / str(pid)
    try:
        stat = (folder / "stat").read_text()
        argv = (folder / "cmdline").read_bytes()
        status = (folder / "status").read_text()
    except OSError:
        return None
    # The command name stands in brackets and may hold anything, brackets included.
    fields = stat.rpartition(")")[2].split()
    if fields[0] in "ZX":
        return None
    return Process(
        pid=pid,
        start_ticks=int(fields[19]),
        argv=tuple(word.decode(errors="replace") for word in argv.split(b"\0") if word),
        namespace_pids=_namespace_pids(status, pid),
    )


def read_processes(pids: Iterable[int], proc: Path = PROC) -> list[Process]:
    """Those of the ids that are processes now."""
    return [process for pid in pids if (process := read_process(pid, proc))]


def send_signal(process: Process, number: signal.Signals | int) -> bool:
    """Signal exactly this process; False when it is gone.

    The descriptor is opened first and the identity read after it, so a reused id is noticed before anything is sent.
    """
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        now = read_process(process.pid)
        if now is None or (now.start_ticks, now.argv) != (process.start_ticks, process.argv):
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, number)
            return True
        return False
    finally:
        os.close(descriptor)


def uptime_s(process: Process) -> float:
    """Seconds since the process started."""
    ticks_a_second = os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - process.start_ticks / ticks_a_second


def memory_kib(pids: Iterable[int], proc: Path = PROC) -> int:
    """Memory of these processes, shared pages counted in proportion (PSS)."""
    return sum(_pss_kib(pid, proc) for pid in pids)


def _pss_kib(pid: int, proc: Path) -> int:
    try:
        text = (proc / str(pid) / "smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)


def _namespace_pids(status: str, pid: int) -> tuple[int, ...]:
    for line in status.splitlines():
        if line.startswith("NSpid:"):
            return tuple(int(word) for word in line.split()[1:])
    return (pid,)
