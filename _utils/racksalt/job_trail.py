"""What is known of a runner's job: its lines in the audit, what Salt's job cache keeps, and its process on the master.

The audit is what counts for a change: nothing is changed before its intent is there, and a minion that makes up
returns can write into Salt's job cache, but not there. Of the cache's answer only what the audit proves is told.
"""

from __future__ import annotations

import heapq
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from racksalt import audit
from racksalt.audit import Line
from racksalt.names import is_uuid

JobState = Literal["running", "done", "failed", "lost"]

#: With these outcomes nobody knows what became of a create.
UNSURE = ("host_silent", "cut off", "job_cancelled")
CREATE = "rack_vm.create"
MIGRATE = "rack_vm.migrate"
#: Lines of the audit and ids of jobs come from one clock, which may be set back by so much.
_SLACK_S = 60.0
_REQUESTS = uuid.UUID("6b1f0f0e-2f6e-5d0c-9c55-2a5d7c1e8f43")


@dataclass(frozen=True, slots=True)
class Running:
    """A job's file of processes; ``lives`` says whether its process is still this job's."""

    job: str
    fun: str
    user: str
    lives: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """What Salt's job cache keeps of a job that ended; lists come without the ``answer``.

    ``proved`` says that the API's envelope shows whose call it was, and its answer what it answered. Of what came
    from the shell nothing does.
    """

    job: str
    fun: str
    user: str
    ended_at: float
    ok: bool
    answer: Any = None
    proved: bool = False


@dataclass(frozen=True, slots=True)
class Trail:
    """All traces of one job together.

    ``began`` says that a change was begun, with an intent in the audit; ``result`` and ``proof`` are its outcome there,
    or the code of its refusal. ``operator`` says that its user was one when it was called. ``request_id`` is the one of
    a create, given or made of the job's id.
    """

    job: str
    fun: str
    user: str
    tenant: str | None = None
    object: str | None = None
    began: bool = False
    operator: bool = False
    result: str | None = None
    proof: str | None = None
    request_id: str | None = None
    ended_at: str | None = None
    running: bool = False
    kept: Kept | None = field(default=None, repr=False)

    @property
    def state(self) -> JobState:
        """As far as it is known without a look at the rack: of what is ``lost``, a look may tell more."""
        if self.result is not None:
            return "done" if self.result == "done" else "lost" if self.is_unsure else "failed"
        if self.running:
            return "running"
        if self.began:
            return "lost"
        return "done" if self.kept is not None and self.kept.ok else "failed"

    @property
    def is_unsure(self) -> bool:
        """Whether a look at the rack may tell more than the outcome does."""
        if self.began and self.result is None:
            return not self.running
        return self.began and self.fun == CREATE and self.result in UNSURE

    @property
    def answer(self) -> Any:
        """What the runner returned; ``None`` where that is not there, or the audit does not prove it."""
        answer = self.kept.answer if self.kept else None
        if self.kept and self.kept.proved:
            return answer
        if self.result == "done":
            return answer if audit.digest(answer) == self.proof else None
        if self.result is not None:
            return answer if _code(answer) == self.result else None
        return None if self.began else answer


def request_id_of(job: str) -> str:
    """The request id of a create that came without one: what became of it is found by it."""
    return str(uuid.uuid5(_REQUESTS, job))


def started_at(job: str) -> float | None:
    """When a job was asked for, seconds since the epoch: its id is its time, in UTC."""
    try:
        return datetime.strptime(job[:20], "%Y%m%d%H%M%S%f").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def find(job: str, running: Running | None, texts: Iterable[bytes], kept: Kept | None) -> Trail | None:
    """The trail of one job; ``texts`` are the audit's lines, the newest first.

    ``running`` was looked up before: of a job that is not running any more, the audit has the outcome by then.
    """
    trail: Trail | None = None
    since, mark = audit.moment((started_at(job) or 0.0) - _SLACK_S), job.encode()
    for text in texts:
        line = audit.read(text) if mark in text else None
        if line is not None and line.data.get("job") == job:
            trail = _with_line(trail, line)
        if audit.time_of(text) < since:
            break
    if trail is None and running is None and kept is None:
        return None
    trail = trail or _of_traces(running, kept)
    return replace(trail, running=running is not None and running.lives, kept=kept)


def newest(
    running: Iterable[Running],
    texts: Iterable[bytes],
    kept: Iterable[Kept],
    *,
    wanted: Callable[[Trail], bool],
    limit: int,
) -> list[Trail]:
    """The newest ``limit`` jobs that are ``wanted``, the newest first; no more is read than that takes.

    ``texts`` and ``kept`` come with what was written last first; ``running`` was read before them.
    """
    lives = {one.job: one for one in running if one.lives}
    audited = _Newest(wanted, limit)
    for text in texts:
        line = audit.read(text)
        trail = _with_line(None, line) if line else None
        if trail:
            audited.add(replace(trail, running=trail.job in lives))
        if audited.is_full_before(audit.time_of(text)):
            break
    others = _Newest(wanted, limit, set(audited.seen))
    for one in lives.values():
        others.add(replace(_of_traces(one, None), running=True))
    for one_kept in kept:
        others.add(_of_traces(None, one_kept))
        if others.is_full_before(audit.moment(one_kept.ended_at)):
            break
    return heapq.nlargest(limit, [*audited.found, *others.found], key=lambda trail: trail.job)


class _Newest:
    """The newest wanted jobs of those that come, each with its newest trace first."""

    def __init__(self, wanted: Callable[[Trail], bool], limit: int, seen: Collection[str] = ()) -> None:
        self._wanted, self._limit = wanted, limit
        self._heap: list[tuple[str, Trail]] = []
        self.seen = set(seen)

    @property
    def found(self) -> list[Trail]:
        return [trail for _, trail in self._heap]

    def add(self, trail: Trail) -> None:
        """Take it in, unless it was there before."""
        if trail.job in self.seen or started_at(trail.job) is None:
            return
        self.seen.add(trail.job)
        if self._wanted(trail):
            heapq.heappush(self._heap, (trail.job, trail))
            if len(self._heap) > self._limit:
                heapq.heappop(self._heap)

    def is_full_before(self, moment: str) -> bool:
        """Whether no newer job is to come after what was written at ``moment``: each is older than its traces."""
        if len(self._heap) < self._limit:
            return False
        oldest = started_at(self._heap[0][0]) or 0.0
        return moment < audit.moment(oldest - _SLACK_S)


def _of_traces(running: Running | None, kept: Kept | None) -> Trail:
    """A job that the audit does not know: it has changed nothing."""
    if kept is not None:
        return Trail(kept.job, kept.fun, kept.user, ended_at=audit.moment(kept.ended_at), kept=kept)
    assert running is not None
    return Trail(running.job, running.fun, running.user)


def _with_line(trail: Trail | None, line: Line) -> Trail | None:
    """A trail with one more line of the audit; ``None`` where it is of no job."""
    kind, data = line.data["kind"], line.data
    if kind not in ("intent", "outcome", "refused"):
        return trail
    if trail is None:
        job, fun, user = (str(data.get(key)) for key in ("job", "fun", "user"))
        operator = data.get("operator") is True
        trail = Trail(job, fun, user, data.get("tenant"), data.get("object"), kind != "refused", operator)
    if kind == "intent":
        return replace(trail, request_id=_request_id(trail, data.get("arguments")))
    return replace(trail, result=str(data.get("result")), proof=data.get("answer"), ended_at=str(data["time"]))


def _request_id(trail: Trail, arguments: Any) -> str | None:
    if trail.fun != CREATE:
        return None
    given = arguments.get("request_id") if isinstance(arguments, Mapping) else None
    return given if isinstance(given, str) and is_uuid(given) else request_id_of(trail.job)


def _code(answer: Any) -> str | None:
    """The code of the error that an answer is."""
    error = answer.get("error") if isinstance(answer, Mapping) else None
    return str(error.get("code")) if isinstance(error, Mapping) else None
