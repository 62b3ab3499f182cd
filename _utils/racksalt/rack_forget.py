"""Giving up a host that is away: what it held is free again, and what it shows later does not count.

Nothing of it is deleted by guess. Should the host come back, its VMs are listed as unsigned, are not started at its
boot, and wait for the operator, who adopts each of them or removes it: their names and addresses may be others' by
then. So it is the whole host that is remembered, and not a list of VMs, as the last report may not have had them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from racksalt import pending
from racksalt.access import Caller
from racksalt.errors import Conflict, NotFound, Refused, Unavailable
from racksalt.inventory import Inventory, domains_of
from racksalt.model import Claim
from racksalt.move_calls import MoveCalls
from racksalt.pending import Forgotten
from racksalt.rack import Rack
from racksalt.rack_pending import FILE
from racksalt.rack_requests import ForgetHost
from racksalt.settings import Settings, load


@dataclass(frozen=True, slots=True)
class RackForget:
    """Hosts that are gone for good, as far as anybody knows. For operators."""

    rack: Rack

    def forget(self, caller: Caller, asked: ForgetHost, settings: Settings) -> dict[str, Any]:
        """Give a host up; ``vms`` says how many VMs the operator knows to be lost with it."""
        host = asked.name
        if host not in settings.hosts:
            raise NotFound("host_unknown", f"no host {host!r}", host=host)
        if host in settings.forgotten:
            return {"host": host, "changed": False}
        seen = self.rack.inventory(settings)
        _refuse_one_in_use(host, settings, seen)
        vms = [vm.record.title for vm in seen.vms() if vm.record.host == host]
        told = {"host": host, "changed": True, "vms": vms, "claims": _titles(self._claims(host))}
        if asked.test:
            return {**told, "test": True, "deletions": [one.title for one in _waiting(host, settings)]}
        if asked.vms != len(vms):
            raise Refused(
                "forget_unconfirmed",
                f"{len(vms)} VMs are given up with host {host}; say vms={len(vms)} if that is meant, after a look at "
                f"the list that test=True gives",
                host=host,
                vms=vms,
            )
        self._end_moves(host, settings, seen)
        self._write(host, Forgotten(int(self.rack.clock.now()), caller.user))
        self._drop(host, settings)
        return told

    def take_back(self, host: str, settings: Settings, *, test: bool = False) -> None:
        """Before a host that was given up takes VMs again: it answers, and shows none that nobody adopted."""
        if host not in settings.forgotten:
            return
        view = self.rack.inventory(settings).hosts[host]
        if not view.answers:
            raise Unavailable("host_silent", f"host {host} was given up, and does not answer", host=host)
        left = [domain.name for domain in domains_of(view) if domain.unproven is not None]
        if left:
            raise Conflict(
                "host_forgotten",
                f"host {host} was given up, and shows VMs of before: {', '.join(left[:20])}; adopt each with "
                "rack_vm.adopt, or remove it on the host, and enable it then",
                host=host,
                vms=left,
            )
        if not test:
            self._write(host, None)

    def _end_moves(self, host: str, settings: Settings, seen: Inventory) -> None:
        """libvirt may go on with a move to a host whose minion is away: the VM would be given up with the host."""
        for claim in self._claims(host):
            source = seen.hosts.get(claim.moves_from or "")
            if not claim.is_moving or source is None or not source.answers:
                continue
            if MoveCalls(self.rack, claim, settings).recall(abort=True) == "sends":
                title = claim.record.title
                raise Conflict(
                    "vm_moving", f"{title} is still on its way to host {host}; try again in a while", vm=title
                )

    def _write(self, host: str, forgotten: Forgotten | None) -> None:
        with self.rack.files.locked():
            self.rack.files.change(FILE, lambda data: pending.write_forgotten(data, host, forgotten), load)

    def _drop(self, host: str, settings: Settings) -> None:
        """What is held on it by claims and by its last report."""
        with self.rack.claims.locked():
            for claim in self._claims(host):
                self.rack.claims.remove(claim.record.uuid)
        self.rack.last_known.clear(keep=set(settings.hosts) - {host})
        self.rack.last_known.drop_live(host)

    def _claims(self, host: str) -> list[Claim]:
        return [claim for claim in self.rack.claims.certain() if host in (claim.record.host, claim.moves_from)]


def _refuse_one_in_use(host: str, settings: Settings, seen: Inventory) -> None:
    if seen.hosts[host].answers:
        raise Conflict("host_answers", f"host {host} answers; only one that is away can be given up", host=host)
    if settings.hosts[host].enabled:
        detail = f"host {host} takes VMs; disable it first, so that none come to it when it is back"
        raise Conflict("host_enabled", detail, host=host)


def _waiting(host: str, settings: Settings) -> list[pending.Deletion]:
    return [one for one in settings.deletions.values() if one.host == host]


def _titles(claims: list[Claim]) -> list[str]:
    """Of those that are not only kept for readers whose look is older."""
    return [claim.record.title for claim in claims if claim.settled_at is None]
