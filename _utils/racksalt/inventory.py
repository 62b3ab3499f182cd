"""The rack as one value: what each host told, what is in the making, and which hosts are silent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from racksalt.model import Claim, Domain, HostConfig, HostReport, Record, State
from racksalt.placement import HostLoad, load_of


@dataclass(frozen=True, slots=True)
class HostView:
    """A host of the rack's files with its report; the last known one where it is silent."""

    config: HostConfig
    report: HostReport | None
    answers: bool
    error: str = ""


@dataclass(frozen=True, slots=True)
class Vm:
    """A VM as lists show it; ``host_answers`` is false where its state is only the last known one."""

    record: Record
    state: State
    host_answers: bool

    def as_dict(self) -> dict[str, Any]:
        """What the tenant sees; :func:`for_operator` adds where it runs."""
        record = self.record
        return {
            "name": record.name,
            "tenant": record.tenant,
            "uuid": record.uuid,
            "state": self.state,
            "flavor": record.flavor,
            "image": record.image,
            "vcpus": record.vcpus,
            "memory_mib": record.memory_mib,
            "disk_gib": record.disk_gib,
            "addresses": [nic.address for nic in record.nics],
            "nics": [{"network": nic.network, "mac": nic.mac, "address": nic.address} for nic in record.nics],
            "tags": list(record.tags),
            "note": record.note,
            "protected": record.protected,
            "anti_affinity": record.anti_affinity,
            "created_at": record.created_at,
        }


@dataclass(frozen=True, slots=True)
class Inventory:
    """All hosts and all claims at one moment."""

    rack: str
    hosts: Mapping[str, HostView]
    claims: tuple[Claim, ...] = ()

    def vms(self) -> list[Vm]:
        """Every VM with a record that names the host showing it; a higher generation wins over a copy.

        One that its host confirmed, and that no report shows yet, is there too.
        """
        newest: dict[str, Vm] = {}
        for view in self.hosts.values():
            for vm in _vms_of(view, self.rack):
                known = newest.get(vm.record.uuid)
                if known is None or vm.record.generation > known.record.generation:
                    newest[vm.record.uuid] = vm
        for claim in self.claims:
            if claim.settled_at is not None and self._counts(claim):
                newest[claim.record.uuid] = Vm(claim.record, "unknown", self._answers(claim.record.host))
        return sorted(newest.values(), key=lambda vm: (vm.record.tenant, vm.record.name))

    def in_flight(self) -> list[Record]:
        """Claims that no report shows: of VMs in the making, or made after the report of their host began."""
        return [claim.record for claim in self.claims if self._counts(claim)]

    def records(self) -> list[Record]:
        """All that holds names, addresses and quota: VMs, and claims in flight."""
        listed = {vm.record.uuid: vm.record for vm in self.vms()}
        return list((listed | {record.uuid: record for record in self.in_flight()}).values())

    def loads(self) -> list[HostLoad]:
        """Each host's load, for placement."""
        coming: dict[str, list[Record]] = {}
        for record in self.in_flight():
            coming.setdefault(record.host, []).append(record)
        return [
            load_of(view.config, view.report, answers=view.answers, in_flight=coming.get(name, ()))
            for name, view in self.hosts.items()
        ]

    def with_claims(self, claims: Iterable[Claim]) -> Inventory:
        """The same reports with today's claims."""
        return replace(self, claims=tuple(claims))

    def _answers(self, host: str) -> bool:
        return host in self.hosts and self.hosts[host].answers

    def _counts(self, claim: Claim) -> bool:
        view = self.hosts.get(claim.record.host)
        report = view.report if view else None
        if report is None:
            return True
        if any(domain.uuid == claim.record.uuid for domain in report.domains):
            return False
        return claim.settled_at is None or claim.settled_at >= report.read_at


def for_operator(vm: Vm) -> dict[str, Any]:
    """A VM with what only the operator may know: its host."""
    return {
        **vm.as_dict(),
        "host": vm.record.host,
        "host_answers": vm.host_answers,
        "generation": vm.record.generation,
    }


def _vms_of(view: HostView, rack: str) -> Iterator[Vm]:
    for domain in view.report.domains if view.report else ():
        record = domain.record
        if record and record.rack == rack and record.host == view.config.name and record.uuid == domain.uuid:
            yield Vm(record, _state(domain, view), view.answers)


def _state(domain: Domain, view: HostView) -> State:
    return domain.state if view.answers else "unknown"
