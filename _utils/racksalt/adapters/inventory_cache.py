"""The last report of each host, through Salt's ``cache`` subsystem; anyone may delete it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import salt.cache

from racksalt import shape
from racksalt.errors import BadInput
from racksalt.model import HostReport

_BANK = "racksalt/reports"


class InventoryCache:
    """The ``LastKnown`` port."""

    def __init__(self, opts: Mapping[str, Any]) -> None:
        self._cache = salt.cache.Cache(dict(opts))

    def read(self) -> dict[str, HostReport]:
        """Every report that can still be read; one in an older form is as good as none."""
        reports = {}
        for host in self._cache.list(_BANK):
            try:
                reports[host] = shape.parse(HostReport, self._cache.fetch(_BANK, host))
            except BadInput:
                continue
        return reports

    def write(self, report: HostReport) -> None:
        """Keep the newest report of a host."""
        self._cache.store(_BANK, report.host, shape.plain(report))
