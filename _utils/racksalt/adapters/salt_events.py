"""Events of the master's bus, for the watch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import salt.utils.event


def events(opts: Mapping[str, Any], prefix: str, *, wait_s: float) -> Iterator[dict[str, Any] | None]:
    """Each event whose tag begins so, with ``tag`` and ``data``; ``None`` after each wait without one."""
    with salt.utils.event.get_event("master", sock_dir=opts["sock_dir"], opts=dict(opts), listen=True) as bus:
        while True:
            yield bus.get_event(wait=wait_s, tag=prefix, match_type="startswith", full=True)
