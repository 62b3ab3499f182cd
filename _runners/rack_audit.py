"""The audit: who did what, from where, with which result. For operators.

Each change has an ``intent`` line before it is begun and an ``outcome`` line after; refusals, logins and unproved
answers of hosts have one line. Each line holds the hash of the one before it, and hosts keep the newest.
"""

from __future__ import annotations

from typing import Any

from racksalt.adapters import this_rack

__virtualname__ = "rack_audit"

__opts__: dict[str, Any]
__context__: dict[str, Any]
__user__: str
#: Salt puts the job id here.
__jid__ = ""


def __virtual__() -> str:
    return __virtualname__


def list_(
    user: Any = None,
    tenant: Any = None,
    fun: Any = None,
    kind: Any = None,
    since: Any = None,
    job: Any = None,
    limit: Any = None,
    **unknown: Any,
) -> Any:
    """The newest lines that match all that is given, the newest last.

    since
        A time like ``2026-11-21T08:30:00Z``, or seconds since the epoch.
    limit
        So many lines at the most.

    CLI Example:

    .. code-block:: bash

        salt-run rack_audit.list tenant=acme since=2026-11-21 --out=yaml
    """
    return _answer("rack_audit.list", locals())


def verify(**unknown: Any) -> Any:
    """Check every line of the audit, and the hosts' memory of it; fails where anything was changed or is missing.

    CLI Example:

    .. code-block:: bash

        salt-run rack_audit.verify --out=yaml
    """
    return _answer("rack_audit.verify", locals())


def _answer(fun: str, arguments: dict[str, Any]) -> Any:
    return this_rack.answer(fun, arguments, user=__user__, opts=__opts__, context=__context__, job=__jid__)


__func_alias__ = {"list_": "list"}
