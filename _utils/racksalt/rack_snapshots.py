"""Giving hosts a snapshot of the inventory after each change, on the writer, so that its loss loses nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from racksalt import shape, snapshot
from racksalt.errors import RacksaltError
from racksalt.host_requests import KeepSnapshot
from racksalt.inventory import Inventory
from racksalt.model import Head
from racksalt.ports import Answer, Silent
from racksalt.rack import Rack
from racksalt.record_proof import Ring
from racksalt.snapshot import COPIES, HostPiece, Pieces

log = logging.getLogger(__name__)

#: Not more often than this, and no more than a tenth of the time; but where a look waits for a host that is silent, no
#: change is left out for longer than that.
_PAUSE_S, _PAUSE_MOST_S = 1.0, 5.0
_SHARE = 10
#: With fewer copies than there could be, it is tried again.
_AGAIN_S = 30.0
_KEEP_TIMEOUT_S = 20.0


@dataclass
class RackSnapshots:
    """The snapshots of one writer, as long as its watch runs: what was told last, and when the next one is due."""

    _head: Head | None = None
    _sent: frozenset[str] = frozenset()
    _hosts: Mapping[str, HostPiece] = field(default_factory=dict)
    _key: int = 0
    _missing_copies: bool = True
    _next_at: float = 0.0
    _latest_at: float = 0.0

    def is_due(self, rack: Rack) -> bool:
        """Whether something has changed: every change is in the audit, but for those that are made by hand."""
        now = rack.clock.now()
        if self._rests(now):
            return False
        return rack.audit.head() != self._head or (self._missing_copies and now >= self._latest_at)

    def is_outdated(self, rack: Rack, seen: Inventory) -> bool:
        """Whether hosts show something else than the last one has of them."""
        known = {host: piece.report for host, piece in self._hosts.items()}
        return not self._rests(rack.clock.now()) and snapshot.lasting(seen) != known

    def give(self, rack: Rack, seen: Inventory, *, began: float, head: Head | None) -> int:
        """Keep a snapshot here, and on three hosts; how many of them have it now.

        ``began`` is when the look did, and ``head`` the audit's newest line before it: what came since is for the next.
        """
        ring = rack.ring.read()
        made = self._make(rack, seen, ring)
        rack.snapshots.keep(KeepSnapshot(made.head, tuple(made.texts), made.texts))
        self._hosts, self._key = made.hosts, ring.newest
        answering = [name for name, view in seen.hosts.items() if view.answers]
        kept = self._send(rack, made, snapshot.keepers(seen.rack, rack.master, answering))
        self._head, self._sent = head, frozenset(made.texts)
        self._missing_copies = kept < min(COPIES, len(seen.hosts))
        now = rack.clock.now()
        pause_s = min(max(_PAUSE_S, _SHARE * (now - began)), _PAUSE_MOST_S)
        self._next_at, self._latest_at = now + pause_s, now + _AGAIN_S
        return kept

    def _rests(self, now: float) -> bool:
        return now < self._next_at <= now + _PAUSE_MOST_S

    def _make(self, rack: Rack, seen: Inventory, ring: Ring) -> Pieces:
        """What did not change is not made again; under a new key all of it is."""
        now = rack.clock.now()

        def seal(data: bytes, label: str) -> str:
            return rack.snapshots.seal(data, label, ring)

        before = self._hosts if self._key == ring.newest else {}
        newest = max((head.version for head in rack.snapshots.heads()), default=0)
        maker = snapshot.Maker(rack.master, seal, before)
        return maker.pieces(seen, version=max(newest + 1, int(now * 1000)), at=now)

    def _send(self, rack: Rack, made: Pieces, order: Sequence[str]) -> int:
        """To the first hosts in the order, and to the next ones where those do not take it."""
        kept, left = 0, list(order)
        while kept < COPIES and left:
            chosen, left = left[: COPIES - kept], left[COPIES - kept :]
            kept += self._send_to(rack, made, chosen)
        return kept

    def _send_to(self, rack: Rack, made: Pieces, hosts: list[str]) -> int:
        """What is new at once, where one call takes it; what a host lacks beyond that it says itself."""
        new = list(snapshot.parcels({name: text for name, text in made.texts.items() if name not in self._sent}))
        lacking = self._ask(rack, made, hosts, new[0] if len(new) == 1 else {})
        wanted = {name for names in lacking.values() for name in names}
        if wanted:
            for parcel in snapshot.parcels({name: made.texts[name] for name in wanted & set(made.texts)}):
                lacking = self._ask(rack, made, sorted(lacking), parcel)
        return sum(not names for names in lacking.values())

    def _ask(self, rack: Rack, made: Pieces, hosts: list[str], texts: Mapping[str, str]) -> dict[str, list[str]]:
        """What each host that took it still lacks; hosts that did not are left out."""
        request = {"request": shape.plain(KeepSnapshot(made.head, tuple(made.texts), texts))}
        try:
            answers = rack.fleet.ask(hosts, "rack_host.keep_snapshot", request, timeout_s=_KEEP_TIMEOUT_S)
        except RacksaltError as error:
            log.warning("no host was given the snapshot: %s", error.detail)
            return {}
        read = {host: _lacking(answer) for host, answer in answers.items()}
        for host, names in read.items():
            if names is None:
                log.warning("host %s did not take the snapshot: %s", host, answers[host])
        return {host: names for host, names in read.items() if names is not None}


def _lacking(answer: Answer) -> list[str] | None:
    if isinstance(answer, (Silent, RacksaltError)):
        return None
    lacking: Any = answer.get("lacks") if isinstance(answer, Mapping) else None
    return [str(name) for name in lacking] if isinstance(lacking, list) else None
