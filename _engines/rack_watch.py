"""The writer's watch: ends claims that nobody waits for any more, and tells the audit of events that prove nothing.

Nothing depends on it: without it, the next create looks after the claims.

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
