"""What hosts hold behind their VMs, read from all that answer in one call each."""

from __future__ import annotations

from collections.abc import Sequence

from racksalt import shape
from racksalt.errors import BadInput, RacksaltError
from racksalt.holdings import Holdings
from racksalt.ports import Answer, Silent
from racksalt.rack import Rack

#: A host waits up to a minute for its own lock.
_TIMEOUT_S = 75.0


def read(rack: Rack, hosts: Sequence[str]) -> tuple[dict[str, Holdings], dict[str, str]]:
    """The holdings of these hosts; and of each other one, what was wrong with its answer."""
    answers = rack.fleet.ask(hosts, "rack_host.holdings", {}, timeout_s=_TIMEOUT_S) if hosts else {}
    told = {host: _parsed(answers[host]) for host in hosts}
    held = {host: one for host, one in told.items() if isinstance(one, Holdings)}
    return held, {host: one for host, one in told.items() if isinstance(one, str)}


def _parsed(answer: Answer) -> Holdings | str:
    if isinstance(answer, Silent):
        return answer.told
    if isinstance(answer, RacksaltError):
        return answer.detail
    try:
        return shape.parse(Holdings, answer)
    except BadInput as error:
        return f"answers what cannot be read: {error.detail[:200]}"
