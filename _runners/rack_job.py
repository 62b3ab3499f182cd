"""Jobs: calls that nobody waited for, or whose answer was lost, found again and ended.

Over salt-api one sees one's own jobs, and the changes that others have made in one's tenants. On the master's shell
the caller is the operator and sees all. A job is found for as long as Salt keeps it (``keep_jobs_seconds``, a day).
"""

from __future__ import annotations

from typing import Any

from racksalt.adapters import this_rack

__virtualname__ = "rack_job"

__opts__: dict[str, Any]
__context__: dict[str, Any]
__user__: str
#: Salt puts the job id here.
__jid__ = ""


def __virtual__() -> str:
    return __virtualname__


def list_(user: Any = None, fun: Any = None, state: Any = None, limit: Any = None, **unknown: Any) -> Any:
    """The newest jobs that match all that is given, the newest first.

    user
        For operators: whose.
    fun
        A function, like ``rack_vm.create``.
    state
        ``running``, ``done``, ``failed``, or ``lost``: its end is not known here, and :func:`show` looks it up.

    CLI Example:

    .. code-block:: bash

        salt-run rack_job.list user=alice state=failed --out=yaml
    """
    return _answer("rack_job.list", locals())


def show(job: Any = None, **unknown: Any) -> Any:
    """One job with what it answered; an error stands under ``result``.

    Of a create whose answer was lost, what became of it is found: the VM, or nothing, or that its host has still to
    tell. Of another change, ``vm`` is the VM as it is now.

    CLI Example:

    .. code-block:: bash

        salt-run rack_job.show 20261121093020110233 --out=yaml
    """
    return _answer("rack_job.show", locals())


def cancel(job: Any = None, test: Any = None, **unknown: Any) -> Any:
    """Ask the process of a running job to end; what its host is just doing goes on.

    CLI Example:

    .. code-block:: bash

        salt-run rack_job.cancel 20261121093020110233
    """
    return _answer("rack_job.cancel", locals())


def _answer(fun: str, arguments: dict[str, Any]) -> Any:
    return this_rack.answer(fun, arguments, user=__user__, opts=__opts__, context=__context__, job=__jid__)


__func_alias__ = {"list_": "list"}
