"""Plans that were read or begun, through Salt's ``cache`` subsystem; anyone may delete them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from racksalt.adapters.soft_cache import SoftCache
from racksalt.ports import Clock

#: So many plans are kept; the oldest ones go first.
_MOST = 100


class PlanCache:
    """The ``PlanStore`` port."""

    def __init__(self, cache: SoftCache, clock: Clock) -> None:
        self._cache = cache
        self._clock = clock

    def keep(self, name: str, plan: Mapping[str, Any]) -> None:
        """Keep a plan, and no more than there may be."""
        self._cache.write(name, {"at": self._clock.now(), "plan": dict(plan)})
        names = self._cache.names()
        if len(names) > _MOST:
            for oldest in sorted(names, key=self._kept_at)[: len(names) - _MOST]:
                self._cache.drop(oldest)

    def read(self, name: str) -> Any:
        """The plan, or an empty mapping."""
        kept = self._cache.read(name)
        return kept.get("plan", {}) if isinstance(kept, Mapping) else {}

    def _kept_at(self, name: str) -> float:
        kept = self._cache.read(name)
        at = kept.get("at", 0.0) if isinstance(kept, Mapping) else 0.0
        return at if isinstance(at, float) else 0.0
