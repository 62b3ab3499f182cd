"""The hosts' events on a master: proved, put in order, and laid over what was last read of each host.

An event only ever changes what is known of the host that signed it. What does not fit (a digest that differs, another
boot, a host not read yet) is not guessed at: that host is read again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from racksalt import host_events
from racksalt.host_answers import Unproved
from racksalt.host_events import Changes
from racksalt.model import MOST_DOMAINS, HostReport
from racksalt.rack import FRESH_S, Rack
from racksalt.settings import Settings

log = logging.getLogger(__name__)

#: How far two clocks may drift apart, as a part of the time: more than a clock that is being set right does.
_DRIFT = 5e-4
#: After so long a host is read again, so that the drift stays below a third of a second.
_ANCHOR_S = 600.0
#: A host whose events do not fit is read again after this, and every time twice as late.
_AGAIN_S, _LATEST_S = 1.0, 64.0
_READ_S = 5.0


@dataclass(frozen=True, slots=True)
class Live:
    """A host as its events keep it; ``anchor`` is the bulk read that its time is counted from."""

    report: HostReport
    marks: Mapping[str, str]
    anchor: HostReport

    @classmethod
    def of(cls, report: HostReport) -> Live:
        """A host as one bulk read found it."""
        return cls(report, host_events.marks(report.domains), report)

    def after(self, changes: Changes) -> Live | None:
        """With this event; ``None`` where it does not fit."""
        told = {domain.uuid: domain for domain in changes.changed}
        gone = set(changes.gone)
        marks = {uuid: mark for uuid, mark in self.marks.items() if uuid not in gone} | host_events.marks(told.values())
        if host_events.digest(marks) != changes.digest or len(marks) > MOST_DOMAINS:
            return None
        known = {domain.uuid: domain for domain in self.report.domains if domain.uuid not in gone}
        read_at = self._at(changes.uptime_s) if changes.whole else self.report.read_at
        domains = tuple((known | told).values())
        report = replace(self.report, domains=domains, read_at=read_at, uptime_s=changes.uptime_s)
        return Live(report, marks, self.anchor)

    def _at(self, uptime_s: float) -> float:
        """The master's time that a moment of the host was not before, whatever the host's own date is."""
        return self.anchor.read_at + (uptime_s - self.anchor.uptime_s) * (1 - _DRIFT)

    def is_off(self, now: float) -> bool:
        """Whether its time is to be counted anew: it is long ago, or this master's clock was set since."""
        return not self.anchor.read_at <= now <= self.anchor.read_at + _ANCHOR_S


@dataclass
class _Wait:
    """When a host may be read again, and how long it is left alone after that."""

    until: float = 0.0
    pause_s: float = _AGAIN_S


@dataclass
class InventoryFeed:
    """What the hosts' events add up to, in the one process of a master that listens to them."""

    _live: dict[str, Live] = field(default_factory=dict)
    _wanted: set[str] = field(default_factory=set)
    _waits: dict[str, _Wait] = field(default_factory=dict)
    _began: bool = False

    def heard(self, rack: Rack, settings: Settings, tag: str, data: Any) -> Unproved | None:
        """An event under a host's tag; why it does not count, where it does not."""
        host = host_events.host_of(tag)
        if host is None or host not in settings.hosts:
            return Unproved("an event of no host in hosts.yaml" if host else "an event that nobody has signed")
        judged = host_events.judge(data, host=host, verify=rack.fleet.proves)
        if isinstance(judged, Unproved):
            return judged
        self._take(rack, judged)
        return None

    def read_what_is_missed(self, rack: Rack, settings: Settings) -> None:
        """One bulk read of the hosts whose events do not fit; of all of them at first."""
        if not self._began:
            self._began, self._wanted = True, set(settings.hosts)
        now = rack.clock.now()
        due = {host for host in self._wanted & set(settings.hosts) if self._may_ask(host, now)}
        if not due:
            return
        self._wanted -= due
        for host in due:
            wait = self._waits.setdefault(host, _Wait())
            self._waits[host] = _Wait(now + wait.pause_s, min(2 * wait.pause_s, _LATEST_S))
        reports, _ = rack.read_hosts(settings, sorted(due), timeout_s=_READ_S)
        self._begin_anew(rack, reports.values())

    def _may_ask(self, host: str, now: float) -> bool:
        wait = self._waits.get(host)
        return wait is None or not wait.until - _LATEST_S <= now < wait.until

    def _begin_anew(self, rack: Rack, reports: Iterable[HostReport]) -> None:
        for report in reports:
            self._live[report.host] = Live.of(report)
            rack.last_known.write_live(report)

    def _take(self, rack: Rack, changes: Changes) -> None:
        host, now = changes.host, rack.clock.now()
        live = self._live.get(host)
        if live is None or live.report.boot != changes.boot:
            self._wanted.add(host)
            return
        if changes.uptime_s <= live.report.uptime_s:
            return
        after = live.after(changes)
        if after is None:
            log.info("host %s: its events do not fit what is known of it; it is read again", host)
            self._drop(rack, host)
            return
        self._live[host] = after
        rack.last_known.write_live(after.report)
        if after.is_off(now) or (changes.whole and not 0 <= now - after.report.read_at <= FRESH_S):
            self._wanted.add(host)
        else:
            self._waits.pop(host, None)

    def _drop(self, rack: Rack, host: str) -> None:
        del self._live[host]
        rack.last_known.drop_live(host)
        self._wanted.add(host)
