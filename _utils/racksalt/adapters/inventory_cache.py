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
        self._looks = SoftCache(opts, "racksalt/looks")
        self._lock = FileLock(Path(str(opts["cachedir"])) / "racksalt-look.lock")

    def locked(self) -> AbstractContextManager[None]:
        """One look at a time among all processes of this master."""
        return self._lock()

    def look(self) -> Look | None:
        """The newest look, if it can still be read."""
        try:
            return shape.parse(Look, self._looks.read("newest"))
        except BadInput:
            return None

    def write_look(self, look: Look) -> None:
        """Keep the newest look."""
        self._looks.write("newest", shape.plain(look))

    def read(self) -> dict[str, HostReport]:
        """Every report that can still be read."""
        reports = {host: self.read_one(host) for host in self._cache.names()}
        return {host: report for host, report in reports.items() if report is not None}

    def read_one(self, host: str) -> HostReport | None:
        """The report of one host; one in an older form is as good as none."""
        try:
            return shape.parse(HostReport, self._cache.read(host))
        except BadInput:
            return None

    def write(self, report: HostReport) -> None:
        """Keep the newest report of a host."""
        self._cache.write(report.host, shape.plain(report))

    def clear(self, *, keep: Collection[str]) -> None:
        """Drop the last look, and the reports of all other hosts."""
        self._looks.drop("newest")
        for host in self._cache.names():
            if host not in keep:
                self._cache.drop(host)
