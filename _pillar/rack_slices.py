"""What each host needs to know of the rack's files, by its id: nothing more reaches it."""

from __future__ import annotations

import logging
from typing import Any

from racksalt import host_slices
from racksalt.adapters import this_rack
from racksalt.errors import RacksaltError, Unavailable

log = logging.getLogger(__name__)

__virtualname__ = "rack_slices"

__opts__: dict[str, Any]


def __virtual__() -> str:
    return __virtualname__


def ext_pillar(minion_id: str, pillar: dict[str, Any]) -> dict[str, Any]:
    """The slice of ``minion_id`` under ``racksalt``; empty for an unknown one.

    Where the rack's files are wrong, or certificates cannot be made, it raises, so that Salt applies no state: an
    empty slice would be applied like a right one. Every minion reads the error, and may read nothing of the files
    in it.
    """
    try:
        settings, authority = this_rack.settings(__opts__), this_rack.tls_authority(__opts__)
        return {"racksalt": host_slices.slice_for(minion_id, settings, authority)}
    except RacksaltError as error:
        log.error("no pillar for %s: %s", minion_id, error.detail)
        told = "the rack's files are wrong, so nothing is applied; rack-lint on the master tells where"
        if error.code != "bad_rack_files":
            told = "the master cannot tell what belongs to this host, so nothing is applied; its log tells why"
        raise Unavailable("rack_unavailable", told) from None
