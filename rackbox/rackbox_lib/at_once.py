"""Several things at the same time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

T = TypeVar("T")


def at_once(calls: Sequence[Callable[[], T]], *, limit: int) -> list[T]:
    """Call all, up to `limit` at the same time, and return what they returned, in order.

    Raises the first error that occurs, after those already begun have ended; the others are not begun.
    """
    pool = ThreadPoolExecutor(limit)
    try:
        futures = [pool.submit(call) for call in calls]
        for done in as_completed(futures):
            done.result()
        return [future.result() for future in futures]
    finally:
        pool.shutdown(cancel_futures=True)
