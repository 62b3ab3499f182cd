"""The VMs of the whole rack: find them, show them, change them. Creating is in :mod:`racksalt.vm_create`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from racksalt import access, inventory, shape
from racksalt.access import Caller
from racksalt.errors import BadInput, Conflict, NotFound, RacksaltError, Unavailable
from racksalt.host_requests import ActOnHost, Ladder
from racksalt.inventory import Inventory, Vm
from racksalt.model import Record
from racksalt.move_calls import MoveCalls
from racksalt.names import is_uuid
from racksalt.ports import Silent
from racksalt.rack import Rack, silent_hosts
from racksalt.rack_pending import RackPending, find_deleted
from racksalt.rack_requests import ActOnVm, ListVms, ShowVm
from racksalt.settings import Settings

log = logging.getLogger(__name__)

#: A host waits up to a minute for its own lock.
_QUICK_S = 75.0
_LONGEST_LADDER_S = 180
#: libvirt waits so long for a guest agent, whatever the rung says.
_AGENT_S = 60.0
#: Memory is written to disk, or read from there: 100 GiB at 200 MiB/s.
_MEMORY_S = 600.0


@dataclass(frozen=True, slots=True)
class RackVms:
    """What a caller can see and do with VMs that exist."""

    rack: Rack

    def list(self, caller: Caller, asked: ListVms, settings: Settings) -> dict[str, Any]:
        """The VMs that the caller may see; the operator is also told which hosts are silent."""
        tenants = access.visible_tenants(caller, asked.tenant, settings)
        if asked.host is not None:
            access.require_operator(caller)
        seen = self.rack.live_inventory(settings)
        everything = caller.operator and asked.tenant is None
        found = [vm for vm in seen.vms() if (everything or vm.record.tenant in tenants) and _matches(vm, asked)]
        listed: dict[str, Any] = {"vms": [shown(caller, vm) for vm in found]}
        if caller.operator:
            listed["silent_hosts"] = silent_hosts(seen)
        return listed

    def show(self, caller: Caller, asked: ShowVm, settings: Settings) -> dict[str, Any]:
        """One VM; the operator is also told of its move, and how far it has come."""
        seen = self.rack.live_inventory(settings)
        vm = find(caller, asked.name, asked.tenant, settings, seen)
        move = seen.move_of(vm.record.uuid) if caller.operator else None
        if move is None:
            return shown(caller, vm)
        progress = MoveCalls(self.rack, move, settings).progress()
        counted = {"percent": progress.percent, **shape.plain(progress)} if progress else {}
        return {**shown(caller, vm), "moving": {"from": move.moves_from, "to": move.record.host, **counted}}

    def act(self, caller: Caller, asked: ActOnVm, settings: Settings) -> dict[str, Any]:
        """One change, carried out by the VM's own host; a deletion waits for a host that is away."""
        deletes = asked.verb == "delete"
        if deletes and (told_before := find_deleted(caller, asked, settings)):
            return told_before
        seen = self.rack.inventory(settings)
        vm = find(caller, asked.name, asked.tenant, settings, seen)
        access.require_member(caller, vm.record.tenant)
        if seen.move_of(vm.record.uuid):
            raise moving(vm.record)
        _check_patience(caller, asked.ladder)
        host = vm.record.host
        if not vm.host_answers and deletes:
            return RackPending(self.rack).delete(caller, vm, asked)
        if not vm.host_answers:
            raise _host_silent(caller, host, "nothing was sent to it")
        request = ActOnHost(
            vm.record.uuid, asked.verb, asked.hard, asked.ladder, asked.note, asked.tags, asked.protected
        )
        arguments = {"request": shape.plain(request), "test": asked.test}
        answer = self.rack.fleet.ask([host], "rack_vm.act", arguments, timeout_s=_patience(asked))[host]
        if isinstance(answer, Silent) and deletes and not asked.test and not answer.at_work:
            return RackPending(self.rack).delete(caller, vm, asked)
        if isinstance(answer, Silent):
            known = "it is still at it" if answer.at_work else "what it did is not known"
            raise _host_silent(caller, host, known)
        if not isinstance(answer, (RacksaltError, Mapping)):
            answer = Unavailable("host_failed", f"host {host} answers what cannot be read", host=host)
        if isinstance(answer, RacksaltError):
            raise for_caller(caller, answer, host, asked.name)
        if deletes and not asked.test:
            self.rack.forget_vm(host, vm.record.uuid)
        told = {key: value for key, value in answer.items() if caller.operator or key not in ("removed", "left")}
        return {"vm": vm.record.title, **told, **({"test": True} if asked.test else {})}


def find(caller: Caller, name: str, tenant: str | None, settings: Settings, seen: Inventory) -> Vm:
    """The VM behind a reference; what is not the caller's is answered as if it did not exist."""
    visible = access.visible_tenants(caller, tenant, settings)
    everything = caller.operator and tenant is None
    vms = [vm for vm in seen.vms() if everything or vm.record.tenant in visible]
    if is_uuid(name):
        found = [vm for vm in vms if vm.record.uuid == name]
    elif "/" in name:
        found = [vm for vm in vms if vm.record.title == name]
    else:
        own = access.acting_tenant(caller, tenant, settings, changes=False)
        found = [vm for vm in vms if vm.record.tenant == own and vm.record.name == name]
    if not found:
        raise NotFound("vm_not_found", f"no VM {name!r}", vm=name)
    if len(found) > 1:
        uuids = [vm.record.uuid for vm in sorted(found, key=lambda vm: vm.record.created_at)]
        raise BadInput(
            f"{name!r} is {len(found)} VMs; say the UUID: {', '.join(uuids)}", code="name_ambiguous", vm=name
        )
    return found[0]


def shown(caller: Caller, vm: Vm) -> dict[str, Any]:
    """A VM as this caller may see it."""
    return inventory.for_operator(vm) if caller.operator else vm.as_dict()


def for_caller(caller: Caller, error: RacksaltError, host: str, name: str) -> RacksaltError:
    """A host's error; only the operator learns which host it was and what it said of itself."""
    if caller.operator:
        return error
    log.warning("host %s refused what %s asked for: %s: %s", host, caller.user, error.code, error.detail)
    if error.code == "vm_not_found":
        return NotFound("vm_not_found", f"no VM {name!r}", vm=name)
    if error.code in ("vm_protected", "vm_moving") or (error.code == "vm_state" and "state" in error.facts):
        return error
    return Unavailable("host_failed", "the VM's host could not do it; the operator can see why")


def _check_patience(caller: Caller, ladder: Ladder) -> None:
    """Each stop holds a thread of the API and a process on the master for as long as its ladder is."""
    asked = ladder.acpi_s + ladder.ctrl_alt_del_s + ladder.agent_s
    if not caller.operator and asked > _LONGEST_LADDER_S:
        raise BadInput(f"ladder: found {asked:.0f} s in all, allowed: at most {_LONGEST_LADDER_S} s")


def moving(record: Record) -> Conflict:
    """The refusal of whatever would change a VM that is being moved."""
    return Conflict(
        "vm_moving", f"{record.title} is being moved to another host; try again in a while", vm=record.title
    )


def _host_silent(caller: Caller, host: str, known: str) -> Unavailable:
    if caller.operator:
        return Unavailable("host_silent", f"host {host} does not answer; {known}", host=host)
    return Unavailable("host_silent", f"the VM's host does not answer; {known}; try again later")


def _patience(asked: ActOnVm) -> float:
    ladder: Ladder = asked.ladder
    if asked.verb in ("suspend", "start"):
        return _MEMORY_S
    slow = asked.verb in ("stop", "restart") and not asked.hard
    return _QUICK_S + (ladder.acpi_s + ladder.ctrl_alt_del_s + ladder.agent_s + _AGENT_S if slow else 0)


def _matches(vm: Vm, asked: ListVms) -> bool:
    record = vm.record
    return (
        (asked.tag is None or asked.tag in record.tags)
        and (asked.host is None or asked.host == record.host)
        and (asked.state is None or asked.state == vm.state)
        and (asked.q is None or asked.q in record.name)
    )
