"""This host as a whole: what it has, and what runs on it."""

from __future__ import annotations

from typing import Any

from racksalt import errors, shape
from racksalt.adapters import this_host

__virtualname__ = "rack_host"

__opts__: dict[str, Any]
__context__: dict[str, Any]


def __virtual__() -> str:
    return __virtualname__


def report() -> Any:
    """Everything that the rack wants to know of this host, in one bulk read (``model.HostReport``).

    CLI Example:

    .. code-block:: bash

        salt h1 rack_host.report
    """
    try:
        with this_host.vms(__opts__["id"]) as vms:
            return shape.plain(vms.report())
    except errors.RacksaltError as error:
        __context__["retcode"] = 1
        return errors.as_result(error)
