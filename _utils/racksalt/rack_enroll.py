"""Writing whole records into domains that are there: of VMs that the rack did not make, or whose record is another.

The VM goes on as it is, running or not. Its host writes the record only where it still has what was seen; a claim holds
the name and the addresses meanwhile, as for a create.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from racksalt import adoption, rack_holdings, record_proof, shape
from racksalt.adoption import Found, Stranger
from racksalt.drift_requests import EnrollOnHost
from racksalt.errors import Conflict, RacksaltError, Unavailable
from racksalt.holdings import Definition
from racksalt.inventory import Inventory
from racksalt.model import Claim, Domain, Record
from racksalt.ports import Silent
from racksalt.rack import Rack
from racksalt.rack_claims import CLAIM_S, RackClaims
from racksalt.rack_pending import RackPending
from racksalt.rack_requests import AdoptVm
from racksalt.settings import Settings

_TIMEOUT_S = 75.0

#: What the record is to be, by the inventory of under the writer's lock; raises where it may not.
Decide = Callable[[Inventory], Record]


@dataclass(frozen=True, slots=True)
class RackEnroll:
    """Records for domains that are there. For operators."""

    rack: Rack

    def adopt(self, asked: AdoptVm, host: str, domain: Domain, settings: Settings, seen: Inventory) -> dict[str, Any]:
        """Take a domain into the rack that has no record: its definition says what it is."""
        adoption.name_for(asked, host, domain)
        stranger = Stranger(host, domain, self._definition(host, domain), int(self.rack.clock.now()))

        def decide(now_seen: Inventory) -> Record:
            record = adoption.record_for(asked, stranger, settings, now_seen)
            found = Found(host, domain, record)
            wrong = adoption.stranger_problems(asked, stranger, settings)
            adoption.refuse(found, [*wrong, *adoption.problems(found, settings, now_seen)])
            return record

        record = self.write(decide, None, settings, seen, test=asked.test)
        return _told(record, settings, seen) | {
            "addresses": [nic.address for nic in record.nics],
            "cards_left": adoption.cards_left(stranger.definition, record),
        }

    def take_over(
        self, host: str, domain: Domain, settings: Settings, seen: Inventory, *, test: bool
    ) -> dict[str, Any]:
        """Let a VM belong to the host that shows it: its record names another one, which has not got it."""
        before = domain.unproven
        assert before is not None, "it is its record that names another host"
        moved = replace(before, host=host, generation=before.generation + 1, signature=None)

        def decide(now_seen: Inventory) -> Record:
            found = Found(host, domain, moved)
            old = now_seen.hosts.get(before.host)
            silent = [f"host {before.host} does not answer, and may have it too"] if old and not old.answers else []
            adoption.refuse(found, [*silent, *adoption.problems(found, settings, now_seen)])
            return moved

        return _told(self.write(decide, before, settings, seen, test=test), settings, seen)

    def change(
        self, before: Record, after: Record, settings: Settings, seen: Inventory, *, test: bool
    ) -> dict[str, Any]:
        """Another record for a VM that counts: it may only take less of what is held by name."""
        newer = replace(after, generation=after.generation + 1, signature=None)

        def decide(now_seen: Inventory) -> Record:
            title = before.title
            busy = (one for one in now_seen.claims if one.record.uuid == before.uuid and one.settled_at is None)
            if any(not one.adopts for one in busy):
                raise Conflict("vm_moving", f"{title} is being made or moved; try again when that has ended", vm=title)
            return newer

        return _told(self.write(decide, before, settings, seen, test=test), settings, seen)

    def write(
        self, decide: Decide, replaces: Record | None, settings: Settings, seen: Inventory, *, test: bool
    ) -> Record:
        """Decide under the lock, hold it by a claim, let the host write it; the record with its signature."""
        if test:
            return decide(seen)
        with self.rack.claims.locked():
            record = record_proof.sign(decide(seen.with_claims(self.rack.claims.certain())), self.rack.ring.read())
            claim = Claim(record, self.rack.clock.now() + CLAIM_S, adopts=True)
            self.rack.claims.write(claim)
        request = EnrollOnHost(record, record_proof.digest(replaces) if replaces else None)
        arguments = {"request": shape.plain(request)}
        answer = self.rack.fleet.ask([record.host], "rack_vm.enroll", arguments, timeout_s=_TIMEOUT_S)[record.host]
        if isinstance(answer, Silent):
            detail = f"host {record.host} did not confirm; look again when it answers"
            raise Unavailable("host_silent", detail, host=record.host)
        if isinstance(answer, RacksaltError):
            RackClaims(self.rack).end(claim)
            raise answer
        RackClaims(self.rack).settle(claim)
        RackPending(self.rack).recall(record.host, record.uuid, settings)
        return record

    def _definition(self, host: str, domain: Domain) -> Definition:
        held, wrong = rack_holdings.read(self.rack, [host])
        if host not in held:
            raise Unavailable("host_failed", f"host {host}: {wrong[host]}", host=host)
        found = next((one for one in held[host].definitions if one.uuid == domain.uuid), None)
        if found is None or found.record is not None:
            raise Conflict(
                "record_changed", f"domain {domain.name} on {host} has changed since it was read; look again"
            )
        return found


def _told(record: Record, settings: Settings, seen: Inventory) -> dict[str, Any]:
    over = adoption.over_quota([record], settings, seen)
    return {"vm": record.title, "uuid": record.uuid, "host": record.host, "over_quota": over, "changed": True}
