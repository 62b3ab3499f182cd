"""The rack as its writer sees it: the files, the hosts, the claims."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from racksalt import audit, bulk_answers, pending, record_proof, settings
from racksalt.errors import Unavailable
from racksalt.inventory import HostView, Inventory
from racksalt.model import HostConfig, HostReport, Look, Record
from racksalt.ports import (
    Answer,
    Audit,
    Claims,
    Clock,
    Fleet,
    Jobs,
    KeyRing,
    LastKnown,
    PlanStore,
    RackFiles,
    SaltAcl,
    SavedRacks,
    Snapshots,
)
from racksalt.record_proof import Ring
from racksalt.settings import Settings
from racksalt.snapshot_reader import SnapshotReader

log = logging.getLogger(__name__)

#: How long a bulk read of the hosts may take.
READ_TIMEOUT_S = 10.0
#: A create may begin on a look at the hosts that is so old.
RECENT_S = 2.0
#: What a host's events tell is as good as a look for so long after all of it was told: two beats, and a little, as
#: libvirt lets nobody read a domain while its QEMU starts.
FRESH_S = 10.0
#: Of a host that was read well, where its report is not there.
_LOST = "its report was lost; ask again"
#: So many new records that do not count are told to the audit by one look.
_MOST_TOLD = 20


@dataclass(frozen=True, slots=True)
class Rack:
    """All parts of the rack; each is a port."""

    files: RackFiles
    fleet: Fleet
    claims: Claims
    last_known: LastKnown
    clock: Clock
    #: The id of the master that this is.
    master: str
    ring: KeyRing
    audit: Audit
    jobs: Jobs
    acl: SaltAcl
    snapshots: Snapshots
    plans: PlanStore
    saved: SavedRacks

    def settings(self) -> Settings:
        """The rack's files as they are now: nothing is decided on yesterday's."""
        return settings.current(self.files)

    def is_current(self, known: Settings) -> bool:
        """Whether the rack's files still say what these settings do, but for deletions that wait."""
        return settings.is_current(known, self.files)

    def require_writer(self, current: Settings) -> None:
        """Refuse a change on any master but the one that decides names, addresses and quotas."""
        if self.master != current.writer:
            raise Unavailable(
                "not_the_writer",
                f"this master is {self.master!r}, and changes are made on {current.writer!r}, the writer in hosts.yaml",
                writer=current.writer,
            )

    def inventory(self, current: Settings) -> Inventory:
        """Every host in one bulk read, silent ones by their last report, and the claims.

        Callers at the same time share a read: one that began after the call did is as fresh as an own one. The claims
        are read after the hosts, so that one which is settled meanwhile is seen in either.
        """
        asked_at, ring = self.clock.now(), self.ring.read()
        with self.last_known.locked():
            look = self.last_known.look()
            shared = look is not None and asked_at <= look.began <= self.clock.now()
            if look is None or not shared or not set(look.hosts) >= set(current.hosts):
                return self._look(current, ring)
            looked = self.last_known.read()
            known = looked | self._last(host for host, error in look.hosts.items() if error)
        return self._seen(current, _kept(look, looked), self._proven(current, known, ring))

    def live_inventory(self, current: Settings) -> Inventory:
        """For reading: every host as its own events tell it, and one bulk read of those that cannot be known so.

        A host's events do not count for who has just changed something there: what they tell may be from before.
        """
        asked_at, ring = self.clock.now(), self.ring.read()
        fresh = self._fresh(current, asked_at, touched=self.last_known.touched())
        if not fresh:
            return self.inventory(current)
        look = Look(asked_at, dict.fromkeys(fresh, ""))
        if len(fresh) == len(current.hosts):
            return self._seen(current, look, self._proven(current, fresh, ring))
        part, known = self._part(current, fresh, asked_at)
        both = Look(asked_at, {**part.hosts, **look.hosts})
        return self._seen(current, both, self._proven(current, known, ring))

    def recent_inventory(self, current: Settings) -> Inventory | None:
        """The last look, where every host answered a moment ago, or else what the hosts' events tell of all of them.

        It is enough to begin on: what was claimed since is in the claims, also when it is done by now, and each host
        checks again.
        """
        look, ring, now = self.last_known.look(), self.ring.read(), self.clock.now()
        if look is not None and 0 <= now - look.began <= RECENT_S:
            looked = self.last_known.read()
            seen = self._seen(current, _kept(look, looked), self._proven(current, looked, ring))
            return seen if all(view.answers for view in seen.hosts.values()) else None
        fresh = self._fresh(current, now, touched=self.last_known.touched_unclaimed())
        if not fresh or len(fresh) < len(current.hosts):
            return None
        return self._seen(current, Look(now, dict.fromkeys(fresh, "")), self._proven(current, fresh, ring))

    def forget_vm(self, host: str, uuid: str) -> None:
        """Take a VM that its host has deleted out of claims, and out of the last report, which may be used again."""
        self.claims.remove(uuid)
        for report in self._last([host]).values():
            left = tuple(domain for domain in report.domains if domain.uuid != uuid)
            self.last_known.write(replace(report, domains=left))

    def read_hosts(
        self, current: Settings, hosts: Collection[str], *, timeout_s: float = READ_TIMEOUT_S
    ) -> tuple[dict[str, HostReport], dict[str, str]]:
        """One bulk read of these hosts: the reports, which are kept, and each host with what was wrong, or nothing."""
        began, ring = self.clock.now(), self.ring.read()
        answers = self.fleet.ask(list(hosts), "rack_host.report", {}, timeout_s=timeout_s)
        told = {host: _report(host, answers[host], began) for host in hosts}
        reports = {host: report for host, report in told.items() if isinstance(report, HostReport)}
        self._tell_unproven(self._proven(current, reports, ring))
        for report in reports.values():
            self.last_known.write(report)
        for host in told.keys() - reports:
            self.last_known.touch(host, self.clock.now())
        unknown = [host for host in told if host not in reports and not self._last([host])]
        self._snapshot_reader(current).catch_up(reports, unknown, writes=self.master == current.writer)
        return reports, {host: one if isinstance(one, str) else "" for host, one in told.items()}

    def _fresh(self, current: Settings, now: float, *, touched: Mapping[str, float]) -> dict[str, HostReport]:
        """What the events of hosts tell, of those whose events count now."""
        live = self.last_known.live()
        return {
            host: live[host]
            for host in current.hosts
            if host in live and is_fresh(live[host], touched.get(host), now=now)
        }

    def _seen(self, current: Settings, look: Look, proven: Mapping[str, HostReport]) -> Inventory:
        hosts = {name: _view(config, proven.get(name), look) for name, config in current.hosts.items()}
        deleted = pending.held(current.deletions, current.forgotten, current.hosts, rack=current.rack)
        lost = [name for name, view in hosts.items() if view.report is None and name not in current.forgotten]
        unread = self._snapshot_reader(current).unread(lost, master=self.master)
        claims = tuple(self.claims.all())
        return Inventory(current.rack, hosts, claims, deleted=deleted, unread=unread, settings=current)

    def _snapshot_reader(self, current: Settings) -> SnapshotReader:
        return SnapshotReader(current.rack, self.snapshots, self.fleet, self.ring, self.last_known, self.claims)

    def _proven(self, current: Settings, known: Mapping[str, HostReport], before: Ring) -> dict[str, HostReport]:
        """``before`` is the ring as it was before the look: the keys may be changed during it."""
        ring = before | self.ring.read()
        proven = {
            name: record_proof.proven(report, name, rack=current.rack, ring=ring) for name, report in known.items()
        }
        return {name: pending.counting(report, current.forgotten.get(name)) for name, report in proven.items()}

    def _look(self, current: Settings, ring: Ring) -> Inventory:
        """Ask every host, and keep what they say; silent ones have their last known report."""
        began = self.clock.now()
        reports, errors = self.read_hosts(current, current.hosts)
        last = self._last(host for host in errors if host not in reports)
        look = Look(began, errors)
        self.last_known.write_look(look)
        return self._seen(current, look, self._proven(current, reports | last, ring))

    def _part(
        self, current: Settings, fresh: Mapping[str, HostReport], asked_at: float
    ) -> tuple[Look, dict[str, HostReport]]:
        """A look at the hosts that are not fresh, and all reports with it; callers at the same time share it.

        One that is fresh is asked with them: where it answers, nobody waits long for the others.
        """
        hosts = [host for host in current.hosts if host not in fresh]
        with self.last_known.locked():
            part = self.last_known.part()
            if part is None or not asked_at <= part.began <= self.clock.now() or not set(part.hosts) >= set(hosts):
                began = self.clock.now()
                part = Look(began, self.read_hosts(current, [*hosts, next(iter(fresh))])[1])
                self.last_known.write_part(part)
            looked = {host: report for host in part.hosts if (report := self.last_known.read_one(host)) is not None}
            return _kept(part, looked), {**self._last(hosts), **fresh}

    def _last(self, hosts: Iterable[str]) -> dict[str, HostReport]:
        """The newest that is known of each host, by a look or by its events."""
        found = {host: _newer(self.last_known.read_one(host), self.last_known.live_one(host)) for host in hosts}
        return {host: report for host, report in found.items() if report is not None}

    def _tell_unproven(self, proven: Mapping[str, HostReport]) -> None:
        """Tell the audit of records that do not count, and that their hosts did not show before."""
        told = 0
        for host, report in proven.items():
            for record in self._new_unproven(host, report)[: _MOST_TOLD - told]:
                told += 1
                reason = f"the record of {record.title} is not one that the rack signed for it"
                try:
                    self.audit.append(audit.dropped(host, "", reason=reason, fun="rack_host.report"))
                except Unavailable as error:
                    log.error("not in the audit: host %s: %s: %s", host, reason, error.detail)
                    return

    def _new_unproven(self, host: str, report: HostReport) -> list[Record]:
        """The records that do not count, and were not the same in the host's report before."""
        found = {domain.uuid: domain.unproven for domain in report.domains if domain.unproven is not None}
        before = self.last_known.read_one(host) if found else None
        shown = {domain.uuid: domain.record for domain in before.domains} if before else {}
        return [record for uuid, record in found.items() if shown.get(uuid) != record]


def is_fresh(report: HostReport, touched_at: float | None, *, now: float) -> bool:
    """Whether all of a host was read lately, and after the last change there."""
    return 0 <= now - report.read_at <= FRESH_S and (touched_at is None or report.read_at > touched_at)


def _newer(looked: HostReport | None, live: HostReport | None) -> HostReport | None:
    """The one that was read later, by the host's own clock; after another boot by the master's.

    Events tell of less than all, and so move no time of reading: what they add to a look is at least as new as it.
    """
    if looked is None or live is None:
        return looked or live
    if looked.boot == live.boot:
        newer = replace(live, read_at=max(live.read_at, looked.read_at))
        return newer if live.uptime_s > looked.uptime_s else looked
    return live if live.read_at > looked.read_at else looked


def _report(host: str, answer: Answer, began: float) -> HostReport | str:
    """A host's report, or what is wrong with its answer."""
    told = bulk_answers.read(HostReport, answer)
    return told if isinstance(told, str) else replace(told, host=host, read_at=began)


def _kept(look: Look, looked: Mapping[str, HostReport]) -> Look:
    """The look, in which a host has not answered whose report could not be kept: what is there is from before it."""
    lost = {host for host in look.hosts if host in looked and looked[host].read_at < look.began}
    return Look(look.began, {host: error or (_LOST if host in lost else "") for host, error in look.hosts.items()})


def _view(config: HostConfig, known: HostReport | None, look: Look) -> HostView:
    error = look.hosts.get(config.name, "not asked yet")
    if known is None and not error:
        error = _LOST
    return HostView(config, known, not error, error)


def silent_hosts(inventory: Inventory, names: Iterable[str] | None = None) -> dict[str, str]:
    """The hosts that do not answer, each with what is known of it."""
    chosen = inventory.hosts if names is None else {name: inventory.hosts[name] for name in names}
    return {name: view.error for name, view in chosen.items() if not view.answers}
