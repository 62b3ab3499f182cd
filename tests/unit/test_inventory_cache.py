"""The last reports in Salt's cache: kept by host, dropped on demand, and never in the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from racksalt.adapters.inventory_cache import InventoryCache
from racksalt.model import HostReport, Look, Room


@pytest.fixture
def cache(tmp_path: Path) -> InventoryCache:
    return InventoryCache({"cache": "localfs", "cachedir": str(tmp_path), "extension_modules": "", "__role": "master"})


def report(host: str) -> HostReport:
    return HostReport(host, Room(8, 1024, 10), (), "fake", 5.0)


def test_reports_and_the_look_come_back(cache: InventoryCache) -> None:
    cache.write(report("h1"))
    cache.write_look(Look(5.0, {"h1": "", "h2": "silent"}))
    assert cache.read() == {"h1": report("h1")} and cache.read_one("h1") == report("h1")
    assert cache.look() == Look(5.0, {"h1": "", "h2": "silent"}) and cache.read_one("h2") is None


def test_all_is_dropped_but_what_is_to_be_kept(cache: InventoryCache) -> None:
    for host in ("h1", "h2", "h3"):
        cache.write(report(host))
    cache.write_look(Look(5.0, {}))
    cache.clear(keep=["h2"])
    assert cache.read() == {"h2": report("h2")} and cache.look() is None
    cache.clear(keep=())
    assert cache.read() == {}
