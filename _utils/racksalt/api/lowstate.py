"""The body of a call in Salt's own form, checked strictly: what is not listed here is refused.

Salt takes an identity, a target or options from any extra key of the low data, and a positional
``"tenant=beta"`` becomes a keyword: none of them gets that far.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl

from racksalt import envelopes, shape
from racksalt.errors import BadInput
from racksalt.shape import Holds, Matches

_MOST_CALLS = 10


@dataclass(frozen=True, slots=True)
class _Head:
    """What every call says of itself."""

    client: Literal["runner", "runner_async"]
    fun: Annotated[str, Matches(r"[a-z_]{1,40}\.[a-z_]{1,40}", "MODULE.FUNCTION")]


@dataclass(frozen=True, slots=True)
class Call:
    """One runner call with its keyword arguments; one that is not waited for is answered by the job's id."""

    fun: str
    kwarg: dict[str, Any] = field(repr=False)
    is_waited_for: bool = True


@dataclass(frozen=True, slots=True)
class Credentials:
    """A login."""

    username: Annotated[
        str, Holds(lambda text: len(text) <= 64 and text.isprintable(), "at most 64 printable characters")
    ]
    password: Annotated[
        str, Holds(lambda text: len(text) <= 1024 and text.isprintable(), "at most 1024 printable characters")
    ]
    eauth: Literal["rack"] = "rack"


def from_json(body: bytes) -> Any:
    """A JSON body; anything that is none is bad input, and so is what cannot be sent on: half a character."""
    try:
        data = json.loads(body)
        json.dumps(data, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise BadInput("the body is no JSON", code="bad_body") from error
    return data


def from_form(body: bytes) -> dict[str, Any]:
    """A form body of single values; ``kwarg`` holds JSON."""
    try:
        pairs = parse_qsl(body.decode(), strict_parsing=bool(body), max_num_fields=100)
    except ValueError as error:
        raise BadInput("the body is no form", code="bad_body") from error
    data: dict[str, Any] = {}
    for key, value in pairs:
        if key in data:
            raise BadInput(f"{key[:80]} came twice", code="bad_body")
        data[key] = from_json(value.encode()) if key == "kwarg" else value
    return data


def calls(data: Any) -> tuple[list[Call], str | None]:
    """The calls of a body, one or a list, and the token that ``/run`` may carry in it."""
    chunks = data if isinstance(data, list) else [data]
    if not 1 <= len(chunks) <= _MOST_CALLS:
        raise BadInput(f"a body holds 1 to {_MOST_CALLS} calls, found {len(chunks)}")
    tokens = {str(chunk["token"]) for chunk in chunks if isinstance(chunk, dict) and "token" in chunk}
    if len(tokens) > 1:
        raise BadInput("one body, one token")
    return [_call(chunk) for chunk in chunks], next(iter(tokens), None)


def credentials(data: Any) -> Credentials:
    """The login of a body; Salt's clients send it in a list of one."""
    return shape.parse(Credentials, data[0] if isinstance(data, list) and len(data) == 1 else data)


def _call(chunk: Any) -> Call:
    if not isinstance(chunk, dict):
        raise BadInput("a call is a mapping with client, fun and kwarg")
    data = {key: value for key, value in chunk.items() if key not in ("token", "kwarg")}
    kwarg = chunk.get("kwarg") or {}
    if not isinstance(kwarg, dict):
        raise BadInput("kwarg: a mapping of arguments")
    forged = [key for key in kwarg if key.startswith("__") or key == envelopes.ARGUMENT]
    if forged:
        raise BadInput(f"kwarg: {shape.shown(forged[0])} is no argument")
    head = shape.parse(_Head, data)
    return Call(head.fun, kwarg, is_waited_for=head.client == "runner")
