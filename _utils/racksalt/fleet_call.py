"""One call to hosts over the bus: which returns count, and how long the others are waited for.

Silence is neither success nor failure: after a while the silent hosts are asked whether the job still runs, and
the kept returns are looked up, as Salt can lose returns (Salt issue 57750). What a host has not signed for this call
is dropped, told once, and the wait for the true answer goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from racksalt import host_answers
from racksalt.errors import RacksaltError
from racksalt.host_answers import Call, Unproved, Verify
from racksalt.ports import Answer, Bus, Clock, Silent

log = logging.getLogger(__name__)

#: Told of what was dropped: the name it came under, the job, the reason; once for each host and publish.
OnDropped = Callable[[str, str, str], None]

#: How long a host may take before it is asked whether the job still runs; twice as long each time, up to so long.
_ASK_AGAIN_AFTER_S = 4.0
_ASK_AGAIN_AT_MOST_S = 16.0
#: A call that is given minutes is likely to need more than that, and a question costs a busy host as much as a job:
#: until then, only what the bus has lost is looked up; half as often, as that costs the master a third of a call.
_LONG_S, _LOOK_AGAIN_AFTER_S, _ASK_LONG_AFTER_S = 60.0, 6.0, 12.0
#: How long a host may take to say that it does: under load as long as for the job itself.
_STILL_THERE_S = 6.0
#: And one that has said so before: it is there, and busy.
_STILL_BUSY_S = 12.0
#: Whether a job still runs is not signed: a yes counts more than a no that came so much before it.
_NO_IS_FINAL_S = 1.0
#: What the others get when the one that matters has answered well: they tell of the same thing.
_AFTER_LEAD_S = 1.0
#: What a host that was silent lately gets at least, beyond the time of the others: as long as they took.
_GRACE_S = 0.3


@dataclass(slots=True)
class FleetCall:
    """One publish and the wait for its answers; ``doubted`` hosts are not waited for beyond others that answer.

    With a ``lead`` the others are waited for as long as it is, and a moment more where it answers well.
    """

    bus: Bus
    clock: Clock
    verify: Verify
    on_dropped: OnDropped
    call: Call
    doubted: frozenset[str] = frozenset()
    lead: str | None = None
    _answers: dict[str, Answer] = field(default_factory=dict, init=False)
    _dropped: dict[str, str] = field(default_factory=dict, init=False)
    _others_until: float = field(default=0.0, init=False)

    def run(self, hosts: Sequence[str], arguments: Sequence[Any], *, timeout_s: float) -> dict[str, Answer]:
        """What each host has signed as its answer; ``Silent`` for the others."""
        began = self.clock.steady()
        reached = self.bus.publish(hosts, self.call.function, arguments, job=self.call.job)
        waiting, running = set(reached) & set(hosts), set[str]()
        long = timeout_s >= _LONG_S
        pause_s, asks_from_s = (_LOOK_AGAIN_AFTER_S, _ASK_LONG_AFTER_S) if long else (_ASK_AGAIN_AFTER_S, 0.0)
        while waiting and (left_s := timeout_s - (self.clock.steady() - began)) > 0:
            self._collect(hosts, waiting, for_s=min(pause_s, left_s), began=began)
            if self._lead_is_done(waiting):
                break
            self._look_up(waiting)
            if self._lead_is_done(waiting):
                continue
            if waiting and self.clock.steady() - began >= asks_from_s:
                patience_s = _STILL_BUSY_S if running else _STILL_THERE_S
                left_s = max(_NO_IS_FINAL_S, timeout_s - (self.clock.steady() - began))
                running = self._still_running(hosts, waiting, for_s=min(patience_s, left_s))
                self._look_up(waiting)
                if not self._lead_is_done(waiting):
                    waiting &= running
                pause_s = min(2 * pause_s, _ASK_AGAIN_AT_MOST_S)
        waited_s = round(self.clock.steady() - began, 1)
        over = waiting if self._lead_is_done(waiting) else frozenset[str]()
        silent = {host: Silent(waited_s, self._dropped.get(host, ""), host in running, host in over) for host in hosts}
        return silent | self._answers

    def _collect(self, hosts: Sequence[str], waiting: set[str], *, for_s: float, began: float) -> None:
        """Take returns off the bus until nobody is waited for any more."""
        until = self.clock.steady() + for_s
        while waiting and (left_s := self._until(until, waiting) - self.clock.steady()) > 0:
            only_doubted = self._need_not_wait(waiting)
            grace_s = max(_GRACE_S, self.clock.steady() - began)
            came = self.bus.next_return([self.call.job], wait_s=min(left_s, grace_s) if only_doubted else left_s)
            if came is None and only_doubted:
                return
            if came is not None:
                self._take(came.host, came.value, known=came.host in hosts)
                waiting -= set(self._answers)

    def _take(self, host: str, returned: Any, *, known: bool) -> None:
        """Believe a return, or drop it; a host may well return the same thing twice."""
        if not known:
            self._drop("", f"came under the name of {host!r:.80}, which was not asked")
            return
        judged = host_answers.judge(returned, self.call, host=host, verify=self.verify)
        if isinstance(judged, Unproved):
            self._drop(host, judged.reason)
        elif host not in self._answers:
            self._answers[host] = answer = host_answers.told(judged.answer, host)
            if host == self.lead and not isinstance(answer, RacksaltError):
                self._others_until = self.clock.steady() + _AFTER_LEAD_S

    def _drop(self, host: str, reason: str) -> None:
        if host not in self._dropped:
            self._dropped[host] = reason
            log.warning("job %s %s, host %s: dropped: %s", self.call.job, self.call.function, host or "?", reason)
            self.on_dropped(host, self.call.job, reason)

    def _until(self, turn: float, waiting: set[str]) -> float:
        """Until when these are waited for in this turn: after the lead not by turns any more."""
        return self._others_until if self._lead_is_done(waiting) else turn

    def _lead_is_done(self, waiting: set[str]) -> bool:
        """Whether the host that matters has answered, or is not there to answer."""
        return self.lead is not None and self.lead not in waiting

    def _need_not_wait(self, hosts: set[str]) -> bool:
        """Others have answered, and these were silent lately. Where nobody answers, it may be the load of all."""
        return hosts <= self.doubted - {self.lead} and bool(self._answers)

    def _look_up(self, waiting: set[str]) -> None:
        """Answers that the bus has lost."""
        if not waiting:
            return
        for host, returned in self.bus.kept_returns(self.call.job).items():
            if host in waiting:
                self._take(host, returned, known=True)
        waiting -= set(self._answers)

    def _still_running(self, hosts: Sequence[str], waiting: set[str], *, for_s: float) -> set[str]:
        """Which of the silent hosts say that they are still at it; their answers may come meanwhile."""
        job = self.bus.new_job()
        asked = set(self.bus.publish(sorted(waiting), "saltutil.find_job", [self.call.job], job=job)) & waiting
        yes: set[str] = set()
        no: set[str] = set()
        until = self.clock.steady() + (_GRACE_S if self._need_not_wait(asked) else for_s)
        while asked - yes and not self._lead_is_done(waiting) and (left_s := until - self.clock.steady()) > 0:
            came = self.bus.next_return([job, self.call.job], wait_s=left_s)
            if came is None:
                break
            if came.job == self.call.job:
                self._take(came.host, came.value, known=came.host in hosts)
                waiting -= set(self._answers)
                asked -= set(self._answers)
            else:
                (yes if came.value and isinstance(came.value, Mapping) else no).add(came.host)
            if asked <= yes | no:
                until = min(until, self.clock.steady() + _NO_IS_FINAL_S)
        return waiting & yes
