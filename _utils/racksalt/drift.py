"""Where the hosts are not as the records say: pure, one line each, with what can be done about it.

Nothing is done by itself. ``adopt`` takes what is there as right; ``revert`` puts back what the record says, or moves
out of the way what belongs to nothing. What a silent host has is not judged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from racksalt import domain_restore, record_proof
from racksalt.holdings import Definition, Holdings, Volume
from racksalt.inventory import HostView, Inventory, domains_of
from racksalt.model import Claim, Domain, Nic, Record
from racksalt.vm_trail import Made

Kind = Literal["twice", "missing", "moved", "unknown", "changed", "disks", "lease"]
Remedy = Literal["adopt", "revert"]
#: What a line is about, for who carries its remedy out.
About = Domain | tuple[Volume, ...] | Nic | Made | None

_KINDS: tuple[Kind, ...] = ("twice", "missing", "moved", "unknown", "changed", "disks", "lease")
#: After a letter, as a shell makes numbers of what looks like one.
_ID_LENGTH = 11


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that is not as it should be; ``object`` is the VM as people write it, or a domain, or an address."""

    kind: Kind
    host: str
    object: str
    found: str
    expected: str
    remedies: tuple[Remedy, ...]
    uuid: str = ""
    about: About = None

    @property
    def id(self) -> str:
        """The same as long as all that it tells is: whoever names it has seen what is there now."""
        told = json.dumps([self.kind, self.host, self.object, self.found, self.expected, self.uuid])
        return "d" + hashlib.sha256(told.encode()).hexdigest()[:_ID_LENGTH]

    def told(self, number: int) -> dict[str, Any]:
        """As plain data."""
        return {
            "n": number,
            "id": self.id,
            "kind": self.kind,
            "host": self.host,
            "object": self.object,
            "uuid": self.uuid,
            "found": self.found,
            "expected": self.expected,
            "remedies": list(self.remedies),
        }


@dataclass(frozen=True)
class Facts:
    """All that is compared. ``held`` are the holdings of the hosts that told them.

    ``genuine`` says whether the rack signed a record. ``made`` are the VMs that the audit knows of, and ``accepted``
    the lines that were adopted: of those, the missing ones were taken as gone.
    """

    seen: Inventory
    held: Mapping[str, Holdings]
    claims: tuple[Claim, ...]
    genuine: Callable[[Record], bool]
    made: Mapping[str, Made]
    accepted: Set[str]

    def domains(self) -> Iterator[tuple[HostView, Domain]]:
        """Every domain that is the matter of its own host, and that nobody is at work on."""
        for view in self.seen.hosts.values():
            for domain in domains_of(view):
                if domain.uuid not in self.busy and not domain.incoming:
                    yield view, domain

    @cached_property
    def busy(self) -> Set[str]:
        """VMs that are being made, moved or adopted, or were when the hosts were read."""
        reads = [view.report.read_at for view in self.seen.hosts.values() if view.report]
        began = min(reads, default=0.0)
        return {
            claim.record.uuid for claim in self.claims if claim.settled_at is None or claim.settled_at >= began
        } | set(self.seen.deleted)

    def is_counted(self, view: HostView, domain: Domain) -> bool:
        """Whether this very domain is its VM."""
        vm = self.seen.index.vms.get(domain.uuid)
        return domain.record is not None and vm is not None and vm.record == domain.record and view.answers

    def definition(self, host: str, domain: Domain) -> Definition | None:
        """How it is defined, where its record is still the one that was reported."""
        found = self._definitions.get((host, domain.uuid))
        known = record_proof.digest(domain.record) if domain.record else None
        return found if found is not None and found.record == known else None

    @cached_property
    def _definitions(self) -> Mapping[tuple[str, str], Definition]:
        return {(host, one.uuid): one for host, held in self.held.items() for one in held.definitions}


def lines(facts: Facts) -> list[Line]:
    """Everything, in the order in which it matters; VMs that were taken as gone are left out.

    Every other line that was adopted has ended by that. Where it tells the same once more, it has come again.
    """
    found = [*_twice(facts), *_strangers(facts), *_changed(facts), *_missing(facts), *_disks(facts), *_leases(facts)]
    left = [line for line in found if line.kind != "missing" or line.id not in facts.accepted]
    return sorted(left, key=lambda line: (_KINDS.index(line.kind), line.host, line.object, line.found))


def unsure(facts: Facts) -> dict[str, str]:
    """What could not be judged, and why."""
    told = {name: view.error or "it told nothing" for name, view in facts.seen.hosts.items() if name not in facts.held}
    unread = [name for name, view in facts.seen.hosts.items() if view.report is None]
    if unread:
        told["missing"] = f"nothing at all is known of {', '.join(sorted(unread))}"
    return told


def _shown(facts: Facts) -> dict[str, list[tuple[HostView, Domain]]]:
    shown: dict[str, list[tuple[HostView, Domain]]] = {}
    for view, domain in facts.domains():
        shown.setdefault(domain.uuid, []).append((view, domain))
    return shown


def _twice(facts: Facts) -> Iterator[Line]:
    """One line for each host that shows what another one shows too, but for the one whose word counts alone."""
    for uuid, places in _shown(facts).items():
        owners = facts.seen.index.twice.get(uuid, ())
        vm = facts.seen.index.vms.get(uuid)
        alone = vm.record.host if vm is not None and not owners else None
        for view, domain in places if len(places) > 1 else ():
            host = view.config.name
            if host == alone:
                continue
            others = ", ".join(sorted(other.config.name for other, _ in places if other is not view))
            expected = f"on host {alone} alone" if alone else "on one host alone"
            remedies: tuple[Remedy, ...] = ("adopt", "revert") if host in owners else ("revert",)
            yield Line(
                "twice",
                host,
                _name(domain),
                f"{domain.state} here, and on {others} too",
                expected,
                remedies if view.answers else (),
                uuid,
                domain,
            )


def _strangers(facts: Facts) -> Iterator[Line]:
    """Domains without a record that counts, but for those that are there twice."""
    for uuid, places in _shown(facts).items():
        view, domain = places[0]
        if len(places) > 1 or domain.record is not None:
            continue
        host, record = view.config.name, domain.unproven
        remedies: tuple[Remedy, ...] = ("adopt", "revert") if view.answers else ()
        if record is not None and record.uuid == uuid and record.host != host and facts.genuine(record):
            gone = "" if record.host in facts.seen.hosts else ", which is not in hosts.yaml"
            yield Line(
                "moved",
                host,
                record.title,
                f"on host {host}",
                f"on host {record.host}{gone}",
                remedies[:1],
                uuid,
                domain,
            )
            continue
        yield Line("unknown", host, domain.name, _strange(facts, host, domain), "a record", remedies, uuid, domain)


def _strange(facts: Facts, host: str, domain: Domain) -> str:
    record = domain.unproven
    if record is None:
        return "no record of Racksalt's"
    if not facts.genuine(record):
        return f"a record of {record.title} that the rack did not sign"
    if record.uuid != domain.uuid:
        return f"the record of {record.title}, which is another domain, {record.uuid}"
    return f"the record of {record.title}; host {host} had been given up"


def _changed(facts: Facts) -> Iterator[Line]:
    """Definitions that are not as the record says, or that a VM which runs has not got yet."""
    for view, domain in facts.domains():
        record, host = domain.record, view.config.name
        definition = facts.definition(host, domain) if facts.is_counted(view, domain) else None
        if record is None or definition is None:
            continue
        wrong = domain_restore.differences(definition.next, record)
        runs = domain_restore.differences(definition.now, record) if definition.now and not wrong else []
        remedies: tuple[Remedy, ...] = ()
        if wrong:
            own_disk = record.is_adopted or any(domain_restore.is_own(path, record) for path in definition.next.disks)
            taken = domain_restore.taken_over(definition.next, record) is not None
            remedies = (*(("adopt",) if taken else ()), *(("revert",) if own_disk else ()))
        if wrong or runs:
            found = "; ".join(one.found for one in wrong or runs)
            expected = "; ".join(one.expected for one in wrong or runs)
            when = "" if wrong else "until its next start: "
            yield Line("changed", host, record.title, when + found, expected, remedies, domain.uuid, domain)


def _missing(facts: Facts) -> Iterator[Line]:
    """VMs that were made, and that no host shows: only where something is known of every host."""
    if any(view.report is None for view in facts.seen.hosts.values()):
        return
    shown = {domain.uuid for view in facts.seen.hosts.values() for domain in domains_of(view)}
    for made in facts.made.values():
        if made.uuid in shown or made.uuid in facts.busy:
            continue
        traces = [host for host, held in facts.held.items() if any(one.uuid == made.uuid for one in held.volumes)]
        found = f"its disk on host {traces[0]}, and no domain" if traces else "on no host"
        expected = f"made at {made.at}, and not deleted since: line {made.line} of the audit"
        host = traces[0] if traces else ""
        yield Line("missing", host, made.title, found, expected, ("adopt",), made.uuid, made)


def _disks(facts: Facts) -> Iterator[Line]:
    """Files of volumes that no domain has: told once for hosts that share them, and only when all of those told."""
    for hosts in _storages(facts):
        if any(host not in facts.held for host in hosts):
            continue
        held = [facts.held[host] for host in hosts]
        used = {path for one in held for definition in one.definitions for path in definition.files()}
        uuids = {definition.uuid for one in held for definition in one.definitions} | facts.busy
        uuids |= {domain.uuid for host in hosts for domain in domains_of(facts.seen.hosts[host])}
        lost: dict[tuple[str, str], list[Volume]] = {}
        for volume in facts.held[hosts[0]].volumes:
            if volume.path not in used and volume.uuid not in uuids:
                lost.setdefault((volume.tenant, volume.uuid or volume.file), []).append(volume)
        for (tenant, name), volumes in lost.items():
            files = ", ".join(volume.file for volume in volumes)
            uuid = volumes[0].uuid or ""
            yield Line(
                "disks", hosts[0], f"{tenant}/{name}", f"{files} in volumes/{tenant}", "a domain", ("revert",), uuid,
                tuple(volumes),
            )  # fmt: skip


def _storages(facts: Facts) -> Iterable[list[str]]:
    """The hosts that have the same volumes, together."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, view in sorted(facts.seen.hosts.items()):
        storage = view.config.storage
        groups.setdefault(("storage", storage) if storage else ("host", name), []).append(name)
    return groups.values()


def _leases(facts: Facts) -> Iterator[Line]:
    """Planned addresses that no card has, and cards that have not got theirs."""
    for view, domain in facts.domains():
        record, host = domain.record, view.config.name
        if record is None or not facts.is_counted(view, domain) or facts.definition(host, domain) is None:
            continue
        for nic in record.nics:
            other = next(
                (one for one in facts.held[host].addresses if (one.network, one.mac) == (nic.network, nic.mac)), None
            )
            if other != nic:
                found = f"{other.address if other else 'no planned address'} for {nic.mac} in {nic.network}"
                yield Line("lease", host, record.title, found, nic.address, ("revert",), domain.uuid, domain)
    claimed = {nic.mac for claim in facts.claims for nic in claim.record.nics}
    for host, held in facts.held.items():
        recorded = {nic.mac for domain in domains_of(facts.seen.hosts[host]) for nic in _nics(domain)}
        macs = {card.mac for one in held.definitions for card in one.cards()} | claimed | recorded
        for nic in held.addresses:
            if nic.mac not in macs:
                found = f"{nic.address} for {nic.mac} in {nic.network}"
                yield Line("lease", host, nic.address, found, "a domain with this card", ("revert",), "", nic)


def _nics(domain: Domain) -> tuple[Nic, ...]:
    record = domain.record or domain.unproven
    return record.nics if record else ()


def _name(domain: Domain) -> str:
    record = domain.record or domain.unproven
    return record.title if record else domain.name
