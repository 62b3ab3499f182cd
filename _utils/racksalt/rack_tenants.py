"""Tenants: who they are, what they may have, and what they use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from racksalt import access, quota, shape
from racksalt.access import Caller
from racksalt.errors import Conflict
from racksalt.model import Tenant
from racksalt.rack import Rack
from racksalt.rack_requests import CreateTenant, OneTenant, SetQuota
from racksalt.settings import Settings, load

_LIMITS = ("vms", "vcpus", "memory_mib", "disk_gib")


@dataclass(frozen=True, slots=True)
class RackTenants:
    """Reading tenants, and the operator's changes to ``tenants.yaml``."""

    rack: Rack

    def list(self, caller: Caller, settings: Settings) -> dict[str, Any]:
        """The tenants that the caller belongs to; the operator sees all."""
        names = access.visible_tenants(caller, None, settings)
        return {"tenants": [_shown(settings.tenants[name], caller, settings) for name in names]}

    def show(self, caller: Caller, asked: OneTenant, settings: Settings) -> dict[str, Any]:
        """One tenant."""
        return _shown(_tenant(caller, asked.name, settings), caller, settings)

    def usage(self, caller: Caller, asked: OneTenant, settings: Settings) -> dict[str, Any]:
        """What a tenant's VMs add up to, the ones in the making included, beside its quota."""
        tenant = _tenant(caller, asked.name, settings)
        seen = self.rack.inventory(settings)
        used = quota.usage(record for record in seen.records() if record.tenant == tenant.name)
        return {"tenant": tenant.name, "used": shape.plain(used), "quota": shape.plain(tenant.quota)}

    def quota(self, caller: Caller, asked: SetQuota, settings: Settings) -> dict[str, Any]:
        """The quota; with new limits (operators only) it is changed in ``tenants.yaml``."""
        tenant = _tenant(caller, asked.name, settings)
        limits = {name: getattr(asked, name) for name in _LIMITS if getattr(asked, name) is not None}
        if not limits:
            return {"tenant": tenant.name, "quota": shape.plain(tenant.quota)}
        access.require_operator(caller)
        after = {**shape.plain(tenant.quota), **limits}
        changed = after != shape.plain(tenant.quota)
        if changed and not asked.test:
            self._edit(lambda tenants: _entry(tenants, tenant.name).setdefault("quota", {}).update(limits))
        return {"tenant": tenant.name, "quota": after, "changed": changed, **_tested(asked.test)}

    def create(self, caller: Caller, asked: CreateTenant, settings: Settings) -> dict[str, Any]:
        """A new tenant in ``tenants.yaml``."""
        access.require_operator(caller)
        _refuse_known(asked.name, settings.tenants)
        entry: dict[str, Any] = {"description": asked.description} if asked.description else {}
        if asked.quota:
            entry["quota"] = dict(asked.quota)
        if not asked.test:
            self._edit(lambda tenants: _add(tenants, asked.name, entry))
        return {"tenant": asked.name, "changed": True, **_tested(asked.test)}

    def _edit(self, edit: Any) -> None:
        def edit_file(data: Any) -> None:
            if data.get("tenants") is None:
                data["tenants"] = {}
            edit(data["tenants"])

        with self.rack.files.locked():
            self.rack.files.change("tenants.yaml", edit_file, load)


def _tenant(caller: Caller, name: str | None, settings: Settings) -> Tenant:
    return settings.tenants[access.acting_tenant(caller, name, settings, changes=False)]


def _shown(tenant: Tenant, caller: Caller, settings: Settings) -> dict[str, Any]:
    told = {"name": tenant.name, "description": tenant.description, "quota": shape.plain(tenant.quota)}
    if caller.operator:
        told["users"] = {
            user.name: user.tenants[tenant.name] for user in settings.users.values() if tenant.name in user.tenants
        }
    else:
        told["role"] = caller.roles[tenant.name]
    return told


def _refuse_known(name: str, tenants: Any) -> None:
    if name in tenants:
        raise Conflict("tenant_exists", f"there is a tenant {name} already", tenant=name)


def _add(tenants: Any, name: str, entry: dict[str, Any]) -> None:
    """Under the files' lock: another create may have come first."""
    _refuse_known(name, tenants)
    tenants[name] = entry


def _entry(tenants: Any, name: str) -> Any:
    if tenants[name] is None:
        tenants[name] = {}
    return tenants[name]


def _tested(test: bool) -> dict[str, Any]:
    return {"test": True} if test else {}
