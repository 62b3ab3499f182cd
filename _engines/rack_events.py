"""Tells the masters of this host's domains, signed, as soon as libvirt tells of a change; runs on each hypervisor.

Nothing depends on it: without it, the master asks the host at each look.

.. code-block:: yaml

    engines:
      - rack_events: {}
"""

from __future__ import annotations

from typing import Any

__virtualname__ = "rack_events"

__opts__: dict[str, Any]
__salt__: dict[str, Any]


def __virtual__() -> str:
    return __virtualname__


def start() -> None:
    """Tell until the minion stops."""
    from racksalt.adapters import this_host

    this_host.tell_changes(__opts__, lambda tag, data: __salt__["event.fire_master"](data, tag))
