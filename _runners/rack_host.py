"""The hosts of the rack. For operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from racksalt import access
from racksalt import rack_requests as asks
from racksalt.adapters import this_rack
from racksalt.rack_hosts import RackHosts
from racksalt.vm_create import VmCreate

__virtualname__ = "rack_host"

__opts__: dict[str, Any]
__context__: dict[str, Any]
__user__: str


def __virtual__() -> str:
    return __virtualname__


def list_(**unknown: Any) -> Any:
    """Each host in one line: whether it answers and takes VMs, and how full it is.

    CLI Example:

    .. code-block:: bash

        salt-run rack_host.list
    """
    return _answer(lambda rack, settings, _: RackHosts(rack).list(settings), asks.NoArguments, locals())


def show(name: Any = None, **unknown: Any) -> Any:
    """One host with its labels, its rules for room, and its VMs.

    CLI Example:

    .. code-block:: bash

        salt-run rack_host.show h1
    """
    return _answer(lambda rack, settings, asked: RackHosts(rack).show(asked, settings), asks.NamedHost, locals())


def status(**unknown: Any) -> Any:
    """The whole rack on one page: hosts, silent ones, VMs by state, claims in flight.

    CLI Example:

    .. code-block:: bash

        salt-run rack_host.status
    """
    return _answer(lambda rack, settings, _: RackHosts(rack).status(settings), asks.NoArguments, locals())


def enable(name: Any = None, test: Any = None, **unknown: Any) -> Any:
    """Let new VMs come to a host again.

    CLI Example:

    .. code-block:: bash

        salt-run rack_host.enable h1
    """
    return _answer(
        lambda rack, settings, asked: RackHosts(rack).switch(asked, settings, enabled=True),
        asks.SwitchHost,
        locals(),
    )


def disable(name: Any = None, reason: Any = None, test: Any = None, **unknown: Any) -> Any:
    """Let no new VM come to a host; the ones on it go on. The reason is kept in ``hosts.yaml``.

    CLI Example:

    .. code-block:: bash

        salt-run rack_host.disable h1 reason='new disks'
    """
    return _answer(
        lambda rack, settings, asked: RackHosts(rack).switch(asked, settings, enabled=False),
        asks.SwitchHost,
        locals(),
    )


def find(flavor: Any = None, tenant: Any = None, labels: Any = None, anti_affinity: Any = None, **unknown: Any) -> Any:
    """Which hosts could take a flavor, the first choice first, and what refuses it on the others.

    CLI Example:

    .. code-block:: bash

        salt-run rack_host.find flavor=m1.large
    """
    return _answer(lambda rack, settings, asked: VmCreate(rack).find_hosts(asked, settings), asks.FindHosts, locals())


def _answer(call: Callable[[Any, Any, Any], Any], request: type, arguments: dict[str, Any]) -> Any:
    def as_operator(rack: Any, caller: Any, settings: Any, asked: Any) -> Any:
        access.require_operator(caller)
        return call(rack, settings, asked)

    return this_rack.answer(as_operator, request, arguments, user=__user__, opts=__opts__, context=__context__)


__func_alias__ = {"list_": "list"}
