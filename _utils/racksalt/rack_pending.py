"""What waits for hosts that are away, on the writer: written down durably, carried out at the next contact."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from racksalt import access, pending, shape
from racksalt.access import Caller
from racksalt.errors import Conflict, RacksaltError, Refused
from racksalt.host_requests import SettleOnHost
from racksalt.inventory import Inventory, Vm, domains_of
from racksalt.names import is_uuid
from racksalt.pending import Deletion
from racksalt.ports import Silent
from racksalt.rack import Rack
from racksalt.rack_requests import ActOnVm
from racksalt.settings import Settings, load

log = logging.getLogger(__name__)

FILE = "pending.yaml"
#: A host waits up to a minute for its own lock, and a deletion cuts a guest's power.
_SETTLE_TIMEOUT_S = 90.0
#: And for the word alone it needs no more than this: others wait for theirs meanwhile.
_WORD_TIMEOUT_S = 25.0


@dataclass(frozen=True, slots=True)
class Applied:
    """Hosts that were told what waited for them, and what was said of each VM that is gone.

    ``missed`` are those that did not take it, with the time that this took.
    """

    reached: tuple[str, ...] = ()
    missed: Mapping[str, float] = field(default_factory=dict)
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RackPending:
    """Deletions that wait for their hosts."""

    rack: Rack

    def delete(self, caller: Caller, vm: Vm, asked: ActOnVm) -> dict[str, Any]:
        """Let a VM be deleted when its host answers; the caller may not know that, or which host it is."""
        record = vm.record
        if record.protected:
            raise Refused(
                "vm_protected", f"{record.title} is protected; take the protection off first", vm=record.title
            )
        if asked.test:
            return {**_told(record.uuid, record.title, changed=True), "test": True}
        with self.rack.claims.locked():
            self._refuse_moving(vm)
            entry = pending.deletion_of(record, since=self.rack.clock.now(), by=caller.user)
            self._change(lambda data: pending.write_deletion(data, record.uuid, entry))
        return _told(record.uuid, record.title, changed=True)

    def apply(
        self,
        settings: Settings,
        seen: Inventory,
        *,
        woken: Collection[str] = (),
        resting: Collection[str] = (),
        last: Collection[str] = (),
    ) -> Applied:
        """On every host that answers, delete what waits for it, and give those that have booted the word to go on.

        Those come first, as they wait for no long time; ``resting`` are hosts that are left alone, and ``last`` those
        that nobody else is to wait for.
        """
        waiting: dict[str, dict[str, Deletion]] = {}
        for uuid, deletion in settings.deletions.items():
            view = seen.hosts.get(deletion.host)
            if view is not None and view.answers:
                waiting.setdefault(deletion.host, {})[uuid] = deletion
        lines: list[str] = []
        reached: list[str] = []
        missed: dict[str, float] = {}
        for host in sorted({*waiting, *woken} - {*resting}, key=lambda host: (host in last, host not in woken, host)):
            began = self.rack.clock.steady()
            told = self._settled(host, waiting.get(host, {}), settings, seen)
            if told is None:
                missed[host] = self.rack.clock.steady() - began
            else:
                reached.append(host)
                lines += told
        return Applied(tuple(reached), missed, tuple(lines))

    def recall(self, host: str, uuid: str, settings: Settings) -> None:
        """A VM of a host that had been given up was adopted: it counts again."""
        forgotten = settings.forgotten.get(host)
        if forgotten is not None and uuid not in forgotten.adopted:
            entry = shape.parse(type(forgotten), {**shape.plain(forgotten), "adopted": [*forgotten.adopted, uuid]})
            self._change(lambda data: pending.write_forgotten(data, host, entry))

    def _settled(
        self, host: str, waiting: Mapping[str, Deletion], settings: Settings, seen: Inventory
    ) -> list[str] | None:
        """As :meth:`_settle`; what cannot be written down for one host keeps the word from no other."""
        try:
            return self._settle(host, waiting, settings, seen)
        except RacksaltError as error:
            log.error("host %s: %s", host, error.detail)
            return None

    def _settle(
        self, host: str, waiting: Mapping[str, Deletion], settings: Settings, seen: Inventory
    ) -> list[str] | None:
        """One call to one host, with what it may not start at its boot; ``None`` where it did not answer."""
        records = tuple(pending.record_of(uuid, one, rack=settings.rack) for uuid, one in waiting.items())
        arguments = {"request": shape.plain(SettleOnHost(records, keep_off(host, seen)))}
        try:
            timeout_s = _SETTLE_TIMEOUT_S if waiting else _WORD_TIMEOUT_S
            answer = self.rack.fleet.ask([host], "rack_host.settle", arguments, timeout_s=timeout_s)[host]
        except RacksaltError as error:
            answer = error
        if isinstance(answer, (Silent, RacksaltError)):
            log.warning("host %s: what waits for it still waits: %s", host, answer)
            return None
        gone, refused = _read(answer, waiting)
        for uuid in gone:
            self.rack.forget_vm(host, uuid)
        if gone:
            self._change(lambda data: pending.drop_deletions(data, gone))
        for uuid, reason in refused.items():
            log.warning("host %s did not delete %s: %s", host, waiting[uuid].title, reason)
        return [f"{waiting[uuid].title}: deleted on host {host}, which was away" for uuid in gone]

    def _refuse_moving(self, vm: Vm) -> None:
        """Of one that is being moved, or was since the caller's look, that look does not tell its host."""
        for claim in self.rack.claims.certain():
            moved = claim.moves_from is not None and claim.record.host != vm.record.host
            if claim.record.uuid == vm.record.uuid and (claim.is_moving or moved):
                title = vm.record.title
                raise Conflict(
                    "vm_moving", f"{title} is on its way to another host; try again when it is there", vm=title
                )

    def _change(self, edit: Callable[[Any], None]) -> None:
        with self.rack.files.locked():
            self.rack.files.change(FILE, edit, load)


def find_deleted(caller: Caller, asked: ActOnVm, settings: Settings) -> dict[str, Any] | None:
    """The answer to a deletion that was asked for before; what is not the caller's is as if it were not there."""
    visible = access.visible_tenants(caller, asked.tenant, settings)
    everything = caller.operator and asked.tenant is None
    own = None
    if not is_uuid(asked.name) and "/" not in asked.name:
        own = access.acting_tenant(caller, asked.tenant, settings, changes=False)
    for uuid, one in settings.deletions.items():
        names = (uuid, one.title, one.vm if one.tenant == own else "")
        if asked.name in names and (everything or one.tenant in visible):
            access.require_member(caller, one.tenant)
            return _told(uuid, one.title, changed=False)
    return None


def keep_off(host: str, seen: Inventory) -> tuple[str, ...]:
    """The VMs that a host shows and may not start by itself: not its own any more, or not known to be."""
    return tuple(
        domain.uuid
        for domain in domains_of(seen.hosts[host])
        if domain.unproven is not None or (domain.record is not None and not _is_its_own(host, domain.uuid, seen))
    )


def waking(seen: Inventory) -> dict[str, str]:
    """Hosts that have booted, and wait for the word before they start their VMs; each with its boot."""
    reports = {name: view.report for name, view in seen.hosts.items() if view.answers}
    return {name: report.boot for name, report in reports.items() if report is not None and report.waits}


def _is_its_own(host: str, uuid: str, seen: Inventory) -> bool:
    """One that was being moved is nobody's until a look at both its hosts has told whose.

    Before its first step its source marks it durably: one without the mark has not left.
    """
    vm, move = seen.index.vms.get(uuid), seen.move_of(uuid)
    if vm is None or vm.record.host != host or uuid in seen.index.twice or uuid in seen.deleted:
        return False
    return move is None or (move.moves_from == host and vm.record.wanted != "moving")


def _read(answer: Any, waiting: Mapping[str, Deletion]) -> tuple[list[str], dict[str, str]]:
    """Which are gone, and why others are not."""
    try:
        gone = [uuid for uuid in waiting if uuid in answer["gone"]]
        refused = {uuid: str(answer["refused"].get(uuid, "its host did not say")) for uuid in waiting}
    except (TypeError, KeyError, AttributeError):
        return [], dict.fromkeys(waiting, "its host answers what cannot be read")
    return gone, {uuid: reason for uuid, reason in refused.items() if uuid not in gone}


def _told(uuid: str, title: str, *, changed: bool) -> dict[str, Any]:
    return {
        "vm": title,
        "uuid": uuid,
        "changed": changed,
        "steps": ["delete"] if changed else [],
        "state": None,
        "deleted": True,
        "pending": True,
    }
