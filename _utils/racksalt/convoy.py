"""VMs that leave one host together: each moves by itself, and their calls to hosts go as one.

Every member runs in a thread of its own, with its own claim, and knows nothing of the others: it asks a fleet. That
one waits until the others ask too, or for a moment, and makes one call of those that are alike. Each call is made once:
who comes late has missed its turn (``turn_missed``), and moves alone.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from racksalt import errors, host_answers, host_several
from racksalt.errors import RacksaltError, Unavailable
from racksalt.fleet_over import FleetOver
from racksalt.host_several import turn_missed
from racksalt.model import Together
from racksalt.ports import Answer, Fleet, Silent
from racksalt.rack_claims import CLAIM_S

#: Who asks waits for members that are still thinking as long as one joins it every so often, or looks at hosts, which
#: takes long where one is silent; and so long in all, as their claims grow old.
_GATHER_S = 1.0
_GATHER_MOST_S = 20.0
#: What nobody comes too late for: that they have moved.
_LATE = "rack_vm.conclude"


@dataclass(slots=True, eq=False)
class _Ask:
    """One member's call, and what came of it."""

    hosts: Sequence[str]
    request: Mapping[str, Any]
    timeout_s: float
    lead: str | None
    answers: dict[str, Answer] = field(default_factory=dict)
    failed: BaseException | None = None


@dataclass(slots=True)
class _Call:
    """One call for several members; the first of them makes it."""

    asks: list[_Ask] = field(default_factory=list)
    begun: bool = False
    done: bool = False


class Convoy:
    """So many ``members``, each in a thread of its own, of which ``abreast`` are moved at the same time."""

    def __init__(self, members: int, abreast: int) -> None:
        self.together = Together(uuid.uuid4().hex, abreast)
        self._changed = threading.Condition()
        self._thinking = members
        self._looks = threading.BoundedSemaphore(abreast)
        self._looking = 0
        self._calls: dict[str, _Call] = {}

    def fleet(self, fleet: Fleet) -> Fleet:
        """The fleet as a member is to ask it."""
        return _Together(fleet, self)

    def leave(self) -> None:
        """A member has ended, and is not waited for any more."""
        with self._changed:
            self._thinking -= 1
            self._changed.notify_all()

    def ask_alone(self, fleet: Fleet, hosts: Sequence[str], function: str, *call: Any, **how: Any) -> dict[str, Answer]:
        """One member's call of its own; of those no more at a time than would be if each moved alone."""
        with self._counted(), self._looks:
            return fleet.ask(hosts, function, *call, **how)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._changed:
            self._looking += 1
        try:
            yield
        finally:
            with self._changed:
                self._looking -= 1
                self._changed.notify_all()

    def ask(self, fleet: Fleet, function: str, one: _Ask) -> dict[str, Answer]:
        """One member's call, with those of the others; it waits for its own answers."""
        call = self._join(function, one)
        if call is None:
            return self._late(fleet, function, one)
        if call.asks[0] is one:
            try:
                _make(fleet, function, call.asks, self.together.abreast)
            finally:
                self._end(call)
        if one.failed is not None:
            raise one.failed
        return one.answers

    def _join(self, function: str, one: _Ask) -> _Call | None:
        """The call that it is one of: for its first one when it is to be made, and for the others when it is done.

        ``None`` where it was made before.
        """
        with self._changed:
            call = self._calls.setdefault(function, _Call())
            if call.begun:
                return None
            call.asks.append(one)
            self._thinking -= 1
            self._changed.notify_all()
            if call.asks[0] is one:
                self._gather(call, looks=function != _LATE)
                call.begun = True
            else:
                self._changed.wait_for(lambda: call.done)
            return call

    def _gather(self, call: _Call, *, looks: bool) -> None:
        until, goes_on = time.monotonic() + _GATHER_MOST_S, True
        while goes_on and self._thinking > 0 and time.monotonic() < until:
            joined = self._changed.wait_for(partial(self._is_joined, call, len(call.asks)), timeout=_GATHER_S)
            goes_on = joined or (looks and self._looking > 0)

    def _is_joined(self, call: _Call, members: int) -> bool:
        return self._thinking <= 0 or len(call.asks) > members

    def _late(self, fleet: Fleet, function: str, one: _Ask) -> dict[str, Answer]:
        """What a member gets that asks when the others have gone on: what has moved already can still be told of."""
        if function == _LATE:
            return self.ask_alone(fleet, one.hosts, function, {"request": one.request}, timeout_s=one.timeout_s)
        return {host: turn_missed(f"those that it began with have gone on to {function}") for host in one.hosts}

    def _end(self, call: _Call) -> None:
        with self._changed:
            self._thinking += len(call.asks)
            call.done = True
            self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class _Together(FleetOver):
    """The ``Fleet`` port over another one, for the members of a convoy."""

    convoy: Convoy

    def ask(
        self,
        hosts: Sequence[str],
        function: str,
        request: Mapping[str, Any],
        *,
        timeout_s: float,
        lead: str | None = None,
    ) -> dict[str, Answer]:
        """As the fleet does, with those who ask the same function."""
        if function not in host_several.FUNCTIONS:
            return self.convoy.ask_alone(self.fleet, hosts, function, request, timeout_s=timeout_s, lead=lead)
        return self.convoy.ask(self.fleet, function, _Ask(hosts, request["request"], timeout_s, lead))


def _make(fleet: Fleet, function: str, asks: Sequence[_Ask], abreast: int) -> None:
    """As few calls as there is room for; again for what a host has left for later."""
    left = list(asks)
    try:
        while left:
            now = _with_room(left)
            later = _make_once(fleet, function, now, abreast) if len(now) > 1 else now
            if len(later) == len(now):
                _make_alone(fleet, function, now[0])
                later = now[1:]
            left = [*later, *left[len(now) :]]
    except BaseException as error:
        for one in left:
            one.failed = _failure(error, first=one is left[0])


def _with_room(asks: Sequence[_Ask]) -> list[_Ask]:
    """The first of these, as many as one call has room for; one at least."""
    size, fitting = 0, list[_Ask]()
    for one in asks:
        size += len(json.dumps(one.request))
        if fitting and size > host_several.MOST_BYTES:
            break
        fitting.append(one)
    return fitting


def _make_alone(fleet: Fleet, function: str, one: _Ask) -> None:
    one.answers = fleet.ask(one.hosts, function, {"request": one.request}, timeout_s=one.timeout_s, lead=one.lead)


def _make_once(fleet: Fleet, function: str, asks: Sequence[_Ask], abreast: int) -> list[_Ask]:
    """Who is to ask again.

    Where there is a ``lead``, only that one is asked: the others would wait for the last of all, and are asked about
    those that have come afterwards.
    """
    by_host: dict[str, list[_Ask]] = {}
    for one in asks:
        for host in [one.lead] if one.lead else one.hosts:
            by_host.setdefault(host, []).append(one)
    requests = {host: [one.request for one in own] for host, own in by_host.items()}
    request = {"request": host_several.request_of(requests, abreast=abreast)}
    timeout_s = max(one.timeout_s for one in asks) + CLAIM_S  # no turn begins later than a claim may be begun
    came = fleet.ask(list(by_host), function, request, timeout_s=timeout_s)
    later: list[_Ask] = []
    for host, own in by_host.items():
        for one, answer in zip(own, _split(came[host], host, len(own)), strict=True):
            if isinstance(answer, Mapping) and answer.get("later") is True:
                later += [] if one in later else [one]
            else:
                one.answers[host] = _told(answer, host)
    for one in asks:
        over = {host: Silent(0.0, passed_over=True) for host in one.hosts if host not in by_host}
        one.answers = {**over, **one.answers}
    return later


def _split(answer: Answer, host: str, number: int) -> list[Answer]:
    """The part of a host's answer that each of its requests gets."""
    if isinstance(answer, Silent):
        return [answer] * number
    if isinstance(answer, RacksaltError) and answer.code == "bad_input":
        why = f"host {host} takes no requests for several at once: it has an older version"
        return [turn_missed(why) for _ in range(number)]
    if isinstance(answer, RacksaltError):
        return [errors.from_dict(answer.as_dict()) for _ in range(number)]
    if isinstance(answer, list) and len(answer) == number:
        return answer
    return [_unreadable(host) for _ in range(number)]


def _told(answer: Answer, host: str) -> Answer:
    if isinstance(answer, (Silent, RacksaltError)):
        return answer
    if isinstance(answer, Mapping) and "answer" in answer:
        return answer["answer"]
    told = host_answers.told(answer, host)
    return told if isinstance(told, RacksaltError) else _unreadable(host)


def _failure(error: BaseException, *, first: bool) -> BaseException:
    """What each member gets of a call that failed: an error of its own, where it goes on with it."""
    if isinstance(error, RacksaltError):
        return errors.from_dict(error.as_dict())
    if first or not isinstance(error, Exception):
        return error
    return Unavailable("rack_unavailable", f"the call for several moves failed: {type(error).__name__}")


def _unreadable(host: str) -> Unavailable:
    return Unavailable("host_failed", f"host {host} answers several requests with what cannot be read", host=host)
