"""What a verb means for a VM as it is now: pure, the steps as names. :mod:`racksalt.host_vms` carries them out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from racksalt.errors import Conflict, NotFound, Refused
from racksalt.host_requests import ActOnHost
from racksalt.model import Domain, Record, State, Wanted

Step = Literal["resume", "pause", "start", "stop", "save memory", "discard saved memory", "delete", "write record"]

#: States in which nothing of the VM runs.
DOWN: tuple[State, ...] = ("stopped", "suspended", "crashed")

#: Of these, those in which nothing of it is saved either.
OFF: tuple[State, ...] = ("stopped", "crashed")

#: The verbs after which a VM should run after a boot of its host, or should not.
WANTED: Mapping[str, Wanted] = {"start": "running", "restart": "running", "stop": "stopped", "suspend": "stopped"}


def plan(request: ActOnHost, domain: Domain) -> tuple[Step, ...]:
    """The steps, in order; none where it is so already. Raises what refuses the verb."""
    match request.verb:
        case "start":
            return _start(domain)
        case "stop":
            return _stop(domain, hard=request.hard)
        case "restart":
            return _restart(domain, hard=request.hard)
        case "pause" | "resume" | "suspend":
            return _freeze(request.verb, domain)
        case "delete":
            return _delete(domain)
        case _:
            return ("write record",) if described(request, domain) != record_of(domain) else ()


def described(request: ActOnHost, domain: Domain) -> Record:
    """The record with the note, the tags and the protection that are asked for."""
    values = {"note": request.note, "tags": request.tags, "protected": request.protected}
    given = {key: value for key, value in values.items() if value is not None}
    return replace(record_of(domain), **given)  # type: ignore[arg-type]  # each value has its field's type


def record_of(domain: Domain) -> Record:
    """The record; a domain without one is nobody's here."""
    if domain.record is None:
        raise NotFound("vm_not_found", f"domain {domain.name} is not one of Racksalt's", vm=domain.name)
    return domain.record


def _start(domain: Domain) -> tuple[Step, ...]:
    if domain.state == "running":
        return ()
    return ("resume",) if domain.state == "paused" else ("start",)


def _stop(domain: Domain, *, hard: bool) -> tuple[Step, ...]:
    """A suspended VM is off; cutting its power loses the memory that was saved."""
    if domain.state == "suspended" and hard:
        return ("discard saved memory",)
    if domain.state in DOWN:
        return ()
    return ("resume", "stop") if domain.state == "paused" and not hard else ("stop",)


def _restart(domain: Domain, *, hard: bool) -> tuple[Step, ...]:
    """A suspended VM first goes on, so that its guest can end in good order."""
    if domain.state == "suspended" and not hard:
        return ("start", "stop", "start")
    return (*_stop(domain, hard=hard), "start")


def _freeze(verb: Literal["pause", "resume", "suspend"], domain: Domain) -> tuple[Step, ...]:
    steps: dict[str, dict[str, tuple[Step, ...]]] = {
        "pause": {"running": ("pause",), "paused": ()},
        "resume": {"paused": ("resume",), "running": ()},
        "suspend": {"running": ("save memory",), "paused": ("save memory",), "suspended": ()},
    }
    allowed = steps[verb]
    if domain.state not in allowed:
        raise Conflict(
            "vm_state",
            f"cannot {verb} a VM that is {domain.state}; it has to be {' or '.join(allowed)}",
            state=domain.state,
        )
    return allowed[domain.state]


def _delete(domain: Domain) -> tuple[Step, ...]:
    vm = record_of(domain)
    if vm.protected:
        raise Refused("vm_protected", f"{vm.title} is protected; take the protection off first", vm=vm.title)
    return ("delete",)
