"""Tenants: their quota and what they use. A tenant's user sees its own; the operator sees and changes all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from racksalt import rack_requests as asks
from racksalt.adapters import this_rack
from racksalt.rack_tenants import RackTenants

__virtualname__ = "rack_tenant"

__opts__: dict[str, Any]
__context__: dict[str, Any]
__user__: str


def __virtual__() -> str:
    return __virtualname__


def list_(test: Any = None, **unknown: Any) -> Any:
    """The caller's tenants; reading them checks all of the rack's files.

    CLI Example:

    .. code-block:: bash

        salt-run rack_tenant.list
    """
    return _answer(
        lambda rack, caller, settings, _: RackTenants(rack).list(caller, settings), asks.ListTenants, locals()
    )


def show(name: Any = None, **unknown: Any) -> Any:
    """One tenant with its quota; the caller's own where the name is left out.

    CLI Example:

    .. code-block:: bash

        salt-run rack_tenant.show acme
    """
    return _answer(
        lambda rack, caller, settings, asked: RackTenants(rack).show(caller, asked, settings),
        asks.OneTenant,
        locals(),
    )


def usage(name: Any = None, **unknown: Any) -> Any:
    """What a tenant's VMs add up to, beside its quota.

    CLI Example:

    .. code-block:: bash

        salt-run rack_tenant.usage acme
    """
    return _answer(
        lambda rack, caller, settings, asked: RackTenants(rack).usage(caller, asked, settings),
        asks.OneTenant,
        locals(),
    )


def quota(
    name: Any = None,
    vms: Any = None,
    vcpus: Any = None,
    memory_mib: Any = None,
    disk_gib: Any = None,
    test: Any = None,
    **unknown: Any,
) -> Any:
    """A tenant's quota; with new limits (operators only) it is changed. -1 is unlimited.

    CLI Example:

    .. code-block:: bash

        salt-run rack_tenant.quota acme vms=20
    """
    return _answer(
        lambda rack, caller, settings, asked: RackTenants(rack).quota(caller, asked, settings),
        asks.SetQuota,
        locals(),
    )


def create(name: Any = None, description: Any = None, quota: Any = None, test: Any = None, **unknown: Any) -> Any:
    """A new tenant in ``tenants.yaml``; for operators.

    CLI Example:

    .. code-block:: bash

        salt-run rack_tenant.create gamma quota='{vms: 5}'
    """
    return _answer(
        lambda rack, caller, settings, asked: RackTenants(rack).create(caller, asked, settings),
        asks.CreateTenant,
        locals(),
    )


def _answer(call: Callable[[Any, Any, Any, Any], Any], request: type, arguments: dict[str, Any]) -> Any:
    return this_rack.answer(call, request, arguments, user=__user__, opts=__opts__, context=__context__)


__func_alias__ = {"list_": "list"}
