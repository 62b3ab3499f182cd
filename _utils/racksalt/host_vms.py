"""The VMs of one host: what the host can do by itself, with or without a master."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any

from racksalt import domain_xml, holdings, record, record_proof, seed, shape, stop_ladder, vm_verbs
from racksalt.domain_xml import DiskFile, DomainPlan, KernelBoot
from racksalt.errors import BadInput, Conflict, NotFound, RacksaltError, Refused
from racksalt.host_admission import Admission
from racksalt.host_requests import ActOnHost, CreateOnHost, NewSignature, PurgeOnHost, Secrets, SignOnHost, seal_context
from racksalt.model import Domain, HostReport, KernelImage, Record, Wanted
from racksalt.names import is_uuid
from racksalt.ports import Clock, HostKey, HostLock, Hypervisor, Volumes
from racksalt.vm_verbs import Step

log = logging.getLogger(__name__)

#: What reads the record and writes it, or removes it, is one step for others. The rest may take minutes.
_LOCKED = ("delete", "note", "tag", "protect")


@dataclass(frozen=True, slots=True)
class HostVms:
    """What Racksalt does on this host; every part of the outside is a port."""

    host: str
    hypervisor: Hypervisor
    volumes: Volumes
    lock: HostLock
    clock: Clock
    key: HostKey

    def report(self) -> HostReport:
        """The whole host in one bulk read."""
        return replace(self.hypervisor.report(), host=self.host, read_at=self.clock.now())

    def create(self, request: CreateOnHost, *, test: bool = False) -> dict[str, Any]:
        """Make and start a VM; whatever step fails, nothing of it stays.

        What cannot be taken back is named in the error's fact ``left``; the error is why the create failed.
        The room is checked here, under the host's own lock, whatever the writer believed.
        """
        vm = request.record
        with ExitStack() as undo:
            with self.lock():
                known = self._admit(request)
                if test:
                    return {"vm": vm.title, "changed": not known, "steps": [] if known else _steps(request)}
                if not known:
                    self._make(request, undo)
            if request.start:
                self._start(vm.uuid)
            undo.pop_all()
        return {"vm": vm.title, "changed": not known, "steps": [] if known else _steps(request)}

    def act(self, request: ActOnHost, *, test: bool = False) -> dict[str, Any]:
        """One change to one VM: the steps, and its state afterwards."""
        with self.lock() if request.verb in _LOCKED else nullcontext():
            domain = self._own_domain(request.uuid)
            steps = vm_verbs.plan(request, domain)
            told: dict[str, Any] = {"uuid": domain.uuid, "changed": bool(steps), "steps": list(steps)}
            if test:
                return {**told, "state": domain.state}
            if steps and self.hypervisor.is_moving(domain.uuid):
                raise _moving(vm_verbs.record_of(domain))
            for step in steps:
                told |= self._carry_out(step, request, domain)
        if request.verb in vm_verbs.WANTED:
            self._note_wanted(domain.uuid, vm_verbs.WANTED[request.verb])
        gone = "delete" in steps
        return {**told, "state": None if gone else self.hypervisor.state(domain.uuid)}

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

    def _admit(self, request: CreateOnHost) -> bool:
        """Whether this very VM is there already; refuses what must not be made."""
        vm = request.record
        admission = Admission(self.host, vm)
        admission.check_deadline(request.deadline, now=self.clock.now())
        report = self.hypervisor.report()
        for domain in report.domains:
            if domain.uuid == vm.uuid:
                return True
            admission.check_domain(domain)
        admission.check_room(request.room, report)
        return False

    def _write_signature(self, domain: Domain | None, new: NewSignature) -> None:
        if domain is None or domain.record is None:
            raise NotFound("vm_not_found", "there is no such VM here")
        if record_proof.digest(domain.record) != new.sha256:
            raise Conflict("record_changed", f"the record of {domain.record.title} has changed since it was read")
        if domain.record.signature != new.signature:
            xml = record.to_xml(replace(domain.record, signature=new.signature))
            self.hypervisor.write_record(domain.uuid, xml)

    def _make(self, request: CreateOnHost, undo: ExitStack) -> None:
        vm = request.record
        secrets = self._secrets(request)
        boot, backing = self._image_files(request)
        take_back(undo, self.volumes.remove, vm.tenant, vm.uuid)
        disk = self.volumes.create(
            vm.tenant,
            vm.uuid,
            size_gib=vm.disk_gib,
            backing=backing.path if backing else None,
            format=backing.format if backing else "qcow2",
        )
        documents = seed.files(vm, request.network, ssh_keys=secrets.ssh_keys, user_data=secrets.user_data)
        seed_path = self.volumes.write_seed(vm.tenant, vm.uuid, documents)
        for nic in vm.nics:
            take_back(undo, self.hypervisor.release_address, nic)
            self.hypervisor.reserve_address(nic)
        plan = DomainPlan(
            vm,
            (DiskFile(disk, "qcow2", backing=backing), DiskFile(seed_path, "raw", readonly=True)),
            request.accelerator,
            self.volumes.console_log(vm.uuid),
            boot,
            request.cpu,
        )
        for step in (self._power_off, self._undefine, self._power_off):
            take_back(undo, step, vm.uuid)
        self.hypervisor.define(domain_xml.build(plan))

    def _secrets(self, request: CreateOnHost) -> Secrets:
        if request.sealed is None:
            return Secrets()
        opened = self.key.unseal(request.sealed, context=seal_context(self.host, request.record.uuid))
        try:
            return shape.parse(Secrets, json.loads(opened))
        except (ValueError, BadInput):
            # What is wrong would be told with what was found, and that is secret.
            raise BadInput("sealed: found what is not the secrets of a VM") from None

    def _image_files(self, request: CreateOnHost) -> tuple[KernelBoot | None, DiskFile | None]:
        image = request.image
        if isinstance(image, KernelImage):
            paths = self.volumes.image_path(image.kernel), self.volumes.image_path(image.initrd)
            return KernelBoot(*paths, image.cmdline), None
        return None, DiskFile(self.volumes.image_path(image.sha256), image.format, readonly=True)

    def _start(self, uuid: str) -> None:
        """Start it, unless the same create, sent again, has done so meanwhile."""
        try:
            self.hypervisor.start(uuid)
        except (Conflict, Refused):
            with suppress(RacksaltError):
                if self.hypervisor.state(uuid) == "running":
                    return
            raise

    def _own_domain(self, uuid: str) -> Domain:
        for domain in self.hypervisor.domains([uuid]):
            if _is_own(domain):
                return domain
        raise NotFound("vm_not_found", f"no VM {uuid} on host {self.host}", vm=uuid)

    def _remove(self, vm: Record) -> list[str]:
        """All of a VM; its definition goes last, so that what is cut off can be begun again.

        Somebody else's start may come in between, as those take no lock. Without a definition no more can.
        """
        self._power_off(vm.uuid)
        for nic in vm.nics:
            self.hypervisor.release_address(nic)
        removed = self.volumes.remove(vm.tenant, vm.uuid)
        undefined = self._undefine(vm.uuid)
        self._power_off(vm.uuid)
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

    def _power_off(self, uuid: str) -> None:
        with suppress(NotFound, Conflict):
            if self.hypervisor.state(uuid) not in vm_verbs.DOWN:
                self.hypervisor.destroy(uuid)

    def _undefine(self, uuid: str) -> bool:
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
                self.hypervisor.start(domain.uuid)
            case "pause":
                self.hypervisor.suspend(domain.uuid)
            case "resume":
                self.hypervisor.resume(domain.uuid)
            case "save memory":
                self.hypervisor.save(domain.uuid)
            case "discard saved memory":
                self.hypervisor.discard_save(domain.uuid)
        return {}


def take_back(undo: ExitStack, step: Callable[..., object], *arguments: object) -> None:
    """Have ``step`` done if what is being made fails. One that fails itself neither stops the others nor hides the
    reason, whose fact ``left`` tells of it."""

    def leave(_kind: object, reason: BaseException | None, _trace: object) -> bool:
        try:
            step(*arguments)
        except (RacksaltError, OSError) as error:
            log.error("what failed leaves something behind: %s", error)
            if isinstance(reason, RacksaltError):
                reason.facts.setdefault("left", []).append(str(error))
        return False

    undo.push(leave)


def _steps(request: CreateOnHost) -> list[str]:
    vm = request.record
    steps = [
        f"disk of {vm.disk_gib} GiB from image {vm.image}",
        "cloud-init seed",
        *(f"address {nic.address} in network {nic.network} for {nic.mac}" for nic in vm.nics),
        f"domain {vm.domain} with {vm.vcpus} vCPUs and {vm.memory_mib} MiB",
    ]
    return [*steps, "start"] if request.start else steps


def _is_own(domain: Domain) -> bool:
    """One that is being moved here is still its other host's."""
    return domain.record is not None and not domain.incoming


def _moving(vm: Record) -> Conflict:
    return Conflict("vm_moving", f"{vm.title} is on its way to another host; try again when it is there", vm=vm.title)


def _is_called(domain: Domain, name: str) -> bool:
    vm = vm_verbs.record_of(domain)
    if is_uuid(name):
        return vm.uuid == name
    return name == (vm.title if "/" in name else vm.name)
