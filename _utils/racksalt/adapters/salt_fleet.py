"""All hosts over Salt's bus: the only use of ``LocalClient``.

One publish for all hosts, answers from the event bus. Silence is neither success nor failure: after a while
the silent hosts are asked whether the job still runs, and the job cache is looked up, as Salt can drop
returns (Salt issue 57750). A host that stayed silent is remembered, so that the next call does not wait the
whole time for it again; the first answer takes it off, also one that came when nobody waited any more.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import salt.client
import salt.exceptions

from racksalt import errors
from racksalt.adapters.soft_cache import SoftCache
from racksalt.errors import Unavailable
from racksalt.ports import Answer, Clock, Silent

log = logging.getLogger(__name__)

#: How long a host may take before it is asked whether the job still runs.
_ASK_AGAIN_AFTER_S = 4.0
#: How long a host may take to say that it does: under load as long as for the job itself.
_STILL_THERE_S = 6.0
#: So many unanswered calls are remembered of a silent host.
_MOST_UNANSWERED = 10
#: What a host that was silent lately gets, beyond the time of the others.
_GRACE_S = 0.3


class SaltFleet:
    """The ``Fleet`` port; ``opts`` are the master's."""

    def __init__(self, opts: Mapping[str, Any], clock: Clock) -> None:
        self._opts = dict(opts)
        self._clock = clock
        self._silent = SoftCache(self._opts, "racksalt/silent")
        self._client: Any = None

    def ask(
        self, hosts: Sequence[str], function: str, request: Mapping[str, Any], *, timeout_s: float
    ) -> dict[str, Answer]:
        """One call to each host, with exactly the named arguments of ``request``."""
        if not hosts:
            return {}
        return _Call(self._connected(), self._clock, self._silent).run(hosts, function, request, timeout_s)

    def close(self) -> None:
        """Leave the bus."""
        if self._client is not None:
            self._client.destroy()
            self._client = None

    def _connected(self) -> Any:
        """One client for all calls: making one costs as much as a quarter of a call."""
        if self._client is None:
            self._client = salt.client.get_local_client(mopts=self._opts)
        return self._client


class _Call:
    """One publish and the wait for its answers."""

    def __init__(self, client: Any, clock: Clock, silent: SoftCache) -> None:
        self._client = client
        self._clock = clock
        self._silent = silent

    def run(
        self, hosts: Sequence[str], function: str, request: Mapping[str, Any], timeout_s: float
    ) -> dict[str, Answer]:
        began = self._clock.now()
        doubted = self._doubted(hosts)
        jid, reached = self._publish(hosts, function, request)
        answers: dict[str, Answer] = {}
        waiting = set(reached)
        while waiting and self._clock.now() - began < timeout_s:
            left_s = timeout_s - (self._clock.now() - began)
            self._collect(jid, waiting, answers, min(_ASK_AGAIN_AFTER_S, left_s), doubted)
            if waiting:
                waiting &= self._still_running(jid, waiting, answers, doubted)
        waited = round(self._clock.now() - began, 1)
        self._remember(jid, silent=set(hosts) - set(answers), back=doubted & set(answers))
        return {host: answers.get(host, Silent(waited)) for host in hosts}

    def _publish(self, hosts: Sequence[str], function: str, request: Mapping[str, Any]) -> tuple[str, Collection[str]]:
        arguments = [{"__kwarg__": True, **request}] if request else []
        with _salt_errors():
            published = self._client.run_job(list(hosts), function, arguments, tgt_type="list", listen=True)
        return published.get("jid", ""), published.get("minions", ())

    def _collect(
        self, jid: str, waiting: set[str], answers: dict[str, Answer], for_s: float, doubted: set[str]
    ) -> None:
        """Take answers off the bus; hosts that were silent lately are not waited for beyond others that answer."""
        until = self._clock.now() + for_s
        while waiting and (left_s := until - self._clock.now()) > 0:
            only_doubted = waiting <= doubted and bool(answers)
            event = self._client.event.get_event(
                wait=min(left_s, _GRACE_S) if only_doubted else left_s,
                tag=f"salt/job/{jid}/ret/",
                match_type="startswith",
            )
            if event is None and only_doubted:
                return
            if event and event.get("jid") == jid and event.get("id") in waiting:
                waiting.discard(event["id"])
                answers[event["id"]] = _answer(event)

    def _still_running(self, jid: str, waiting: set[str], answers: dict[str, Answer], doubted: set[str]) -> set[str]:
        """Which of the silent hosts say that they are still at it; lost returns are looked up."""
        with _salt_errors():
            published = self._client.run_job(sorted(waiting), "saltutil.find_job", [jid], tgt_type="list", listen=True)
        told = dict(answers)
        asked = set(published.get("minions", ()))
        self._collect(published.get("jid", ""), asked, told, _STILL_THERE_S, doubted)
        for host, item in self._client.get_cache_returns(jid).items():
            if host in waiting and "ret" in item:
                answers[host] = _answer({"return": item["ret"], **item})
        return {host for host in waiting if told.get(host) and host not in answers}

    def _doubted(self, hosts: Sequence[str]) -> set[str]:
        """The hosts that were silent at their last call, and have answered none of the lost ones since."""
        doubted = set()
        for host in set(self._silent.names()) & set(hosts):
            if any(host in self._client.get_cache_returns(jid) for jid in self._unanswered(host)):
                self._silent.drop(host)
            else:
                doubted.add(host)
        return doubted

    def _unanswered(self, host: str) -> list[str]:
        return list(self._silent.read(host).get("unanswered", ()))

    def _remember(self, jid: str, *, silent: set[str], back: set[str]) -> None:
        for host in silent:
            calls = [*self._unanswered(host), *([jid] if jid else [])][-_MOST_UNANSWERED:]
            self._silent.write(host, {"unanswered": calls})
        for host in back:
            self._silent.drop(host)


def _answer(event: Mapping[str, Any]) -> Answer:
    """A return as plain data or as the error that the host told."""
    value = event.get("return")
    if isinstance(value, dict) and isinstance(value.get("error"), dict):
        return errors.from_dict(value["error"])
    if event.get("retcode", 0) != 0 or event.get("success") is False:
        log.error("host %s: %s: %s", event.get("id"), event.get("fun"), value)
        return Unavailable("host_failed", f"host {event.get('id')}: {str(value).strip()[-300:]}")
    return value


@contextmanager
def _salt_errors() -> Iterator[None]:
    try:
        yield
    except salt.exceptions.SaltException as error:
        raise Unavailable("master_down", f"the Salt master does not take the call: {error}") from error
