"""Everything that Racksalt refuses, as one small tree with stable codes.

A message names the object, the limit, what was found, and the remedy. It is converted once for Salt
(:func:`as_result`) and once for HTTP (the ``status`` of the class).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class RacksaltError(Exception):
    """A refusal or failure that the caller can act on.

    ``code`` is stable and for programs, ``detail`` is for people, ``facts`` are plain data with the numbers.
    """

    status = 422

    def __init__(self, code: str, detail: str, **facts: Any) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.facts = facts

    def as_dict(self) -> dict[str, Any]:
        """The error as plain data: ``code``, ``status``, ``detail``, and its facts."""
        return {"code": self.code, "status": self.status, "detail": self.detail, **self.facts}


class BadInput(RacksaltError):
    """The request itself is wrong; ``problems`` lists each field with what was found and what is allowed."""

    status = 400

    def __init__(self, detail: str, *, code: str = "bad_input", **facts: Any) -> None:
        super().__init__(code, detail, **facts)


class Denied(RacksaltError):
    """The caller is known but may not do this."""

    status = 403


class NotFound(RacksaltError):
    """There is no such thing, or it belongs to somebody else: the answer is the same."""

    status = 404


class Conflict(RacksaltError):
    """The name is taken, or the state of the object does not allow it."""

    status = 409


class Refused(RacksaltError):
    """A rule of the rack refuses it: no room, protection."""

    status = 422


class Unavailable(RacksaltError):
    """A host or a part of the rack does not answer."""

    status = 503


class Cancelled(SystemExit):
    """The process of a call is asked to end: nothing on the way goes on after it, event loops included."""


_BY_STATUS: dict[int, type[RacksaltError]] = {
    cls.status: cls for cls in (Denied, NotFound, Conflict, Refused, Unavailable)
}


def as_result(error: RacksaltError) -> dict[str, Any]:
    """The error as the return value of a Salt function.

    ``retcode`` at the top level is what makes ``salt-run`` exit non-zero (salt/cli/run.py).
    """
    return {"error": error.as_dict(), "retcode": 1}


def unforeseen(host: str, error: Exception) -> Unavailable:
    """A host's own word for what failed there and nobody foresaw."""
    return Unavailable("host_failed", f"host {host}: {type(error).__name__}: {str(error)[:300]}")


def from_dict(data: Mapping[str, Any]) -> RacksaltError:
    """The error that :meth:`RacksaltError.as_dict` wrote down, as it came from a host."""
    facts = {key: value for key, value in data.items() if key not in ("code", "status", "detail")}
    code, detail = str(data.get("code", "unknown")), str(data.get("detail", ""))
    if data.get("status") == BadInput.status:
        return BadInput(detail, code=code, **facts)
    return _BY_STATUS.get(int(data.get("status", 422)), RacksaltError)(code, detail, **facts)
