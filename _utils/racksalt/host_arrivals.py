"""A VM comes to this host: everything that it needs is made first, and removed where it does not come after all."""

from __future__ import annotations

import base64
import zlib
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

from racksalt.errors import BadInput, Conflict, NotFound, Refused
from racksalt.host_admission import Admission, check_deadline
from racksalt.host_moves import HostMoves
from racksalt.host_requests import MoveEnd, ReceiveMove, SendMove, WithdrawMove, seed_context
from racksalt.model import Domain, Record
from racksalt.ports import DiskInMaking
from racksalt.taking_back import take_back

#: How soon a VM that is awaited is looked for again; less often, the longer it takes.
_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 0.3
#: A guest runs again so soon after it is here for good.
_SETTLES_S = 0.5
#: No seed is larger than this; what unpacks to more is none.
_LARGEST_SEED = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class HostArrivals:
    """The target's side of moves."""

    moves: HostMoves

    def receive(self, request: ReceiveMove) -> dict[str, Any]:
        """Make room, disk, seed and addresses, and let the source in; whatever fails, nothing of it stays.

        What cannot be taken back is named in the error's fact ``left``, and removed by :meth:`withdraw` later.
        """
        vm = request.record
        with self.moves.vms.lock(), ExitStack() as undo:
            self._check_claim(request)
            # libvirt and the seed take as long as the disk: it is made meanwhile, and is nothing until it is kept.
            disk = None if request.shared else self._begin_disk(request, undo)
            self._admit(request)
            if disk is None:
                self._check_shared(vm)
            else:
                self._make_files(request, disk, undo)
            for nic in vm.nics:
                take_back(undo, self.moves.vms.hypervisor.release_address, nic)
                self.moves.vms.hypervisor.reserve_address(nic)
            take_back(undo, self.moves.doors.close, vm.uuid, request.source)
            self.moves.doors.open(vm.uuid, request.source, request.deadline)
            undo.pop_all()
        return {"vm": vm.title, "host": self.moves.vms.host}

    def await_arrival(self, request: SendMove) -> MoveEnd:
        """Wait until the VM is here for good, as it was, and do and tell what a ``conclude`` does and tells.

        It spares the writer that question; of a VM that does not come, or comes in another state, nothing is told.
        """
        uuid, clock = request.record.uuid, self.moves.vms.clock
        began, until, comes = clock.now(), request.deadline, False
        while (now := clock.now()) < until and (comes or self.moves.doors.is_open(uuid)):
            moving = self.moves.is_moving(uuid)
            if comes and moving is None:
                break  # It has not come after all.
            if moving and not comes:
                comes, until = True, now + request.way.timeout_s
            domain = self._arrived(uuid) if moving is False else None
            if domain is not None and domain.state == request.was:
                return self.moves.conclude(request.ended(request.was))
            if domain is not None:
                comes, until = True, min(until, now + _SETTLES_S)
            clock.sleep(min(_LONGEST_PAUSE_S, max(_PAUSE_S, (now - began) / 50)))
        return MoveEnd()

    def withdraw(self, request: WithdrawMove) -> dict[str, Any]:
        """Remove what a move that did not happen left here; a domain that is there stays whole, and is told."""
        vm = request.record
        with self.moves.vms.lock():
            check_deadline(vm.title, request.deadline, now=self.moves.vms.clock.now())
            self.moves.doors.close(vm.uuid, request.source)
            domain = self.moves.find(vm.uuid)
            if domain is not None and (domain.incoming or domain.state == "running" or not request.looked):
                return {"there": True, "removed": []}
            removed = self.moves.remove(vm, shared=request.shared)
        return {"there": False, "removed": removed}

    def _arrived(self, uuid: str) -> Domain | None:
        """The VM, where it is here for good: its move is counted, which it is not before it has begun."""
        with suppress(NotFound):
            if self.moves.hypervisor.move_stats(uuid) is not None:
                domain = self.moves.find(uuid)
                return None if domain is None or domain.incoming else domain
        return None

    def _opened_seed(self, request: ReceiveMove) -> bytes:
        vm, sealed = request.record, request.offer.seed
        if sealed is None:
            raise BadInput("seed: found none, and the files are not shared")
        text = self.moves.vms.key.unseal(sealed, context=seed_context(self.moves.vms.host, vm.uuid))
        try:
            unpacker = zlib.decompressobj(wbits=31)
            data = unpacker.decompress(base64.b64decode(text, validate=True), _LARGEST_SEED)
        except (ValueError, zlib.error):
            raise BadInput("seed: found what is not the seed of a VM") from None
        if not unpacker.eof:
            raise BadInput(f"seed: found more than {_LARGEST_SEED} bytes, or a part of one")
        return data

    def _check_claim(self, request: ReceiveMove) -> None:
        vm, host = request.record, self.moves.vms.host
        if vm.host != host:
            raise BadInput(f"record: found one of host {vm.host}, this is {host}")
        check_deadline(vm.title, request.deadline, now=self.moves.vms.clock.now())
        self._check_size(request)

    def _begin_disk(self, request: ReceiveMove, undo: ExitStack) -> DiskInMaking:
        vm, disk, volumes = request.record, request.offer.disk, self.moves.vms.volumes
        backing = volumes.image_path(disk.backing) if disk.backing else None
        begun = volumes.begin(
            vm.tenant, vm.uuid, size_bytes=disk.size_bytes, backing=backing, format=disk.backing_format
        )
        undo.callback(begun.drop)
        return begun

    def _admit(self, request: ReceiveMove) -> None:
        vm = request.record
        admission = Admission(self.moves.vms.host, vm)
        report = self.moves.vms.hypervisor.report(cpu=False)
        for domain in report.domains:
            if domain.uuid == vm.uuid:
                told = "it is still being moved here" if domain.incoming else "it is here already"
                raise Conflict("vm_moving", f"{vm.title}: host {vm.host} says that {told}", vm=vm.title)
            admission.check_domain(domain)
        admission.check_room(request.room, report)
        for sha256 in request.offer.images:
            self.moves.vms.volumes.image_path(sha256)

    def _check_size(self, request: ReceiveMove) -> None:
        """The room was held for what the record says: a source that offers more is wrong, or lies."""
        found_gib = -(-request.offer.disk.size_bytes // 2**30)
        if found_gib > request.record.disk_gib:
            vm = request.record
            told = f"its disk has {found_gib} GiB, and its record says {vm.disk_gib}"
            raise Refused("vm_cannot_move", f"{vm.title}: {told}", vm=vm.title, problems=[told])

    def _check_shared(self, vm: Record) -> None:
        missing = [
            path for path in self.moves.vms.volumes.paths(vm.tenant, vm.uuid) if not self.moves.vms.volumes.exists(path)
        ]
        if missing:
            raise Refused(
                "storage_not_shared",
                f"{vm.title}: by hosts.yaml both hosts have the same storage, and {missing[0]} is not on {vm.host}",
                vm=vm.title,
            )

    def _make_files(self, request: ReceiveMove, disk: DiskInMaking, undo: ExitStack) -> None:
        """What is there already is somebody's: were the folder shared, it would be the disk that the VM writes to."""
        vm, volumes = request.record, self.moves.vms.volumes
        there = [path for path in volumes.paths(vm.tenant, vm.uuid) if volumes.exists(path)]
        if there:
            raise Conflict(
                "disk_exists",
                f"{vm.title}: {there[0]} is on {vm.host} already; if they share it, say so: storage in hosts.yaml",
                vm=vm.title,
            )
        seed = self._opened_seed(request)
        take_back(undo, volumes.remove, vm.tenant, vm.uuid)
        disk.keep()
        volumes.copy_seed(vm.tenant, vm.uuid, seed)
