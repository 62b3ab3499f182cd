"""The hosts of the rack, as the operator sees them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from racksalt import inventory_json, shape
from racksalt.errors import NotFound
from racksalt.inventory import HostView, Inventory, domains_of, for_operator
from racksalt.placement import HostLoad
from racksalt.rack import Rack, silent_hosts
from racksalt.rack_forget import RackForget
from racksalt.rack_requests import NamedHost, SwitchHost
from racksalt.settings import Settings, load


@dataclass(frozen=True, slots=True)
class RackHosts:
    """Reading hosts, and taking them in and out of placement. For operators."""

    rack: Rack

    def list(self, settings: Settings) -> dict[str, Any]:
        """Each host in one line: whether it answers and takes VMs, and how full it is."""
        seen = self.rack.inventory(settings)
        vms = Counter(vm.record.host for vm in seen.vms())
        lines = zip(seen.hosts.items(), seen.loads(), strict=True)
        now = self.rack.clock.now()
        return {"hosts": [{**_line(view, load, vms[name]), "age_s": _age_s(view, now)} for (name, view), load in lines]}

    def show(self, asked: NamedHost, settings: Settings) -> dict[str, Any]:
        """One host with its labels, its rules for room, and its VMs."""
        _known(asked.name, settings)
        seen = self.rack.inventory(settings)
        view = seen.hosts[asked.name]
        load = next(load for load in seen.loads() if load.config.name == asked.name)
        vms = [vm for vm in seen.vms() if vm.record.host == asked.name]
        return {
            **_line(view, load, len(vms)),
            "age_s": _age_s(view, self.rack.clock.now()),
            "labels": dict(view.config.labels),
            "accelerator": view.config.accelerator,
            "policy": shape.plain(view.config.room),
            "vms": [for_operator(vm) for vm in vms],
            "unsigned": _unsigned(view),
            "foreign": [one.name for one in domains_of(view) if one.record is None and one.unproven is None],
        }

    def inventory(self, settings: Settings) -> dict[str, Any]:
        """The rack as one value, with its fingerprint, and the hosts that it has from their last report."""
        seen = self.rack.inventory(settings)
        return {**inventory_json.told(seen), "silent_hosts": silent_hosts(seen)}

    def rebuild_inventory(self, settings: Settings, *, test: bool = False) -> dict[str, Any]:
        """Drop what is kept of the hosts' reports, and read them all anew.

        The last report of a host that does not answer is not dropped: it is all that is known of what that host holds.
        """
        silent = silent_hosts(self.rack.inventory(settings))
        if test:
            return {"test": True, "changed": True, "hosts": len(settings.hosts), "not_read": silent}
        self.rack.last_known.clear(keep=silent)
        seen = self.rack.inventory(settings)
        fingerprint = inventory_json.told(seen)["sha256"]
        return {"changed": True, "sha256": fingerprint, "hosts": len(seen.hosts), "not_read": silent_hosts(seen)}

    def switch(self, asked: SwitchHost, settings: Settings, *, enabled: bool) -> dict[str, Any]:
        """Write ``enabled`` and the reason into ``hosts.yaml``; VMs on the host go on."""
        host = _known(asked.name, settings)
        reason = "" if enabled else asked.reason
        if (host.enabled, host.reason) == (enabled, reason):
            return {"host": asked.name, "enabled": enabled, "changed": False}
        if enabled:
            RackForget(self.rack).take_back(asked.name, settings, test=asked.test)
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


def overview(seen: Inventory, settings: Settings) -> dict[str, Any]:
    """Hosts, silent ones, VMs by state, claims in flight, and what does not count."""
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
        "unsigned": [one for view in seen.hosts.values() for one in _unsigned(view)],
        "twice": [
            {"uuid": uuid, "vm": seen.index.vms[uuid].record.title, "hosts": list(hosts)}
            for uuid, hosts in seen.index.twice.items()
        ],
        "deletions_pending": [
            {"vm": one.title, "uuid": uuid, "host": one.host, "since": one.since, "by": one.by}
            for uuid, one in settings.deletions.items()
        ],
        "forgotten_hosts": {name: one.since for name, one in settings.forgotten.items()},
        "unread_hosts": list(seen.unread),
        "same_name": {title: list(uuids) for title, uuids in seen.index.same_name.items()},
    }


def _line(view: HostView, load: HostLoad, vms: int) -> dict[str, Any]:
    return {
        "name": view.config.name,
        "answers": view.answers,
        "error": view.error,
        "enabled": view.config.enabled,
        "reason": view.config.reason,
        "vms": vms,
        "capacity": shape.plain(load.capacity),
        "used": shape.plain(load.used),
        "left": shape.plain(load.capacity - load.used),
        "hypervisor": view.report.hypervisor if view.report else "",
    }


def _age_s(view: HostView, now: float) -> float | None:
    """How old what is known of a host is."""
    return round(max(0.0, now - view.report.read_at), 1) if view.report else None


def _unsigned(view: HostView) -> list[dict[str, Any]]:
    """The domains whose record does not count: unsigned, wrongly signed, or of another rack, host or domain."""
    return [
        {"host": view.config.name, "uuid": domain.uuid, "vm": domain.unproven.title}
        for domain in domains_of(view)
        if domain.unproven is not None
    ]


def _known(name: str, settings: Settings) -> Any:
    if name not in settings.hosts:
        raise NotFound("host_unknown", f"no host {name!r}; hosts.yaml has: {', '.join(settings.hosts)}", host=name)
    return settings.hosts[name]
