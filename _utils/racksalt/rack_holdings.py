"""What hosts hold behind their VMs, read from all that answer in one call each."""

from __future__ import annotations

from collections.abc import Sequence

from racksalt import bulk_answers
from racksalt.holdings import Holdings
from racksalt.rack import Rack

#: A host waits up to a minute for its own lock.
_TIMEOUT_S = 75.0


def read(rack: Rack, hosts: Sequence[str]) -> tuple[dict[str, Holdings], dict[str, str]]:
    """The holdings of these hosts; and of each other one, what was wrong with its answer."""
    answers = rack.fleet.ask(hosts, "rack_host.holdings", {}, timeout_s=_TIMEOUT_S) if hosts else {}
    told = {host: bulk_answers.read(Holdings, answers[host]) for host in hosts}
    held = {host: one for host, one in told.items() if isinstance(one, Holdings)}
    return held, {host: one for host, one in told.items() if isinstance(one, str)}
