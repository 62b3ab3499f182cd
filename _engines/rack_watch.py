"""A master's watch: keeps what hosts tell of their VMs, ends late claims, tells the audit of events that prove nothing.

Nothing depends on it: without it, each read asks the hosts, and the next create looks after the claims.

.. code-block:: yaml

    engines:
      - rack_watch: {}
"""

from __future__ import annotations

from typing import Any

__virtualname__ = "rack_watch"

__opts__: dict[str, Any]


def __virtual__() -> str:
    return __virtualname__


def start() -> None:
    """Watch until the master stops."""
    from racksalt.adapters import this_rack

    this_rack.watch(__opts__)
