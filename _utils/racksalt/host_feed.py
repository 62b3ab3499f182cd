"""What a host tells its masters by itself, and when: what changed at once, and every few seconds that all is as told.

One act changes a domain several times, and many acts change many at once: what follows close upon a change that was
told is told together, as each telling costs this host and every process that listens on the master.

Whatever libvirt does not tell of, or tells while nobody listens, is in the next whole read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from racksalt import host_events
from racksalt.host_events import Changes
from racksalt.model import Domain
from racksalt.ports import Hypervisor

#: So often all domains are read, and their digest is told.
BEAT_S = 4.0
#: After a change they are read so soon: a master believes a look at all of them only.
SETTLE_S = 0.3
#: And not more often than this.
_REST_S = 2.0
#: What changes so soon after a change was told by itself is told at the end of that time.
BREATH_S = 0.5


@dataclass(frozen=True, slots=True)
class Moment:
    """Now by the host's own clock, which nobody sets."""

    boot: str
    uptime_s: float


@dataclass
class HostFeed:
    """What was told of this host so far, and what is to be told next."""

    host: str
    moment: Callable[[], Moment]
    _marks: dict[str, str] = field(default_factory=dict)
    _named: set[str] = field(default_factory=set)
    _some_at: float = 0.0
    _whole_at: float = 0.0
    _last_whole_at: float = 0.0

    def pause_s(self) -> float:
        """How long nothing is to be told, unless something changes."""
        at = min(self._whole_at, self._some_at) if self._named else self._whole_at
        return max(0.0, at - self.moment().uptime_s)

    def turn(self, hypervisor: Hypervisor, uuids: Collection[str]) -> Changes | None:
        """What is to be told after libvirt named these domains; ``None`` where it is nothing, or not yet."""
        now = self.moment().uptime_s
        if uuids:
            self._named |= set(uuids)
            self._whole_at = min(self._whole_at, max(now + SETTLE_S, self._last_whole_at + _REST_S))
        if now >= self._whole_at:
            return self._whole(hypervisor)
        if not self._named or now < self._some_at:
            return None
        told = self._some(hypervisor)
        if not told.changed and not told.gone:
            return None
        self._some_at = now + BREATH_S
        return told

    def look_again(self) -> None:
        """What was told by libvirt may have been missed: the next turn reads all."""
        self._whole_at = 0.0

    def _some(self, hypervisor: Hypervisor) -> Changes:
        now = self.moment()
        found = hypervisor.domains(self._named)
        told = self._told(now, found, self._named - {domain.uuid for domain in found}, whole=False)
        self._named = set()
        return told

    def _whole(self, hypervisor: Hypervisor) -> Changes:
        now = self.moment()
        found = hypervisor.domains()
        told = self._told(now, found, set(self._marks) - {domain.uuid for domain in found}, whole=True)
        self._named, self._last_whole_at, self._whole_at = set(), now.uptime_s, now.uptime_s + BEAT_S
        return told

    def _told(self, now: Moment, found: Iterable[Domain], gone: set[str], *, whole: bool) -> Changes:
        marks = {domain.uuid: (domain, host_events.mark(domain)) for domain in found}
        changed = tuple(domain for uuid, (domain, mark) in marks.items() if self._marks.get(uuid) != mark)
        left = tuple(sorted(gone & set(self._marks)))
        self._marks |= {uuid: mark for uuid, (_, mark) in marks.items()}
        for uuid in left:
            del self._marks[uuid]
        return Changes(self.host, now.boot, now.uptime_s, whole, host_events.digest(self._marks), changed, left)
