"""This host as a whole: what it has, and what runs on it."""

from __future__ import annotations

from typing import Any

from racksalt.adapters import this_host

__virtualname__ = "rack_host"

__opts__: dict[str, Any]
__context__: dict[str, Any]


def __virtual__() -> str:
    return __virtualname__


def report(bus: dict[str, Any] | None = None) -> Any:
    """Everything that the rack wants to know of this host, in one bulk read (``model.HostReport``).

    CLI Example:

    .. code-block:: bash

        salt h1 rack_host.report
    """
    minion = this_host.Minion(__opts__, __context__)
    return this_host.answer_bus(this_host.report, minion, function="rack_host.report", bus=bus)
