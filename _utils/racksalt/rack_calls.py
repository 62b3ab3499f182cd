"""Every runner function of the rack: what may be asked, what does it, and who may call it.

The runners, the generated ACL, the audit and the proof of isolation are derived from this one table, so that a new
function is in all of them by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from racksalt import rack_requests as asks
from racksalt.access import Caller
from racksalt.rack import Rack
from racksalt.rack_adopt import RackAdopt
from racksalt.rack_audits import RackAudits
from racksalt.rack_drains import RackDrains
from racksalt.rack_drift import RackDrift
from racksalt.rack_forget import RackForget
from racksalt.rack_hosts import RackHosts
from racksalt.rack_jobs import RackJobs
from racksalt.rack_keys import RackKeys
from racksalt.rack_migrations import RackMigrations
from racksalt.rack_places import RackPlaces
from racksalt.rack_plans import RackPlans
from racksalt.rack_status import RackStatus
from racksalt.rack_tenants import RackTenants
from racksalt.rack_vms import RackVms
from racksalt.settings import Settings
from racksalt.vm_create import VmCreate

Handler = Callable[[Rack, Caller, Any, Settings], Any]


@dataclass(frozen=True, slots=True)
class RackCall:
    """One runner function.

    ``preset`` are values of the request that the function's name stands for. ``changes`` says that it may change
    something: such a call is only carried out by the rack's writer, and is audited before and after.
    """

    request: type
    run: Handler
    who: Literal["tenant", "operator"] = "operator"
    changes: bool = False
    preset: Mapping[str, Any] = field(default_factory=dict)

    def acts(self, asked: Any) -> bool:
        """Whether this request is to change something, and not only to be told about."""
        return self.changes and not getattr(asked, "test", False) and not getattr(asked, "only_reads", False)


def _verb(verb: str) -> RackCall:
    return RackCall(
        asks.ActOnVm, lambda rack, *call: RackVms(rack).act(*call), "tenant", changes=True, preset={"verb": verb}
    )


def _switch(*, enabled: bool) -> RackCall:
    return RackCall(
        asks.SwitchHost,
        lambda rack, _, asked, settings: RackHosts(rack).switch(asked, settings, enabled=enabled),
        changes=True,
    )


def _check_acl(rack: Rack, _: Caller, asked: Any, settings: Settings) -> Any:
    """What proves this whole table needs it, and so comes after it."""
    from racksalt.rack_acl_check import RackAclCheck

    return RackAclCheck(rack).check(asked, settings)


def _balance(rack: Rack, caller: Caller, asked: Any, settings: Settings) -> Any:
    """It computes with a library that takes long to load, and that nothing else needs."""
    from racksalt.rack_balance import RackBalance

    return RackBalance(rack, RackPlans(rack)).balance(caller, asked, settings)


CALLS: Mapping[str, RackCall] = {
    "rack_audit.list": RackCall(asks.ListAudit, lambda rack, _, asked, __: RackAudits(rack).list(asked)),
    "rack_audit.verify": RackCall(asks.NoArguments, lambda rack, _, __, settings: RackAudits(rack).verify(settings)),
    "rack_host.baseline": RackCall(
        asks.ShareCpu, lambda rack, _, asked, settings: RackPlaces(rack).baseline(asked, settings)
    ),
    "rack_host.capacity": RackCall(
        asks.CountRoom, lambda rack, _, asked, settings: RackPlaces(rack).capacity(asked, settings)
    ),
    "rack_host.balance": RackCall(asks.BalanceRack, _balance, changes=True),
    "rack_host.disable": _switch(enabled=False),
    "rack_host.drain": RackCall(
        asks.DrainHost, lambda rack, *call: RackDrains(rack, RackPlans(rack)).drain(*call), changes=True
    ),
    "rack_host.drift": RackCall(
        asks.Drift, lambda rack, _, asked, settings: RackDrift(rack).drift(asked, settings), changes=True
    ),
    "rack_host.enable": _switch(enabled=True),
    "rack_host.find": RackCall(asks.FindHosts, lambda rack, _, asked, settings: RackPlaces(rack).find(asked, settings)),
    "rack_host.forget": RackCall(asks.ForgetHost, lambda rack, *call: RackForget(rack).forget(*call), changes=True),
    "rack_host.inventory": RackCall(
        asks.NoArguments, lambda rack, _, __, settings: RackHosts(rack).inventory(settings)
    ),
    "rack_host.list": RackCall(asks.NoArguments, lambda rack, _, __, settings: RackHosts(rack).list(settings)),
    "rack_host.rebuild_inventory": RackCall(
        asks.RebuildInventory,
        lambda rack, _, asked, settings: RackHosts(rack).rebuild_inventory(settings, test=asked.test),
        changes=True,
    ),
    "rack_host.rotate_key": RackCall(
        asks.RotateKey, lambda rack, _, asked, settings: RackKeys(rack).rotate(asked, settings), changes=True
    ),
    "rack_host.show": RackCall(asks.NamedHost, lambda rack, _, asked, settings: RackHosts(rack).show(asked, settings)),
    "rack_host.survive": RackCall(
        asks.LoseHost, lambda rack, _, asked, settings: RackPlaces(rack).survive(asked, settings)
    ),
    "rack_host.status": RackCall(asks.ReadStatus, lambda rack, *call: RackStatus(rack).status(*call)),
    "rack_host.update": RackCall(
        asks.UpdateHosts, lambda rack, *call: RackDrains(rack, RackPlans(rack)).update(*call), changes=True
    ),
    "rack_job.cancel": RackCall(
        asks.CancelJob, lambda rack, *call: RackJobs(rack).cancel(*call), "tenant", changes=True
    ),
    "rack_job.list": RackCall(asks.ListJobs, lambda rack, *call: RackJobs(rack).list(*call), "tenant"),
    "rack_job.show": RackCall(asks.ShowJob, lambda rack, *call: RackJobs(rack).show(*call), "tenant"),
    "rack_tenant.acl_check": RackCall(asks.CheckAcl, _check_acl),
    "rack_tenant.create": RackCall(
        asks.CreateTenant, lambda rack, *call: RackTenants(rack).create(*call), changes=True
    ),
    "rack_tenant.list": RackCall(
        asks.ListTenants, lambda rack, caller, _, settings: RackTenants(rack).list(caller, settings), "tenant"
    ),
    "rack_tenant.quota": RackCall(
        asks.SetQuota, lambda rack, *call: RackTenants(rack).quota(*call), "tenant", changes=True
    ),
    "rack_tenant.show": RackCall(asks.OneTenant, lambda rack, *call: RackTenants(rack).show(*call), "tenant"),
    "rack_tenant.usage": RackCall(asks.OneTenant, lambda rack, *call: RackTenants(rack).usage(*call), "tenant"),
    "rack_vm.adopt": RackCall(
        asks.AdoptVm, lambda rack, _, asked, settings: RackAdopt(rack).adopt(asked, settings), changes=True
    ),
    "rack_vm.create": RackCall(asks.CreateVm, lambda rack, *call: VmCreate(rack).create(*call), "tenant", changes=True),
    "rack_vm.delete": _verb("delete"),
    "rack_vm.list": RackCall(asks.ListVms, lambda rack, *call: RackVms(rack).list(*call), "tenant"),
    "rack_vm.migrate": RackCall(asks.MigrateVm, lambda rack, *call: RackMigrations(rack).migrate(*call), changes=True),
    "rack_vm.note": _verb("note"),
    "rack_vm.pause": _verb("pause"),
    "rack_vm.protect": _verb("protect"),
    "rack_vm.restart": _verb("restart"),
    "rack_vm.resume": _verb("resume"),
    "rack_vm.show": RackCall(asks.ShowVm, lambda rack, *call: RackVms(rack).show(*call), "tenant"),
    "rack_vm.start": _verb("start"),
    "rack_vm.stop": _verb("stop"),
    "rack_vm.suspend": _verb("suspend"),
    "rack_vm.tag": _verb("tag"),
    "rack_vm.why_not": RackCall(asks.ExplainVm, lambda rack, *call: RackPlaces(rack).why_not(*call), "tenant"),
}


def calls_of(who: Literal["tenant", "operator"]) -> tuple[str, ...]:
    """The functions that are for ``who``."""
    return tuple(sorted(fun for fun, call in CALLS.items() if call.who == who))
