"""How a move ends that did not come to its good end: by a look at both of its hosts, and by nothing else.

Silence at either end keeps the claim, and with it the VM where it was known. One looks at a time: who does takes the
claim over for a while.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from racksalt import migration
from racksalt.errors import RacksaltError
from racksalt.host_requests import MoveEnd
from racksalt.inventory import Inventory
from racksalt.model import Claim, Domain, HostReport, Record
from racksalt.move_calls import MoveCalls
from racksalt.rack import Rack
from racksalt.rack_claims import CLAIM_S, RackClaims
from racksalt.settings import Settings

log = logging.getLogger(__name__)

#: How often, and how soon again, a move that is still under way is looked at by who waits for it.
_LOOKS = 10
_LOOK_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Found:
    """What a look told. ``held`` is a claim that stays, with the reason; ``ends`` are what both ends told of a move.

    ``over`` is a move that somebody else has ended otherwise than at its target.
    """

    what: Literal["moved", "stayed", "held", "over"]
    told: str
    ends: Mapping[str, MoveEnd] | None = None


@dataclass(frozen=True, slots=True)
class MoveEnds:
    """Looks for the VMs of moves, on the writer."""

    rack: Rack

    def tidy(self, seen: Inventory, settings: Settings) -> list[str]:
        """End the moves that are past their time, each by one look; what was said of each."""
        told = [self._tidy_one(claim, seen, settings) for claim in seen.claims if claim.is_moving]
        return [line for line in told if line]

    def await_end(self, claim: Claim, settings: Settings) -> Found:
        """Look until it is known, or for a while; where somebody else has ended it, what both ends show then."""
        for _ in range(_LOOKS):
            held = self.held(claim)
            found = self.look(held, settings) if held else self._shown(MoveCalls(self.rack, claim, settings))
            if found.what != "held" or found.told not in (_UNDER_WAY, _TAKEN):
                return found
            self.rack.clock.sleep(_LOOK_PAUSE_S)
        return found

    def held(self, claim: Claim) -> Claim | None:
        """The claim as it is now, if it is still one of a move: a look gives it more time."""
        return next((one for one in self.rack.claims.all() if one.record == claim.record and one.is_moving), None)

    def look(self, claim: Claim, settings: Settings) -> Found:
        """One look at both ends, and what follows from it."""
        calls = MoveCalls(self.rack, claim, settings)
        try:
            shown = {host: _domain(report, claim) for host, report in calls.reports().items()}
            outcome = migration.outcome(claim, shown[calls.source], shown[calls.target])
            if outcome == "moved":
                return self._finish(calls)
            if outcome == "stayed":
                return self._take_back(calls, shown[calls.source])
        except RacksaltError as error:
            return Found("held", f"what became of it is not known yet: {error.detail}")
        if outcome == "lost":
            log.error("%s: neither %s nor %s shows it", claim.record.title, calls.source, calls.target)
            return Found("held", f"neither {calls.source} nor {calls.target} shows it; nothing is removed")
        return Found("held", _UNDER_WAY)

    def _shown(self, calls: MoveCalls) -> Found:
        """Where the VM is of a move that is over; nothing follows from it."""
        try:
            shown = {host: _domain(report, calls.claim) for host, report in calls.reports().items()}
        except RacksaltError as error:
            return Found("held", f"somebody else has ended it, and where the VM is is not known yet: {error.detail}")
        ends = {host: _end(domain) for host, domain in shown.items()}
        if migration.is_confirmed(calls.claim, ends):
            return Found("moved", f"it is on {calls.target}, {ends[calls.target].state}", ends)
        there = [f"on {host}, {end.state}" for host, end in ends.items() if end.state is not None]
        return Found("over", f"it is {' and '.join(there) or 'at neither of its hosts'}")

    def _finish(self, calls: MoveCalls) -> Found:
        """It is at its target: the source's rest goes, the older copy of the VM first, and its disk last."""
        taken = self._take(calls)
        if taken is None:
            return Found("held", _TAKEN)
        ends = {**taken.conclude([taken.source], looked=True), **taken.conclude([taken.target], looked=True)}
        if not migration.is_confirmed(taken.claim, ends):
            return Found("held", "its hosts do not agree yet")
        RackClaims(self.rack).settle(taken.claim)
        return Found("moved", f"it is on {taken.target}, {ends[taken.target].state}", ends)

    def _take_back(self, calls: MoveCalls, domain: Domain | None) -> Found:
        """It is at its source: once that one sends no more, what the target has made goes."""
        taken = self._take(calls)
        if taken is None:
            return Found("held", _TAKEN)
        if taken.recall(abort=False) != "has" or not taken.withdraw(looked=True):
            return Found("held", _UNDER_WAY)
        RackClaims(self.rack).end(taken.claim)
        was = taken.claim.was if domain is None or domain.state == "paused" else domain.state
        return Found("stayed", f"it is on {taken.source}, {was}")

    def _take(self, calls: MoveCalls) -> MoveCalls | None:
        """The claim as this look's own: nobody else's look undoes anything meanwhile, and no new move begins."""
        later = replace(calls.claim, deadline=self.rack.clock.now() + CLAIM_S, ending="leftovers")
        if not RackClaims(self.rack).change(calls.claim, later):
            return None
        return replace(calls, claim=later)

    def _tidy_one(self, claim: Claim, seen: Inventory, settings: Settings) -> str:
        title, hosts = claim.record.title, (claim.moves_from or "", claim.record.host)
        if not RackClaims(self.rack).is_due(claim):
            return ""
        over = _over(claim, seen)
        if over:
            freed = self._freed(claim, seen, settings)
            return f"{title}: {over}" if freed is not None and RackClaims(self.rack).end(freed) else ""
        if not all(host in seen.hosts and seen.hosts[host].answers for host in hosts):
            return ""
        found = self.look(claim, settings)
        return "" if found.what == "held" else f"{title}: {found.told}"

    def _freed(self, claim: Claim, seen: Inventory, settings: Settings) -> Claim | None:
        """The claim, once its source has taken its mark back where its target was taken out of the rack.

        Nothing else would. A later move, or a source that is gone too, leaves nothing to take back.
        """
        later = _later(claim, seen)
        if later is not None:
            return self._cleared(claim, later, seen, settings)
        source = seen.hosts.get(claim.moves_from or "")
        if source is None or claim.record.host in seen.hosts:
            return claim
        if not source.answers:
            return None
        shown = _domain(source.report, claim) if source.report is not None else None
        if shown is None or shown.record is None or shown.record.wanted != "moving":
            return claim
        return self._taken_once(claim, settings, lambda calls: calls.recall(abort=False) != "sends")

    def _cleared(self, claim: Claim, later: Record, seen: Inventory, settings: Settings) -> Claim | None:
        """The claim, once nothing is left at its target of a move that was decided on a record of before.

        The source has refused to send that one; to the VM itself, wherever it is, nothing is done.
        """
        target = seen.hosts.get(claim.record.host)
        if target is None or later.host != claim.moves_from:
            return claim
        if not target.answers:
            return None
        return self._taken_once(claim, settings, lambda calls: calls.withdraw(looked=False))

    def _taken_once(self, claim: Claim, settings: Settings, done: Callable[[MoveCalls], bool]) -> Claim | None:
        """The claim as this look's own, where its host then says that this is done."""
        taken = self._take(MoveCalls(self.rack, claim, settings))
        try:
            return taken.claim if taken is not None and done(taken) else None
        except RacksaltError as error:
            log.warning("%s: %s", claim.record.title, error.detail)
            return None


_UNDER_WAY = "it is still under way"
_TAKEN = "somebody else is ending it"


def _over(claim: Claim, seen: Inventory) -> str:
    """Why no look is needed, or none can be had: the VM is where it is seen, and nothing is done to it."""
    later = _later(claim, seen)
    if later is not None:
        return f"a later move has brought it to {later.host}"
    gone = [host for host in (claim.moves_from or "", claim.record.host) if host not in seen.hosts]
    return f"host {' and '.join(gone)} is not in hosts.yaml any more" if gone else ""


def _later(claim: Claim, seen: Inventory) -> Record | None:
    """The VM's record of now, where it has moved after this claim was made."""
    now = seen.index.vms.get(claim.record.uuid)
    return now.record if now is not None and now.record.generation > claim.record.generation else None


def _end(domain: Domain | None) -> MoveEnd:
    """What a host that only shows it would tell of its end."""
    if domain is None or domain.incoming:
        return MoveEnd()
    return MoveEnd(domain.state, domain.record.generation if domain.record else 0)


def _domain(report: HostReport, claim: Claim) -> Domain | None:
    return next((domain for domain in report.domains if domain.uuid == claim.record.uuid), None)
