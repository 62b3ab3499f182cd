"""What a VM has to be that the rack takes in: as a create would have made it, and in nobody's way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from racksalt import ip_plan, quota
from racksalt.errors import BadInput, Conflict, Denied
from racksalt.holdings import Card, Definition
from racksalt.inventory import Inventory, domains_of
from racksalt.model import ADOPTED, Domain, Nic, Record
from racksalt.names import is_private_mac
from racksalt.rack_requests import AdoptVm
from racksalt.settings import Settings


@dataclass(frozen=True, slots=True)
class Found:
    """A domain without a record that counts, on the host that shows it; ``record`` is what it is to have, unsigned."""

    host: str
    domain: Domain
    record: Record

    @property
    def told(self) -> dict[str, Any]:
        return {"host": self.host, "uuid": self.domain.uuid, "vm": self.record.title}


@dataclass(frozen=True, slots=True)
class Stranger:
    """A domain without any record, with its definition, that is taken in at ``at``."""

    host: str
    domain: Domain
    definition: Definition
    at: int


def unproven(seen: Inventory, host: str) -> Iterator[Found]:
    """The domains of a host whose records do not count."""
    for domain in domains_of(seen.hosts[host]):
        if domain.unproven is not None:
            yield Found(host, domain, domain.unproven)


def problems(found: Found, settings: Settings, seen: Inventory) -> list[str]:
    """Everything that is wrong with adopting it, as a create would look at it; none where it may be.

    A claim that an adoption of this very VM left behind holds nothing against it.
    """
    record, domain = found.record, found.domain
    seen = seen.with_claims(claim for claim in seen.claims if not (claim.adopts and claim.record.uuid == domain.uuid))
    wrong = [
        text
        for is_wrong, text in (
            (record.rack != settings.rack, f"its record is of rack {record.rack}, this is {settings.rack}"),
            (record.host != found.host, f"its record names host {record.host}, and {found.host} shows it"),
            (record.uuid != domain.uuid, f"its record is of {record.uuid}, the domain is {domain.uuid}"),
            (
                domain.name != record.domain and not record.is_adopted,
                f"the domain is called {domain.name}, its record says {record.domain}",
            ),
            (record.tenant not in settings.tenants, f"there is no tenant {record.tenant}"),
            (
                (record.vcpus, record.memory_mib) != (domain.vcpus, domain.memory_mib),
                f"the domain has {domain.vcpus} vCPUs and {domain.memory_mib} MiB, "
                f"its record says {record.vcpus} and {record.memory_mib}",
            ),
            (record.uuid in settings.deletions, "it is to be deleted"),
            (record.uuid in seen.index.vms, f"there is a VM {record.uuid} already"),
            (any(one.uuid == record.uuid for one in seen.in_flight()), f"{record.uuid} is being made"),
            (seen.holder(record.tenant, record.name) is not None, f"there is a VM {record.title} already"),
        )
        if is_wrong
    ]
    return wrong + [text for nic in record.nics for text in card_problems(nic, settings, seen)]


def name_for(asked: AdoptVm, host: str, domain: Domain) -> tuple[str, str]:
    """The tenant and the name that a domain without a record is to have: nobody guesses them."""
    if asked.tenant is None or asked.name is None:
        detail = f"domain {domain.name} on {host} has no record; say tenant=TENANT and name=NAME for what it is to be"
        raise BadInput(detail, code="adopt_needs_name", domain=domain.name)
    return asked.tenant, asked.name


def record_for(asked: AdoptVm, found: Stranger, settings: Settings, seen: Inventory) -> Record:
    """The record of a domain that has none; its cards on the rack's networks get planned addresses."""
    domain = found.domain
    tenant, name = name_for(asked, found.host, domain)
    return Record(
        rack=settings.rack,
        uuid=domain.uuid,
        tenant=tenant,
        name=name,
        host=found.host,
        flavor=asked.flavor or ADOPTED,
        image=ADOPTED,
        created_at=found.at,
        vcpus=domain.vcpus,
        memory_mib=domain.memory_mib,
        disk_gib=domain.disk_gib,
        nics=tuple(_nics(asked, found, settings, seen)),
        wanted="running" if domain.state in ("running", "paused") else "stopped",
    )


def stranger_problems(asked: AdoptVm, found: Stranger, settings: Settings) -> Iterator[str]:
    """What is wrong with a domain without a record, beside what is wrong with any."""
    domain, definition = found.domain, found.definition
    if not definition.persistent:
        yield "it has no permanent definition; `virsh dumpxml` and `virsh define` it first"
    flavor = settings.flavors.get(asked.flavor) if asked.flavor else None
    if asked.flavor and flavor is None:
        yield f"there is no flavor {asked.flavor}"
    if flavor and (flavor.vcpus, flavor.memory_mib) != (domain.vcpus, domain.memory_mib):
        yield (
            f"the domain has {domain.vcpus} vCPUs and {domain.memory_mib} MiB, "
            f"flavor {flavor.name} has {flavor.vcpus} and {flavor.memory_mib}"
        )
    if asked.address and not any(_is_planned(card, settings) for card in definition.next.cards):
        yield f"it has no card in a network of the rack that could have the address {asked.address}"


def cards_left(definition: Definition, record: Record) -> list[str]:
    """The cards that its record says nothing of: on no network of the rack, or with a MAC that the rack never gives."""
    own = {nic.mac for nic in record.nics}
    return [f"{card.mac} in {card.network or 'no network'}" for card in definition.next.cards if card.mac not in own]


def _nics(asked: AdoptVm, found: Stranger, settings: Settings, seen: Inventory) -> Iterator[Nic]:
    """``address`` is for the first of its cards on a network of the rack; the others get free ones."""
    taken, address = seen.taken(), asked.address
    for card in found.definition.next.cards:
        if not _is_planned(card, settings):
            continue
        network = settings.networks[card.network]
        nic = Nic(network.name, card.mac, address or ip_plan.free_address(network, found.domain.uuid, taken=taken))
        taken, address = taken.plus([nic]), None
        yield nic


def _is_planned(card: Card, settings: Settings) -> bool:
    return card.network in settings.networks and is_private_mac(card.mac)


def card_problems(nic: Nic, settings: Settings, seen: Inventory) -> Iterator[str]:
    """What stands against a network card with its address."""
    taken = seen.taken()
    if taken.has_mac(nic.mac):
        yield f"MAC {nic.mac} is in use"
    network = settings.networks.get(nic.network)
    if network is None:
        yield f"there is no network {nic.network}"
        return
    if taken.has_address(nic.network, nic.address):
        yield f"address {nic.address} is in use in network {nic.network}"
    subnet = IPv4Network(network.subnet)
    reserved = (subnet.network_address, subnet.broadcast_address, IPv4Address(network.gateway))
    if IPv4Address(nic.address) not in subnet or IPv4Address(nic.address) in reserved:
        yield f"address {nic.address} is not one for a VM in network {nic.network}, {network.subnet}"
    if nic.mac == ip_plan.gateway_mac(network):
        yield f"MAC {nic.mac} is the gateway's of network {nic.network}"


def refuse(found: Found, wrong: list[str]) -> None:
    """Raise what is wrong with adopting it, if anything is."""
    if wrong:
        detail = f"{found.record.title} on {found.host} cannot be adopted: {'; '.join(wrong)}"
        raise Conflict("adopt_refused", detail, problems=wrong)


def over_quota(records: list[Record], settings: Settings, seen: Inventory) -> dict[str, Any]:
    """What they pass of their tenants' quotas, by tenant: the operator is told, and not held back.

    Of a VM that counts already, only what it takes more than it did.
    """
    over: dict[str, Any] = {}
    for name in sorted({record.tenant for record in records} & set(settings.tenants)):
        own = [record for record in records if record.tenant == name]
        before = (seen.index.vms[one.uuid].record for one in own if one.uuid in seen.index.vms)
        more = quota.usage(own) - quota.usage(before)
        try:
            quota.check(settings.tenants[name], seen.usage(name), more)
        except Denied as error:
            over[name] = error.facts["limits"]
    return over
