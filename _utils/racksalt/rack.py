"""The rack as its writer sees it: the files, the hosts, the claims."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from racksalt import settings, shape
from racksalt.errors import BadInput, RacksaltError, Unavailable
from racksalt.host_requests import PurgeOnHost
from racksalt.inventory import HostView, Inventory
from racksalt.model import Claim, HostConfig, HostReport, Look
from racksalt.ports import Answer, Claims, Clock, Fleet, LastKnown, RackFiles, Silent
from racksalt.settings import Settings

log = logging.getLogger(__name__)

#: How long a bulk read of the hosts may take.
READ_TIMEOUT_S = 10.0
#: A create may begin on a look at the hosts that is so old.
RECENT_S = 5.0
#: A host may begin a create until so long after its claim was written.
CLAIM_S = 60.0
#: A create that began in time has surely ended, one way or the other, so long after its deadline.
CLAIM_GRACE_S = 180.0


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

    def settings(self) -> Settings:
        """The rack's files as they are now: nothing is decided on yesterday's."""
        return settings.load(self.files)

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
        asked_at = self.clock.now()
        with self.last_known.locked():
            look = self.last_known.look()
            if look is not None and look.began >= asked_at and set(look.hosts) >= set(current.hosts):
                known = self.last_known.read()
            else:
                look, known = self._look(current)
        return self._seen(current, look, known)

    def recent_inventory(self, current: Settings) -> Inventory | None:
        """The last look, where every host answered a moment ago; what was claimed since is in the claims."""
        look = self.last_known.look()
        if look is None or look.began < self.clock.now() - RECENT_S:
            return None
        seen = self._seen(current, look, self.last_known.read())
        return seen if all(view.answers for view in seen.hosts.values()) else None

    def forget_vm(self, host: str, uuid: str) -> None:
        """Take a VM that its host has deleted out of the last report, which may be looked at again."""
        report = self.last_known.read_one(host)
        if report is not None:
            left = tuple(domain for domain in report.domains if domain.uuid != uuid)
            self.last_known.write(replace(report, domains=left))

    def tidy_claims(self, inventory: Inventory) -> None:
        """End what is past its time: seen in a report since, or never answered and now looked up on its host."""
        now = self.clock.now()
        counting = {record.uuid for record in inventory.in_flight()}
        for claim in inventory.claims:
            if claim.settled_at is not None:
                if claim.record.uuid not in counting and now > claim.settled_at + CLAIM_GRACE_S:
                    self.claims.remove(claim.record.uuid)
            elif now > claim.deadline + CLAIM_GRACE_S:
                self._look_up(claim, inventory)

    def give_up(self, claim: Claim) -> None:
        """Remove what the create may have left on its host; the claim ends when the host says so."""
        answer = self._purge(claim)
        if not isinstance(answer, (Silent, RacksaltError)):
            self.claims.remove(claim.record.uuid)

    def _look_up(self, claim: Claim, inventory: Inventory) -> None:
        view = inventory.hosts.get(claim.record.host)
        if view is None or not view.answers or view.report is None:
            return
        if any(domain.uuid == claim.record.uuid for domain in view.report.domains):
            self.claims.remove(claim.record.uuid)
        else:
            self.give_up(claim)

    def _purge(self, claim: Claim) -> Answer:
        request = {"request": shape.plain(PurgeOnHost(claim.record))}
        host = claim.record.host
        return self.fleet.ask([host], "rack_vm.purge", request, timeout_s=READ_TIMEOUT_S)[host]

    def _seen(self, current: Settings, look: Look, known: Mapping[str, HostReport]) -> Inventory:
        hosts = {name: _view(config, known.get(name), look) for name, config in current.hosts.items()}
        return Inventory(current.rack, hosts, tuple(self.claims.all()))

    def _look(self, current: Settings) -> tuple[Look, dict[str, HostReport]]:
        """Ask every host, and keep what they say; silent ones have their last known report."""
        began = self.clock.now()
        answers = self.fleet.ask(list(current.hosts), "rack_host.report", {}, timeout_s=READ_TIMEOUT_S)
        known: dict[str, HostReport] = {}
        wrong: dict[str, str] = {}
        for host in current.hosts:
            told = _report(host, answers[host], began)
            wrong[host] = told if isinstance(told, str) else ""
            report = self.last_known.read_one(host) if isinstance(told, str) else told
            if report is not None:
                known[host] = report
                if report is told:
                    self.last_known.write(report)
        look = Look(began, wrong)
        self.last_known.write_look(look)
        return look, known


def _report(host: str, answer: Answer, began: float) -> HostReport | str:
    """A host's report, or what is wrong with its answer."""
    if isinstance(answer, Silent):
        return f"silent for {answer.waited_s} s"
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
