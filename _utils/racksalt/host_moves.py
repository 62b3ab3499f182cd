"""Moving a VM, as its two hosts do it; the parts that both sides need, and the end that both tell.

What fails before the VM is at its target for good is undone there alone, so that nothing of a VM is ever removed but
where it is not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from racksalt.errors import Conflict, NotFound, RacksaltError
from racksalt.host_requests import EndMove, MoveEnd, MoveStats
from racksalt.host_vms import HostVms
from racksalt.model import Domain, Record
from racksalt.ports import MoveDoors, MoveHypervisor, MoveLock
from racksalt.vm_verbs import DOWN, OFF

log = logging.getLogger(__name__)

#: A look at whether a VM is still being sent holds its lock for a moment.
_SENDING_S = 2.0


@dataclass(frozen=True, slots=True)
class HostMoves:
    """This host as one end of a move."""

    vms: HostVms
    hypervisor: MoveHypervisor
    doors: MoveDoors
    sending: MoveLock

    def conclude(self, request: EndMove) -> MoveEnd:
        """The VM is at its new host: that one shuts its door, the other one removes what is left. May come again."""
        if self.vms.host == request.record.host:
            return self._arrived(request)
        return self._gone(request)

    def own(self, vm: Record) -> Domain:
        """The VM, which is this host's."""
        domain = self.find(vm.uuid)
        if domain is None or domain.record is None or domain.incoming:
            raise NotFound("vm_not_found", f"no VM {vm.uuid} on host {self.vms.host}", vm=vm.uuid)
        return domain

    def find(self, uuid: str) -> Domain | None:
        """The domain, whosever it is."""
        return next(iter(self.vms.hypervisor.domains([uuid])), None)

    def is_moving(self, uuid: str) -> bool | None:
        """Whether it is on its way, from here or to here; ``None`` where there is nothing of it. Cheap: asked often.

        libvirt goes on with a move whose caller has died.
        """
        try:
            return self.vms.hypervisor.is_moving(uuid)
        except NotFound:
            return None

    def remove(self, vm: Record, *, shared: bool) -> list[str]:
        """All of it; the disks go last, when nothing can use them any more."""
        for step in (self.vms.hypervisor.destroy, self.vms.hypervisor.undefine, self.vms.hypervisor.destroy):
            with suppress(NotFound, Conflict):
                step(vm.uuid)
        for nic in vm.nics:
            self.vms.hypervisor.release_address(nic)
        return self.vms.volumes.remove(vm.tenant, vm.uuid, disks=not shared)

    def quietly(self, step: Callable[..., object], *arguments: object) -> None:
        """One step of an undoing: what fails stops neither the others, nor hides why it is undone."""
        try:
            step(*arguments)
        except (RacksaltError, OSError) as error:
            log.error("a move leaves something behind on %s: %s", self.vms.host, error)

    def _arrived(self, request: EndMove) -> MoveEnd:
        uuid = request.record.uuid
        with self.vms.lock():
            self.doors.close(uuid, request.source)
        domain = self.find(uuid)
        if domain is None or domain.incoming:
            return MoveEnd()
        stats = self.hypervisor.move_stats(uuid)
        wanted = domain.record.wanted if domain.record else None
        if domain.state == "paused" and (request.was in DOWN or (request.looked and wanted == "stopped")):
            self.vms.hypervisor.destroy(uuid)
        elif domain.state == "paused" and request.was == "running" and request.looked:
            self.vms.hypervisor.resume(uuid)
        elif domain.state in OFF and request.was == wanted == "running" and request.looked:
            # It was here, and its host has lost its power since: at its boot this one was nobody's.
            self.vms.start(uuid)
        return self._told(uuid, stats=stats)

    def _gone(self, request: EndMove) -> MoveEnd:
        """While the move is still being made, its last step may fail at the target, and the guest goes on here."""
        vm = request.record
        with self.sending(vm.uuid, wait_s=_SENDING_S), self.vms.lock():
            domain = self.find(vm.uuid)
            older = domain is not None and domain.record is not None and domain.record.generation < vm.generation
            if domain is None or (older and request.looked and not self.vms.hypervisor.is_moving(vm.uuid)):
                self.remove(vm, shared=request.shared)
        return self._told(vm.uuid)

    def _told(self, uuid: str, *, stats: MoveStats | None = None) -> MoveEnd:
        domain = self.find(uuid)
        if domain is None or domain.incoming:
            return MoveEnd(stats=stats)
        generation = domain.record.generation if domain.record else 0
        return MoveEnd(domain.state, generation, stats)
