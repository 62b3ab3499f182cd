"""What each host needs to know of the rack's files, by its id: nothing more reaches it."""

from __future__ import annotations

import logging
from typing import Any

from racksalt import host_slices
from racksalt.adapters import this_rack
from racksalt.errors import RacksaltError

log = logging.getLogger(__name__)

__virtualname__ = "rack_slices"

__opts__: dict[str, Any]


def __virtual__() -> str:
    return __virtualname__


def ext_pillar(minion_id: str, pillar: dict[str, Any]) -> dict[str, Any]:
    """The slice of ``minion_id`` under ``racksalt``; empty for an unknown one."""
    try:
        return {"racksalt": host_slices.slice_for(minion_id, this_rack.settings(__opts__))}
    except RacksaltError as error:
        log.error("no pillar for %s: %s", minion_id, error.detail)
        return {}
