"""Has the minion itself load what its jobs need, before the first of them; no grain comes of it.

A minion makes a process for each job, which has all that the minion has loaded. What it has not, every job reads and
builds again: 0.1 s of processor time each. Labels of hosts are in the rack's files, never in grains.
"""

from __future__ import annotations

import importlib.util
from typing import Any

__virtualname__ = "rack_code"


def __virtual__() -> str:
    return __virtualname__


def load_once() -> dict[str, Any]:
    """Load it; runs at the minion's start. A host that is new gets this file before the code."""
    if importlib.util.find_spec("racksalt") is not None:
        from racksalt.adapters import this_host

        this_host.load_all()
    return {}
