"""What one host shows and sets right where its VMs are not as their records say.

Nothing is ever removed by a guess: a definition or a file that belongs to nothing is moved out of the way, and can be
brought back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from xml.etree import ElementTree

from racksalt import domain_restore, holdings, record, record_proof, vm_verbs
from racksalt.drift_requests import EnrollOnHost, LostFiles, RestoreOnHost, SetAsideOnHost
from racksalt.errors import Conflict, NotFound
from racksalt.holdings import Definition, Holdings
from racksalt.host_vms import HostVms
from racksalt.model import Domain, Nic, Record


@dataclass(frozen=True, slots=True)
class HostDrift:
    """The looks and the remedies of :mod:`racksalt.drift` on this host."""

    vms: HostVms

    def holdings(self) -> Holdings:
        """Everything, at one moment: a create that has made its disk has made its domain too, or there is neither."""
        with self.vms.lock():
            return Holdings(
                self.vms.hypervisor.definitions(), self.vms.volumes.all(), tuple(self.vms.hypervisor.reserved())
            )

    def enroll(self, request: EnrollOnHost) -> dict[str, Any]:
        """Write a record into a domain that has none, or that one which is replaced; the domain goes on as it is."""
        new = request.record
        with self.vms.lock():
            before = self._domain(new.uuid).record
            if (record_proof.digest(before) if before else None) != request.replaces:
                raise Conflict(
                    "record_changed", f"the record of {new.title} has changed since it was read", vm=new.title
                )
            kept = _with_own_part(new, before) if before else new
            for nic in new.nics:
                self.vms.hypervisor.reserve_address(nic)
            self.vms.hypervisor.write_record(new.uuid, record.to_xml(kept))
            for nic in set(before.nics if before else ()) - set(new.nics):
                self.vms.hypervisor.release_address(nic)
        return {"uuid": new.uuid, "changed": before != kept}

    def restore(self, request: RestoreOnHost, *, test: bool = False) -> dict[str, Any]:
        """The definition and the planned addresses as the record says; a VM that runs has it after its next start."""
        with self.vms.lock():
            domain = self._domain(request.uuid)
            vm = vm_verbs.record_of(domain)
            if record_proof.digest(vm) != request.sha256:
                raise Conflict("record_changed", f"the record of {vm.title} has changed since it was read", vm=vm.title)
            xml = self.vms.hypervisor.definition(vm.uuid)
            hardware = holdings.hardware_of(ElementTree.fromstring(xml))
            wrong = [f"{one.expected}, not {one.found}" for one in domain_restore.differences(hardware, vm)]
            lacking = [nic for nic in vm.nics if nic not in self.vms.hypervisor.reserved()]
            steps = [*wrong, *(f"address {nic.address} for {nic.mac}" for nic in lacking)]
            if not test:
                self._restore(xml, vm, lacking, defines=bool(wrong))
        later = bool(wrong) and domain.state not in vm_verbs.DOWN
        return {"uuid": vm.uuid, "changed": bool(steps), "steps": steps, "at_next_start": later}

    def set_aside(self, request: SetAsideOnHost, *, test: bool = False) -> dict[str, Any]:
        """Move out of the way what belongs to nothing, after a look of this host's own that it does."""
        with self.vms.lock():
            moved: list[str] = []
            if request.domain is not None:
                moved += self._set_definition_aside(request.domain, test=test)
            if request.files is not None:
                moved += self._set_files_aside(request.files, test=test)
            if request.address is not None:
                moved += self._release(request.address, test=test)
        return {"changed": bool(moved), "moved": moved}

    def _restore(self, xml: str, vm: Record, lacking: list[Nic], *, defines: bool) -> None:
        for nic in lacking:
            self.vms.hypervisor.reserve_address(nic)
        if defines:
            self.vms.hypervisor.define(domain_restore.restored(xml, vm))

    def _set_definition_aside(self, uuid: str, *, test: bool) -> list[str]:
        """The definition is written down first: whatever is cut off, one of the two is there."""
        domain = self._domain(uuid)
        if domain.state not in ("stopped", "crashed"):
            raise Conflict(
                "not_set_aside",
                f"domain {domain.name} on host {self.vms.host} is {domain.state}; "
                "what runs, or has its memory saved, stays as it is: stop it first",
                state=domain.state,
            )
        if test:
            return [f"domain {domain.name}"]
        path = self.vms.volumes.keep(f"{uuid}.xml", self.vms.hypervisor.definition(uuid))
        self.vms.hypervisor.set_aside(uuid)
        return [path]

    def _set_files_aside(self, lost: LostFiles, *, test: bool) -> list[str]:
        definitions = self.vms.hypervisor.definitions()
        used = {path for one in definitions for path in one.files()}
        uuids = {one.uuid for one in definitions}
        there = [one for one in self.vms.volumes.all() if one.tenant == lost.tenant and one.file in lost.files]
        for one in there:
            if one.path in used or one.uuid in uuids:
                raise Conflict(
                    "not_set_aside", f"{one.path} on host {self.vms.host} belongs to a domain", path=one.path
                )
        if test:
            return [one.path for one in there]
        return self.vms.volumes.set_aside(lost.tenant, [one.file for one in there])

    def _release(self, nic: Nic, *, test: bool) -> list[str]:
        """A planned address is one line, which the record of its VM would write again: nothing is lost with it."""
        if nic not in self.vms.hypervisor.reserved():
            return []
        if _has_card(self.vms.hypervisor.definitions(), nic.mac):
            detail = f"a domain on host {self.vms.host} has the card {nic.mac}"
            raise Conflict("not_set_aside", detail, mac=nic.mac)
        if not test:
            self.vms.hypervisor.release_address(nic)
        return [f"address {nic.address} for {nic.mac}"]

    def _domain(self, uuid: str) -> Domain:
        """A domain that is here for good: what is written to one on its way would be lost, or bring it back."""
        found = next((domain for domain in self.vms.hypervisor.domains([uuid]) if not domain.incoming), None)
        if found is None:
            raise NotFound("vm_not_found", f"no domain {uuid} on host {self.vms.host}", vm=uuid)
        if self.vms.is_moving(uuid):
            told = f"domain {found.name} is on its way to another host; try again when it is there"
            raise Conflict("vm_moving", told, vm=found.name)
        return found


def _with_own_part(new: Record, before: Record) -> Record:
    """What is not signed is the host's to say."""
    return replace(new, tags=before.tags, note=before.note, protected=before.protected, wanted=before.wanted)


def _has_card(definitions: tuple[Definition, ...], mac: str) -> bool:
    return any(card.mac == mac for one in definitions for card in one.cards())
