"""One runner call from what came in to plain data: who is calling, what is asked, and the act."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from racksalt import access, shape
from racksalt.rack import Rack
from racksalt.rack_calls import CALLS
from racksalt.shape import Problem


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
    """The answer as plain data; every refusal is raised."""
    call = CALLS[came.fun]
    current = rack.settings()
    caller = access.identify(came.user, current)
    if call.who == "operator":
        access.require_operator(caller)
    asked: Any = shape.parse(call.request, given(came.arguments, call.preset))
    if call.acts(asked):
        rack.require_writer(current)
    return shape.plain(call.run(rack, caller, asked, current))


def given(arguments: Mapping[str, Any], preset: Mapping[str, Any]) -> dict[str, Any]:
    """What was really given; an unknown key is refused, but for ``__pub_…`` ones, which are Salt's own."""
    unknown = [key for key in arguments.get("unknown", {}) if not key.startswith("__pub_")]
    known = {key: value for key, value in arguments.items() if key != "unknown"}
    allowed = " | ".join(known)
    shape.refuse([Problem((key[:80],), "an unknown key", allowed) for key in unknown])
    return {key: value for key, value in known.items() if value is not None} | dict(preset)
