"""The fleet, with a note of each host that was asked to change something: who reads after that must see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from racksalt.fleet_over import FleetOver
from racksalt.ports import Answer, Clock, LastKnown, Silent

#: These change nothing on a host; any other function is taken for a change.
READS = frozenset(
    {
        "rack_host.errors",
        "rack_host.holdings",
        "rack_host.keep_snapshot",
        "rack_host.report",
        "rack_host.snapshot",
        "rack_vm.offer",
        "rack_vm.progress",
    }
)
#: What these do stands in a claim: until the host was read again, or until the claim ends without its VM.
CLAIMED = frozenset({"rack_vm.create", "rack_vm.receive", "rack_vm.send", "rack_vm.conclude"})
_NOTHING = Silent(0.0)


@dataclass(frozen=True, slots=True)
class NotedFleet(FleetOver):
    """The ``Fleet`` port over another one."""

    last_known: LastKnown
    clock: Clock

    def ask(
        self,
        hosts: Sequence[str],
        function: str,
        request: Mapping[str, Any],
        *,
        timeout_s: float,
        lead: str | None = None,
    ) -> dict[str, Answer]:
        """As the fleet does; what its events told of a host before the answer is too old from then on."""
        answers: dict[str, Answer] = {}
        try:
            answers = self.fleet.ask(hosts, function, request, timeout_s=timeout_s, lead=lead)
            return answers
        finally:
            if function not in READS:
                for host in hosts:
                    silent = isinstance(answers.get(host, _NOTHING), Silent)
                    claimed = function in CLAIMED and not silent
                    self.last_known.touch(host, self.clock.now(), claimed=claimed)
