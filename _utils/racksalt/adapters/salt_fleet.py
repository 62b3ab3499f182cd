"""All hosts over Salt's bus: the only use of ``LocalClient``.

Each call carries its job and the head of the audit, and each answer the host's signature
(:mod:`racksalt.host_answers`). A host that stayed silent is remembered, so that the next call does not wait the
whole time for it again; the first answer takes it off, also one that came when nobody waited any more.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any

import salt.client
import salt.exceptions
import salt.loader
import salt.utils.event
import salt.utils.jid
import salt.utils.user

from racksalt import host_answers, shape
from racksalt.adapters.minion_keys import AcceptedKeys
from racksalt.adapters.soft_cache import SoftCache
from racksalt.errors import Unavailable
from racksalt.fleet_call import FleetCall, OnDropped
from racksalt.host_answers import Call, Proved
from racksalt.host_requests import FromBus
from racksalt.model import Head
from racksalt.ports import Answer, Clock, Return, Silent

log = logging.getLogger(__name__)

#: So many unanswered calls are remembered of a silent host.
_MOST_UNANSWERED = 10


class SaltFleet:
    """The ``Fleet`` port; ``opts`` are the master's.

    ``silent`` is where hosts that did not answer are remembered; ``head`` is asked for the audit's newest line at each
    call.
    """

    def __init__(
        self,
        opts: Mapping[str, Any],
        clock: Clock,
        *,
        keys: AcceptedKeys,
        silent: SoftCache,
        head: Callable[[], Head | None],
        on_dropped: OnDropped = lambda host, job, reason: None,
    ) -> None:
        self._clock = clock
        self._keys = keys
        self._head = head
        self._on_dropped = on_dropped
        self._bus = SaltBus(opts)
        self._silent = silent

    def ask(
        self,
        hosts: Sequence[str],
        function: str,
        request: Mapping[str, Any],
        *,
        timeout_s: float,
        lead: str | None = None,
    ) -> dict[str, Answer]:
        """One call to each host, with exactly the named arguments of ``request``, and ``bus``."""
        if not hosts:
            return {}
        call = Call(self._bus.new_job(), function)
        doubted = self._doubted(hosts)
        made = FleetCall(self._bus, self._clock, self._keys.verify, self._on_dropped, call, doubted, lead)
        bus = shape.plain(FromBus(call.job, self._head()))
        answers = made.run(hosts, [{"__kwarg__": True, **request, "bus": bus}], timeout_s=timeout_s)
        self._remember(call, answers, doubted)
        return {host: self._with_reason(host, answer) for host, answer in answers.items()}

    def seal(self, host: str, text: str, *, context: str) -> str:
        """A text that only ``host`` can read, in this context only."""
        return self._keys.seal(host, text, context=context)

    def public_key(self, host: str) -> str:
        """The host's accepted key in PEM."""
        return self._keys.public_key(host)

    def proves(self, host: str, data: bytes, signature: str) -> bool:
        """Whether the accepted key of ``host`` made this signature."""
        return self._keys.verify(host, data, signature)

    def close(self) -> None:
        """Leave the bus."""
        self._bus.close()

    def _doubted(self, hosts: Sequence[str]) -> frozenset[str]:
        """The hosts that were silent at their last call, and have answered none of the lost ones since."""
        doubted = set()
        for host in set(self._silent.names()) & set(hosts):
            if any(self._has_answered(host, call) for call in self._unanswered(host)):
                self._silent.drop(host)
            else:
                doubted.add(host)
        return frozenset(doubted)

    def _has_answered(self, host: str, call: Call) -> bool:
        kept = self._bus.kept_returns(call.job)
        judged = host_answers.judge(kept.get(host), call, host=host, verify=self._keys.verify)
        return isinstance(judged, Proved)

    def _unanswered(self, host: str) -> list[Call]:
        kept = self._silent.read(host).get("unanswered", ())
        return [Call(*call) for call in kept if isinstance(call, (list, tuple)) and len(call) == 2]

    def _remember(self, call: Call, answers: Mapping[str, Answer], doubted: Collection[str]) -> None:
        for host, answer in answers.items():
            if isinstance(answer, Silent) and answer.passed_over:
                continue
            if isinstance(answer, Silent) and not answer.at_work:
                calls = [*self._unanswered(host), call][-_MOST_UNANSWERED:]
                unproved = answer.unproved or self._silent.read(host).get("unproved", "")
                self._silent.write(
                    host, {"unanswered": [[one.job, one.function] for one in calls], "unproved": unproved}
                )
            elif host in doubted:
                self._silent.drop(host)

    def _with_reason(self, host: str, answer: Answer) -> Answer:
        """A doubted host is not waited for: why it was not believed before may not have come again."""
        if isinstance(answer, Silent) and not answer.unproved:
            return replace(answer, unproved=str(self._silent.read(host).get("unproved", "")))
        return answer


class SaltBus:
    """The ``Bus`` port; one client for all calls, as making one costs as much as a quarter of a call.

    Each thread has a client of its own: one listens to one job at a time.
    """

    def __init__(self, opts: Mapping[str, Any]) -> None:
        self._opts = dict(opts)
        self._own = threading.local()
        self._made: list[Any] = []

    def new_job(self) -> str:
        """In Salt's form, with its time and a random end: Salt makes its own unique, and takes ours as it is."""
        moment = salt.utils.jid.gen_jid({**self._opts, "unique_jid": False})
        return f"{moment}_r{secrets.token_hex(8)}"

    def publish(self, hosts: Sequence[str], function: str, arguments: Sequence[Any], *, job: str) -> Collection[str]:
        """One job for these hosts; those whose key is accepted."""
        with _salt_errors():
            published = self._client.run_job(
                list(hosts), function, list(arguments), tgt_type="list", jid=job, listen=True
            )
        return list(published.get("minions", ()))

    def next_return(self, jobs: Collection[str], *, wait_s: float) -> Return | None:
        """The next return of any of these jobs; Salt keeps those of others for who asks for them."""
        tag = f"^salt/job/({'|'.join(jobs)})/ret/"
        event = self._client.event.get_event(wait=wait_s, tag=tag, match_type="regex", full=True)
        if not event:
            return None
        data = event["data"]
        return Return(event["tag"].split("/")[2], str(data.get("id")), data.get("return"))

    def kept_returns(self, job: str) -> Mapping[str, Any]:
        """The first return that came under each name, from the master's job cache.

        A minion can write there whatever it likes: what cannot be read is not there, and stops nobody.
        """
        try:
            return {host: kept.get("ret") for host, kept in self._client.get_cache_returns(job).items()}
        except salt.exceptions.SaltException as error:
            log.warning("job %s: its kept returns cannot be read: %s", job, error)
            return {}

    def close(self) -> None:
        """Leave the bus."""
        while self._made:
            self._made.pop().destroy()
        self._own = threading.local()

    @property
    def _client(self) -> Any:
        if not hasattr(self._own, "client"):
            self._own.client = _Client(self._opts)
            self._made.append(self._own.client)
        return self._own.client


class _Client(salt.client.LocalClient):  # type: ignore[misc]  # Salt has no types
    """Salt's client, but its nine loaders are made when a kept return is read: they are half of what a call costs."""

    def __init__(self, opts: Mapping[str, Any]) -> None:
        self.opts = opts
        self.salt_user = salt.utils.user.get_specific_user()
        self.skip_perm_errors = False
        self.key = self._LocalClient__read_master_key()
        self.auto_reconnect = self.listen = False
        self.event = salt.utils.event.get_event("master", opts["sock_dir"], opts=opts, listen=False)

    @cached_property
    def utils(self) -> Any:
        return salt.loader.utils(self.opts)

    @cached_property
    def functions(self) -> Any:
        return salt.loader.minion_mods(self.opts, utils=self.utils)

    @cached_property
    def returners(self) -> Any:
        return salt.loader.returners(self.opts, self.functions)

    def destroy(self) -> None:
        """Leave the bus; a loader that was not needed is not made for its end."""
        for name in ("utils", "functions", "returners"):
            self.__dict__.setdefault(name, None)
        super().destroy()


@contextmanager
def _salt_errors() -> Iterator[None]:
    try:
        yield
    except salt.exceptions.SaltException as error:
        raise Unavailable("master_down", f"the Salt master does not take the call: {error}") from error
