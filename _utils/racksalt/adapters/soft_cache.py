"""Salt's ``cache`` subsystem for what may be lost at any time: a failing cache fails nothing, and holds up nobody."""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

import salt.cache

log = logging.getLogger(__name__)

#: A cache on the network that takes longer is left alone for a while: its drivers wait for ever.
_PATIENCE_S, _ALONE_S = 2.0, 10.0
_left_until: dict[str, float] = {}


def forget_troubles() -> None:
    """Ask every cache again at once."""
    _left_until.clear()


class SoftCache:
    """One bank of the cache; what cannot be read is not there, what cannot be written is logged."""

    def __init__(self, opts: Mapping[str, Any], bank: str) -> None:
        self._cache: salt.cache.Cache = salt.cache.Cache(dict(opts))
        self._bank = bank
        self._driver = str(opts.get("cache", "localfs"))

    def bank(self, name: str) -> SoftCache:
        """Another bank of the same cache, without another search for its drivers."""
        other = copy.copy(self)
        other._bank = name
        return other

    def names(self) -> list[str]:
        """What is there."""
        return list(self._soft(lambda: self._cache.list(self._bank), "*") or ())

    def read(self, key: str) -> Any:
        """The value, or an empty mapping."""
        return self._soft(lambda: self._cache.fetch(self._bank, key), key) or {}

    def write(self, key: str, value: Any) -> None:
        """Keep a value."""
        self._soft(lambda: self._cache.store(self._bank, key, value), key)

    def drop(self, key: str) -> None:
        """Forget a value; another process may have done so already."""
        self._soft(lambda: self._cache.flush(self._bank, key), key)

    def _soft(self, act: Callable[[], Any], key: str) -> Any:
        try:
            return act() if self._driver == "localfs" else self._in_time(act)
        except Exception as error:  # each driver has its library's own errors, and no common one
            log.warning("cache %s/%s: %s: %s", self._bank, key, type(error).__name__, error)
            return None

    def _in_time(self, act: Callable[[], Any]) -> Any:
        if time.monotonic() < _left_until.get(self._driver, 0.0):
            return None
        done: Future[Any] = Future()
        threading.Thread(target=_settle, args=(done, act), daemon=True).start()
        try:
            return done.result(_PATIENCE_S)
        except TimeoutError:
            _left_until[self._driver] = time.monotonic() + _ALONE_S
            raise


def _settle(done: Future[Any], act: Callable[[], Any]) -> None:
    try:
        done.set_result(act())
    except BaseException as error:
        done.set_exception(error)
