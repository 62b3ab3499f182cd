"""What the writer does for hosts that come back, and so that a new master can take its place."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from racksalt import audit
from racksalt.audit import Act
from racksalt.errors import RacksaltError
from racksalt.inventory import Inventory
from racksalt.rack import Rack
from racksalt.rack_pending import RackPending, waking
from racksalt.rack_snapshots import RackSnapshots
from racksalt.settings import Settings

log = logging.getLogger(__name__)

#: What is due is looked for so often.
TURN_S = 1.0
#: How often hosts are looked at, and while something waits for one, or one is away.
_CALM_S = 20.0
_AWAY_S = 5.0
_LATEST_S = 60.0
#: A host that takes so long over what waits for it is left alone for a while: others wait for the word meanwhile.
_HANGS_S, _REST_S = 20.0, 600.0


@dataclass
class AwayWatch:
    """One watch; ``_woken`` are boots that have had the writer's word, ``_rests`` those that are left alone until."""

    snapshots: RackSnapshots = field(default_factory=RackSnapshots)
    _woken: dict[str, str] = field(default_factory=dict)
    _rests: dict[str, tuple[str, float]] = field(default_factory=dict)
    _next_at: float = 0.0
    _rest_until: float = 0.0

    def turn(self, rack: Rack) -> None:
        """On the writer; what fails is tried again at a later turn."""
        if rack.clock.now() < self._rest_until <= rack.clock.now() + _LATEST_S:
            return
        try:
            current = rack.settings()
            if rack.master == current.writer:
                self._tick(rack, current)
        except RacksaltError as error:
            self._rest_until = rack.clock.now() + _AWAY_S
            log.warning("%s: %s", error.code, error.detail)

    def _tick(self, rack: Rack, current: Settings) -> None:
        """First what waits for hosts, then the snapshot, which has what became of it."""
        now = rack.clock.now()
        looks = not now < self._next_at <= now + _LATEST_S
        gives = self.snapshots.is_due(rack)
        if not looks and not gives:
            return
        head = rack.audit.head()
        seen = rack.live_inventory(current)
        if looks:
            self._contact(rack, current, seen)
            away = current.deletions or not all(view.answers for view in seen.hosts.values())
            self._next_at = rack.clock.now() + (_AWAY_S if away else _CALM_S)
        if gives or (looks and self.snapshots.is_outdated(rack, seen)):
            self.snapshots.give(rack, seen, began=now, head=head)

    def _contact(self, rack: Rack, current: Settings, seen: Inventory) -> None:
        """A host that has booted is told once; one that hung lately comes last, as it tells boots as it likes."""
        new = {host: boot for host, boot in waking(seen).items() if self._woken.get(host) != boot}
        now = rack.clock.steady()
        self._rests = {host: rest for host, rest in self._rests.items() if now < rest[1]}
        resting = {host for host, (boot, _) in self._rests.items() if _boot(seen, host) == boot}
        told = RackPending(rack).apply(current, seen, woken=new, resting=resting, last=self._rests)
        until = rack.clock.steady() + _REST_S
        self._rests |= {host: (_boot(seen, host), until) for host, took in told.missed.items() if took > _HANGS_S}
        self._woken |= {host: new[host] for host in told.reached if host in new}
        for line in told.lines:
            log.info("%s", line)
            rack.audit.append(audit.outcome(Act(rack.master, "rack_away", object=line.partition(":")[0]), line))


def _boot(seen: Inventory, host: str) -> str:
    view = seen.hosts.get(host)
    return view.report.boot if view is not None and view.report is not None else ""
