"""Tenants: their quota and what they use. A tenant's user sees its own; the operator sees and changes all."""

from __future__ import annotations

from typing import Any

from racksalt.adapters import this_rack

__virtualname__ = "rack_tenant"

__opts__: dict[str, Any]
__context__: dict[str, Any]
__user__: str
#: Salt puts the job id here.
__jid__ = ""


def __virtual__() -> str:
    return __virtualname__


def list_(test: Any = None, **unknown: Any) -> Any:
    """The caller's tenants; reading them checks all of the rack's files.

    CLI Example:

    .. code-block:: bash

        salt-run rack_tenant.list
    """
    return _answer("rack_tenant.list", locals())


def show(name: Any = None, **unknown: Any) -> Any:
    """One tenant with its quota; the caller's own where the name is left out.

    CLI Example:

    .. code-block:: bash

        salt-run rack_tenant.show acme
    """
    return _answer("rack_tenant.show", locals())


def usage(name: Any = None, **unknown: Any) -> Any:
    """What a tenant's VMs add up to, beside its quota.

    CLI Example:

    .. code-block:: bash

        salt-run rack_tenant.usage acme
    """
    return _answer("rack_tenant.usage", locals())


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
    return _answer("rack_tenant.quota", locals())


def acl_check(login: Any = None, **unknown: Any) -> Any:
    """Prove that a login can neither do nor learn what is not its own; for operators. Nothing is changed by it.

    login
        A user of ``users.yaml``; all of them, and both groups of the ACL, where it is left out.

    Asked is Salt's own checker, with the master's configuration, about every function that Salt knows here; and every
    function of the rack, as this login, with what belongs to others. A way through is the error ``acl_leak``.

    CLI Example:

    .. code-block:: bash

        salt-run rack_tenant.acl_check alice
    """
    return _answer("rack_tenant.acl_check", locals())


def create(name: Any = None, description: Any = None, quota: Any = None, test: Any = None, **unknown: Any) -> Any:
    """A new tenant in ``tenants.yaml``; for operators.

    CLI Example:

    .. code-block:: bash

        salt-run rack_tenant.create gamma quota='{vms: 5}'
    """
    return _answer("rack_tenant.create", locals())


def _answer(fun: str, arguments: dict[str, Any]) -> Any:
    return this_rack.answer(fun, arguments, user=__user__, opts=__opts__, context=__context__, job=__jid__)


__func_alias__ = {"list_": "list"}
