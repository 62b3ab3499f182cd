"""The one seam to outside programs: argument lists only, always with a time limit."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

from .errors import CommandError, CommandTimeoutError

_BOUND = (
    *("setpriv", "--pdeathsig", "KILL", "--"),
    *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"),
)
_live: set[subprocess.Popen[str]] = set()
_live_lock = threading.RLock()


@dataclass(frozen=True)
class Options:
    """How a command is run, where the defaults do not fit.

    `log`: a file that gets the output instead of the caller. `held_fds`: descriptors the command keeps open, such as
    a lock on what it works on. `bound`: it sees processes and mounts of its own only, and all that it started ends with
    it and with its caller, even a killed one. `shown`: what errors and the result name instead of the whole command.
    """

    env: Mapping[str, str] | None = None
    log: Path | None = None
    held_fds: tuple[int, ...] = ()
    bound: bool = False
    shown: Sequence[str] | None = None


def run(
    argv: Sequence[str | Path],
    *,
    timeout_s: float,
    input: str | None = None,
    check: bool = True,
    options: Options = Options(),
) -> CompletedProcess[str]:
    """Run a program to its end and return its text output.

    Raises CommandError on an exit code other than 0 (unless `check=False`), CommandTimeoutError when it takes longer
    than `timeout_s`; then it and everything in its process group is ended.
    """
    words = [str(word) for word in argv]
    shown = list(options.shown or words)
    with _output(options.log) as output, _started(words, output, input is not None, options) as process:
        try:
            stdout, stderr = process.communicate(input, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            _end_group(process)
            raise CommandTimeoutError(shown, timeout_s) from None
        except BaseException:
            _end_group(process)
            raise
    done = CompletedProcess(shown, process.returncode, stdout or "", stderr or "")
    if check and done.returncode != 0:
        raise CommandError(shown, done.returncode, _last_words(done, options.log))
    return done


def end_all() -> None:
    """End every program that `run` is waiting for."""
    with _live_lock:
        for process in list(_live):
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def _started(words: list[str], output: int, has_input: bool, options: Options) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*_BOUND, *words] if options.bound else words,
        stdin=subprocess.PIPE if has_input else subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.PIPE if output == subprocess.PIPE else subprocess.STDOUT,
        text=True,
        errors="replace",
        env=options.env,
        pass_fds=options.held_fds,
        start_new_session=True,
    )
    with _live_lock:
        _live.add(process)
    try:
        yield process
    finally:
        with _live_lock:
            _live.discard(process)


@contextlib.contextmanager
def _output(log: Path | None) -> Iterator[int]:
    if log is None:
        yield subprocess.PIPE
        return
    with log.open("a") as file:
        yield file.fileno()


def _end_group(process: subprocess.Popen[str]) -> None:
    # The process is not reaped yet, so its id and that of its group cannot belong to anybody else.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()
    process.wait(timeout=10)


def _last_words(done: CompletedProcess[str], log: Path | None) -> str:
    if log is None:
        return done.stderr or done.stdout
    return f"{log.read_text(errors='replace')[-2000:]}\n(all of it in {log})"
