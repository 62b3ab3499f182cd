"""Plans on the writer: told, applied by their hash, and carried out step by step."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from racksalt import audit, plan_run, plans, shape
from racksalt.access import Caller
from racksalt.audit import Act
from racksalt.convoy import Convoy
from racksalt.drain_plan import UPDATING
from racksalt.errors import BadInput, Conflict, NotFound, RacksaltError, Refused, Unavailable
from racksalt.inventory import Inventory
from racksalt.migration import How
from racksalt.model import Record
from racksalt.plan_groups import Limits
from racksalt.plan_run import Alone, StepEnd, Stopped
from racksalt.plans import Plan, Step
from racksalt.rack import Rack
from racksalt.rack_hosts import RackHosts
from racksalt.rack_migrations import RackMigrations
from racksalt.rack_requests import SwitchHost
from racksalt.rack_upkeep import RackUpkeep
from racksalt.settings import Settings

#: One whole move: caller, the VM's record, target, settings, and how; its receipt.
Mover = Callable[[Caller, Record, str, Settings, How], dict[str, Any]]

#: A move waits so long for those of others to end, and tries again so soon.
_PATIENCE_S = 600.0
_TRY_AGAIN_S = 1.0
#: One of those that leave together, of which this is told, moves alone when there is a place for it.
_GOES_ALONE = ("turn_missed", "claim_expired", "busy", "too_many_migrations")
#: So many VMs leave a host together at most, with so much memory and, where it is copied, disk: mostly that takes less
#: than a minute, as their claims may be begun for so long, and as those that have moved wait for the last of them.
_TOGETHER, _TOGETHER_MIB, _TOGETHER_GIB = 32, 4096, 40
#: Not so by a network with less.
_SLOW_MIB_S = 50


def _move(rack: Rack) -> Mover:
    return RackMigrations(rack).move


@dataclass(frozen=True, slots=True)
class RackPlans:
    """What becomes of plans; ``movers`` makes what moves one VM."""

    rack: Rack
    movers: Callable[[Rack], Mover] = field(default=_move)

    def told(self, plan: Plan) -> dict[str, Any]:
        """The plan for who reads it first, kept for who applies it then."""
        self.rack.plans.keep(plan.hash, shape.plain(plan))
        return {"test": True, "changed": bool(plan.steps), **plan.told()}

    def applied(self, asked: str, now: Plan, seen: Inventory) -> Plan:
        """The plan with this hash, without what of it is done already; ``plan_changed`` where facts are other ones.

        The plan of now with the same hash is the same plan. Else it may be the one that was read, and was cut off.
        """
        if now.hash == asked:
            return now
        kept = self._kept(asked)
        if kept is None or (kept.kind, kept.object) != (now.kind, now.object):
            raise plans.changed(asked, ["no plan with this hash is kept for it, so what changed cannot be told"])
        done = plans.done_of(kept, seen) if kept.kind in ("drain", "balance") else frozenset[int]()
        if not done:
            raise plans.changed(asked, plans.other_steps(kept, now) or ["the state of a VM or a host"])
        return kept.without(done)

    def require_whole(self, plan: Plan, *, remedy: str = "") -> None:
        """Refuse a plan that leaves something behind, before its first step; ``remedy`` ends what is told."""
        if plan.refusals:
            told = "; ".join(f"{one.vm}: {one.why}" for one in plan.refusals[:5])
            more = f"; and {len(plan.refusals) - 5} more" if len(plan.refusals) > 5 else ""
            raise Refused(
                "plan_refused",
                f"{plan.kind} of {plan.object}: {len(plan.refusals)} VMs cannot be moved, and nothing was done: "
                f"{told}{more}{remedy}",
                **plan.told(),
            )

    def carry_out(
        self, caller: Caller, plan: Plan, seen: Inventory, *, before: Sequence[StepEnd] = ()
    ) -> list[StepEnd]:
        """Every step, side by side within ``migrations`` of hosts.yaml; ``seen`` is what the plan was made on.

        ``before`` are steps of the same call that ended before: they are told too where it is asked to end.
        """
        self.rack.plans.keep(plan.hash, shape.plain(plan))
        settings = self.rack.settings()
        records = {vm.record.uuid: vm.record for vm in seen.vms()}
        steps = _Steps(self.rack, caller, plan, self.movers, records, settings)
        limits = Limits(settings.migrations.per_host, settings.migrations.rack)
        try:
            return plan_run.carry_out(plan, steps.act, limits, share=steps.share, stop=steps.stop)
        except Stopped as stopped:
            raise _stopped(plan, [*before, *stopped.ends]) from None

    def _kept(self, asked: str) -> Plan | None:
        """The plan that was kept under this hash, if it is that one."""
        try:
            plan = shape.parse(Plan, self.rack.plans.read(asked))
        except BadInput:
            return None
        return plan if plan.hash == asked else None


def ended(
    plan: Plan, ends: Sequence[StepEnd], bad: Sequence[StepEnd], *, left: Sequence[str] = (), **facts: Any
) -> dict[str, Any]:
    """How a plan ended, as plain data.

    Raises ``plan_incomplete`` where there are ``bad`` ends, or something is ``left`` that was to go.
    """
    told = {
        "changed": any(end.end == "done" for end in ends),
        **plan.told(),
        "steps": [end.told() for end in ends],
        **facts,
    }
    if not bad and not left:
        return told
    why = [f"step {end.step.n}: {end.error.detail if end.error else end.because}" for end in bad[:5]]
    why += [f"still there: {', '.join(left)}"] if left else []
    raise Unavailable(
        "plan_incomplete",
        f"{plan.kind} of {plan.object}: {len(ends) - len(bad)} of {len(ends)} steps are done; {'; '.join(why)}; "
        "run it again",
        **told,
    )


def broken_off(plan: Plan, ends: Sequence[StepEnd], error: RacksaltError) -> Unavailable:
    """The error of a plan that could not go on after these steps."""
    done = sum(end.end == "done" for end in ends)
    detail = f"{plan.kind} of {plan.object}: {done} of {len(ends)} steps are done, and then: {error.detail}"
    told = {**plan.told(), "steps": [end.told() for end in ends], "error": error.as_dict()}
    return Unavailable("plan_incomplete", f"{detail}; run it again", **told)


def _stopped(plan: Plan, ends: Sequence[StepEnd]) -> Conflict:
    """The error of a plan that was asked to end."""
    done = sum(end.end == "done" for end in ends)
    detail = f"{plan.kind} of {plan.object} was asked to end: {done} of {len(ends)} steps are done; run it again"
    return Conflict("job_cancelled", detail, **{**plan.told(), "steps": [end.told() for end in ends]})


@dataclass(frozen=True, slots=True)
class _Steps:
    """The steps of one plan. Each runs in a thread of its own; ``stop`` is set when the plan is asked to end."""

    rack: Rack
    caller: Caller
    plan: Plan
    movers: Callable[[Rack], Mover]
    records: Mapping[str, Record]
    settings: Settings
    stop: threading.Event = field(default_factory=threading.Event)

    def share(self, step: Step) -> float:
        """What part a VM is of those that leave a host together; one that nobody knows yet goes alone."""
        record, slow = self.records.get(step.uuid), 0 < self.settings.migrations.bandwidth_mib_s < _SLOW_MIB_S
        if record is None or slow:
            return 1.0
        disk_gib = 0 if step.to and self.settings.share_volumes(step.host, step.to) else record.disk_gib
        return max(1 / _TOGETHER, record.memory_mib / _TOGETHER_MIB, disk_gib / _TOGETHER_GIB)

    def act(self, step: Step, convoy: Convoy | None) -> Any:
        """One step; what it returns is its receipt."""
        if step.do == "move":
            return self._move(step, convoy)
        if step.do == "disable":
            return self._disable(step)
        if step.do == "enable":
            return self._enable(step.host)
        upkeep = RackUpkeep(self.rack)
        return upkeep.update(step.host) if step.do == "update" else upkeep.reboot(step.host)

    def _disable(self, step: Step) -> Any:
        """Whom somebody else has taken out of placement meanwhile stays out for that reason."""
        settings, reason = self.rack.settings(), step.why.partition(":")[0]
        config = settings.hosts.get(step.host)
        if config is not None and not config.enabled and config.reason != UPDATING:
            return {"changed": False, "host": step.host, "reason": config.reason}
        return RackHosts(self.rack).switch(SwitchHost(step.host, reason), settings, enabled=False)

    def _enable(self, host: str) -> Any:
        """Hours may have passed: whom somebody else has taken out of placement meanwhile stays out."""
        settings = self.rack.settings()
        config = settings.hosts.get(host)
        if config is not None and not config.enabled and config.reason != UPDATING:
            raise Conflict("host_disabled", f"host {host} was disabled meanwhile: {config.reason or '-'}", host=host)
        return RackHosts(self.rack).switch(SwitchHost(host), settings, enabled=True)

    def _move(self, step: Step, convoy: Convoy | None) -> Any:
        """Between two lines of the audit, as if it were called by itself."""
        record = self._record(step)
        arguments = {"target": step.to, "plan": self.plan.hash}
        act = Act(
            self.caller.user,
            "rack_vm.migrate",
            tenant=record.tenant,
            object=record.title,
            arguments=arguments,
            operator=self.caller.operator,
        )
        self.rack.audit.append(audit.intent(act))
        result = "cut off"
        try:
            receipt = self._patiently(record, step, convoy)
            result = "done"
        except RacksaltError as error:
            result = error.code
            if convoy and error.code in _GOES_ALONE:
                raise Alone from error
            raise
        finally:
            self.rack.audit.append(audit.outcome(act, result))
        return receipt

    def _patiently(self, record: Record, step: Step, convoy: Convoy | None) -> dict[str, Any]:
        """Moves of others take places too: those are waited for, by who goes alone."""
        until = self.rack.clock.now() + _PATIENCE_S
        how = How(live=step.live, together=convoy.together if convoy else None)
        fleet = convoy.fleet(self.rack.fleet) if convoy else self.rack.fleet
        mover = self.movers(replace(self.rack, fleet=fleet))
        while True:
            try:
                return mover(self.caller, record, step.to, self.rack.settings(), how)
            except RacksaltError as error:
                waits = error.code == "too_many_migrations" and self.rack.clock.now() <= until
                if convoy or not waits or self.stop.is_set():
                    raise
            self.rack.clock.sleep(_TRY_AGAIN_S)

    def _record(self, step: Step) -> Record:
        """The VM as it is now: one that the plan has moved before has another record."""
        earlier = any(one.uuid == step.uuid and one.n < step.n for one in self.plan.steps if one.do == "move")
        if not earlier:
            return self.records[step.uuid]
        seen = self.rack.inventory(self.rack.settings())
        found = next((vm.record for vm in seen.vms() if vm.record.uuid == step.uuid), None)
        if found is None:
            raise NotFound("vm_not_found", f"{step.vm} is not there any more", vm=step.vm)
        if found.host != step.host:
            raise Conflict("record_changed", f"{step.vm} is on {found.host} by now, and not on {step.host}", vm=step.vm)
        return found
