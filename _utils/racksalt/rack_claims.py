"""The life of a claim: held before a host works, moved, settled, looked up when nobody knows, and ended.

A claim ends by its host's word or by a look there, never by the death of whoever held it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from racksalt import shape
from racksalt.errors import RacksaltError
from racksalt.host_requests import PurgeOnHost
from racksalt.inventory import Inventory
from racksalt.model import Claim, Record
from racksalt.ports import Silent
from racksalt.rack import READ_TIMEOUT_S, Rack
from racksalt.settings import Settings

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

    def settle(self, claim: Claim) -> None:
        """The host has made it; the claim stays for readers whose look is older."""
        self.rack.claims.write(replace(claim, settled_at=self.rack.clock.now()))

    def give_up(self, claim: Claim) -> bool:
        """Remove all that a failed create may have left on its host; whether the host says that it is gone.

        Until then the claim holds what it held, and nobody else may go on with it; unless the same request has
        joined it already, which then goes on alone.
        """
        with self.rack.claims.locked():
            if claim not in self.rack.claims.certain():
                return False
            self.rack.claims.write(replace(claim, ending=True))
        return self._purge(claim, only_leftovers=False)

    def tidy(self, seen: Inventory) -> list[str]:
        """End what is past its time: what was said of each VM that this is about."""
        told = (self._tidy_one(claim, seen) for claim in seen.claims)
        return [line for line in told if line]

    def any_due(self) -> bool:
        """Whether there is a claim that a look at its host could end."""
        return any(self._is_due(claim) for claim in self.rack.claims.all())

    def _is_due(self, claim: Claim) -> bool:
        now = self.rack.clock.now()
        if claim.settled_at is not None:
            return now > claim.settled_at + _SETTLED_S
        return now > claim.deadline + _SKEW_S

    def _tidy_one(self, claim: Claim, seen: Inventory) -> str:
        record = claim.record
        if not self._is_due(claim):
            return ""
        view = seen.hosts.get(record.host)
        if view is None:
            return self._end(claim, f"host {record.host} is not in hosts.yaml any more")
        if claim.settled_at is not None:
            old = view.report is not None and view.report.read_at > claim.settled_at
            return self._end(claim, "settled") if old else ""
        if not view.answers or view.report is None:
            return ""
        if claim.adopts:
            return self._end(claim, "adopted, or not")
        if not claim.ending and any(domain.uuid == record.uuid for domain in view.report.domains):
            return self._end(claim, f"its VM is on {record.host}")
        gone = self._purge(claim, only_leftovers=not claim.ending)
        return f"{record.title}: what was left of it on {record.host} is gone" if gone else ""

    def _end(self, claim: Claim, why: str) -> str:
        self.rack.claims.remove(claim.record.uuid)
        return f"{claim.record.title}: {why}"

    def _purge(self, claim: Claim, *, only_leftovers: bool) -> bool:
        """Ask the host to remove it; the claim ends when the host says so, or that the VM is there after all."""
        host = claim.record.host
        request = {"request": shape.plain(PurgeOnHost(claim.record, only_leftovers))}
        try:
            answer = self.rack.fleet.ask([host], "rack_vm.purge", request, timeout_s=READ_TIMEOUT_S)[host]
        except RacksaltError:
            return False
        if isinstance(answer, (Silent, RacksaltError)):
            return False
        self.rack.claims.remove(claim.record.uuid)
        return True


def tidy(rack: Rack, settings: Settings) -> dict[str, list[str]]:
    """Look at the hosts of all claims past their time, and end those that can be ended."""
    claims = RackClaims(rack)
    return {"ended": claims.tidy(rack.inventory(settings)) if claims.any_due() else []}
