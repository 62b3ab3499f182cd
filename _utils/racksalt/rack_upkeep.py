"""One empty host brought up to date: its highstate, and its next boot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from racksalt import shape
from racksalt.errors import Conflict, RacksaltError, Unavailable
from racksalt.model import HostReport
from racksalt.ports import Answer, Silent
from racksalt.rack import READ_TIMEOUT_S, Rack

#: A highstate may fetch packages and images; a boot may check disks.
_HIGHSTATE_S = 3600.0
_BOOT_S = 900.0
_LOOK_AGAIN_S = 2.0
#: A claim that was made before the host was disabled is over by then, where its host answers.
_COMING_S = 90.0


@dataclass(frozen=True, slots=True)
class RackUpkeep:
    """What a host does to itself when the writer asks for it."""

    rack: Rack

    def update(self, host: str) -> dict[str, Any]:
        """Apply the highstate; a state that fails there fails it here."""
        self._require_empty(host)
        told = _told(host, self._ask(host, "rack_host.update_self", _HIGHSTATE_S))
        if failed := told.get("failed"):
            why = "; ".join(f"{one['state']}: {one['comment']}" for one in failed[:3])
            raise Conflict("highstate_failed", f"host {host}: {len(failed)} states failed: {why}", host=host, **told)
        return told

    def reboot(self, host: str) -> dict[str, Any]:
        """Boot it again, and wait until it answers; another boot id says that it did."""
        self._require_empty(host)
        clock = self.rack.clock
        before, began = self._report(host), clock.now()
        if before is None:
            raise _silent(host, "it was not booted")
        _told(host, self._ask(host, "rack_host.reboot_self", READ_TIMEOUT_S))
        while clock.now() < began + _BOOT_S:
            now = self._report(host)
            if now is not None and now.boot != before.boot:
                return {"host": host, "boot": now.boot, "seconds": round(clock.now() - began)}
            clock.sleep(_LOOK_AGAIN_S)
        raise _silent(host, f"it was to boot, and has not come back in {_BOOT_S:.0f} s")

    def _require_empty(self, host: str) -> None:
        """A VM may have come before the host was taken out of placement, or be on its way since."""
        clock = self.rack.clock
        until = clock.now() + _COMING_S
        while coming := self._coming(host):
            if clock.now() > until:
                told = f"host {host} has VMs on their way: {', '.join(coming[:5])}"
                raise Conflict("host_not_empty", told, host=host)
            clock.sleep(_LOOK_AGAIN_S)
        report = self._report(host)
        if report is None:
            raise _silent(host, "nothing was done to it")
        if report.domains:
            names = ", ".join(domain.name for domain in report.domains[:5])
            raise Conflict("host_not_empty", f"host {host} has {len(report.domains)} domains: {names}", host=host)

    def _coming(self, host: str) -> list[str]:
        """The VMs of claims that nobody knows the end of; the writer's watch looks after those past their time."""
        open_ = (claim for claim in self.rack.claims.certain() if claim.settled_at is None)
        return [claim.record.title for claim in open_ if host in (claim.record.host, claim.moves_from)]

    def _report(self, host: str) -> HostReport | None:
        """The host's own report of now."""
        answer = self._ask(host, "rack_host.report", READ_TIMEOUT_S)
        return None if isinstance(answer, (Silent, RacksaltError)) else shape.parse(HostReport, answer)

    def _ask(self, host: str, function: str, timeout_s: float) -> Answer:
        return self.rack.fleet.ask([host], function, {}, timeout_s=timeout_s)[host]


def _told(host: str, answer: Answer) -> dict[str, Any]:
    if isinstance(answer, RacksaltError):
        raise answer
    if isinstance(answer, Silent) or not isinstance(answer, Mapping):
        raise _silent(host, "what it did is not known")
    return dict(answer)


def _silent(host: str, known: str) -> Unavailable:
    return Unavailable("host_silent", f"host {host} does not answer; {known}", host=host)
