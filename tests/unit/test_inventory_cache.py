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


def test_what_events_tell_is_kept_beside_what_was_read(cache: InventoryCache) -> None:
    live = HostReport("h1", Room(8, 1024, 10), (), "fake", 6.0, "boot-1", 7.5)
    cache.write(report("h1"))
    cache.write_live(live)
    cache.write_part(Look(6.0, {"h1": ""}))
    cache.touch("h2", 6.5)
    assert cache.live() == {"h1": live} and cache.live_one("h1") == live and cache.live_one("h2") is None
    assert cache.read_one("h1") == report("h1") and cache.look() is None and cache.part() == Look(6.0, {"h1": ""})
    cache.touch("h3", 7.5, claimed=True)
    assert cache.touched() == {"h2": 6.5, "h3": 7.5} and cache.touched_unclaimed() == {"h2": 6.5}
    cache.drop_live("h1")
    assert cache.live() == {} and cache.read_one("h1") == report("h1")


def test_what_cannot_be_read_is_not_there(cache: InventoryCache, tmp_path: Path) -> None:
    for bank in ("reports", "live", "looks", "touched"):
        (tmp_path / "racksalt" / bank).mkdir(parents=True)
        for name in ("h1", "newest", "part"):
            (tmp_path / "racksalt" / bank / f"{name}.p").write_bytes(b"\xc1 torn")
    assert cache.read() == {} and cache.live() == {} and cache.touched() == {}
    assert cache.look() is None and cache.part() is None
