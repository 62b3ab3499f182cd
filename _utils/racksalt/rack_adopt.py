"""Taking a VM in that is there and does not count: its record is unsigned, signed by a key that is gone, or not there.

Everything that a create makes sure of is looked at first; what a VM that counts holds is never taken away. A claim
holds the VM's name and addresses while its host writes the signature, as for a create.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from racksalt import record_proof, shape
from racksalt.adoption import Found, over_quota, problems, refuse, unproven
from racksalt.errors import BadInput, NotFound, RacksaltError, Unavailable
from racksalt.host_requests import NewSignature, SignOnHost
from racksalt.inventory import Inventory, domains_of
from racksalt.model import Claim, Domain, Record
from racksalt.ports import Silent
from racksalt.rack import Rack
from racksalt.rack_claims import CLAIM_S, RackClaims
from racksalt.rack_enroll import RackEnroll
from racksalt.rack_pending import RackPending
from racksalt.rack_requests import AdoptVm
from racksalt.settings import Settings

#: Each signature is one write of a domain's metadata.
_SIGN_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class RackAdopt:
    """Taking VMs into the rack that do not count yet. For operators."""

    rack: Rack

    def adopt(self, asked: AdoptVm, settings: Settings) -> dict[str, Any]:
        """One VM, or with ``all`` every one that may be."""
        if asked.all == (asked.uuid is not None):
            raise BadInput("say the UUID of one VM, or all=True")
        seen = self.rack.inventory(settings)
        return self._all(asked, settings, seen) if asked.all else self._one(asked, settings, seen)

    def _one(self, asked: AdoptVm, settings: Settings, seen: Inventory) -> dict[str, Any]:
        known = seen.index.vms.get(asked.uuid or "")
        if known is not None and asked.host in (None, known.record.host):
            return {"changed": False, "vm": known.record.title, "host": known.record.host}
        host, domain = _chosen(asked, seen)
        if domain.unproven is None:
            return RackEnroll(self.rack).adopt(asked, host, domain, settings, seen) | _test(asked)
        found = _as_recorded(asked, host, domain, domain.unproven)
        over = over_quota([found.record], settings, seen)
        told = {"vm": found.record.title, "host": found.host, "over_quota": over}
        if asked.test:
            refuse(found, problems(found, settings, seen))
            return {**told, "changed": True, "test": True}
        refused = self._sign([found], settings, seen)
        refuse(found, refused.get(found.domain.uuid, []))
        return {**told, "changed": True}

    def _all(self, asked: AdoptVm, settings: Settings, seen: Inventory) -> dict[str, Any]:
        """Host by host: one call each."""
        adopted: list[Found] = []
        refused: list[dict[str, Any]] = []
        for host, view in seen.hosts.items():
            found = list(unproven(seen, host)) if asked.host in (None, host) else []
            if not found:
                continue
            if not view.answers:
                why = {one.domain.uuid: [f"host {host} does not answer"] for one in found}
            elif asked.test:
                why = {one.domain.uuid: wrong for one in found if (wrong := problems(one, settings, seen))}
            else:
                why = self._sign_or_tell(found, settings, seen)
            adopted += [one for one in found if one.domain.uuid not in why]
            refused += [one.told | {"problems": why[one.domain.uuid]} for one in found if one.domain.uuid in why]
        told = {
            "changed": bool(adopted),
            "adopted": [one.told for one in adopted],
            "refused": refused,
            "over_quota": over_quota([one.record for one in adopted], settings, seen),
        }
        return {**told, "test": True} if asked.test else told

    def _sign_or_tell(self, found: list[Found], settings: Settings, seen: Inventory) -> dict[str, list[str]]:
        """As :meth:`_sign`; a host that falls silent does not end it for the others."""
        try:
            return self._sign(found, settings, seen)
        except Unavailable as error:
            if error.code != "host_silent":
                raise
            return {one.domain.uuid: [error.detail] for one in found}

    def _sign(self, found: list[Found], settings: Settings, seen: Inventory) -> dict[str, list[str]]:
        """Claim what may be adopted on one host, let the host sign it, and end the claims; what was wrong, by UUID."""
        claims, refused = self._claim(found, settings, seen)
        if not claims:
            return refused
        host = found[0].host
        answer = sign_on(self.rack, host, [claim.record for claim in claims])
        if isinstance(answer, Silent):
            raise Unavailable("host_silent", f"host {host} did not confirm; adopt again when it answers", host=host)
        for claim in claims:
            uuid = claim.record.uuid
            wrong = answer.detail if isinstance(answer, RacksaltError) else answer.get(uuid)
            if wrong is None:
                RackClaims(self.rack).settle(claim)
                RackPending(self.rack).recall(host, uuid, settings)
            else:
                RackClaims(self.rack).end(claim)
                refused[uuid] = [wrong]
        return refused

    def _claim(
        self, found: list[Found], settings: Settings, seen: Inventory
    ) -> tuple[list[Claim], dict[str, list[str]]]:
        """Decide under the writer's lock, as a create does; each VM is looked at beside those before it."""
        made: list[Claim] = []
        refused: dict[str, list[str]] = {}
        with self.rack.claims.locked():
            claims = self.rack.claims.certain()
            ring = self.rack.ring.read()
            for one in found:
                wrong = problems(one, settings, seen.with_claims([*claims, *made]))
                if wrong:
                    refused[one.domain.uuid] = wrong
                    continue
                record = record_proof.sign(one.record, ring)
                claim = Claim(record, self.rack.clock.now() + CLAIM_S, adopts=True)
                self.rack.claims.write(claim)
                made.append(claim)
        return made, refused


def sign_on(rack: Rack, host: str, records: list[Record]) -> dict[str, str] | RacksaltError | Silent:
    """Let a host write these signatures; what it did not write, by UUID, with its reason."""
    new = {
        record.uuid: NewSignature(record_proof.digest(record), record.signature)
        for record in records
        if record.signature is not None
    }
    arguments = {"request": shape.plain(SignOnHost(new))}
    answer = rack.fleet.ask([host], "rack_vm.sign", arguments, timeout_s=_SIGN_TIMEOUT_S)[host]
    if isinstance(answer, (Silent, RacksaltError)):
        return answer
    try:
        signed = set(answer["signed"])
        reasons = {str(uuid): str(reason) for uuid, reason in answer["refused"].items()}
    except (TypeError, KeyError, AttributeError):
        return Unavailable("host_failed", f"host {host} answers what cannot be read", host=host)
    return {uuid: reasons.get(uuid, "its host did not say") for uuid in new if uuid not in signed}


def _chosen(asked: AdoptVm, seen: Inventory) -> tuple[str, Domain]:
    """The one domain that is meant, and its host."""
    if asked.host is not None and asked.host not in seen.hosts:
        raise NotFound("host_unknown", f"no host {asked.host!r}", host=asked.host)
    hosts = [asked.host] if asked.host else list(seen.hosts)
    shown = [(host, domain) for host in hosts for domain in domains_of(seen.hosts[host]) if domain.uuid == asked.uuid]
    if not shown:
        raise NotFound("vm_not_found", f"no host shows a domain {asked.uuid}", vm=asked.uuid)
    if len(shown) > 1:
        raise BadInput(f"{asked.uuid} is on {' and '.join(host for host, _ in shown)}; say host=HOST")
    host, domain = shown[0]
    if not seen.hosts[host].answers:
        raise Unavailable("host_silent", f"host {host} does not answer; nothing was sent to it", host=host)
    return host, domain


def _as_recorded(asked: AdoptVm, host: str, domain: Domain, record: Record) -> Found:
    """With the record that it has; ``tenant`` and ``name`` say what the operator takes it for."""
    found = Found(host, domain, record)
    takes_for = (asked.tenant or record.tenant, asked.name or record.name)
    if takes_for != (record.tenant, record.name):
        refuse(found, [f"its record is of {record.title}, not of {'/'.join(takes_for)}"])
    return found


def _test(asked: AdoptVm) -> dict[str, Any]:
    return {"test": True} if asked.test else {}
