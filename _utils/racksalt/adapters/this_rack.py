"""The parts of the rack put together on its master, for runners, eauth and the API."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from racksalt import errors, rack_answer, tickets
from racksalt.adapters import key_file
from racksalt.adapters.claim_files import ClaimFiles
from racksalt.adapters.inventory_cache import InventoryCache
from racksalt.adapters.salt_fleet import SaltFleet
from racksalt.adapters.system import SystemClock
from racksalt.adapters.yaml_files import YamlFolder
from racksalt.errors import RacksaltError, Unavailable
from racksalt.rack import Rack
from racksalt.rack_answer import Came
from racksalt.settings import Settings, load

log = logging.getLogger(__name__)

RACK_FILES = "/etc/racksalt/rack"
HTPASSWD = "/etc/racksalt/htpasswd"
TICKET_KEY = "/etc/racksalt/ticket.key"

#: What these errors tell of the rack's inside is for its shell only.
_FOR_THE_SHELL = ("bad_rack_files", "claim_unreadable")


def rack_files(opts: Mapping[str, Any]) -> YamlFolder:
    """The folder of the rack's files: ``racksalt: {rack_files: …}`` in the master's configuration."""
    return YamlFolder(Path(_config(opts).get("rack_files", RACK_FILES)))


def htpasswd_path(opts: Mapping[str, Any]) -> Path:
    """The central password file: ``racksalt: {htpasswd: …}`` in the master's configuration."""
    return Path(_config(opts).get("htpasswd", HTPASSWD))


def ticket_key_path(opts: Mapping[str, Any]) -> Path:
    """The key of :mod:`racksalt.tickets`: ``racksalt: {ticket_key: …}`` in the master's configuration."""
    return Path(_config(opts).get("ticket_key", TICKET_KEY))


def make_ticket(opts: Mapping[str, Any], user: str) -> str:
    """What the API hands to the master's eauth once it has checked the password of ``user``."""
    return tickets.make(key_file.read_or_make(ticket_key_path(opts)), user, now=SystemClock().now())


def is_ticket(opts: Mapping[str, Any], user: str, text: str) -> bool:
    """Whether the API made this ticket for ``user`` a moment ago."""
    return tickets.is_valid(key_file.read_or_make(ticket_key_path(opts)), user, text, now=SystemClock().now())


def settings(opts: Mapping[str, Any]) -> Settings:
    """The rack's files as they are now."""
    return load(rack_files(opts))


@contextmanager
def connected(opts: Mapping[str, Any]) -> Iterator[Rack]:
    """The rack of this master, for one or more calls."""
    clock = SystemClock()
    claims = ClaimFiles(Path(_config(opts).get("claims", "/var/lib/racksalt/claims")))
    fleet = SaltFleet(opts, clock)
    try:
        yield Rack(rack_files(opts), fleet, claims, InventoryCache(opts), clock, master_id(opts))
    finally:
        fleet.close()


def master_id(opts: Mapping[str, Any]) -> str:
    """This master as ``writer`` names it: by its minion's id, which the highstate writes into its configuration."""
    return str(opts.get("racksalt_master") or str(opts.get("id", "")).removesuffix("_master"))


def answer(
    fun: str,
    arguments: Mapping[str, Any],
    *,
    user: str,
    opts: Mapping[str, Any],
    context: dict[str, Any],
    job: str = "",
) -> Any:
    """One runner call: the answer, or the error as plain data."""
    try:
        with connected(opts) as rack:
            return rack_answer.carry_out(rack, Came(fun, user, arguments, job))
    except RacksaltError as error:
        context["retcode"] = 1
        if error.code in _FOR_THE_SHELL and not (user == "root" or user.startswith("sudo_")):
            log.error("%s", error.detail)
            error = Unavailable("rack_unavailable", "the rack's files are wrong; the operator can see where")
        return errors.as_result(error)


def _config(opts: Mapping[str, Any]) -> Mapping[str, Any]:
    config = opts.get("racksalt") or {}
    return config if isinstance(config, Mapping) else {}
