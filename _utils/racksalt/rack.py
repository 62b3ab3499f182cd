"""The rack as its writer sees it: the files, the hosts, the claims."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from racksalt import audit, record_proof, settings, shape
from racksalt.errors import BadInput, RacksaltError, Unavailable
from racksalt.inventory import HostView, Inventory
from racksalt.model import HostConfig, HostReport, Look, Record
from racksalt.ports import Answer, Audit, Claims, Clock, Fleet, Jobs, KeyRing, LastKnown, RackFiles, SaltAcl, Silent
from racksalt.record_proof import Ring
from racksalt.settings import Settings

log = logging.getLogger(__name__)

#: How long a bulk read of the hosts may take.
READ_TIMEOUT_S = 10.0
#: A create may begin on a look at the hosts that is so old.
RECENT_S = 2.0
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

    def settings(self) -> Settings:
        """The rack's files as they are now: nothing is decided on yesterday's."""
        return settings.current(self.files)

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
            known = self.last_known.read()
        return self._seen(current, look, self._proven(current, known, ring))

    def recent_inventory(self, current: Settings) -> Inventory | None:
        """The last look, where every host answered a moment ago; what was claimed since is in the claims."""
        look = self.last_known.look()
        if look is None or not 0 <= self.clock.now() - look.began <= RECENT_S:
            return None
        ring = self.ring.read()
        seen = self._seen(current, look, self._proven(current, self.last_known.read(), ring))
        return seen if all(view.answers for view in seen.hosts.values()) else None

    def forget_vm(self, host: str, uuid: str) -> None:
        """Take a VM that its host has deleted out of claims, and out of the last report, which may be used again."""
        self.claims.remove(uuid)
        report = self.last_known.read_one(host)
        if report is not None:
            left = tuple(domain for domain in report.domains if domain.uuid != uuid)
            self.last_known.write(replace(report, domains=left))

    def _seen(self, current: Settings, look: Look, proven: Mapping[str, HostReport]) -> Inventory:
        hosts = {name: _view(config, proven.get(name), look) for name, config in current.hosts.items()}
        return Inventory(current.rack, hosts, tuple(self.claims.all()))

    def _proven(self, current: Settings, known: Mapping[str, HostReport], before: Ring) -> dict[str, HostReport]:
        """``before`` is the ring as it was before the look: the keys may be changed during it."""
        ring = before | self.ring.read()
        return {name: record_proof.proven(report, name, rack=current.rack, ring=ring) for name, report in known.items()}

    def _look(self, current: Settings, ring: Ring) -> Inventory:
        """Ask every host, and keep what they say; silent ones have their last known report."""
        began = self.clock.now()
        answers = self.fleet.ask(list(current.hosts), "rack_host.report", {}, timeout_s=READ_TIMEOUT_S)
        told = {host: _report(host, answers[host], began) for host in current.hosts}
        reports = {host: report for host, report in told.items() if isinstance(report, HostReport)}
        last = {host: report for host in told if host not in reports and (report := self.last_known.read_one(host))}
        proven = self._proven(current, reports | last, ring)
        self._tell_unproven({host: proven[host] for host in reports})
        for report in reports.values():
            self.last_known.write(report)
        look = Look(began, {host: one if isinstance(one, str) else "" for host, one in told.items()})
        self.last_known.write_look(look)
        return self._seen(current, look, proven)

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


def _report(host: str, answer: Answer, began: float) -> HostReport | str:
    """A host's report, or what is wrong with its answer."""
    if isinstance(answer, Silent):
        return answer.told
    if isinstance(answer, RacksaltError):
        return answer.detail
    try:
        report = shape.parse(HostReport, answer)
    except BadInput as error:
        return f"answers what cannot be read: {error.detail[:200]}"
    return replace(report, host=host, read_at=began)


def _view(config: HostConfig, known: HostReport | None, look: Look) -> HostView:
    error = look.hosts.get(config.name, "not asked yet")
    if known is None and not error:
        error = "its report was lost; ask again"
    return HostView(config, known, not error, error)


def silent_hosts(inventory: Inventory, names: Iterable[str] | None = None) -> dict[str, str]:
    """The hosts that do not answer, each with what is known of it."""
    chosen = inventory.hosts if names is None else {name: inventory.hosts[name] for name in names}
    return {name: view.error for name, view in chosen.items() if not view.answers}
