"""The audit's lines: who did what, from where, with which result, each holding the hash of the line before.

A line is one JSON object. Its hash is the SHA-256 of its own text without the hash, so that what was written is
checked byte by byte, and no second form of the same values exists. What reads the lines together is
:mod:`racksalt.audit_check`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from racksalt.model import Head

Kind = Literal["intent", "outcome", "refused", "login", "login_refused", "dropped", "torn"]

#: What the first line names as the line before.
BEGINNING = "0" * 64

#: No chain gets longer.
MOST_LINES = 10**9

#: What stands in place of a secret, and of what a call does not know and may have been one.
HIDDEN = "(secret)"
#: Parts of names under which secrets travel, in small letters without dashes and underscores.
_SECRET_NAMES = ("userdata", "sshkey", "passw", "secret", "token", "envelope", "sealed", "privatekey")
#: How secrets look that came under a wrong name.
_SECRET_TEXTS = re.compile(r"\s*(#cloud-config|#!|#include|Content-Type:)|.{0,200}-----BEGIN", re.DOTALL)

_MOST_CHARACTERS = 200
_MOST_ITEMS = 20
_MOST_DEPTH = 4
_MOST_OF_ALL = 4000
_END = re.compile(rb',"hash":"([0-9a-f]{64})"\}')
_TIME = re.compile(rb'\{"n":[0-9]+,"time":"([0-9TZ:.-]+)"')
_END_LENGTH = len(b',"hash":""}') + 64


@dataclass(frozen=True, slots=True)
class Entry:
    """What a line tells, before it has its place in the chain; made by the functions below."""

    kind: Kind
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Act:
    """A call of ``fun`` by ``user``, at ``address`` where it came over the API, under Salt's job id.

    ``object`` is what it is done to, like ``acme/web1``. ``operator`` says that the user was one at that time.
    """

    user: str
    fun: str
    address: str | None = None
    job: str = ""
    tenant: str | None = None
    object: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    operator: bool = False


def intent(act: Act) -> Entry:
    """Before an act; there is none without this line."""
    return Entry("intent", {**_who(act), "arguments": told(act.arguments)})


def outcome(act: Act, result: str = "done", *, answer: str | None = None, vm: str | None = None) -> Entry:
    """After an act: ``done``, with the :func:`digest` of what was answered, or the code of its error.

    ``vm`` is the UUID of the VM that it was done to: names come again.
    """
    proof = {} if answer is None else {"answer": answer}
    what = {} if vm is None else {"vm": vm}
    return Entry("outcome", {**_who(act), "result": _text(result), **what, **proof})


def digest(answer: Any) -> str:
    """What proves an answer, wherever it is kept: the SHA-256 of its canonical JSON."""
    return hashlib.sha256(json.dumps(answer, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def refused(act: Act, result: str) -> Entry:
    """A call that was refused before it did anything, with the code of the refusal."""
    return Entry("refused", {**_who(act), "arguments": told(act.arguments), "result": _text(result)})


def login(user: str, address: str | None) -> Entry:
    """Somebody logged in."""
    return Entry("login", {"user": _text(user), "address": _text(address)})


def login_refused(user: str, address: str | None, *, result: str) -> Entry:
    """Somebody could not log in; ``result`` is the code of the refusal."""
    return Entry("login_refused", {"user": _text(user), "address": _text(address), "result": _text(result)})


def dropped(host: str, job: str, *, reason: str, fun: str = "") -> Entry:
    """An answer or event that no accepted key proves; ``host`` is who it claimed to be."""
    return Entry("dropped", {"host": _text(host), "job": _text(job), "fun": _text(fun), "reason": _text(reason)})


def torn(found: bytes) -> Entry:
    """Closes off what a power cut or a full disk left behind the last whole line."""
    return Entry("torn", {"bytes": len(found), "sha256": hashlib.sha256(found).hexdigest()})


def line(entry: Entry, *, after: Head | None, at: float, master: str) -> tuple[bytes, Head]:
    """The line, without its newline, that follows the head ``after``; and the head that it makes."""
    count = after.count + 1 if after else 1
    data = {
        "n": count,
        "time": moment(at),
        "master": master,
        "kind": entry.kind,
        **entry.facts,
        "prev": after.sha256 if after else BEGINNING,
    }
    body = json.dumps(data, separators=(",", ":"), allow_nan=False).encode()
    digest = hashlib.sha256(body).hexdigest()
    return body[:-1] + f',"hash":"{digest}"}}'.encode(), Head(count, digest, master)


@dataclass(frozen=True, slots=True)
class Line:
    """A line that was read. ``hash`` is what it says of itself, and ``is_whole`` whether that is true."""

    n: int
    prev: str
    hash: str
    is_whole: bool
    data: Mapping[str, Any]


def read(text: bytes) -> Line | None:
    """The line behind ``text``; ``None`` where it has not the form of one, as when its end is missing."""
    end = _END.fullmatch(text[-_END_LENGTH:])
    if end is None:
        return None
    try:
        data = json.loads(text.decode())
    except (ValueError, RecursionError):
        return None
    number, prev, digest = data.get("n"), data.get("prev"), end[1].decode()
    if type(number) is not int or not 1 <= number <= MOST_LINES or data.get("hash") != digest:
        return None
    if not (isinstance(prev, str) and isinstance(data.get("time"), str) and isinstance(data.get("kind"), str)):
        return None
    body = text[:-_END_LENGTH] + b"}"
    return Line(number, prev, digest, hashlib.sha256(body).hexdigest() == digest, data)


def time_of(text: bytes) -> str:
    """The time of a line, as it has it; the end of all times where it has none, so that nobody stops there."""
    found = _TIME.match(text)
    return found[1].decode() if found else "9999"


def told(arguments: Mapping[str, Any]) -> Any:
    """Arguments as the audit shows them: no secrets, nothing long; of unknown ones the names alone."""
    known = {key: value for key, value in arguments.items() if key != "unknown" and value is not None}
    strange = [key for key in arguments.get("unknown") or () if not str(key).startswith("__pub_")]
    shown = {_text(key): _shown(key, value, 1) for key, value in known.items()}
    if strange:
        shown["unknown"] = [_text(key) for key in strange[:_MOST_ITEMS]]
    text = json.dumps(shown)
    return shown if len(text) <= _MOST_OF_ALL else f"{text[:_MOST_OF_ALL]}… ({len(text)} characters)"


def _who(act: Act) -> dict[str, Any]:
    return {
        "user": _text(act.user),
        "address": _text(act.address),
        "job": _text(act.job),
        "fun": _text(act.fun),
        "tenant": _text(act.tenant),
        "object": _text(act.object),
        **({"operator": True} if act.operator else {}),
    }


def _shown(name: Any, value: Any, depth: int) -> Any:
    if _is_secret(name):
        return HIDDEN
    if isinstance(value, Mapping):
        return _mapping(value, depth)
    if isinstance(value, (list, tuple, set, frozenset)):
        return _list(list(value), depth)
    if isinstance(value, int):
        return value if abs(value) < 2**63 else "(a large number)"
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return _text(value)


def _mapping(value: Mapping[Any, Any], depth: int) -> Any:
    if depth >= _MOST_DEPTH:
        return f"({len(value)} keys)"
    first = list(value.items())[:_MOST_ITEMS]
    shown = {_text(key): _shown(key, item, depth + 1) for key, item in first}
    return shown if len(value) <= _MOST_ITEMS else {**shown, "…": f"{len(value) - _MOST_ITEMS} more"}


def _list(value: list[Any], depth: int) -> Any:
    if depth >= _MOST_DEPTH:
        return f"({len(value)} items)"
    shown = [_shown("", item, depth + 1) for item in value[:_MOST_ITEMS]]
    return shown if len(value) <= _MOST_ITEMS else [*shown, f"… {len(value) - _MOST_ITEMS} more"]


def _is_secret(name: Any) -> bool:
    plain = re.sub(r"[^a-z]", "", str(name)[:_MOST_CHARACTERS].lower())
    return any(part in plain for part in _SECRET_NAMES)


def _text(value: Any) -> Any:
    """``None``, or a text of bounded length."""
    if value is None:
        return None
    if not isinstance(value, str):
        value = f"({type(value).__name__})"
    if _SECRET_TEXTS.match(value):
        return HIDDEN
    return value if len(value) <= _MOST_CHARACTERS else f"{value[:_MOST_CHARACTERS]}… ({len(value)} characters)"


def moment(at: float) -> str:
    """A time as lines have it; they sort as their times do."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds(text: str) -> float:
    """The time behind what :func:`moment` has made."""
    return datetime.fromisoformat(text).timestamp()
