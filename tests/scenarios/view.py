"""The rack as lines of text, for people: what every host really has, and what the writer holds."""

from __future__ import annotations

from collections.abc import Iterator

from racksalt import audit, record_proof
from racksalt.model import Claim, Domain, Record
from tests.fakes import FakeHost, FakeRack


def lines(rack: FakeRack) -> list[str]:
    """All that there is; a VM whose files and addresses are where it is takes one line."""
    told = [line for host in rack.hosts.values() for line in _host_lines(host, rack)]
    current = rack.rack.settings()
    told += [_claim(claim) for claim in rack.claims.all() if claim.settled_at is None]
    told += [f"to be deleted: {one.title} on {one.host}" for one in current.deletions.values()]
    told += [f"given up: {name}" for name in current.forgotten]
    told += [f"disabled: {name}" for name, config in current.hosts.items() if not config.enabled]
    return told


def audit_lines(rack: FakeRack) -> list[str]:
    """Who asked for what, with which end, in order."""
    found = [audit.read(raw.text) for raw in rack.rack.audit.lines()]
    keys = ("kind", "user", "fun", "object", "host", "result", "reason")
    return [" ".join(str(line.data[key]) for key in keys if line.data.get(key)) for line in found if line]


def records(rack: FakeRack) -> dict[str, Record]:
    """Every VM that a host or a claim knows of."""
    claimed = {claim.record.uuid: claim.record for claim in rack.claims.all()}
    shown = [domain.record for host in rack.hosts.values() for domain in domains(host)]
    return claimed | {record.uuid: record for record in shown if record is not None}


def domains(host: FakeHost) -> tuple[Domain, ...]:
    """What is on a host, whatever is wrong with it."""
    fault, host.hypervisor.fault = host.hypervisor.fault, lambda step: None
    try:
        return host.hypervisor.report().domains
    finally:
        host.hypervisor.fault = fault


def _host_lines(host: FakeHost, rack: FakeRack) -> Iterator[str]:
    here = domains(host)
    for domain in sorted(here, key=lambda domain: domain.name):
        yield f"{host.name} {_domain(domain, host, rack)}"
    own = {domain.uuid for domain in here}
    known = records(rack)
    for uuid in sorted({path.split("/")[-1][:36] for path in host.volumes.files if path.startswith("/volumes")} - own):
        yield f"{host.name} has files of {known[uuid].title if uuid in known else 'nobody'}"
    if any(path.startswith("/lost") for path in host.volumes.files) or host.volumes.kept:
        yield f"{host.name} keeps things that were set aside"
    cards = {nic.mac for domain in here if domain.record for nic in domain.record.nics}
    for mac in sorted(set(host.hypervisor.leases) - cards):
        owner = next((record.title for record in known.values() if mac in {nic.mac for nic in record.nics}), "nobody")
        yield f"{host.name} reserves an address of {owner}"
    for _, source in sorted(host.doors.open_to):
        yield f"{host.name} lets {source} in"


def _domain(domain: Domain, host: FakeHost, rack: FakeRack) -> str:
    record = domain.record
    if record is None:
        return f"{domain.name} {domain.state}, no record"
    proven = record_proof.is_valid(record, rack.rack.ring.read()) and record.host == host.name
    disk, _ = host.volumes.paths(record.tenant, record.uuid)
    facts = {
        "incoming": domain.incoming,
        f"generation {record.generation}": record.generation > 1,
        "not signed for it": not proven,
        "no disk": disk not in host.volumes.files and not record.is_adopted,
        "no address": any(nic.mac not in host.hypervisor.leases for nic in record.nics),
    }
    return ", ".join([f"{record.title} {domain.state}", *(fact for fact, holds in facts.items() if holds)])


def _claim(claim: Claim) -> str:
    where = f"{claim.moves_from} to {claim.record.host}" if claim.moves_from else claim.record.host
    return f"claim: {claim.record.title} on {where}" if not claim.moves_from else f"move: {claim.record.title}, {where}"
