"""The files of a NoCloud seed: what cloud-init in the guest reads at its first boot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import yaml

from racksalt.model import Network, Record


def files(
    record: Record, network: Network, *, ssh_keys: Sequence[str] = (), user_data: str | None = None
) -> dict[str, str]:
    """``meta-data``, ``user-data`` and ``network-config`` of one VM.

    The network is matched by MAC, so that the guest's own name of the card does not matter. The tenant's own
    ``user_data`` stands as it is; keys are then in the metadata only, where cloud-init adds them by itself.
    """
    meta = {
        "instance-id": record.uuid,
        "local-hostname": record.name,
        "public-keys": list(ssh_keys),
    }
    return {
        "meta-data": _yaml(meta),
        "user-data": user_data if user_data else _user_data(record, ssh_keys),
        "network-config": _yaml(_network_config(record, network)),
    }


def _user_data(record: Record, ssh_keys: Sequence[str]) -> str:
    config = {"hostname": record.name, "ssh_authorized_keys": list(ssh_keys)}
    return "#cloud-config\n" + _yaml(config)


def _network_config(record: Record, network: Network) -> Mapping[str, object]:
    nic = record.nics[0]
    card: dict[str, object] = {"match": {"macaddress": nic.mac}, "dhcp4": True, "dhcp6": False}
    if network.dns:
        card["nameservers"] = {"addresses": list(network.dns)}
    return {"version": 2, "ethernets": {"primary": card}}


def _yaml(data: object) -> str:
    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
