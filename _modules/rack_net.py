"""The rack's networks on this host."""

from __future__ import annotations

from typing import Any

from racksalt import errors, host_firewall, host_networks, shape
from racksalt import migration_port as moves
from racksalt.adapters import this_host
from racksalt.adapters.nft import MOVES, NftTable

__virtualname__ = "rack_net"

__context__: dict[str, Any]


def __virtual__() -> str:
    return __virtualname__


def ensure(spec: dict[str, Any], test: bool = False) -> Any:
    """Make one network what the rack's files say; the spec is a network of the host's pillar.

    CLI Example:

    .. code-block:: bash

        salt h1 rack_net.ensure spec='{name: nat, subnet: 10.80.0.0/20, …}' test=True
    """
    try:
        with this_host.hypervisor() as hypervisor:
            return {"changes": host_networks.ensure(hypervisor, spec, test=test)}
    except errors.RacksaltError as error:
        __context__["retcode"] = 1
        return errors.as_result(error)


def firewall(management: list[str], test: bool = False) -> Any:
    """Keep the guests on the rack's bridges from each other, from the host, and from the management networks.

    Guests get DHCP from the host, and answers to what the host began. The table ``inet racksalt`` is loaded, and
    written to ``/etc/racksalt/guests.nft`` for the next boot.

    CLI Example:

    .. code-block:: bash

        salt h1 rack_net.firewall management='[192.0.2.0/24]' test=True
    """
    try:
        spec = shape.parse(host_firewall.GuestFirewall, {"management": management})
        return {"changes": host_firewall.ensure(NftTable(), spec, test=test)}
    except errors.RacksaltError as error:
        __context__["retcode"] = 1
        return errors.as_result(error)


def migration_port(test: bool = False) -> Any:
    """Keep libvirt's TLS port and QEMU's migration ports closed to everybody who is not let in for a migration.

    The table ``inet racksalt_moves`` is loaded, and written to ``/etc/racksalt/moves.nft`` for the next boot. Who is
    let in at the time stays so.

    CLI Example:

    .. code-block:: bash

        salt h1 rack_net.migration_port test=True
    """
    try:
        return {"changes": moves.ensure(MOVES, test=test)}
    except errors.RacksaltError as error:
        __context__["retcode"] = 1
        return errors.as_result(error)
