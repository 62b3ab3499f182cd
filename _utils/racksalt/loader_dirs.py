"""Where Salt finds the loader files of an installed wheel (entry point ``salt.loader``)."""

from __future__ import annotations

import importlib.util

_KINDS = ("auth", "engines", "netapi", "pillar", "runners")


def loader_dirs() -> dict[str, list[str]]:
    """Each kind of loader file with its folder; execution modules and states come by ``saltutil.sync_all``."""
    found: dict[str, list[str]] = {}
    for kind in _KINDS:
        spec = importlib.util.find_spec(f"racksalt_loader.{kind}")
        if spec and spec.submodule_search_locations:
            found[kind] = list(spec.submodule_search_locations)
    return found
