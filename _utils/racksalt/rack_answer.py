"""One runner call from what came in to plain data: who is calling, what is asked, and the act between its two lines
in the audit."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from racksalt import access, audit, job_trail, shape
from racksalt.access import Caller
from racksalt.audit import Act
from racksalt.errors import Cancelled, Denied, NotFound, RacksaltError, Unavailable
from racksalt.names import is_uuid
from racksalt.rack import Rack
from racksalt.rack_calls import CALLS, RackCall
from racksalt.rack_requests import CreateVm
from racksalt.settings import Settings
from racksalt.shape import Problem

log = logging.getLogger(__name__)

#: So many refusals of a user are told within a minute; of what was said meanwhile so much is looked through.
_REFUSALS_TOLD = 30
_WINDOW_S = 60.0
_MOST_LOOKED_AT = 1000
#: As it stands in a line; in what a caller says it has backslashes.
_REFUSED = b'"kind":"refused"'


@dataclass(frozen=True, slots=True)
class Came:
    """A call as it came: ``arguments`` are the runner's parameters, ``None`` where left out.

    Under ``unknown`` they hold what the function does not have. ``address`` is where an API's caller is, and
    ``job`` is Salt's id of this call.
    """

    fun: str
    user: str
    arguments: Mapping[str, Any]
    job: str = ""
    address: str | None = None


def carry_out(rack: Rack, came: Came) -> Any:
    """The answer as plain data; every refusal is raised.

    A change stands between an intent and an outcome in the audit, and without the first there is none. Of what only
    reads, a refusal is told there, as it may be somebody trying doors.
    """
    call = CALLS[came.fun]
    act = Act(came.user, came.fun, came.address, came.job, None, _object(came), came.arguments)
    try:
        current = rack.settings()
        caller = access.identify(came.user, current)
        act = replace(act, operator=caller.operator)
        asked = _asked(rack, call, came, caller, current)
        act = replace(act, tenant=_tenant(caller, asked))
        if not call.acts(asked):
            return shape.plain(call.run(rack, caller, asked, current))
    except RacksaltError as error:
        if call.changes or isinstance(error, (Denied, NotFound)):
            _note_refusal(rack, act, error.code)
        raise
    act = replace(act, tenant=_own(caller, act.tenant))
    rack.audit.append(audit.intent(act))
    result, answer, vm = "cut off", None, None
    try:
        done = shape.plain(call.run(rack, caller, asked, current))
        result, answer, vm = "done", audit.digest(done), _vm_of(done)
    except RacksaltError as error:
        result = error.code
        raise
    except Cancelled:
        result = "job_cancelled"
        raise
    finally:
        _note(rack, audit.outcome(act, result, answer=answer, vm=vm))
    return done


def given(arguments: Mapping[str, Any], preset: Mapping[str, Any]) -> dict[str, Any]:
    """What was really given; an unknown key is refused, but for ``__pub_…`` ones, which are Salt's own."""
    unknown = [key for key in arguments.get("unknown", {}) if not key.startswith("__pub_")]
    known = {key: value for key, value in arguments.items() if key != "unknown"}
    allowed = " | ".join(known)
    shape.refuse([Problem((key[:80],), "an unknown key", allowed) for key in unknown])
    return {key: value for key, value in known.items() if value is not None} | dict(preset)


def _asked(rack: Rack, call: RackCall, came: Came, caller: Caller, current: Settings) -> Any:
    if call.who == "operator":
        access.require_operator(caller)
    asked: Any = shape.parse(call.request, given(came.arguments, call.preset))
    if not call.acts(asked):
        return asked
    rack.require_writer(current)
    return _findable(asked, came.job)


def _findable(asked: Any, job: str) -> Any:
    """A create without a request id gets one of its job: should its runner be killed, what it made is found by it."""
    if isinstance(asked, CreateVm) and asked.request_id is None and job:
        return replace(asked, request_id=job_trail.request_id_of(job))
    return asked


def _vm_of(done: Any) -> str | None:
    """The UUID of the one VM that an answer is about."""
    if not isinstance(done, Mapping):
        return None
    shown = done.get("vm")
    uuid = shown.get("uuid") if isinstance(shown, Mapping) else done.get("uuid")
    return uuid if isinstance(uuid, str) and is_uuid(uuid) else None


def _object(came: Came) -> str | None:
    name = came.arguments.get("name")
    return name[:200] if isinstance(name, str) else None


def _tenant(caller: Caller, asked: Any) -> str | None:
    """The tenant that a call speaks of; no proof that it is the caller's."""
    name = getattr(asked, "name", None) or ""
    named = name.partition("/")[0] if "/" in name else getattr(asked, "tenant", None)
    only = next(iter(caller.roles)) if len(caller.roles) == 1 else None
    return named or only


def _own(caller: Caller, tenant: str | None) -> str | None:
    """The tenant of an act: none where the caller names a foreign one, of which it changes nothing."""
    return tenant if caller.operator or tenant in caller.roles else None


def _note_refusal(rack: Rack, act: Act, code: str) -> None:
    """A refusal changes nothing, so that one of many need not be told; a change always is."""
    if _refusals_told(rack, act.user) < _REFUSALS_TOLD:
        _note(rack, audit.refused(act, code))


def _refusals_told(rack: Rack, user: str) -> int:
    """How many of this user the audit has of the last minute."""
    since = max(0.0, rack.clock.now() - _WINDOW_S)
    oldest, count = audit.moment(since), 0
    try:
        for text in itertools.islice(rack.audit.newest(since=since), _MOST_LOOKED_AT):
            if audit.time_of(text) < oldest:
                break
            line = audit.read(text) if _REFUSED in text else None
            count += line is not None and line.data.get("user") == user
    except Unavailable as error:
        log.error("%s", error.detail)
    return count


def _note(rack: Rack, entry: audit.Entry) -> None:
    """What has been decided already stands, also where it cannot be written down."""
    try:
        rack.audit.append(entry)
    except Unavailable as error:
        log.error("not in the audit: %s: %s", entry.kind, error.detail)
