"""A runner that is asked to end says so in the audit and in its answer.

Salt's own answer to SIGTERM leaves the process on the spot, without a word anywhere.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from racksalt.errors import Cancelled


@contextmanager
def heeded() -> Iterator[None]:
    """In here SIGTERM is raised as ``Cancelled``, once; a second one does not disturb the ending."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _cancel)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)


def _cancel(_signal: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Cancelled
