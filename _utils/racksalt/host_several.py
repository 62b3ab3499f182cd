"""Several requests in one call to a host: each is done, and told, as if it had come alone.

A call costs a host more than most requests do. What is told of one never depends on another.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from racksalt import errors, shape
from racksalt.errors import BadInput, RacksaltError, Refused

log = logging.getLogger(__name__)

#: The functions that take several.
FUNCTIONS = ("rack_vm.offer", "rack_vm.receive", "rack_vm.send", "rack_vm.conclude")
#: Salt cuts what is larger than a MiB, and an answer goes as text in text.
MOST_BYTES = 400_000
_MOST = 100

#: What is done for one request.
Act = Callable[[Mapping[str, Any]], Any]
#: As :data:`Act`, of the request that is the nth of its host.
ActNth = Callable[[int, Mapping[str, Any]], Any]


def request_of(by_host: Mapping[str, Sequence[Mapping[str, Any]]], *, abreast: int = 1) -> dict[str, Any]:
    """The request for all these hosts, each of which does its own ones; ``abreast`` are sent at the same time."""
    return {"several": {host: list(requests) for host, requests in by_host.items()}, "abreast": abreast}


def are_in(request: Any) -> bool:
    """Whether it is one for several."""
    return isinstance(request, Mapping) and "several" in request


def in_turn(request: Mapping[str, Any], host: str, act: Act) -> list[dict[str, Any]]:
    """One after the other: ``{answer: …}`` or ``{error: …}`` for each one of this host, in their order."""
    return [_told(one, host, act) for one in own(request, host)]


def as_far_as_told(request: Mapping[str, Any], host: str, act: Act) -> list[dict[str, Any]]:
    """As :func:`in_turn`, of what only reads: ``{later: true}`` for those whose answer has no room in this one."""
    told: list[dict[str, Any]] = []
    size = 0
    for one in own(request, host):
        answer = _told(one, host, act) if size <= MOST_BYTES else {}
        size += len(json.dumps(answer))
        told.append(answer if answer and (size <= MOST_BYTES or not told) else {"later": True})
    return told


def side_by_side(request: Mapping[str, Any], host: str, act: ActNth) -> list[dict[str, Any]]:
    """As :func:`in_turn`, as many at the same time as the request says, each in a thread of its own."""
    many = request.get("abreast")
    if isinstance(many, bool) or not isinstance(many, int) or not 1 <= many <= _MOST:
        raise BadInput(f"abreast: found {many!r:.40}, allowed: 1 to {_MOST}")
    requests = own(request, host)
    with ThreadPoolExecutor(many, thread_name_prefix="several") as threads:
        return list(threads.map(lambda n: _told(requests[n], host, partial(act, n)), range(len(requests))))


def turn_missed(why: str) -> Refused:
    """The error of one that cannot go with the others: nothing was done for it."""
    return Refused("turn_missed", f"{why}; it stays as it is, and may be asked for alone")


def own(request: Mapping[str, Any], host: str) -> list[Mapping[str, Any]]:
    """The requests for this host."""
    by_host = request["several"]
    found = by_host.get(host, []) if isinstance(by_host, Mapping) else None
    if not isinstance(found, list) or len(found) > _MOST or not all(isinstance(one, Mapping) for one in found):
        raise BadInput(f"several: found something else, allowed: hosts, each with a list of up to {_MOST} requests")
    return found


def _told(request: Mapping[str, Any], host: str, act: Act) -> dict[str, Any]:
    """What came of one; what nobody foresaw is its own end only, and the others are still done and told."""
    try:
        return {"answer": shape.plain(act(request))}
    except RacksaltError as error:
        return errors.as_result(error)
    except Exception as error:
        log.exception("an unforeseen failure")
        return errors.as_result(errors.unforeseen(host, error))
