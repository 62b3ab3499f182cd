"""The ``Jobs`` port: Salt's job cache as it lies on the master's disk, and the processes of runners.

Salt's own ways through the cache read every job of it; here as much is read as is asked for. The job cache has to be
``local_cache``, Salt's default. A job is ``jobs/HH/HASH``, with the answer of a runner in ``MASTER/return.p``, where
MASTER is the id that the master's daemons have.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import msgpack
import salt.exceptions
import salt.payload
import salt.utils.jid

from racksalt import envelopes
from racksalt.adapters import envelope_key, running_jobs
from racksalt.job_trail import Kept, Running

_RUNNER = "runner."
_OURS = "runner.rack_"
#: What is longer is no error; its end is not read to know that.
_LONGEST_ERROR_BYTES = 1 << 20
#: The file of a process is written after its start; clocks are set by so much.
_SLACK_S = 5.0
_UNREADABLE = (OSError, ValueError, TypeError, salt.exceptions.SaltDeserializationError, msgpack.UnpackException)


@dataclass(frozen=True, slots=True)
class SaltJobs:
    """The runner calls of this master."""

    opts: Mapping[str, Any]

    @property
    def keeps_s(self) -> float:
        """How long Salt keeps what a job answered."""
        return float(self.opts.get("keep_jobs_seconds") or 86400)

    def running(self) -> list[Running]:
        """Jobs with a file of processes."""
        return [
            Running(str(job["jid"]), job["fun"].removeprefix(_RUNNER), str(job.get("user")), _lives(path, job))
            for path, job in running_jobs.records(self.opts)
            if str(job.get("fun")).startswith(_OURS) and str(job.get("jid")) == path.name
        ]

    def newest(self) -> Iterator[Kept]:
        """Jobs that ended, without their answers, the last first."""
        for ended_at, path in sorted(self._answers(), reverse=True):
            with suppress(*_UNREADABLE), Path(path).open("rb") as file:
                kept = self._kept(_without_answer(file), ended_at)
                if kept is not None:
                    yield kept

    def read(self, job: str) -> Kept | None:
        """What is kept of a job that ended."""
        folder = salt.utils.jid.jid_dir(job, str(self._root), self.opts["hash_type"])
        path = Path(folder) / str(self.opts["id"]) / "return.p"
        with suppress(*_UNREADABLE, KeyError, AttributeError):
            told = salt.payload.loads(path.read_bytes())["return"]
            kept = self._kept(told, path.stat().st_mtime)
            return self._with_answer(kept, told) if kept is not None and kept.job == job else None
        return None

    def stop(self, job: str) -> bool:
        """Ask a job's process to end; one that is not this job's any more is left alone."""
        for path, told in running_jobs.records(self.opts):
            if path.name == str(told.get("jid")) == job and str(told.get("fun")).startswith(_OURS):
                return _end(path, told)
        return False

    @property
    def _root(self) -> Path:
        return Path(self.opts["cachedir"]) / "jobs"

    def _kept(self, told: Mapping[str, Any], ended_at: float) -> Kept | None:
        """A job without its answer; ``None`` for what is no call of the rack, or says that it came through the API
        with an envelope that is not its own."""
        fun, job, user = str(told.get("fun")), str(told.get("jid")), str(told.get("user"))
        if not fun.startswith(_OURS):
            return None
        fun, envelope = fun.removeprefix(_RUNNER), _given(told)
        if envelope is not None and envelope_key.whose(self.opts, envelope) != (user, fun):
            return None
        ok = told.get("success") is True and "retcode" not in told
        return Kept(job, fun, user, ended_at, ok, proved=envelope is not None)

    def _with_answer(self, kept: Kept, told: Mapping[str, Any]) -> Kept | None:
        """The same with its answer, of which the proof is checked."""
        if not kept.proved:
            return replace(kept, answer=told.get("return"))
        if isinstance(told.get("return"), str):
            return replace(kept, ok=False, answer=told["return"])
        job, answer = envelope_key.proved(self.opts, _given(told), told.get("return"))
        return replace(kept, answer=answer) if job == kept.job else None

    def _answers(self) -> Iterator[tuple[float, str]]:
        """The answers of runners, each with the time of its end; calls of hosts have none of this master."""
        master = str(self.opts["id"])
        for folder in _folders(str(self._root)):
            for job in _folders(folder):
                path = os.path.join(job, master, "return.p")  # noqa: PTH118  # thousands of them
                with suppress(OSError):
                    yield os.stat(path).st_mtime, path  # noqa: PTH116


def _folders(path: str) -> list[str]:
    """Salt removes old ones at any time."""
    try:
        with os.scandir(path) as found:
            return [entry.path for entry in found]
    except OSError:
        return []


def _without_answer(file: BinaryIO) -> dict[str, Any]:
    """``{"return": {"fun": …, "return": ANSWER, "success": …}}``, in Salt's order, without ANSWER."""
    unpacker = msgpack.Unpacker(file, raw=False, strict_map_key=False, max_buffer_size=0)
    told: dict[str, Any] = {}
    for _ in range(unpacker.read_map_header()):
        if unpacker.unpack() != "return":
            unpacker.skip()
            continue
        for _ in range(unpacker.read_map_header()):
            key = unpacker.unpack()
            if key != "return":
                told[key] = unpacker.unpack()
            elif os.fstat(file.fileno()).st_size > _LONGEST_ERROR_BYTES:
                return {**told, "success": True}
            else:
                unpacker.skip()
            if key == "fun" and not str(told["fun"]).startswith(_OURS):
                return told
    return told


def _given(told: Mapping[str, Any]) -> Any:
    """The envelope among the arguments of a call that came through the API."""
    arguments = told.get("fun_args")
    last = arguments[-1] if isinstance(arguments, (list, tuple)) and arguments else None
    return last.get(envelopes.ARGUMENT) if isinstance(last, Mapping) else None


def _lives(path: Path, job: Mapping[str, Any]) -> bool:
    """Whether the process is the one that wrote the file, and not a later one with its number."""
    pid = job.get("pid")
    if not isinstance(pid, int) or pid < 1:
        return False
    try:
        written = path.stat().st_mtime
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    since_boot = int(stat[19]) / os.sysconf("SC_CLK_TCK")
    started = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + since_boot
    return stat[0] not in "ZX" and started < written + _SLACK_S


def _end(path: Path, job: Mapping[str, Any]) -> bool:
    """Through a handle of the process, so that its number is nobody else's meanwhile."""
    try:
        process = os.pidfd_open(int(job.get("pid") or 0))
    except (OSError, ValueError):
        return False
    try:
        if not _lives(path, job) or b"salt" not in Path(f"/proc/{job['pid']}/cmdline").read_bytes():
            return False
        signal.pidfd_send_signal(process, signal.SIGTERM)
    except OSError:
        return False
    finally:
        os.close(process)
    return True
