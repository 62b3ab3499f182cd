"""A VM leaves this host: what it needs elsewhere, the move itself, and whether it is still going on.

The VM is this host's until libvirt says that it is at its target for good.
"""

from __future__ import annotations

import base64
import gzip
import logging
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from typing import Any

from racksalt import move_xml, record_proof
from racksalt.errors import Conflict, NotFound, RacksaltError, Refused, Unavailable
from racksalt.host_admission import check_deadline
from racksalt.host_moves import HostMoves
from racksalt.host_requests import (
    MoveDisk,
    MoveEnd,
    MoveOffer,
    MoveProgress,
    OfferMove,
    ReadProgress,
    RecallMove,
    SendMove,
    Sent,
    seed_context,
)
from racksalt.model import Domain, Record, State, Wanted
from racksalt.vm_verbs import DOWN

log = logging.getLogger(__name__)

#: How often, and how soon again, a send that is to be aborted is looked at.
_ABORT_TRIES = 20
_ABORT_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class HostDepartures:
    """The source's side of moves."""

    moves: HostMoves

    def offer(self, request: OfferMove) -> MoveOffer:
        """What the target has to make; refuses what cannot leave this host. Changes nothing."""
        vm = request.record
        domain = self.moves.own(vm)
        xml = self.moves.vms.hypervisor.definition(vm.uuid)
        self._check_movable(domain, xml)
        disk, others = self._disks(vm, xml)
        images = [move_xml.image_of(path) for path in (*move_xml.boot_files(xml), *others)]
        seed = self._sealed_seed(request) if request.seed else None
        generation = domain.record.generation if domain.record else 0
        return MoveOffer(domain.state, generation, domain.memory_mib, disk, tuple(images), seed)

    def send(self, request: SendMove, held: AbstractContextManager[object] | None = None) -> Sent:
        """Move it, and return when it is at the target for good. One that is stopped moves without running.

        ``held`` is its lock, where the caller holds it already; it is freed when the VM is there.

        From its first step on this host does not start the VM at a boot by itself: the power may fail after the VM has
        begun to run at its target, and before its copy here is gone.
        """
        uuid = request.record.uuid
        with held if held is not None else self.moves.sending(uuid, wait_s=0):
            domain = self._ready(request)
            try:
                self.moves.vms.write_wanted(uuid, "moving")
                if domain.state in DOWN:
                    self.moves.hypervisor.start_paused(uuid)
                after = _as_described(request.record, domain, self.moves.own(request.record))
                self.moves.hypervisor.move(after, request.target, request.way, shared=request.shared)
            except BaseException:
                self.moves.quietly(self._put_back, uuid, domain.state)
                raise
        return Sent(domain.state, self._end(request, domain.state))

    def _end(self, request: SendMove, was: State) -> MoveEnd | None:
        """What is left here goes at once; where that fails, the writer asks for it again."""
        try:
            return self.moves.conclude(request.ended(was))
        except (RacksaltError, OSError) as error:
            log.warning("%s has left, and not all of it is removed yet: %s", request.record.title, error)
            return None

    def progress(self, request: ReadProgress) -> MoveProgress | None:
        """How far it has come; ``None`` where it does not move, or not yet."""
        try:
            return self.moves.hypervisor.move_progress(request.uuid)
        except NotFound:
            return None

    def recall(self, request: RecallMove) -> dict[str, Any]:
        """Whether this host is still sending the VM, and has it; one that was stopped is stopped again if not."""
        for _ in range(_ABORT_TRIES if request.abort else 1):
            if request.abort:
                self.moves.quietly(self.moves.hypervisor.abort_move, request.uuid)
            with suppress(Unavailable), self.moves.sending(request.uuid, wait_s=0):
                check_deadline(f"VM {request.uuid}", request.deadline, now=self.moves.vms.clock.now())
                if not self.moves.is_moving(request.uuid):
                    before = self.moves.find(request.uuid)
                    self._put_back(request.uuid, request.was)
                    if before is not None and not request.abort:
                        self._go_on(before, request.was)
                    return {"at_work": False, "there": self.moves.find(request.uuid) is not None}
            if request.abort:
                self.moves.vms.clock.sleep(_ABORT_PAUSE_S)
        return {"at_work": True, "there": True}

    def _check_movable(self, domain: Domain, xml: str) -> None:
        title = domain.record.title if domain.record else domain.name
        if domain.state not in ("running", "paused", "stopped", "crashed"):
            raise Conflict(
                "vm_state",
                f"{title} is {domain.state}; start it, or discard what was saved with a hard stop, and move it then",
                state=domain.state,
            )
        problems = move_xml.obstacles(xml)
        kept = self.moves.hypervisor.snapshots(domain.uuid)
        if kept:
            problems.append(
                f"it has {len(kept)} snapshots, which would stay behind: {', '.join(kept[:5])}; delete them"
            )
        if problems:
            raise Refused("vm_cannot_move", f"{title}: {'; '.join(problems)}", vm=title, problems=problems)

    def _disks(self, vm: Record, xml: str) -> tuple[MoveDisk, list[str]]:
        """The VM's own disk, and the images below; whatever else it has cannot move."""
        own, seed = self.moves.vms.volumes.paths(vm.tenant, vm.uuid)
        found = {disk.path: disk for disk in move_xml.disks(xml)}
        others = [disk.device for path, disk in found.items() if path not in (own, seed)]
        disk = found.get(own)
        if others or disk is None or disk.format != "qcow2":
            told = f"its disks are not just {own} and {seed}: {', '.join(others) or 'the first one is missing'}"
            raise Refused("vm_cannot_move", f"{vm.title}: {told}", vm=vm.title, problems=[told])
        size, used = self.moves.hypervisor.disk_bytes(vm.uuid, disk.device)
        backing = move_xml.image_of(disk.backing) if disk.backing else None
        raw = "raw" if disk.backing_format == "raw" else "qcow2"
        return MoveDisk(size, used, "qcow2", backing, raw), [disk.backing] if disk.backing else []  # type: ignore[arg-type]

    def _sealed_seed(self, request: OfferMove) -> str:
        """Only the target may read it: it holds what the tenant gave to cloud-init."""
        vm = request.record
        packed = gzip.compress(self.moves.vms.volumes.read_seed(vm.tenant, vm.uuid), mtime=0)
        text = base64.b64encode(packed).decode()
        return self.moves.vms.key.seal_with(request.key, text, context=seed_context(vm.host, vm.uuid))

    def _ready(self, request: SendMove) -> Domain:
        """The domain as it is now, if it is the one that was claimed."""
        check_deadline(request.record.title, request.deadline, now=self.moves.vms.clock.now())
        domain = self.moves.own(request.record)
        known = domain.record
        if known is None or record_proof.digest(_afterwards(known, request.record)) != record_proof.digest(
            request.record
        ):
            raise Conflict(
                "record_changed", f"the record of {request.record.title} has changed since the move was claimed"
            )
        self._check_movable(domain, self.moves.vms.hypervisor.definition(domain.uuid))
        return domain

    def _put_back(self, uuid: str, was: State) -> None:
        """It stays. One that was started for its move only is stopped again: its guest has run no instruction."""
        domain = None if self.moves.is_moving(uuid) else self.moves.find(uuid)
        if domain is None:
            return
        if was in DOWN and domain.state == "paused":
            self.moves.vms.hypervisor.destroy(uuid)
        if _is_marked(domain):
            self.moves.vms.write_wanted(uuid, _wanted(was))

    def _go_on(self, before: Domain, was: State) -> None:
        """One that ran, and was left paused, or off by a host that lost its power: the writer has seen that it is
        nowhere else."""
        if was == "running" and before.state == "paused":
            self.moves.vms.hypervisor.resume(before.uuid)
        elif was == "running" and before.state in DOWN and _is_marked(before):
            self.moves.vms.start(before.uuid)


def _afterwards(known: Record, after: Record) -> Record:
    """What the record becomes by this move alone."""
    return replace(known, host=after.host, generation=known.generation + 1, signature=after.signature)


def _as_described(after: Record, before: Domain, marked: Domain) -> Record:
    """Tags, note and protection are the host's own, and may have changed since the claim, or since it was marked.

    What is wanted is what it was ``before`` the mark.
    """
    known, now = before.record, marked.record
    if known is None or now is None:
        return after
    wanted = _wanted(before.state) if _is_marked(before) else known.wanted
    return replace(after, tags=now.tags, note=now.note, protected=now.protected, wanted=wanted)


def _is_marked(domain: Domain) -> bool:
    return domain.record is not None and domain.record.wanted == "moving"


def _wanted(state: State) -> Wanted:
    return "stopped" if state in DOWN else "running"
