"""Jobs: what was called, how it ended, and the way to end one. Salt's job cache and the audit keep them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from racksalt import access, audit, job_trail
from racksalt.access import Caller
from racksalt.errors import Conflict, Denied, NotFound, Unavailable
from racksalt.job_ends import HELD, End, JobEnds
from racksalt.job_trail import Kept, Trail
from racksalt.rack import Rack
from racksalt.rack_requests import CancelJob, ListJobs, ShowJob
from racksalt.settings import Settings

#: A job that was started may take so long until there is a trace of it.
_YOUNG_S = 5.0
#: What a job answered is kept a moment after its end.
_KEPT_S = 3.0
_LOOK_AGAIN_S = 0.25
_ENDS_S = 10.0


@dataclass(frozen=True, slots=True)
class RackJobs:
    """A caller's jobs, and those of others in the caller's tenants; the operator's are all."""

    rack: Rack

    def list(self, caller: Caller, asked: ListJobs, settings: Settings) -> dict[str, Any]:
        """The newest jobs, the newest first; of one that is ``lost``, :meth:`show` finds out the end."""
        if asked.user is not None:
            access.require_operator(caller)

        def wanted(trail: Trail) -> bool:
            return (
                asked.user in (None, trail.user)
                and asked.fun in (None, trail.fun)
                and asked.state in (None, trail.state)
                and may_see(caller, trail, settings)
            )

        jobs = self.rack.jobs
        running = jobs.running()
        oldest = self.rack.clock.now() - jobs.keeps_s
        since = audit.moment(max(0.0, oldest))
        texts = itertools.takewhile(lambda text: audit.time_of(text) >= since, self.rack.audit.newest(since=oldest))
        kept = (one for one in jobs.newest() if _is_believed(one, settings))
        found = job_trail.newest(running, texts, kept, wanted=wanted, limit=asked.limit)
        return {"jobs": [_shown(trail, trail.state) for trail in found]}

    def show(self, caller: Caller, asked: ShowJob, settings: Settings) -> dict[str, Any]:
        """One job with what it answered; where that was lost, with what became of it."""
        trail = self._find(caller, str(asked.job), settings)
        end = self._end(caller, trail, settings)
        told = {"told": end.told} if end.told else {}
        now = {"vm": end.vm} if end.vm else {}
        return {**_shown(trail, end.state), "result": end.result, **told, **now}

    def cancel(self, caller: Caller, asked: CancelJob, settings: Settings) -> dict[str, Any]:
        """Ask a job's process on the master to end; what its host does at that moment goes on."""
        trail = self._find(caller, str(asked.job), settings)
        _require_own(caller, trail)
        if not trail.running or trail.state != "running":
            raise _ended(trail)
        if asked.test:
            return {"job": trail.job, "test": True, "changed": True, "steps": ["ask its process to end"]}
        if not self.rack.jobs.stop(trail.job):
            raise _ended(self._find(caller, trail.job, settings))
        after = self._after_stop(trail, settings)
        told = self._left(caller, after, settings)
        return {"job": trail.job, "changed": after.state != "done", "state": after.state, "told": told}

    def _find(self, caller: Caller, job: str, settings: Settings) -> Trail:
        """The job, if the caller may see it. One that has just begun, or ended, is looked up again for a while."""
        clock, started = self.rack.clock, job_trail.started_at(job)
        if started is None or not -_YOUNG_S < clock.now() - started < self.rack.jobs.keeps_s:
            raise _no_such_job(job)
        until = max(started + _YOUNG_S, clock.now() + _LOOK_AGAIN_S)
        while True:
            trail = self._trail(job, settings)
            seen = trail is not None and may_see(caller, trail, settings)
            if trail is not None and seen and not self._is_ending(trail):
                return trail
            if not seen and clock.now() > until:
                raise _no_such_job(job)
            clock.sleep(_LOOK_AGAIN_S)

    def _trail(self, job: str, settings: Settings) -> Trail | None:
        jobs = self.rack.jobs
        running = next((one for one in jobs.running() if one.job == job), None)
        started = job_trail.started_at(job) or 0.0
        kept = jobs.read(job)
        texts = self.rack.audit.newest(since=started)
        return job_trail.find(job, running, texts, kept if kept and _is_believed(kept, settings) else None)

    def _is_ending(self, trail: Trail) -> bool:
        """Whether the answer is about to be kept."""
        moment = audit.moment(max(0.0, self.rack.clock.now() - _KEPT_S))
        return trail.ended_at is not None and trail.kept is None and trail.ended_at > moment

    def _end(self, caller: Caller, trail: Trail, settings: Settings) -> End:
        if trail.is_unsure:
            return JobEnds(self.rack).look(caller, trail, settings)
        if trail.state == "running":
            return End("running")
        if trail.state == "done" and trail.answer is None and trail.fun == job_trail.CREATE:
            looked = JobEnds(self.rack).look(caller, trail, settings)
            return looked if looked.state == "done" else End("done", told="its VM is not there any more")
        if trail.operator and not caller.operator and caller.user != trail.user:
            return End(trail.state, told="what it answered is for the operator")
        return End(trail.state, *_answered(trail))

    def _after_stop(self, before: Trail, settings: Settings) -> Trail:
        """The job when its process has ended, or has not in spite of all."""
        until = self.rack.clock.now() + _ENDS_S
        while True:
            trail = self._trail(before.job, settings) or before
            if not trail.running or self.rack.clock.now() > until:
                return trail
            self.rack.clock.sleep(_LOOK_AGAIN_S)

    def _left(self, caller: Caller, after: Trail, settings: Settings) -> str:
        if after.state == "running":
            return "it was asked to end, and has not yet"
        if after.state == "done":
            return "it was done before it could end"
        if JobEnds(self.rack).open_claim(after):
            return HELD
        if after.fun == job_trail.MIGRATE and after.began:
            return JobEnds(self.rack).where(caller, after, settings)
        return "what its host was doing goes on there" if after.began else "nothing was changed"


def may_see(caller: Caller, trail: Trail, settings: Settings) -> bool:
    """Whether a job is shown: one's own, and a change in a tenant that both its user and the caller belong to.

    Of a tenant that one was taken out of, only one's own refusals are.
    """
    if caller.operator:
        return True
    in_tenant = trail.tenant in caller.roles
    if trail.user == caller.user:
        return in_tenant or not trail.began or trail.tenant is None or trail.state == "failed"
    return trail.began and in_tenant and access.acts_in(trail.user, trail.tenant, settings)


def _is_believed(kept: Kept, settings: Settings) -> bool:
    """A minion can write into the job cache as if it were a call of the shell, but not as one of the API."""
    return kept.proved or access.is_shell(kept.user, settings)


def _shown(trail: Trail, state: str) -> dict[str, Any]:
    started = job_trail.started_at(trail.job)
    return {
        "job": trail.job,
        "fun": trail.fun,
        "user": trail.user,
        "tenant": trail.tenant,
        "object": trail.object,
        "state": state,
        "started_at": audit.moment(started or 0.0),
        "ended_at": None if state == "running" else trail.ended_at,
    }


def _answered(trail: Trail) -> tuple[Any, str | None]:
    """What the runner returned, and a sentence where that cannot be told."""
    if trail.result is None and trail.kept is None:
        lost = Unavailable("job_lost", "its runner ended in the middle, and nothing was changed")
        return {"error": lost.as_dict()}, None
    answer = trail.answer
    if trail.result == "done" and answer is None:
        return None, "what it answered is not kept any more"
    if trail.result not in (None, "done") and answer is None:
        return {"error": {"code": trail.result, "detail": "what it answered is not kept any more"}}, None
    unproved = trail.result is None and not (trail.kept and trail.kept.proved)
    return _clean(answer), "nothing proves this answer of a call of the shell" if unproved else None


def _clean(answer: Any) -> Any:
    """An error without what is for Salt alone; an exception is text with a traceback, which is for the log."""
    if isinstance(answer, Mapping) and isinstance(answer.get("error"), Mapping):
        return {"error": answer["error"]}
    if isinstance(answer, str):
        failed = Unavailable("internal", "it failed; the operator finds the reason in the master's log")
        return {"error": failed.as_dict()}
    return answer


def _require_own(caller: Caller, trail: Trail) -> None:
    """One's own job, as a member; the operator may end any."""
    if not caller.operator and trail.user != caller.user:
        raise Denied("job_of_another", f"job {trail.job} is one of user {trail.user!r}; only they and operators end it")
    members = (tenant for tenant, role in caller.roles.items() if role == "member")
    own = trail.tenant if trail.tenant in caller.roles else next(members, next(iter(caller.roles), ""))
    access.require_member(caller, own or "")


def _ended(trail: Trail) -> Conflict:
    state = trail.state
    return Conflict("job_ended", f"job {trail.job} is not running any more; it is {state}", job=trail.job, state=state)


def _no_such_job(job: str) -> NotFound:
    """The same answer for a job of somebody else and for none."""
    return NotFound("job_not_found", f"no job {job!r}", job=job)
