"""Plans in Salt's cache: kept for a while, and gone without harm."""

from __future__ import annotations

from pathlib import Path

from racksalt.adapters import plan_cache
from racksalt.adapters.plan_cache import PlanCache
from racksalt.adapters.soft_cache import SoftCache
from tests.fakes import FakeClock


def cache(folder: Path) -> PlanCache:
    opts = {"cache": "localfs", "cachedir": str(folder), "__role": "master"}
    return PlanCache(SoftCache(opts, "racksalt/plans"), FakeClock())


def test_a_plan_is_kept_under_its_hash(tmp_path: Path) -> None:
    cache(tmp_path).keep("0" * 64, {"kind": "drain"})
    assert cache(tmp_path).read("0" * 64) == {"kind": "drain"} and cache(tmp_path).read("1" * 64) == {}


def test_the_oldest_plans_go_first(tmp_path: Path) -> None:
    kept = cache(tmp_path)
    for number in range(plan_cache._MOST + 2):
        kept.keep(f"{number:064x}", {"number": number})
    assert kept.read(f"{1:064x}") == {} and kept.read(f"{2:064x}") == {"number": 2}
