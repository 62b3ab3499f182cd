"""Salt's ``cache`` subsystem for what may be lost at any time: a failing cache fails nothing else."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import salt.cache
import salt.exceptions

log = logging.getLogger(__name__)


class SoftCache:
    """One bank of the cache; what cannot be read is not there, what cannot be written is logged."""

    def __init__(self, opts: Mapping[str, Any], bank: str) -> None:
        self._cache = salt.cache.Cache(dict(opts))
        self._bank = bank

    def names(self) -> list[str]:
        """What is there."""
        try:
            return list(self._cache.list(self._bank))
        except (salt.exceptions.SaltException, OSError) as error:
            log.warning("cache %s: %s", self._bank, error)
            return []

    def read(self, key: str) -> Any:
        """The value, or an empty mapping."""
        try:
            return self._cache.fetch(self._bank, key) or {}
        except (salt.exceptions.SaltException, OSError) as error:
            log.warning("cache %s/%s: %s", self._bank, key, error)
            return {}

    def write(self, key: str, value: Any) -> None:
        """Keep a value."""
        try:
            self._cache.store(self._bank, key, value)
        except (salt.exceptions.SaltException, OSError) as error:
            log.warning("cache %s/%s: %s", self._bank, key, error)

    def drop(self, key: str) -> None:
        """Forget a value; another process may have done so already."""
        try:
            self._cache.flush(self._bank, key)
        except (salt.exceptions.SaltException, OSError) as error:
            log.warning("cache %s/%s: %s", self._bank, key, error)
