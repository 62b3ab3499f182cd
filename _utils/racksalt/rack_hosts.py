"""The hosts of the rack, as the operator sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from racksalt import shape
from racksalt.errors import NotFound
from racksalt.inventory import HostView, Inventory, for_operator
from racksalt.model import Domain
from racksalt.rack import Rack, silent_hosts
from racksalt.rack_requests import NamedHost, SwitchHost
from racksalt.settings import Settings, load


@dataclass(frozen=True, slots=True)
class RackHosts:
    """Reading hosts, and taking them in and out of placement. For operators."""

    rack: Rack

    def list(self, settings: Settings) -> dict[str, Any]:
        """Each host in one line: whether it answers and takes VMs, and how full it is."""
        seen = self.rack.inventory(settings)
        return {"hosts": [_line(view, seen) for view in seen.hosts.values()]}

    def show(self, asked: NamedHost, settings: Settings) -> dict[str, Any]:
        """One host with its labels, its rules for room, and its VMs."""
        _known(asked.name, settings)
        seen = self.rack.inventory(settings)
        view = seen.hosts[asked.name]
        return {
            **_line(view, seen),
            "labels": dict(view.config.labels),
            "accelerator": view.config.accelerator,
            "policy": shape.plain(view.config.room),
            "vms": [for_operator(vm) for vm in seen.vms() if vm.record.host == asked.name],
            "foreign": [domain.name for domain in _domains(view) if domain.record is None],
        }

    def status(self, settings: Settings) -> dict[str, Any]:
        """The whole rack on one page: hosts, silent ones, VMs by state, claims in flight."""
        seen = self.rack.inventory(settings)
        states: dict[str, int] = {}
        for vm in seen.vms():
            states[vm.state] = states.get(vm.state, 0) + 1
        return {
            "rack": settings.rack,
            "hosts": len(seen.hosts),
            "silent_hosts": silent_hosts(seen),
            "disabled_hosts": {c.name: c.reason for c in settings.hosts.values() if not c.enabled},
            "vms_by_state": dict(sorted(states.items())),
            "claims_in_flight": [record.title for record in seen.in_flight()],
        }

    def switch(self, asked: SwitchHost, settings: Settings, *, enabled: bool) -> dict[str, Any]:
        """Write ``enabled`` and the reason into ``hosts.yaml``; VMs on the host go on."""
        host = _known(asked.name, settings)
        reason = "" if enabled else asked.reason
        if (host.enabled, host.reason) == (enabled, reason):
            return {"host": asked.name, "enabled": enabled, "changed": False}
        if not asked.test:
            self._write(asked.name, enabled, reason)
        told = {"host": asked.name, "enabled": enabled, "reason": reason, "changed": True}
        return {**told, "test": True} if asked.test else told

    def _write(self, name: str, enabled: bool, reason: str) -> None:
        def edit(data: Any) -> None:
            if data["hosts"][name] is None:
                data["hosts"][name] = {}
            entry = data["hosts"][name]
            entry["enabled"] = enabled
            if reason:
                entry["reason"] = reason
            else:
                entry.pop("reason", None)

        with self.rack.files.locked():
            self.rack.files.change("hosts.yaml", edit, load)


def _line(view: HostView, seen: Inventory) -> dict[str, Any]:
    load = next(load for load in seen.loads() if load.config.name == view.config.name)
    return {
        "name": view.config.name,
        "answers": view.answers,
        "error": view.error,
        "enabled": view.config.enabled,
        "reason": view.config.reason,
        "vms": sum(1 for vm in seen.vms() if vm.record.host == view.config.name),
        "capacity": shape.plain(load.capacity),
        "used": shape.plain(load.used),
        "left": shape.plain(load.capacity - load.used),
        "hypervisor": view.report.hypervisor if view.report else "",
    }


def _domains(view: HostView) -> tuple[Domain, ...]:
    return view.report.domains if view.report else ()


def _known(name: str, settings: Settings) -> Any:
    if name not in settings.hosts:
        raise NotFound("host_unknown", f"no host {name!r}; hosts.yaml has: {', '.join(settings.hosts)}", host=name)
    return settings.hosts[name]
