"""The one place where a Salt state's result is made."""

from __future__ import annotations

from typing import Any


def of(name: str, changes: dict[str, Any], *, test: bool, done: str, error: str | None = None) -> dict[str, Any]:
    """``done`` tells what is so, or would be; ``None`` as a result means that a real run would change something."""
    if error is not None:
        return {"name": name, "result": False, "changes": {}, "comment": error}
    if not changes:
        return {"name": name, "result": True, "changes": {}, "comment": f"{done} already"}
    if test:
        return {"name": name, "result": None, "changes": changes, "comment": f"{done} would be so"}
    return {"name": name, "result": True, "changes": changes, "comment": done}
