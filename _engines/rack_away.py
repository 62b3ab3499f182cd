"""What the writer owes hosts that come back, and what it gives them against its own loss.

Nothing is lost without it, but time: deletions wait for their hosts until it runs again.

.. code-block:: yaml

    engines:
      - rack_away: {}
"""

from __future__ import annotations

from typing import Any

__virtualname__ = "rack_away"

__opts__: dict[str, Any]


def __virtual__() -> str:
    return __virtualname__


def start() -> None:
    """Go on until the master stops."""
    from racksalt.adapters import this_rack

    this_rack.look_after_away(__opts__)
