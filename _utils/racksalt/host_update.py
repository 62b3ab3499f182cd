"""What a highstate on this host came to, in short: how many states changed, and which failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from racksalt.errors import Unavailable

#: So much of what a failed state says is told.
_MOST_CHARACTERS = 500


def told(returned: Any) -> dict[str, Any]:
    """The answer to the writer; Salt returns a list of reasons where it could not apply any state."""
    if not isinstance(returned, Mapping) or not all(isinstance(one, Mapping) for one in returned.values()):
        raise Unavailable("highstate_failed", f"the highstate could not be applied: {str(returned)[:_MOST_CHARACTERS]}")
    failed = [
        {"state": str(one.get("__id__", name)), "comment": str(one.get("comment", ""))[:_MOST_CHARACTERS]}
        for name, one in returned.items()
        if one.get("result") is False
    ]
    return {
        "states": len(returned),
        "changed": sum(bool(one.get("changes")) for one in returned.values()),
        "failed": failed,
    }
