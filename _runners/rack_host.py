"""The hosts of the rack. For operators."""

from __future__ import annotations

from typing import Any

from racksalt.adapters import this_rack

__virtualname__ = "rack_host"

__opts__: dict[str, Any]
__context__: dict[str, Any]
__user__: str
#: Salt puts the job id here.
__jid__ = ""


def __virtual__() -> str:
    return __virtualname__


def list_(**unknown: Any) -> Any:
    """Each host in one line: whether it answers and takes VMs, and how full it is.

    CLI Example:

    .. code-block:: bash

        salt-run rack_host.list
    """
    return _answer("rack_host.list", locals())


def show(name: Any = None, **unknown: Any) -> Any:
    """One host with its labels, its rules for room, and its VMs.

    CLI Example:

    .. code-block:: bash

        salt-run rack_host.show h1
    """
    return _answer("rack_host.show", locals())


def status(**unknown: Any) -> Any:
    """The whole rack on one page: hosts, silent ones, VMs by state, claims in flight.

    CLI Example:

    .. code-block:: bash

        salt-run rack_host.status
    """
    return _answer("rack_host.status", locals())


def enable(name: Any = None, test: Any = None, **unknown: Any) -> Any:
    """Let new VMs come to a host again.

    CLI Example:

    .. code-block:: bash

        salt-run rack_host.enable h1
    """
    return _answer("rack_host.enable", locals())


def disable(name: Any = None, reason: Any = None, test: Any = None, **unknown: Any) -> Any:
    """Let no new VM come to a host; the ones on it go on. The reason is kept in ``hosts.yaml``.

    CLI Example:

    .. code-block:: bash

        salt-run rack_host.disable h1 reason='new disks'
    """
    return _answer("rack_host.disable", locals())


def find(flavor: Any = None, tenant: Any = None, labels: Any = None, anti_affinity: Any = None, **unknown: Any) -> Any:
    """Which hosts could take a flavor, the first choice first, and what refuses it on the others.

    CLI Example:

    .. code-block:: bash

        salt-run rack_host.find flavor=m1.large
    """
    return _answer("rack_host.find", locals())


def inventory(**unknown: Any) -> Any:
    """The whole rack as one value with its fingerprint: the same for the same hosts and VMs, whoever reads it.

    CLI Example:

    .. code-block:: bash

        salt-run rack_host.inventory --out=json
    """
    return _answer("rack_host.inventory", locals())


def rebuild_inventory(**unknown: Any) -> Any:
    """Drop what the master keeps of the hosts' reports, and read all hosts anew.

    CLI Example:

    .. code-block:: bash

        salt-run rack_host.rebuild_inventory
    """
    return _answer("rack_host.rebuild_inventory", locals())


def rotate_key(test: Any = None, **unknown: Any) -> Any:
    """Sign the records of all VMs with a new key; the older ones go when every host has confirmed.

    CLI Example:

    .. code-block:: bash

        salt-run rack_host.rotate_key test=True
    """
    return _answer("rack_host.rotate_key", locals())


def _answer(fun: str, arguments: dict[str, Any]) -> Any:
    return this_rack.answer(fun, arguments, user=__user__, opts=__opts__, context=__context__, job=__jid__)


__func_alias__ = {"list_": "list"}
