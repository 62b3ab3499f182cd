"""What a create asks for, with every name looked up in the rack's files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from racksalt import access, shape
from racksalt.access import Caller
from racksalt.errors import BadInput
from racksalt.model import CpuModel, Flavor, Image, Labels, Network, Room
from racksalt.names import is_uuid
from racksalt.placement import Wish
from racksalt.rack_requests import CreateVm
from racksalt.settings import Settings, network_of
from racksalt.shape import Problem


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked, with every name looked up in the rack's files."""

    tenant: str
    name: str
    flavor: Flavor
    image: Image
    network: Network
    labels: Labels
    user_data: str | None
    asked: CreateVm
    tenant_labels: Labels
    cpu: CpuModel | None

    @property
    def room(self) -> Room:
        return self.flavor.room

    @property
    def wish(self) -> Wish:
        asked, flavor = self.asked, self.flavor
        return Wish(
            self.tenant,
            self.room,
            self.labels,
            asked.anti_affinity,
            asked.host,
            asked.affinity,
            asked.spread,
            self.tenant_labels,
            self.cpu,
            flavor.numa,
            flavor.huge_pages,
        )


def resolve(caller: Caller, asked: CreateVm, settings: Settings, *, changes: bool) -> Order:
    """Every name looked up; what the caller may not ask for is refused."""
    tenant, name = _named(asked)
    tenant = access.acting_tenant(caller, tenant, settings, changes=changes)
    if asked.host is not None:
        access.require_operator(caller)
        known("host", asked.host, settings.hosts)
    profile = known("profile", asked.profile, settings.profiles) if asked.profile else None
    flavor_name = asked.flavor or (profile.flavor if profile else None)
    image_name = asked.image or (profile.image if profile else None)
    flavor = known("flavor", flavor_name, settings.flavors)
    image = known("image", image_name, settings.images)
    if flavor.disk_gib < image.min_disk_gib:
        raise BadInput(
            f"image {image.name} needs a disk of {image.min_disk_gib} GiB, "
            f"flavor {flavor.name} has {flavor.disk_gib}; choose a larger flavor",
            code="disk_too_small",
        )
    network = network_of(settings, asked.network or (profile.network if profile else None))
    user_data = asked.user_data or (profile.user_data if profile and profile.user_data else None)
    labels, kept_to = labels_of(flavor, asked.labels), settings.tenants[tenant].labels
    return Order(tenant, name, flavor, image, network, labels, user_data, asked, kept_to, settings.cpu)


def labels_of(flavor: Flavor, asked: Labels) -> Labels:
    """What a host must carry: the flavor's labels and those that are asked for, which may not change the flavor's."""
    problems = [
        Problem(("labels", key), repr(value), f"{flavor.labels[key]!r}, as flavor {flavor.name} says")
        for key, value in asked.items()
        if flavor.labels.get(key, value) != value
    ]
    shape.refuse(problems)
    return {**flavor.labels, **asked}


def _named(asked: CreateVm) -> tuple[str | None, str]:
    """``web1`` with ``tenant=acme``, or ``acme/web1``."""
    tenant, slash, name = asked.name.rpartition("/")
    if slash and asked.tenant not in (None, tenant):
        raise BadInput(f"name {asked.name!r} and tenant={asked.tenant} disagree; say one of them")
    if is_uuid(name):
        raise BadInput(f"name: found {name!r}, allowed: a name that is no UUID")
    return (tenant if slash else asked.tenant), name


def known(noun: str, name: str | None, entries: Any) -> Any:
    """The entry of the rack's files under a name."""
    if name is None:
        raise BadInput(f"say {noun}=NAME; there are: {', '.join(entries) or 'none'}", code=f"{noun}_missing")
    if name not in entries:
        raise BadInput(
            f"{noun} {name!r} is unknown; there are: {', '.join(entries) or 'none'}",
            code=f"{noun}_unknown",
            **{noun: name},
        )
    return entries[name]
