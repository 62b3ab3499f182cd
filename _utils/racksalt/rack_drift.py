"""Drift as the operator sees it, and its remedies, one line at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from racksalt import audit, domain_restore, drift, rack_holdings, record_proof, shape
from racksalt.drift import Facts, Line, Remedy
from racksalt.drift_requests import LostFiles, RestoreOnHost, SetAsideOnHost
from racksalt.errors import BadInput, Conflict, NotFound, RacksaltError, Unavailable
from racksalt.model import Domain, Nic
from racksalt.ports import Silent
from racksalt.rack import Rack
from racksalt.rack_adopt import RackAdopt
from racksalt.rack_enroll import RackEnroll
from racksalt.rack_requests import AdoptVm, Drift
from racksalt.settings import Settings
from racksalt.vm_trail import Made, VmTrail

_REMEDY_TIMEOUT_S = 90.0
#: What a host may say of its remedy; the rest is the line's.
_TOLD_BY_HOST = ("changed", "steps", "at_next_start", "moved")


@dataclass(frozen=True, slots=True)
class RackDrift:
    """Where hosts and records disagree. For operators."""

    rack: Rack

    def drift(self, asked: Drift, settings: Settings) -> dict[str, Any]:
        """Every line; or, with ``adopt`` or ``revert``, what became of one."""
        if asked.adopt and asked.revert:
            raise BadInput("say adopt=ID or revert=ID, not both")
        if asked.host is not None and asked.host not in settings.hosts:
            known = ", ".join(settings.hosts)
            raise NotFound("host_unknown", f"no host {asked.host!r}; hosts.yaml has: {known}", host=asked.host)
        facts = self._facts(settings)
        found = drift.lines(facts)
        if asked.adopt:
            return self._adopt(_chosen(found, asked.adopt, "adopt"), asked, settings, facts)
        if asked.revert:
            return self._revert(_chosen(found, asked.revert, "revert"), asked)
        shown = [line for line in found if asked.host in (None, line.host)]
        return {
            "lines": [line.told(number) for number, line in enumerate(shown, 1)],
            "counts": dict(sorted(Counter(line.kind for line in shown).items())),
            "unsure": drift.unsure(facts),
        }

    def _facts(self, settings: Settings) -> Facts:
        """The hosts, then what they hold, then what was claimed meanwhile, and at last what was deleted meanwhile."""
        seen = self.rack.inventory(settings)
        ring = self.rack.ring.read()
        answering = [name for name, view in seen.hosts.items() if view.answers]
        held, _ = rack_holdings.read(self.rack, answering)
        claims = {(claim.record.uuid, claim.settled_at): claim for claim in (*seen.claims, *self.rack.claims.all())}
        began = min((view.report.read_at for view in seen.hosts.values() if view.report), default=0.0)
        trail = VmTrail().add((raw.text for raw in self.rack.audit.lines()), until=audit.moment(began))
        return Facts(
            seen,
            held,
            tuple(claims.values()),
            lambda record: record.rack == settings.rack and record_proof.is_valid(record, ring),
            trail.made,
            trail.accepted,
        )

    def _adopt(self, line: Line, asked: Drift, settings: Settings, facts: Facts) -> dict[str, Any]:
        seen, test = facts.seen, asked.test
        told = _told(line, "adopt", test=test)
        if isinstance(line.about, Made):
            return {**told, "uuid": line.uuid, "changed": True}
        domain = _domain(line)
        if line.kind == "unknown":
            want = AdoptVm(line.uuid, line.host, asked.tenant, asked.name, asked.flavor, asked.address, test=test)
            return told | RackAdopt(self.rack).adopt(want, settings)
        if line.kind == "moved":
            return told | RackEnroll(self.rack).take_over(line.host, domain, settings, seen, test=test)
        return told | self._adopt_known(line, domain, settings, facts, test=test)

    def _adopt_known(
        self, line: Line, domain: Domain, settings: Settings, facts: Facts, *, test: bool
    ) -> dict[str, Any]:
        """A VM that counts: as it is defined now; or, of two that are the same, this one."""
        record, after = domain.record, domain.record
        if line.kind == "changed" and record is not None:
            definition = facts.definition(line.host, domain)
            after = domain_restore.taken_over(definition.next, record) if definition else None
        if record is None or after is None:
            raise _refused(line, "nothing of it can be adopted any more; look again")
        return RackEnroll(self.rack).change(record, after, settings, facts.seen, test=test)

    def _revert(self, line: Line, asked: Drift) -> dict[str, Any]:
        told = _told(line, "revert", test=asked.test)
        if line.kind == "changed" or (line.kind == "lease" and isinstance(line.about, Domain)):
            record = _domain(line).record
            assert record is not None, "only of VMs that count"
            request: Any = RestoreOnHost(line.uuid, record_proof.digest(record))
            return told | {"uuid": line.uuid} | self._ask(line, "rack_vm.restore", request, test=asked.test)
        if isinstance(line.about, Nic):
            request = SetAsideOnHost(address=line.about)
        elif isinstance(line.about, tuple):
            files = tuple(volume.file for volume in line.about)
            request = SetAsideOnHost(files=LostFiles(line.about[0].tenant, files))
        else:
            request = SetAsideOnHost(domain=line.uuid)
        return told | self._ask(line, "rack_host.set_aside", request, test=asked.test)

    def _ask(self, line: Line, function: str, request: Any, *, test: bool) -> dict[str, Any]:
        arguments = {"request": shape.plain(request), "test": test}
        answer = self.rack.fleet.ask([line.host], function, arguments, timeout_s=_REMEDY_TIMEOUT_S)[line.host]
        if isinstance(answer, Silent):
            raise Unavailable("host_silent", f"host {line.host} does not answer; look again", host=line.host)
        if isinstance(answer, RacksaltError):
            raise answer
        if not isinstance(answer, Mapping):
            raise Unavailable("host_failed", f"host {line.host} answers what cannot be read", host=line.host)
        return {key: answer[key] for key in _TOLD_BY_HOST if key in answer}


def _chosen(found: list[Line], id: str, remedy: Remedy) -> Line:
    line = next((line for line in found if line.id == id), None)
    if line is None:
        raise Conflict("drift_gone", f"no line {id} any more; look again: rack_host.drift", id=id)
    if remedy not in line.remedies:
        there = " or ".join(line.remedies) or "nothing to be done from here"
        raise _refused(line, f"there is no {remedy} for it, but {there}")
    return line


def _refused(line: Line, why: str) -> Conflict:
    return Conflict("drift_refused", f"{line.kind} {line.object}: {why}", id=line.id, remedies=list(line.remedies))


def _domain(line: Line) -> Domain:
    assert isinstance(line.about, Domain), "lines of these kinds are about domains"
    return line.about


def _told(line: Line, remedy: Remedy, *, test: bool) -> dict[str, Any]:
    done = {"id": line.id, "kind": line.kind, "object": line.object, "remedy": remedy}
    return {**done, "test": True} if test else done
