"""Who is calling, and what that lets them see and do.

The identity is the user that Salt authenticated, looked up in the rack's current files on every call; no
argument ever widens it. The ACL that Salt checks before (see :mod:`racksalt.acl`) is only the outer fence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from racksalt.errors import BadInput, Denied, NotFound
from racksalt.model import Role
from racksalt.settings import Settings


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated user with today's rights."""

    user: str
    operator: bool = False
    roles: Mapping[str, Role] = field(default_factory=dict)


def identify(user: str, settings: Settings) -> Caller:
    """The caller behind Salt's ``__user__``; an unknown one may do nothing."""
    if is_shell(user, settings):
        return Caller(user, operator=True)
    known = settings.users.get(user)
    if known is None:
        raise Denied("user_unknown", f"user {user!r} is not in users.yaml", user=user)
    return Caller(user, operator=known.operator, roles=known.tenants)


def require_shell(user: str, settings: Settings) -> None:
    """Refuse what only the master's own shell may do: reading its files."""
    if not is_shell(user, settings):
        raise Denied("shell_only", f"user {user!r} is not on the master's shell")


def require_operator(caller: Caller) -> None:
    """Refuse everybody but the rack's operator."""
    if not caller.operator:
        raise Denied("operator_only", f"user {caller.user!r} is not the rack's operator")


def visible_tenants(caller: Caller, tenant: str | None, settings: Settings) -> tuple[str, ...]:
    """The tenants that a list may show: all of the caller's own, or the named one of them."""
    own = tuple(settings.tenants) if caller.operator else tuple(caller.roles)
    if tenant is None:
        return own
    if tenant not in own:
        raise no_such_tenant(tenant)
    return (tenant,)


def acting_tenant(caller: Caller, tenant: str | None, settings: Settings, *, changes: bool) -> str:
    """The one tenant that a call acts in."""
    visible = visible_tenants(caller, tenant, settings)
    if len(visible) != 1:
        raise BadInput(
            f"user {caller.user!r} has {len(visible)} tenants; name one of them: {', '.join(visible) or '-'}",
            code="tenant_ambiguous" if visible else "tenant_missing",
            tenants=list(visible),
        )
    if changes:
        require_member(caller, visible[0])
    return visible[0]


def is_operator(user: str, settings: Settings) -> bool:
    """Whether a user is the rack's operator today."""
    known = settings.users.get(user)
    return is_shell(user, settings) or (known is not None and known.operator)


def acts_in(user: str, tenant: str | None, settings: Settings) -> bool:
    """Whether a user has a place in a tenant today."""
    known = settings.users.get(user)
    return is_operator(user, settings) or (known is not None and tenant in known.tenants)


def require_member(caller: Caller, tenant: str) -> None:
    """Refuse a change to those who may only read."""
    if not caller.operator and caller.roles.get(tenant) != "member":
        raise Denied(
            "role_reader",
            f"user {caller.user!r} is a reader of tenant {tenant}; a change needs the role member",
            tenant=tenant,
        )


def no_such_tenant(tenant: str) -> NotFound:
    """The same answer for a tenant of somebody else and for none."""
    return NotFound("tenant_not_found", f"no tenant {tenant!r}", tenant=tenant)


def is_shell(user: str, settings: Settings) -> bool:
    """Whether this is the master's own shell.

    No user of the API has such a name (:func:`racksalt.logins.may_log_in`).
    """
    return any(fnmatchcase(user, pattern) for pattern in settings.shell_operators)
