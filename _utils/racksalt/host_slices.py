"""The part of the rack's files that one host gets as its pillar."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from racksalt import domain_xml, ip_plan, shape
from racksalt.model import DiskImage, Image, Network
from racksalt.settings import Settings


def slice_for(minion_id: str, settings: Settings) -> dict[str, Any]:
    """A hypervisor gets the networks and the images; the writer its role; anybody else nothing."""
    roles = (["master"] if minion_id == settings.writer else []) + (
        ["hypervisor"] if minion_id in settings.hosts else []
    )
    if not roles:
        return {}
    told: dict[str, Any] = {"rack": settings.rack, "roles": roles}
    if "hypervisor" in roles:
        told["networks"] = {network.name: _network(network) for network in settings.networks.values()}
        told["images"] = [file for image in settings.images.values() for file in _image_files(image)]
    return told


def _network(network: Network) -> dict[str, Any]:
    return {
        **shape.plain(network),
        "bridge": domain_xml.bridge_name(network),
        "gateway_mac": ip_plan.gateway_mac(network),
    }


def _image_files(image: Image) -> Iterator[dict[str, str]]:
    if isinstance(image, DiskImage):
        yield {"sha256": image.sha256, "url": image.url or ""}
    else:
        yield {"sha256": image.kernel, "url": image.kernel_url or ""}
        yield {"sha256": image.initrd, "url": image.initrd_url or ""}
