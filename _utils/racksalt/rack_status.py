"""The whole rack on one page: hosts and their VMs, what went wrong lately, what is slow, what is still to be done."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from racksalt import audit, bulk_answers, job_trail, shape
from racksalt.access import Caller
from racksalt.drift_requests import ReadErrors
from racksalt.host_errors import Errors
from racksalt.inventory import HostView, Inventory
from racksalt.rack import Rack
from racksalt.rack_hosts import overview
from racksalt.rack_jobs import RackJobs
from racksalt.rack_requests import ListJobs, ReadStatus
from racksalt.settings import Settings

#: A host reads so much of its journal in far less time.
_ERRORS_TIMEOUT_S = 25.0
#: A change that takes longer is told as slow.
SLOW_S = 10.0
_MOST_LINES = 20_000
_SHOWN = ("n", "time", "kind", "user", "fun", "object", "result")


@dataclass(frozen=True, slots=True)
class RackStatus:
    """One look at everything. For operators."""

    rack: Rack

    def status(self, caller: Caller, asked: ReadStatus, settings: Settings) -> dict[str, Any]:
        """The rack as it is, and what happened in the last ``asked.since`` seconds."""
        seen = self.rack.inventory(settings)
        now = self.rack.clock.now()
        since = now - asked.since
        errors, unread = self._errors(seen, asked)
        failed = RackJobs(self.rack).list(caller, ListJobs(state="failed", limit=asked.limit), settings)["jobs"]
        return {
            **overview(seen, settings),
            "by_host": _by_host(seen, errors, now),
            "since": audit.moment(max(0.0, since)),
            "errors": _newest(errors, asked.limit),
            "errors_unread": unread,
            "failed_jobs": [job for job in failed if job["started_at"] >= audit.moment(max(0.0, since))],
            "slow_calls": self._slow(since, asked.limit),
            "audit": self._last_line(),
        }

    def _errors(self, seen: Inventory, asked: ReadStatus) -> tuple[dict[str, Errors], dict[str, str]]:
        """What the logs of the hosts that answer have; and of each other one why not."""
        hosts = [name for name, view in seen.hosts.items() if view.answers]
        request = {"request": shape.plain(ReadErrors(asked.since, asked.limit))}
        answers = self.rack.fleet.ask(hosts, "rack_host.errors", request, timeout_s=_ERRORS_TIMEOUT_S) if hosts else {}
        told = {name: bulk_answers.read(Errors, answers[name]) for name in hosts}
        errors = {name: one for name, one in told.items() if isinstance(one, Errors)}
        return errors, {name: one for name, one in told.items() if isinstance(one, str)}

    def _slow(self, since: float, limit: int) -> list[dict[str, Any]]:
        texts = itertools.islice(self.rack.audit.newest(since=max(0.0, since)), _MOST_LINES)
        return list(itertools.islice(slow_calls(texts, since=since), limit))

    def _last_line(self) -> dict[str, Any] | None:
        text = next(iter(self.rack.audit.newest()), None)
        line = audit.read(text) if text is not None else None
        return {key: line.data.get(key) for key in _SHOWN} if line else None


def slow_calls(texts: Iterable[bytes], *, since: float, slow_s: float = SLOW_S) -> Iterator[dict[str, Any]]:
    """Changes that took long, the newest first: from when their jobs were asked for to their outcomes in the audit."""
    oldest = audit.moment(max(0.0, since))
    for text in texts:
        if audit.time_of(text) < oldest:
            return
        line = audit.read(text) if b'"kind":"outcome"' in text else None
        started = job_trail.started_at(str(line.data.get("job"))) if line else None
        if line is None or started is None:
            continue
        took_s = audit.seconds(str(line.data["time"])) - started
        if took_s > slow_s:
            told = {key: line.data.get(key) for key in ("job", "fun", "user", "object", "result")}
            yield {**told, "took_s": round(took_s, 1)}


def _by_host(seen: Inventory, errors: Mapping[str, Errors], now: float) -> list[dict[str, Any]]:
    """Each host; disabled and silent ones too."""
    states: dict[str, Counter[str]] = {name: Counter() for name in seen.hosts}
    for vm in seen.vms():
        if vm.record.host in states:
            states[vm.record.host][vm.state] += 1
    return [_host(view, states[name], errors.get(name), now) for name, view in seen.hosts.items()]


def _host(view: HostView, states: Mapping[str, int], errors: Errors | None, now: float) -> dict[str, Any]:
    return {
        "name": view.config.name,
        "enabled": view.config.enabled,
        "reason": view.config.reason,
        "answers": view.answers,
        "error": view.error,
        "age_s": round(max(0.0, now - view.report.read_at), 1) if view.report else None,
        "vms": dict(sorted(states.items())),
        "errors": errors.count if errors else None,
    }


def _newest(errors: Mapping[str, Errors], limit: int) -> list[dict[str, Any]]:
    """Of all hosts together."""
    lines = [{"host": name, **shape.plain(line)} for name, one in errors.items() for line in one.lines]
    return sorted(lines, key=lambda line: str(line["time"]), reverse=True)[:limit]
