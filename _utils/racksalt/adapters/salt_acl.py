"""Salt's own judgement of its ACL, and all functions that it knows on this master."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import salt.loader
import salt.utils.minions

from racksalt import acl_fence

#: Modules that do not load here say so in the log; that is no news.
_LOADER_LOG = "salt.loader.lazy"
#: What modules ask for to know whether they are for this system; the real ones take seconds, and names to look up.
_GRAINS = {"kernel": "Linux", "os": "Debian", "os_family": "Debian", "osmajorrelease": 12, "init": "systemd"}


class SaltAcl:
    """The ``SaltAcl`` port, by the configuration that this process was started with."""

    def __init__(self, opts: Mapping[str, Any]) -> None:
        self._opts = opts

    def functions(self) -> dict[str, list[str]]:
        """Every function by the kind of client: ``runner``, ``wheel``, ``local``."""
        opts = {**self._opts, "grains": self._opts.get("grains") or _GRAINS}
        with _quiet():
            return {
                "runner": sorted(salt.loader.runner(opts)),
                "wheel": sorted(salt.loader.wheels(opts)),
                "local": sorted(salt.loader.minion_mods(opts)),
            }

    def settings(self) -> dict[str, Any]:
        """The master's settings that :mod:`racksalt.acl_fence` asks for."""
        with _quiet():
            eauth = salt.loader.auth(dict(self._opts))
            own = {name: name in eauth for name in ("rack.acl", "rack.process_acl")}
        keys = (*acl_fence.OFF, "netapi_enable_clients", "external_auth")
        return {key: self._opts.get(key) for key in keys} | own

    def entries(self, login: str, groups: Sequence[str]) -> list[Any]:
        """What Salt reads of ``external_auth: rack`` for this login in these groups."""
        eauth = self._opts.get("external_auth")
        rules = eauth.get("rack") if isinstance(eauth, Mapping) else None
        return list(self._judge.fill_auth_list(rules, login, list(groups))) if isinstance(rules, Mapping) else []

    def admits(self, entries: Sequence[Any], kind: str, fun: str) -> bool:
        """Whether these entries let a login call it; of the minions' functions, on any minion."""
        if kind == "local":
            return bool(self._judge.auth_check(list(entries), fun, [[]], "*", minions=[]))
        return self._judge.spec_check(list(entries), fun, {"arg": [], "kwarg": {}}, kind) is True

    def file_of(self, key: str) -> str:
        """The file of the master's configuration that sets ``key``."""
        known = [path for path in self._files() if re.search(rf"^{re.escape(key)}\s*:", _text(path), re.MULTILINE)]
        return ", ".join(map(str, known)) or "the master's configuration"

    def _files(self) -> Iterator[Path]:
        main = Path(str(self._opts.get("conf_file") or "/etc/salt/master"))
        yield main
        include = str(self._opts.get("default_include") or "master.d/*.conf")
        folder = Path(include) if Path(include).is_absolute() else main.parent / include
        yield from sorted(folder.parent.glob(folder.name))

    @cached_property
    def _judge(self) -> Any:
        return salt.utils.minions.CkMinions(dict(self._opts))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


@contextmanager
def _quiet() -> Iterator[None]:
    log = logging.getLogger(_LOADER_LOG)
    before = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(before)
