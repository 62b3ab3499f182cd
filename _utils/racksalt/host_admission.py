"""What a host checks by itself before a VM comes: deadline, cards, room; whatever the writer believed."""

from __future__ import annotations

from dataclasses import dataclass

from racksalt import placement
from racksalt.errors import Conflict, Refused
from racksalt.model import Domain, HostConfig, HostReport, Record, RoomPolicy


def check_deadline(vm: str, deadline: float, *, now: float) -> None:
    """Refuse what comes after the claim of this VM, by its title, has ended."""
    if now > deadline:
        raise Refused(
            "claim_expired",
            f"{vm}: its place was held until {deadline:.0f}, here it is {now:.0f}; "
            "if that is not true, set this host's clock",
            vm=vm,
        )


@dataclass(frozen=True, slots=True)
class Admission:
    """The checks for one VM; the caller holds the host's lock."""

    host: str
    vm: Record

    def check_domain(self, domain: Domain) -> None:
        """Refuse what another domain has.

        The rack counts no address of a record that is not signed; on its own host it is in use all the same.
        """
        if domain.name == self.vm.domain:
            raise Conflict("name_in_use", f"host {self.host} has a domain {domain.name}", vm=self.vm.title)
        for nic in domain.record.nics if domain.record else ():
            for own in self.vm.nics:
                if own.mac == nic.mac or (own.network, own.address) == (nic.network, nic.address):
                    raise Conflict(
                        "address_in_use",
                        f"host {self.host}: domain {domain.name} has {nic.address} and {nic.mac} in {nic.network}",
                        host=self.host,
                    )

    def check_room(self, policy: RoomPolicy, report: HostReport) -> None:
        """Refuse what does not fit beside everything that is there, running or not, ours or not."""
        config = HostConfig(self.host, room=policy)
        load = placement.load_of(config, report, answers=True)
        wish = placement.Wish(self.vm.tenant, self.vm.room, numa=self.vm.numa, huge_pages=self.vm.huge_pages)
        short = [verdict for verdict in placement.verdicts(wish, load) if not verdict.ok]
        if short:
            told = "; ".join(f"{v.rule}: {v.asked} asked, {v.found} left" for v in short)
            raise Refused("no_room", f"host {self.host}: {told}", host=self.host)
