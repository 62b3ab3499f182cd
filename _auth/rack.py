"""Logins of the rack's users, for Salt's ``external_auth``.

There is no ``acl()`` on purpose: Salt would evaluate it for whatever user the low data name.
"""

from __future__ import annotations

import logging
from typing import Any

from racksalt import logins
from racksalt.adapters import this_rack
from racksalt.errors import RacksaltError

log = logging.getLogger(__name__)

__virtualname__ = "rack"

__opts__: dict[str, Any]


def __virtual__() -> str:
    return __virtualname__


def auth(username: str, password: str) -> bool:
    """Whether this is a user of the rack whose password the API has just checked: ``password`` is its ticket.

    The central password file is read by the API alone, which throttles; the master's port would take guesses
    from anywhere, each with a bcrypt in a worker that serves the hosts (:mod:`racksalt.tickets`).
    """
    if not isinstance(username, str) or not isinstance(password, str):
        return False
    try:
        allowed = logins.may_log_in(username, this_rack.settings(__opts__))
    except RacksaltError as error:
        log.error("no login is possible: %s", error.detail)
        return False
    return allowed and this_rack.is_ticket(__opts__, username, password)


def groups(username: str, **_load: Any) -> list[str]:
    """The constant groups that the generated ACL speaks of; Salt passes the whole load, and only the name counts."""
    try:
        return logins.groups(username, this_rack.settings(__opts__))
    except RacksaltError as error:
        log.error("no login is possible: %s", error.detail)
        return []
