"""What proves an answer: the host's own signature over host, job, function and answer.

Salt's bus does not prove who speaks: a minion may send a return in another one's name (``resource_id`` in a
return, ``_syndic_return``, a free tag of an event). So the host signs, and only what is signed is believed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from racksalt import errors
from racksalt.errors import RacksaltError, Unavailable

#: Signs with the key of the host that it runs on; the signature as text.
Sign = Callable[[bytes], str]
#: Whether this host's accepted key made the signature of these bytes.
Verify = Callable[[str, bytes, str], bool]

_LONGEST_REASON = 200
_CODE = re.compile(r"[a-z_]{1,40}")
#: How the master itself says in its audit that a call was done, or that its end is not known: no host ends one so.
_MASTERS_OWN = ("done", "host_silent", "job_cancelled", "job_lost", "answer_unproved")
#: What Salt puts in place of what is larger than ``max_event_size``, on the host already.
_TRIMMED = "VALUE_TRIMMED"


@dataclass(frozen=True, slots=True)
class Call:
    """One publish, as its answers name it; ``function`` is the loader's name, like ``rack_vm.create``."""

    job: str
    function: str


@dataclass(frozen=True, slots=True)
class Proved:
    """What the host truly answered to this call."""

    answer: Any


@dataclass(frozen=True, slots=True)
class Unproved:
    """Something came under the host's name, and does not count; ``reason`` is one line for the log."""

    reason: str


def signed(answer: Any, call: Call, *, host: str, sign: Sign) -> dict[str, Any]:
    """The answer as it goes over the bus; it must be plain data, with finite numbers.

    It goes as the JSON text that was signed: the same bytes at both ends, parsed only once they are proved.
    """
    text = json.dumps(answer, separators=(",", ":"), allow_nan=False)
    signature = sign(statement(text, call, host=host))
    return {"signed": {"host": host, "job": call.job, "answer": text, "signature": signature}}


def judge(returned: Any, call: Call, *, host: str, verify: Verify) -> Proved | Unproved:
    """Whether ``returned``, which came under the name of ``host``, is its answer to ``call``."""
    found = returned.get("signed") if isinstance(returned, Mapping) else None
    if not isinstance(found, Mapping):
        return Unproved(f"unsigned: {_summary(returned)}")
    if found.get("host") != host:
        return Unproved("signed for another host")
    if found.get("job") != call.job:
        return Unproved("signed for another job")
    text, signature = found.get("answer"), found.get("signature")
    if not isinstance(text, str) or not isinstance(signature, str):
        return Unproved("signed, but not as text")
    if text == _TRIMMED:
        return Unproved("its answer is too large for Salt's bus: raise max_event_size on the host and the master")
    if not verify(host, statement(text, call, host=host), signature):
        return Unproved("its signature is not one of the accepted key for this call")
    try:
        return Proved(json.loads(text))
    except (ValueError, RecursionError):
        return Unproved("signed, but no JSON")


def statement(text: str, call: Call, *, host: str) -> bytes:
    """The bytes that are signed for an answer: canonical JSON, with its hash in place of a long text."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    named = {"answer": digest, "function": call.function, "host": host, "job": call.job}
    return b"racksalt answer\n" + json.dumps(named, separators=(",", ":")).encode()


def told(answer: Any, host: str) -> Any | RacksaltError:
    """A proved answer as plain data, or the error that the host told; a host may lie in its own name."""
    if not isinstance(answer, Mapping) or not isinstance(answer.get("error"), Mapping):
        return answer
    try:
        error = errors.from_dict(answer["error"])
    except (TypeError, ValueError, OverflowError):
        return _unreadable(host)
    return error if _CODE.fullmatch(error.code) and error.code not in _MASTERS_OWN else _unreadable(host)


def _unreadable(host: str) -> Unavailable:
    return Unavailable("host_failed", f"host {host} tells an error that cannot be read", host=host)


def _summary(returned: Any) -> str:
    """What an unsigned return says, in one line: mostly why the host could not call the function."""
    error = returned.get("error") if isinstance(returned, Mapping) else None
    text = error.get("detail") if isinstance(error, Mapping) else returned
    if not isinstance(text, str):
        return f"a {type(returned).__name__}"
    lines = [line for line in text[-10_000:].splitlines() if line.strip()]
    # A traceback has its reason in its last line; a message of Salt's is followed by the function's documentation.
    line = (lines[-1] if text.startswith(("Traceback", "The minion function caused")) else lines[0]) if lines else ""
    return "".join(letter for letter in line if letter.isprintable())[:_LONGEST_REASON]
