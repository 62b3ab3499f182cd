"""Emptying hosts, and bringing them up to date one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from racksalt import inventory_file, rack_plans
from racksalt.access import Caller
from racksalt.drain_plan import DRAINING, UPDATING, drain_plan, update_plan
from racksalt.errors import BadInput, NotFound, RacksaltError, Unavailable
from racksalt.inventory import Inventory, domains_of
from racksalt.model import Claim
from racksalt.move_ends import MoveEnds
from racksalt.plan_run import StepEnd, failed
from racksalt.plans import Plan
from racksalt.rack import Rack
from racksalt.rack_claims import RackClaims
from racksalt.rack_plans import RackPlans
from racksalt.rack_requests import DrainHost, UpdateHosts
from racksalt.settings import Settings

#: So often a host is looked at again for VMs that came while it was being emptied.
_MOST_ROUNDS = 5
#: What is on its way from or to a host is waited for until so long after its time.
_PATIENCE_S = 60.0
_LOOK_AGAIN_S, _LOOK_SELDOM_S = 1.0, 10.0


@dataclass(frozen=True, slots=True)
class RackDrains:
    """Hosts without VMs; for operators. It can be cut off anywhere: the next one goes on with what is left."""

    rack: Rack
    plans: RackPlans

    def drain(self, caller: Caller, asked: DrainHost, settings: Settings) -> dict[str, Any]:
        """Take a host out of placement and move all its VMs; it stays disabled."""
        if asked.inventory is not None:
            return self._offline(asked, settings)
        seen = self._seen([asked.name], settings)
        plan = drain_plan(seen, settings, asked.name)
        if asked.test:
            return self.plans.told(plan)
        if asked.apply:
            plan = self.plans.applied(asked.apply, plan, seen)
        if not asked.partial:
            self.plans.require_whole(plan, remedy="; partial=True moves the others")
        run = _Draining(self.rack, self.plans, caller, asked.name, DRAINING)
        ends = run.to_the_end(plan, seen, rounds=1 if asked.apply else _MOST_ROUNDS)
        left = _left(self.rack.inventory(self.rack.settings()), asked.name)
        bad = [end for end in failed(ends) if end.step.do != "move" or end.step.uuid in left]
        titles = sorted(left.values())
        return rack_plans.ended(plan, ends, bad, left=() if asked.partial else titles, empty=not left, on_host=titles)

    def update(self, caller: Caller, asked: UpdateHosts, settings: Settings) -> dict[str, Any]:
        """Each host emptied, updated and enabled again, before the next one; the first that fails ends it."""
        hosts = asked.hosts or tuple(settings.hosts)
        seen = self._seen(hosts, settings)
        plan = update_plan(seen, settings, hosts, reboot=asked.reboot)
        if asked.test:
            return self.plans.told(plan)
        if asked.apply:
            plan = self.plans.applied(asked.apply, plan, seen)
        self.plans.require_whole(plan)
        if asked.apply:
            ends = self.plans.carry_out(caller, plan, seen)
            return rack_plans.ended(plan, ends, failed(ends))
        ends = []
        for host in hosts:
            try:
                self._updated(caller, host, ends, reboot=asked.reboot)
            except RacksaltError as error:
                if not ends or error.code == "job_cancelled":
                    raise
                raise rack_plans.broken_off(plan, ends, error) from error
            if any(end.end != "done" and end.step.do != "move" for end in ends):
                break
        return rack_plans.ended(plan, ends, [end for end in failed(ends) if end.step.do != "move"])

    def _offline(self, asked: DrainHost, settings: Settings) -> dict[str, Any]:
        """The plan for a rack that was saved; it rests on no facts of now, and so nobody can apply it."""
        path = asked.inventory or ""
        if not asked.test:
            raise BadInput("inventory: found a saved rack, which can only be planned on; say test=True as well")
        seen = inventory_file.parse(self.rack.saved.read(path), settings, path=path)
        if asked.name not in seen.hosts:
            told = f"no host {asked.name!r} in {path}; it has: {', '.join(seen.hosts)}"
            raise NotFound("host_unknown", told, host=asked.name)
        return {"test": True, **drain_plan(seen, settings, asked.name).told()}

    def _updated(self, caller: Caller, host: str, ends: list[StepEnd], *, reboot: bool) -> None:
        """One host, by the plan of its own time: other VMs are on it by then than when all began.

        Its steps are put after the ``ends`` of before, so that they are known wherever it breaks off.
        """
        settings = self.rack.settings()
        seen = self._seen([host], settings)
        plan = drain_plan(seen, settings, host, reason=UPDATING, first=len(ends) + 1)
        self.plans.require_whole(plan)
        run = _Draining(self.rack, self.plans, caller, host, UPDATING, tuple(ends))
        ends[:] = run.to_the_end(plan, seen, rounds=_MOST_ROUNDS)
        settings = self.rack.settings()
        seen = self._seen([host], settings)
        plan = update_plan(seen, settings, [host], reboot=reboot, first=len(ends) + 1)
        ends += self.plans.carry_out(caller, plan, seen, before=ends)

    def _seen(self, hosts: Sequence[str], settings: Settings) -> Inventory:
        """The rack, where these hosts are known and answer: a silent one cannot be emptied."""
        for host in hosts:
            if host not in settings.hosts:
                known = ", ".join(settings.hosts)
                raise NotFound("host_unknown", f"no host {host!r}; hosts.yaml has: {known}", host=host)
        seen = self.rack.inventory(settings)
        silent = [host for host in hosts if not seen.hosts[host].answers]
        if silent:
            told = f"host {silent[0]} does not answer; its VMs cannot be moved, and nothing was done"
            raise Unavailable("host_silent", told, host=silent[0])
        return seen


@dataclass(frozen=True, slots=True)
class _Draining:
    """One host on its way to be empty; ``before`` are the steps that ended before."""

    rack: Rack
    plans: RackPlans
    caller: Caller
    host: str
    reason: str
    before: Sequence[StepEnd] = ()

    def to_the_end(self, plan: Plan, seen: Inventory, *, rounds: int) -> list[StepEnd]:
        """Carry out the plan, and then the plans for what is left: what was on its way meanwhile, and what failed.

        As long as each brings it further.
        """
        ends = list(self.before)
        if plan.moving and rounds > 1:
            seen = self._quiet() or seen
            plan = self._next(seen, ends)
        for number in range(1, rounds + 1):
            new = self.plans.carry_out(self.caller, plan, seen, before=ends)
            ends += new
            quiet = self._quiet()
            if quiet is None or number == rounds or len(failed(new)) == len(new):
                break
            seen = quiet
            plan = self._next(seen, ends)
            if not plan.steps:
                break
        return ends

    def _next(self, seen: Inventory, ends: Sequence[StepEnd]) -> Plan:
        return drain_plan(seen, self.rack.settings(), self.host, reason=self.reason, first=len(ends) + 1)

    def _quiet(self) -> Inventory | None:
        """The rack when nothing is on its way from or to the host; ``None`` where that does not come to pass."""
        clock, until, pause_s = self.rack.clock, None, _LOOK_AGAIN_S
        while True:
            settings = self.rack.settings()
            seen = self.rack.inventory(settings)
            claims = [claim for claim in seen.claims if self._is_on_its_way(claim)]
            if not claims:
                return seen
            until = until or max(clock.now(), *(claim.deadline for claim in claims)) + _PATIENCE_S
            if clock.now() > until:
                return None
            MoveEnds(self.rack).tidy(seen, settings)
            RackClaims(self.rack).tidy(seen)
            clock.sleep(pause_s)
            pause_s = min(2 * pause_s, _LOOK_SELDOM_S)

    def _is_on_its_way(self, claim: Claim) -> bool:
        return claim.settled_at is None and self.host in (claim.record.host, claim.moves_from)


def _left(seen: Inventory, host: str) -> dict[str, str]:
    """What is on the host, by UUID."""
    return {one.uuid: one.record.title if one.record else one.name for one in domains_of(seen.hosts[host])}
