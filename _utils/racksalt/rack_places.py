"""Where VMs find a place, and why not; how many more, and what if a host is lost. Of the rack as it is or was saved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from racksalt import access, cpu_baseline, inventory_file, placement, room_count, shape
from racksalt.access import Caller
from racksalt.errors import NotFound
from racksalt.host_load import with_coming
from racksalt.inventory import Inventory
from racksalt.model import Labels
from racksalt.placement import Wish
from racksalt.rack import Rack
from racksalt.rack_requests import CountRoom, ExplainVm, FindHosts, LoseHost, ShareCpu
from racksalt.settings import Settings
from racksalt.survival import RackSurvival, Rescue
from racksalt.vm_order import known, labels_of, resolve


@dataclass(frozen=True, slots=True)
class RackPlaces:
    """Questions on placement; nothing is changed."""

    rack: Rack

    def why_not(self, caller: Caller, asked: ExplainVm, settings: Settings) -> dict[str, Any]:
        """Every host and every rule with numbers; a tenant learns counts by rule only."""
        if asked.inventory is not None:
            access.require_operator(caller)
        order = resolve(caller, asked, settings, changes=False)
        seen = self._seen(asked.inventory, settings)
        loads = seen.loads()
        explained = placement.explain(placement.among(order.wish, loads, seen.survival()), loads)
        told: dict[str, Any] = {
            "fits": any(all(verdict.ok for verdict in rules) for rules in explained.values()),
            "refused_by_rule": placement.count_by_rule(explained),
        }
        if caller.operator:
            told["hosts"] = {name: shape.plain(rules) for name, rules in explained.items()}
        return told

    def find(self, asked: FindHosts, settings: Settings) -> dict[str, Any]:
        """The hosts that could take a flavor, the first choice first."""
        flavor, tenant = known("flavor", asked.flavor, settings.flavors), asked.tenant or ""
        wish = Wish(
            tenant,
            flavor.room,
            labels_of(flavor, asked.labels),
            asked.anti_affinity,
            affinity=asked.affinity,
            spread=asked.spread,
            tenant_labels=_labels_of_tenant(asked.tenant, settings),
            cpu=settings.cpu,
            numa=flavor.numa,
            huge_pages=flavor.huge_pages,
        )
        seen = self._seen(asked.inventory, settings)
        loads = seen.loads()
        wish = placement.among(wish, loads, seen.survival())
        explained = placement.explain(wish, loads)
        return {
            "hosts": [load.config.name for load in placement.candidates(wish, loads)],
            "refused": {
                name: [shape.plain(verdict) for verdict in rules if not verdict.ok]
                for name, rules in explained.items()
                if not all(verdict.ok for verdict in rules)
            },
        }

    def capacity(self, asked: CountRoom, settings: Settings) -> dict[str, Any]:
        """How many more VMs of a flavor fit: on each host, and so that every VM still has a place without any one."""
        flavor = known("flavor", asked.flavor, settings.flavors)
        wish = Wish(
            asked.tenant or "",
            flavor.room,
            labels_of(flavor, asked.labels),
            tenant_labels=_labels_of_tenant(asked.tenant, settings),
            cpu=settings.cpu,
            numa=flavor.numa,
            huge_pages=flavor.huge_pages,
        )
        seen = self._seen(asked.inventory, settings)
        loads = seen.loads()
        more = {load.config.name: room_count.more_of(wish, load) for load in loads}
        safe = room_count.more_with_survival(wish, loads, seen.rescues(settings))
        return {
            "flavor": flavor.name,
            "more": sum(more.values()),
            "more_with_n_plus_1": safe,
            "hosts": more,
            "refused": {
                name: [verdict.rule for verdict in rules if not verdict.ok]
                for name, rules in placement.explain(wish, loads).items()
                if not more[name]
            },
        }

    def survive(self, asked: LoseHost, settings: Settings) -> dict[str, Any]:
        """Where the VMs of one host go when it is lost, and which have no place; or what it is for each host."""
        seen = self._seen(asked.inventory, settings)
        if asked.host is not None and asked.host not in seen.hosts:
            raise NotFound("host_unknown", f"no host {asked.host!r}; there are: {', '.join(seen.hosts)}")
        kept = seen.rescues(settings)
        hosts = list(seen.hosts) if asked.host is None else [asked.host]
        told = {host: _told(kept, host, whole=asked.host is not None) for host in hosts}
        return {"survives": not any(one["no_place"] for one in told.values()), "hosts": told}

    def baseline(self, asked: ShareCpu, settings: Settings) -> dict[str, Any]:
        """The CPU that all hosts share, as ``cpu`` of ``hosts.yaml`` has it, and which hosts hold it back."""
        seen = self._seen(asked.inventory, settings)
        views = {name: view for name, view in seen.hosts.items() if view.config.accelerator == "kvm"}
        cpus = {name: view.report.cpu for name, view in views.items() if view.report and view.report.cpu}
        shared = cpu_baseline.shared(cpus)
        return {
            "cpu": shape.plain(shared.cpu) if shared.cpu else None,
            "vendors": list(shared.vendors),
            "held_back_by": {host: list(features) for host, features in shared.held_back_by.items()},
            "hosts": list(cpus),
            "not_told": [name for name in views if name not in cpus],
            "emulated": [name for name in seen.hosts if name not in views],
            "now": shape.plain(settings.cpu) if settings.cpu else None,
        }

    def _seen(self, path: str | None, settings: Settings) -> Inventory:
        if path is None:
            return self.rack.inventory(settings)
        return inventory_file.parse(self.rack.saved.read(path), settings, path=path)


def _labels_of_tenant(name: str | None, settings: Settings) -> Labels:
    return known("tenant", name, settings.tenants).labels if name else {}


def _told(kept: RackSurvival, lost: str, *, whole: bool) -> dict[str, Any]:
    rescue = kept.rescues[lost]
    wishes = {ward.wish.uuid: ward.wish for ward in kept.wards[lost]}
    told: dict[str, Any] = {
        "vms": len(wishes),
        "no_place": [
            {"vm": wish.title, "uuid": wish.uuid, "refused_by_rule": _reasons(kept, lost, rescue, wish)}
            for wish in rescue.stranded
        ],
    }
    if whole:
        told["places"] = {wishes[uuid].title: host for uuid, host in rescue.places.items()}
    return told


def _reasons(kept: RackSurvival, lost: str, rescue: Rescue, wish: Wish) -> dict[str, int]:
    """What each other host has against it once the lost host's other VMs are where they find a place."""
    placed: dict[str, list[Wish]] = {}
    for ward in kept.wards[lost]:
        if ward.wish.uuid in rescue.places:
            placed.setdefault(rescue.places[ward.wish.uuid], []).append(ward.wish)
    loads = [with_coming(kept.load(host), placed.get(host, ())) for host in kept.grid.names if host != lost]
    return placement.count_by_rule(placement.explain(wish, loads))
