"""The last report of each host, through Salt's ``cache`` subsystem; anyone may delete it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from racksalt import shape
from racksalt.adapters.soft_cache import SoftCache
from racksalt.adapters.system import FileLock
from racksalt.errors import BadInput
from racksalt.model import HostReport, Look


class InventoryCache:
    """The ``LastKnown`` port."""

    def __init__(self, opts: Mapping[str, Any]) -> None:
        self._cache = SoftCache(opts, "racksalt/reports")
        self._live = self.bank("racksalt/live")
        self._looks = self.bank("racksalt/looks")
        self._touched = self.bank("racksalt/touched")
        self._unclaimed = self.bank("racksalt/touched-unclaimed")
        self._lock = FileLock(Path(str(opts["cachedir"])) / "racksalt-look.lock")

    def bank(self, name: str) -> SoftCache:
        """A bank of the same cache, for something else that may be lost."""
        return self._cache.bank(name)

    def locked(self) -> AbstractContextManager[None]:
        """One look at a time among all processes of this master."""
        return self._lock()

    def look(self) -> Look | None:
        """The newest look at all hosts, if it can still be read."""
        return _look(self._looks.read("newest"))

    def write_look(self, look: Look) -> None:
        """Keep the newest look at all hosts."""
        self._looks.write("newest", shape.plain(look))

    def part(self) -> Look | None:
        """The newest look at some of the hosts."""
        return _look(self._looks.read("part"))

    def write_part(self, look: Look) -> None:
        """Keep the newest look at some of the hosts."""
        self._looks.write("part", shape.plain(look))

    def read(self) -> dict[str, HostReport]:
        """Every report that can still be read."""
        return _reports(self._cache)

    def read_one(self, host: str) -> HostReport | None:
        """The report of one host; one in an older form is as good as none."""
        return _report(self._cache.read(host))

    def write(self, report: HostReport) -> None:
        """Keep the newest report of a host."""
        self._cache.write(report.host, shape.plain(report))

    def live(self) -> dict[str, HostReport]:
        """What the hosts' events add up to."""
        return _reports(self._live)

    def live_one(self, host: str) -> HostReport | None:
        """What the events of one host add up to."""
        return _report(self._live.read(host))

    def write_live(self, report: HostReport) -> None:
        """Keep what the events of a host add up to."""
        self._live.write(report.host, shape.plain(report))

    def drop_live(self, host: str) -> None:
        """The events of a host add up to nothing that is known."""
        self._live.drop(host)

    def touched(self) -> dict[str, float]:
        """When each host was last asked to change something, or was silent."""
        return _times(self._touched)

    def touched_unclaimed(self) -> dict[str, float]:
        """The same, but for changes that stand in claims."""
        return _times(self._unclaimed)

    def touch(self, host: str, at: float, *, claimed: bool = False) -> None:
        """A host was asked to change something, which a claim may tell of, or was silent."""
        self._touched.write(host, {"at": at})
        if not claimed:
            self._unclaimed.write(host, {"at": at})

    def clear(self, *, keep: Collection[str]) -> None:
        """Drop the last looks, and the reports of all other hosts."""
        for key in ("newest", "part"):
            self._looks.drop(key)
        for cache in (self._cache, self._live):
            for host in cache.names():
                if host not in keep:
                    cache.drop(host)


def _look(data: Any) -> Look | None:
    try:
        return shape.parse(Look, data)
    except BadInput:
        return None


def _report(data: Any) -> HostReport | None:
    try:
        return shape.parse(HostReport, data)
    except BadInput:
        return None


def _times(cache: SoftCache) -> dict[str, float]:
    found = {host: cache.read(host) for host in cache.names()}
    return {host: float(one["at"]) for host, one in found.items() if isinstance(one, dict) and "at" in one}


def _reports(cache: SoftCache) -> dict[str, HostReport]:
    found = {host: _report(cache.read(host)) for host in cache.names()}
    return {host: report for host, report in found.items() if report is not None}
