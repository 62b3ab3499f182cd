"""The newest snapshot of the inventory, wherever it is: on this master, or on the hosts that keep it.

A new master has no reports of hosts that do not answer: it takes them from here, as last known ones. What the writer
before it had in the making comes with them.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from racksalt import shape, snapshot
from racksalt.errors import RacksaltError, Refused
from racksalt.host_requests import KeepSnapshot, ReadSnapshot, SnapshotPieces
from racksalt.model import Claim, HostReport, SnapshotHead
from racksalt.ports import Claims, Fleet, KeyRing, LastKnown, Silent, Snapshots
from racksalt.snapshot import Snapshot

log = logging.getLogger(__name__)

_READ_TIMEOUT_S = 15.0
#: An answer has at least one piece, so that many calls are enough for any rack.
_MOST_CALLS = 500


@dataclass(frozen=True, slots=True)
class SnapshotReader:
    """Reads snapshots of the rack ``rack``, and fills in what this master does not know."""

    rack: str
    snapshots: Snapshots
    fleet: Fleet
    ring: KeyRing
    last_known: LastKnown
    claims: Claims

    def catch_up(self, reports: Mapping[str, HostReport], unknown: Collection[str], *, writes: bool) -> None:
        """Where a host keeps a newer snapshot than this master has, read it.

        The writer does so at once, for the claims in it; others only for hosts of which they know nothing.
        """
        own = self.newest_own()
        newer = [head for head in _heads(reports) if own is None or head.version > own.version]
        proved = [head for head in newer if snapshot.is_proved(head, self._unseal)] if writes or unknown else []
        if proved:
            own = self._read_newest(proved, reports, writes=writes) or own
        if unknown and own is not None:
            self._fill(own, unknown)

    def newest_own(self) -> SnapshotHead | None:
        """The newest snapshot that this master has itself."""
        return max(self.snapshots.heads(), key=lambda head: head.version, default=None)

    def unread(self, hosts: Iterable[str], *, master: str) -> tuple[str, ...]:
        """Which of these hosts, that have no report, may hold what nobody knows.

        One that is not in this master's own newest snapshot is new: nothing was ever placed there.
        """
        asked = tuple(hosts)
        own = self.newest_own() if asked else None
        if own is None:
            return asked
        try:
            known, unread = snapshot.known_hosts(own, self._own_piece(own), self._unseal)
        except RacksaltError as error:
            log.error("the snapshot of %s cannot be read: %s", own.master, error.detail)
            return asked
        return tuple(host for host in asked if own.master != master or host in known or host in unread)

    def _read_newest(
        self, heads: Iterable[SnapshotHead], reports: Mapping[str, HostReport], *, writes: bool
    ) -> SnapshotHead | None:
        """The first one that opens; a host may show what nobody has sealed."""
        for head in heads:
            for host in _holders(head, reports):
                try:
                    found = self._fetch(head, host)
                except RacksaltError as error:
                    log.warning("host %s: snapshot %s of %s: %s", host, head.version, head.master, error.detail)
                    continue
                if writes:
                    self._recover(found.claims)
                return head
        return None

    def _fetch(self, head: SnapshotHead, host: str) -> Snapshot:
        """All pieces that this master does not have; they are kept as its own."""
        names: tuple[str, ...] = (head.root,)
        texts = self._pieces(head, host, names)
        names += snapshot.root_names(texts[head.root], self._unseal)
        texts |= self._pieces(head, host, [name for name in names if self.snapshots.read(head.master, name) is None])
        found = snapshot.whole(
            head, lambda name: texts.get(name) or self.snapshots.read(head.master, name), self._unseal
        )
        if found.rack != self.rack:
            raise Refused("snapshot_unreadable", f"it is of rack {found.rack}")
        self.snapshots.keep(KeepSnapshot(head, names, texts))
        return found

    def _pieces(self, head: SnapshotHead, host: str, names: Iterable[str]) -> dict[str, str]:
        missing, texts = list(names), dict[str, str]()
        for _ in range(_MOST_CALLS):
            if not missing:
                return texts
            request = {"request": shape.plain(ReadSnapshot(head.master, tuple(missing)))}
            answer = self.fleet.ask([host], "rack_host.snapshot", request, timeout_s=_READ_TIMEOUT_S)[host]
            if isinstance(answer, RacksaltError):
                raise answer
            came = {} if isinstance(answer, Silent) else shape.parse(SnapshotPieces, answer).texts
            wanted = {name: text for name, text in came.items() if name in missing}
            if not wanted:
                break
            texts |= wanted
            missing = [name for name in missing if name not in texts]
        raise Refused("snapshot_unreadable", f"{len(missing)} pieces are missing")

    def _fill(self, own: SnapshotHead, unknown: Collection[str]) -> None:
        try:
            found = snapshot.whole(own, self._own_piece(own), self._unseal)
        except RacksaltError as error:
            log.error("the snapshot of %s cannot be read: %s", own.master, error.detail)
            return
        for host in unknown:
            if host in found.hosts:
                self.last_known.write(found.hosts[host])

    def _recover(self, claims: Iterable[Claim]) -> None:
        """What another writer had in the making is held on."""
        with self.claims.locked():
            known = {claim.record.uuid for claim in self.claims.certain()}
            for claim in claims:
                if claim.record.uuid not in known:
                    self.claims.write(claim)

    def _own_piece(self, head: SnapshotHead) -> snapshot.Read:
        return lambda name: self.snapshots.read(head.master, name)

    def _unseal(self, text: str, label: str) -> bytes:
        return self.snapshots.unseal(text, label, self.ring.read())


def _heads(reports: Mapping[str, HostReport]) -> list[SnapshotHead]:
    """The snapshots that hosts have, the newest first."""
    found = {head for report in reports.values() for head in report.snapshots}
    return sorted(found, key=lambda head: (-head.version, head.master, head.root))


def _holders(head: SnapshotHead, reports: Mapping[str, HostReport]) -> Iterator[str]:
    return (host for host, report in reports.items() if head in report.snapshots)
