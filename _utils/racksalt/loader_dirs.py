"""Where Salt finds the loader files of an installed wheel (entry point ``salt.loader``)."""

from __future__ import annotations

import importlib.util
import pkgutil
import sys

_KINDS = ("auth", "engines", "netapi", "pillar", "runners")


def loader_dirs() -> dict[str, list[str]]:
    """Each kind of loader file with its folder; execution modules and states come by ``saltutil.sync_all``.

    Salt asks this before it makes a loader, so it is the place where the import path is made safe for several
    loaders at once, too.
    """
    _without_dead_paths()
    found: dict[str, list[str]] = {}
    for kind in _KINDS:
        spec = importlib.util.find_spec(f"racksalt_loader.{kind}")
        if spec and spec.submodule_search_locations:
            found[kind] = list(spec.submodule_search_locations)
    return found


def _without_dead_paths() -> None:
    """What nothing can be imported from, as Python's own ``python3XX.zip``, leaves the import path.

    ``importlib.invalidate_caches`` raises KeyError where two threads drop such an entry at once. Salt calls it for
    each module that is loaded, a master's worker in two threads as it starts while a minion logs in: it then answers
    ``{}`` to every request that it gets until the master is restarted. The master makes its first loader before it
    forks its workers, so that these have no such entry.
    """
    dead = [path for path in sys.path if pkgutil.get_importer(path) is None]
    if dead:
        # A new list: somebody may be looking for a module on the old one.
        sys.path = [path for path in sys.path if path not in dead]
        for path in dead:
            sys.path_importer_cache.pop(path, None)
