"""The part of the rack's files that one host gets as its pillar."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from racksalt import domain_xml, ip_plan, shape
from racksalt.model import DiskImage, HostConfig, Image, Network
from racksalt.ports import TlsAuthority
from racksalt.settings import Settings


def slice_for(minion_id: str, settings: Settings, authority: TlsAuthority) -> dict[str, Any]:
    """A hypervisor gets the networks, the images, and what it needs to migrate; the writer its role; others nothing.

    Its keys are in its own slice only, which Salt encrypts to its minion's key.
    """
    roles = (["master"] if minion_id == settings.writer else []) + (
        ["hypervisor"] if minion_id in settings.hosts else []
    )
    if not roles:
        return {}
    told: dict[str, Any] = {"rack": settings.rack, "roles": roles}
    if "hypervisor" in roles:
        told["networks"] = {network.name: _network(network) for network in settings.networks.values()}
        told["images"] = [file for image in settings.images.values() for file in _image_files(image)]
        told["migration"] = _migration(settings.hosts[minion_id], authority)
    return told


def _migration(host: HostConfig, authority: TlsAuthority) -> dict[str, Any]:
    """Under what it is reached, whether its volumes are on storage that others write too, and its certificates."""
    return {
        "address": host.address or host.name,
        "shared_volumes": host.storage is not None,
        "tls": {purpose: shape.plain(pair) for purpose, pair in authority.pairs_of(host).items()},
    }


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
