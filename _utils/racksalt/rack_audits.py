"""The audit as the operator reads it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from racksalt import audit, audit_check
from racksalt.errors import Conflict
from racksalt.inventory import Inventory
from racksalt.model import Head
from racksalt.rack import Rack
from racksalt.rack_requests import ListAudit
from racksalt.settings import Settings

#: What of a line is for programs that check it, and not for people.
_UNSHOWN = ("prev", "hash", "master")


@dataclass(frozen=True, slots=True)
class RackAudits:
    """Looking through the audit of this master, and proving it. For operators."""

    rack: Rack

    def list(self, asked: ListAudit) -> dict[str, Any]:
        """The newest lines that match, the newest last."""
        found: list[dict[str, Any]] = []
        for line in self._matching(asked):
            found.append({key: value for key, value in line.items() if key not in _UNSHOWN})
            if len(found) == asked.limit:
                break
        return {"lines": found[::-1]}

    def verify(self, settings: Settings) -> dict[str, Any]:
        """What :func:`racksalt.audit_check.check` finds, with what every host knows; raises where the audit is broken.

        The hosts are read first: a change of this moment reaches them only after its line was written.
        """
        seen = self.rack.inventory(settings)
        told = audit_check.check(self.rack.audit.lines(), _heads(seen, self.rack.master))
        told["unheard"] = sorted(set(seen.hosts) - set(told["hosts"]))
        if not told["ok"]:
            first = "; ".join(problem["detail"] for problem in told["problems"][:3])
            raise Conflict("audit_broken", f"the audit of {self.rack.master} is broken: {first}", **told)
        return told

    def _matching(self, asked: ListAudit) -> Iterator[dict[str, Any]]:
        since = _seconds(asked.since)
        oldest = audit.moment(since)
        wanted = {key: getattr(asked, key) for key in ("user", "tenant", "fun", "kind")}
        wanted["job"] = None if asked.job is None else str(asked.job)
        wanted = {key: value for key, value in wanted.items() if value is not None}
        for text in self.rack.audit.newest(since=since):
            line = audit.read(text)
            if line is None or any(line.data.get(key) != value for key, value in wanted.items()):
                continue
            if line.data["time"] >= oldest:
                yield dict(line.data)


def _heads(seen: Inventory, master: str) -> dict[str, Head]:
    """What each host knows of this master's audit; of a silent one, what it said last."""
    reports = {name: view.report for name, view in seen.hosts.items() if view.report}
    known = ((name, head) for name, report in reports.items() for head in report.audit_heads)
    return {name: head for name, head in known if head.master == master}


def _seconds(when: str | int | None) -> float:
    """Seconds since the epoch, of these or of a time in ISO form; in UTC where it names no zone."""
    if not isinstance(when, str):
        return float(when or 0)
    moment = datetime.fromisoformat(when)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
