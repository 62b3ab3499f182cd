"""What a master looks after by itself: claims past their time, and the events under Racksalt's own prefix.

The bus does not prove who speaks: an event counts where a host of the rack's files has signed it, and then for that
host alone (:mod:`racksalt.inventory_feed`). Any other one is somebody's try, and is told to the audit.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from racksalt import audit
from racksalt.audit import Act
from racksalt.errors import RacksaltError
from racksalt.inventory_feed import InventoryFeed
from racksalt.move_ends import MoveEnds
from racksalt.rack import Rack
from racksalt.rack_claims import RackClaims

log = logging.getLogger(__name__)

#: Every event of Racksalt's has a tag that begins so.
PREFIX = "racksalt/"
#: How often claims are looked at; where a look ends none of them, the next one comes twice as late.
TICK_S = 10.0
_LATEST_S = 300.0
#: One who sends many events gets one line in so long.
_QUIET_S = 60.0
#: So many senders are told apart.
_MOST_SENDERS = 100


@dataclass
class RackWatch:
    """One watch, over one or more connections to the rack."""

    feed: InventoryFeed = field(default_factory=InventoryFeed)
    _told_at: dict[str, float] = field(default_factory=dict)
    _next_look_at: float = 0.0
    _pause_s: float = TICK_S

    def heard(self, rack: Rack, tag: str, data: Mapping[str, Any]) -> None:
        """An event under our prefix."""
        unproved = self.feed.heard(rack, rack.settings(), tag, data.get("data"))
        if unproved is not None:
            self._tell(rack, str(data.get("id", ""))[:64], f"{unproved.reason}: {tag[:100]}")

    def _tell(self, rack: Rack, claimed: str, reason: str) -> None:
        now = rack.clock.steady()
        sender = claimed if claimed in self._told_at or len(self._told_at) < _MOST_SENDERS else ""
        if sender in self._told_at and now - self._told_at[sender] < _QUIET_S:
            return
        self._told_at[sender] = now
        rack.audit.append(audit.dropped(claimed, "", reason=reason))

    def tick(self, rack: Rack) -> None:
        """End what can be ended; on the writer only."""
        now = rack.clock.now()
        if now < self._next_look_at <= now + _LATEST_S or not RackClaims(rack).any_due():
            return
        current = rack.settings()
        if rack.master != current.writer:
            return
        seen = rack.inventory(current)
        ended = [*RackClaims(rack).tidy(seen), *MoveEnds(rack).tidy(seen, current)]
        for line in ended:
            log.info("claim ended: %s", line)
            rack.audit.append(audit.outcome(Act(rack.master, "rack_watch", object=line.partition(":")[0]), line))
        self._pause_s = TICK_S if ended else min(2 * self._pause_s, _LATEST_S)
        self._next_look_at = now + self._pause_s

    def turn(self, rack: Rack, event: Mapping[str, Any] | None) -> None:
        """One event or none, the hosts that it takes a look at, then the claims; what fails is tried again later."""
        try:
            if event is not None:
                self.heard(rack, str(event.get("tag", "")), event.get("data") or {})
            self.feed.read_what_is_missed(rack, rack.settings())
            self.tick(rack)
        except RacksaltError as error:
            log.warning("%s: %s", error.code, error.detail)
