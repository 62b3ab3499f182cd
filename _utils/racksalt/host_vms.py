"""The VMs of one host: what the host can do by itself, with or without a master."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any

from racksalt import holdings, record, record_proof, stop_ladder, vm_verbs
from racksalt.errors import BadInput, Conflict, NotFound, RacksaltError
from racksalt.host_requests import ActOnHost, NewSignature, PurgeOnHost, SignOnHost
from racksalt.model import Domain, HostReport, Record, Wanted
from racksalt.names import is_uuid
from racksalt.ports import Clock, HostKey, HostLock, Hypervisor, Volumes
from racksalt.vm_verbs import Step

log = logging.getLogger(__name__)

#: After these a VM runs here.
_RUNS = ("start", "resume", "restart")
#: What reads the record and writes it, or removes it, is one step for others. The rest may take minutes.
_LOCKED = ("delete", "note", "tag", "protect")
#: A start that somebody else has begun is looked at for so long, and so often.
_COMES_UP_S, _LOOK_S = 20.0, 0.2


@dataclass(frozen=True, slots=True)
class HostVms:
    """What Racksalt does on this host; every part of the outside is a port."""

    host: str
    hypervisor: Hypervisor
    volumes: Volumes
    lock: HostLock
    clock: Clock
    key: HostKey
    #: Whether a VM is being sent, or waits for its turn.
    is_sent: Callable[[str], bool]

    def report(self) -> HostReport:
        """The whole host in one bulk read."""
        return replace(self.hypervisor.report(), host=self.host, read_at=self.clock.now())

    def act(self, request: ActOnHost, *, test: bool = False) -> dict[str, Any]:
        """One change to one VM: the steps, and its state afterwards."""
        with self.lock() if request.verb in _LOCKED else nullcontext():
            domain = self._own_domain(request.uuid)
            steps = vm_verbs.plan(request, domain)
            told: dict[str, Any] = {"uuid": domain.uuid, "changed": bool(steps), "steps": list(steps)}
            if test:
                return {**told, "state": domain.state}
            vm = vm_verbs.record_of(domain)
            if steps and self.is_moving(domain.uuid):
                raise _moving(vm)
            if steps and request.verb in _RUNS and vm.wanted == "moving":
                raise _sent(vm)
            for step in steps:
                told |= self._carry_out(step, request, domain)
        if request.verb in vm_verbs.WANTED:
            self._note_wanted(domain.uuid, vm_verbs.WANTED[request.verb])
        gone = "delete" in steps
        return {**told, "state": None if gone else self.hypervisor.state(domain.uuid)}

    def is_moving(self, uuid: str) -> bool:
        """Whether it is on its way, or waits to be: nobody may change it."""
        return self.is_sent(uuid) or self.hypervisor.is_moving(uuid)

    def start(self, uuid: str) -> None:
        """Start it. Somebody else may be doing so, like the host at its boot: then it runs soon, as was asked."""
        try:
            self.hypervisor.start(uuid)
        except RacksaltError:
            if not self._comes_up(uuid, wait_s=_COMES_UP_S):
                raise

    def resume(self, uuid: str) -> None:
        """Let it go on. One that was seen paused may just have been starting: then it runs, as was asked."""
        try:
            self.hypervisor.resume(uuid)
        except RacksaltError:
            if not self._comes_up(uuid, wait_s=0):
                raise

    def _comes_up(self, uuid: str, *, wait_s: float) -> bool:
        """Whether it runs by now, or soon: libvirt calls a guest paused until all of its start is done."""
        until = self.clock.steady() + wait_s
        with suppress(RacksaltError):
            while (state := self.hypervisor.state(uuid)) == "paused" and self.clock.steady() < until:
                self.clock.sleep(_LOOK_S)
            return state == "running"
        return False

    def purge(self, request: PurgeOnHost) -> dict[str, Any]:
        """Remove all that a given-up create left behind; what is not there is not an error."""
        uuid = request.record.uuid
        with self.lock():
            if request.only_leftovers and self.hypervisor.domains([uuid]):
                return {"uuid": uuid, "removed": [], "there": True}
            removed = self._remove(request.record)
        return {"uuid": uuid, "removed": removed, "there": False}

    def sign(self, request: SignOnHost) -> dict[str, Any]:
        """Write new signatures; a record that is no longer what was signed stays as it is, and is named."""
        with self.lock():
            domains = {domain.uuid: domain for domain in self.hypervisor.domains(request.records)}
            refused: dict[str, str] = {}
            for uuid, new in request.records.items():
                try:
                    self._write_signature(domains.get(uuid), new)
                except RacksaltError as error:
                    refused[uuid] = error.detail
        return {"signed": [uuid for uuid in request.records if uuid not in refused], "refused": refused}

    def find(self, name: str) -> Domain:
        """The domain behind ``tenant/name``, a UUID, or a name that is unique on this host."""
        found = [domain for domain in self.hypervisor.domains() if _is_own(domain) and _is_called(domain, name)]
        if not found:
            raise NotFound("vm_not_found", f"no VM {name!r} on host {self.host}", vm=name)
        if len(found) > 1:
            titles = ", ".join(domain.record.title for domain in found if domain.record)
            raise BadInput(f"{name!r} is {titles}; say tenant/name", code="name_ambiguous", vm=name)
        return found[0]

    def _write_signature(self, domain: Domain | None, new: NewSignature) -> None:
        if domain is None or domain.record is None:
            raise NotFound("vm_not_found", "there is no such VM here")
        if record_proof.digest(domain.record) != new.sha256:
            raise Conflict("record_changed", f"the record of {domain.record.title} has changed since it was read")
        if domain.record.signature != new.signature:
            xml = record.to_xml(replace(domain.record, signature=new.signature))
            self.hypervisor.write_record(domain.uuid, xml)

    def _own_domain(self, uuid: str) -> Domain:
        for domain in self.hypervisor.domains([uuid]):
            if _is_own(domain):
                return domain
        raise NotFound("vm_not_found", f"no VM {uuid} on host {self.host}", vm=uuid)

    def _remove(self, vm: Record) -> list[str]:
        """All of a VM; its definition goes last, so that what is cut off can be begun again.

        Somebody else's start may come in between, as those take no lock. Without a definition no more can.
        """
        self.power_off(vm.uuid)
        for nic in vm.nics:
            self.hypervisor.release_address(nic)
        removed = self.volumes.remove(vm.tenant, vm.uuid)
        undefined = self.undefine(vm.uuid)
        self.power_off(vm.uuid)
        return [f"domain {vm.domain}", *removed] if undefined else removed

    def write_wanted(self, uuid: str, wanted: Wanted) -> None:
        """Write down what the next boot is to do with it."""
        with self.lock():
            for domain in self.hypervisor.domains([uuid]):
                if _is_own(domain) and (vm := vm_verbs.record_of(domain)).wanted != wanted:
                    self.hypervisor.write_record(uuid, record.to_xml(replace(vm, wanted=wanted)))

    def _note_wanted(self, uuid: str, wanted: Wanted) -> None:
        """Remember what was asked for, for the next boot; the verb itself is done already."""
        try:
            self.write_wanted(uuid, wanted)
        except RacksaltError as error:
            log.error("what was asked of %s is not remembered for the next boot: %s", uuid, error.detail)

    def _delete(self, vm: Record) -> dict[str, Any]:
        """Of an adopted VM only the definition goes: its disks were not made here, and are told as ``left``."""
        disks = holdings.disks_of(self.hypervisor.definition(vm.uuid)) if vm.is_adopted else ()
        removed = self._remove(vm)
        left = [path for path in disks if path not in removed]
        return {"removed": removed, **({"left": left} if left else {})}

    def power_off(self, uuid: str) -> None:
        """End its QEMU, if there is one."""
        with suppress(NotFound, Conflict):
            if self.hypervisor.state(uuid) not in vm_verbs.DOWN:
                self.hypervisor.destroy(uuid)

    def undefine(self, uuid: str) -> bool:
        """Whether there was a definition to take away."""
        try:
            self.hypervisor.undefine(uuid)
        except NotFound:
            return False
        return True

    def _carry_out(self, step: Step, request: ActOnHost, domain: Domain) -> dict[str, Any]:
        """One step; what it has to tell."""
        match step:
            case "stop":
                rungs = stop_ladder.rungs(self.hypervisor, request.ladder, hard=request.hard)
                return {"rungs": stop_ladder.descend(self.hypervisor, domain.uuid, rungs, self.clock)}
            case "delete":
                return self._delete(vm_verbs.record_of(domain))
            case "write record":
                xml = record.to_xml(vm_verbs.described(request, domain))
                self.hypervisor.write_record(domain.uuid, xml)
            case "start":
                self.start(domain.uuid)
            case "pause":
                self.hypervisor.suspend(domain.uuid)
            case "resume":
                self.resume(domain.uuid)
            case "save memory":
                self.hypervisor.save(domain.uuid)
            case "discard saved memory":
                self.hypervisor.discard_save(domain.uuid)
        return {}


def _is_own(domain: Domain) -> bool:
    """One that is being moved here is still its other host's."""
    return domain.record is not None and not domain.incoming


def _moving(vm: Record) -> Conflict:
    return Conflict("vm_moving", f"{vm.title} is on its way to another host; try again when it is there", vm=vm.title)


def _sent(vm: Record) -> Conflict:
    return Conflict(
        "vm_moving",
        f"{vm.title} was being moved, and may run on its other host; it is free when the writer has seen both hosts",
        vm=vm.title,
    )


def _is_called(domain: Domain, name: str) -> bool:
    vm = vm_verbs.record_of(domain)
    if is_uuid(name):
        return vm.uuid == name
    return name == (vm.title if "/" in name else vm.name)
