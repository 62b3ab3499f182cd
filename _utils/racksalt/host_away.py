"""What a host does when it was away: the deletions that waited for it, and which of its VMs it starts at its boot.

libvirt's own autostart stays off. At its boot a host first waits for the writer's word: what is to be deleted goes
before anything could start it, and what is somebody else's by now stays off. Without a master nobody waits for ever:
then every VM of this host that should run is started, and for disks that hosts share the lease decides, which libvirt
takes at the start and which nobody else may hold.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from racksalt.errors import NotFound, RacksaltError
from racksalt.host_requests import ActOnHost, KeepSnapshot, PurgeOnHost, ReadSnapshot, SettleOnHost
from racksalt.host_vms import HostVms
from racksalt.model import Domain, HostReport, Record
from racksalt.ports import BootWord, SnapshotStore
from racksalt.vm_verbs import OFF

log = logging.getLogger(__name__)

#: A minion is connected some seconds after its host has booted, and the writer looks every few seconds.
WAIT_S = 60.0
_LOOK_S = 0.5
#: So much of pieces goes into one answer.
_ANSWER_BYTES = 384 * 1024


@dataclass(frozen=True, slots=True)
class HostAway:
    """Coming back, and what is kept for the master's own coming back."""

    vms: HostVms
    word: BootWord
    snapshots: SnapshotStore

    def report(self) -> HostReport:
        """The whole host, with what it keeps for its masters."""
        return replace(self.vms.report(), snapshots=self.snapshots.heads(), waits=self.word.waits())

    def settle(self, request: SettleOnHost) -> dict[str, Any]:
        """Delete what waited for this host; then its VMs may start, but for those that are to stay off."""
        refused: dict[str, str] = {}
        for record in request.deletions:
            try:
                self._delete(record)
            except RacksaltError as error:
                refused[record.uuid] = error.detail
        gone = [record.uuid for record in request.deletions if record.uuid not in refused]
        self.word.write({*request.keep_off, *refused})
        return {"gone": gone, "refused": refused}

    def boot(self, *, wait_s: float = WAIT_S) -> dict[str, Any]:
        """Start the VMs that should run, once the writer has spoken, or nobody did for so long."""
        keep_off = self._wait(wait_s)
        started: list[str] = []
        failed: dict[str, str] = {}
        left = [domain for domain in self.vms.report().domains if _should_start(domain)]
        for domain in left:
            if domain.uuid in (keep_off or ()):
                continue
            try:
                self.vms.start(domain.uuid)
                started.append(domain.name)
            except RacksaltError as error:
                failed[domain.name] = error.detail
                log.error("%s is not started: %s", domain.name, error.detail)
        self.word.done()
        kept_off = [domain.name for domain in left if domain.uuid in (keep_off or ())]
        return {"word": keep_off is not None, "started": started, "kept_off": kept_off, "failed": failed}

    def keep_snapshot(self, request: KeepSnapshot) -> dict[str, Any]:
        """Keep a snapshot of the inventory for a master, or a part of one."""
        return {"lacks": self.snapshots.keep(request)}

    def snapshot(self, request: ReadSnapshot) -> dict[str, Any]:
        """Give back pieces of a snapshot, as many as one answer takes."""
        texts: dict[str, str] = {}
        for name in request.names:
            text = self.snapshots.read(request.master, name)
            if text is not None and texts and sum(map(len, texts.values())) + len(text) > _ANSWER_BYTES:
                break
            if text is not None:
                texts[name] = text
        return {"texts": texts}

    def _delete(self, record: Record) -> None:
        """As its user would have it; where there is no VM any more, what is left of it."""
        try:
            self.vms.act(ActOnHost(record.uuid, "delete"))
        except NotFound:
            self.vms.purge(PurgeOnHost(record, only_leftovers=True))

    def _wait(self, wait_s: float) -> Collection[str] | None:
        until = self.vms.clock.steady() + wait_s
        while (word := self.word.read()) is None and self.vms.clock.steady() < until:
            self.vms.clock.sleep(_LOOK_S)
        return word


def _should_start(domain: Domain) -> bool:
    """One of Racksalt's that was last asked to run, and is off now; what was suspended goes on when it is asked to."""
    vm = domain.record
    return vm is not None and vm.wanted == "running" and not domain.incoming and domain.state in OFF
