"""The life of a claim: held before a host works, moved, settled, looked up when nobody knows, and ended.

A claim ends by its host's word or by a look there, never by the death of whoever held it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from racksalt import shape
from racksalt.errors import RacksaltError
from racksalt.host_requests import PurgeOnHost
from racksalt.inventory import Inventory
from racksalt.model import Claim, Record
from racksalt.ports import Silent
from racksalt.rack import READ_TIMEOUT_S, Rack

log = logging.getLogger(__name__)

#: A host may begin a create until so long after its claim was written.
CLAIM_S = 60.0
#: The clocks of hosts and master may differ by so much; the host's own lock does the rest.
_SKEW_S = 5.0
#: Readers whose look at the hosts began before a claim was settled are done so long after.
_SETTLED_S = 120.0


@dataclass(frozen=True, slots=True)
class RackClaims:
    """What becomes of claims, on the writer."""

    rack: Rack

    def hold(self, record: Record) -> Claim:
        """A new claim, durable when this returns."""
        claim = Claim(record, self.rack.clock.now() + CLAIM_S)
        self.rack.claims.write(claim)
        return claim

    def join(self, claim: Claim) -> Claim:
        """The same claim with new time, for the same request that came again."""
        later = replace(claim, deadline=self.rack.clock.now() + CLAIM_S)
        self.rack.claims.write(later)
        return later

    def settle(self, claim: Claim) -> bool:
        """The host has made it; the claim stays for readers whose look is older. Whether that is written.

        Where it cannot be now, what the host has made is made all the same: the watch settles it later.
        """
        try:
            return self.change(claim, replace(claim, settled_at=self.rack.clock.now()))
        except RacksaltError as error:
            log.error("%s is done, and its claim is not settled yet: %s", claim.record.title, error.detail)
            return False

    def end(self, claim: Claim) -> bool:
        """The claim is over, unless somebody has gone on with it meanwhile."""
        return self.change(claim, None)

    def give_up(self, claim: Claim) -> bool:
        """Remove all that a failed create may have left on its host; whether the host says that it is gone.

        Until then the claim holds what it held, and nobody else may go on with it; unless the same request has
        joined it already, which then goes on alone.
        """
        ending = replace(claim, ending="all")
        return self.change(claim, ending) and self._purge(ending) == "gone"

    def tidy(self, seen: Inventory, *, only: Callable[[Record], bool] = lambda record: True) -> list[str]:
        """End what is past its time: what was said of each VM that this is about.

        A host that does not answer is asked once: callers do not wait for it at each of its claims.
        """
        silent: set[str] = set()
        told = [self._tidy_one(claim, seen, silent) for claim in seen.claims if only(claim.record)]
        return [line for line in told if line]

    def any_due(self) -> bool:
        """Whether there is a claim that a look at its host could end."""
        return any(self.is_due(claim) for claim in self.rack.claims.all())

    def is_due(self, claim: Claim) -> bool:
        """Whether it is past its time; also where the clock was set back since: no claim is made for so long."""
        now = self.rack.clock.now()
        if claim.settled_at is not None:
            return not claim.settled_at - _SKEW_S <= now <= claim.settled_at + _SETTLED_S
        return not claim.deadline - CLAIM_S - _SKEW_S <= now <= claim.deadline + _SKEW_S

    def _tidy_one(self, claim: Claim, seen: Inventory, silent: set[str]) -> str:
        title, host = claim.record.title, claim.record.host
        if claim.is_moving or not self.is_due(claim):
            return ""
        view = seen.hosts.get(host)
        if view is None:
            return f"{title}: host {host} is not in hosts.yaml any more" if self.end(claim) else ""
        if view.report is None or (claim.settled_at is None and (not view.answers or host in silent)):
            return ""
        if claim.settled_at is not None:
            since = min(claim.settled_at, self.rack.clock.now())
            return f"{title}: settled" if view.report.read_at > since and self.end(claim) else ""
        if claim.adopts:
            return f"{title}: adopted, or not" if self.end(claim) else ""
        if claim.ending != "all" and any(domain.uuid == claim.record.uuid for domain in view.report.domains):
            return f"{title}: host {host} has the VM" if self.settle(claim) else ""
        return self._look_up(claim, silent)

    def _look_up(self, claim: Claim, silent: set[str]) -> str:
        """Ask the host, which knows under its own lock; nobody joins the claim meanwhile."""
        ending = claim if claim.ending != "no" else replace(claim, ending="leftovers")
        if not self.change(claim, ending):
            return ""
        found = self._purge(ending)
        if found == "silent":
            silent.add(claim.record.host)
        where = f"{claim.record.title}: host {claim.record.host}"
        return {"gone": f"{where} has nothing left of it", "there": f"{where} has the VM"}.get(found, "")

    def _purge(self, claim: Claim) -> Literal["gone", "there", "silent", "refused"]:
        """The claim ends when the host says that nothing is left; where its VM is there after all, it is settled."""
        host = claim.record.host
        purge = PurgeOnHost(claim.record, only_leftovers=claim.ending == "leftovers")
        try:
            request = {"request": shape.plain(purge)}
            answer = self.rack.fleet.ask([host], "rack_vm.purge", request, timeout_s=READ_TIMEOUT_S)[host]
        except RacksaltError:
            return "silent"
        if isinstance(answer, Silent):
            return "silent"
        if not isinstance(answer, Mapping):
            return "refused"
        if answer.get("there"):
            return "there" if self.settle(claim) else "refused"
        self.end(claim)
        return "gone"

    def change(self, claim: Claim, changed: Claim | None) -> bool:
        """Write or remove a claim that is still as it was known; whether it was.

        What one that ends without its VM has done stands in no claim any more: its hosts are read again.
        """
        with self.rack.claims.locked():
            if claim not in self.rack.claims.certain():
                return False
            if changed is None:
                self.rack.claims.remove(claim.record.uuid)
                for host in () if claim.settled_at else (claim.record.host, claim.moves_from):
                    if host is not None:
                        self.rack.last_known.touch(host, self.rack.clock.now())
            else:
                self.rack.claims.write(changed)
        return True
