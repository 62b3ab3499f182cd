"""This host as a whole: what it has, and what runs on it."""

from __future__ import annotations

from typing import Any

from racksalt import host_update, shape
from racksalt.adapters import reboot, this_host
from racksalt.drift_requests import ReadErrors, SetAsideOnHost
from racksalt.host_drift import HostDrift
from racksalt.host_requests import KeepSnapshot, ReadSnapshot, SettleOnHost

__virtualname__ = "rack_host"

__opts__: dict[str, Any]
__context__: dict[str, Any]
__salt__: dict[str, Any]


def __virtual__() -> str:
    return __virtualname__


def report(bus: dict[str, Any] | None = None) -> Any:
    """Everything that the rack wants to know of this host, in one bulk read (``model.HostReport``).

    CLI Example:

    .. code-block:: bash

        salt h1 rack_host.report
    """
    return _signed("report", this_host.report, bus)


def settle(request: dict[str, Any], bus: dict[str, Any] | None = None) -> Any:
    """The writer's word to a host that was away: what to delete, what not to start (``host_requests.SettleOnHost``).

    CLI Example:

    .. code-block:: bash

        salt h1 rack_host.settle request='{deletions: [], keep_off: []}'
    """
    return _signed("settle", lambda vms: this_host.away(vms).settle(shape.parse(SettleOnHost, request)), bus)


def boot(wait_s: float = 60.0) -> Any:
    """Start the VMs that ran before this host went down: after the writer's word, or when none came for so long.

    The unit ``racksalt-boot`` calls it once at each boot.

    CLI Example:

    .. code-block:: bash

        salt-call --local rack_host.boot wait_s=0
    """
    minion = this_host.Minion(__opts__, __context__)
    return this_host.answer(lambda vms: this_host.away(vms).boot(wait_s=float(wait_s)), minion)


def keep_snapshot(request: dict[str, Any], bus: dict[str, Any] | None = None) -> Any:
    """Keep a sealed snapshot of the inventory for its master (``host_requests.KeepSnapshot``).

    CLI Example:

    .. code-block:: bash

        salt h1 rack_host.keep_snapshot request='{head: {master: m, version: 1, root: 5f0c…}, names: [], texts: {}}'
    """
    return _signed(
        "keep_snapshot", lambda vms: this_host.away(vms).keep_snapshot(shape.parse(KeepSnapshot, request)), bus
    )


def snapshot(request: dict[str, Any], bus: dict[str, Any] | None = None) -> Any:
    """Give pieces of a master's snapshot back (``host_requests.ReadSnapshot``).

    CLI Example:

    .. code-block:: bash

        salt h1 rack_host.snapshot request='{master: master, names: [5f0c…]}'
    """
    return _signed("snapshot", lambda vms: this_host.away(vms).snapshot(shape.parse(ReadSnapshot, request)), bus)


def holdings(bus: dict[str, Any] | None = None) -> Any:
    """How each domain is really defined, the files of the volumes, the planned addresses (``holdings.Holdings``).

    CLI Example:

    .. code-block:: bash

        salt h1 rack_host.holdings
    """
    return _signed("holdings", lambda vms: HostDrift(vms).holdings(), bus)


def set_aside(request: dict[str, Any], test: bool = False, bus: dict[str, Any] | None = None) -> Any:
    """Move what belongs to nothing out of the way, where it can be brought back (``drift_requests.SetAsideOnHost``).

    CLI Example:

    .. code-block:: bash

        salt h1 rack_host.set_aside request='{files: {tenant: acme, files: [5f0c….qcow2]}}' test=True
    """
    return _signed(
        "set_aside", lambda vms: HostDrift(vms).set_aside(shape.parse(SetAsideOnHost, request), test=test), bus
    )


def errors(request: dict[str, Any] | None = None, bus: dict[str, Any] | None = None) -> Any:
    """What went wrong here lately, as the journal has it (``drift_requests.ReadErrors``).

    CLI Example:

    .. code-block:: bash

        salt h1 rack_host.errors request='{since_s: 600}'
    """
    return _signed("errors", lambda vms: this_host.errors_since(shape.parse(ReadErrors, request or {})), bus)


def update_self(bus: dict[str, Any] | None = None) -> Any:
    """Apply this host's highstate; how many states changed, and which failed.

    CLI Example:

    .. code-block:: bash

        salt h1 rack_host.update_self
    """
    minion = this_host.Minion(__opts__, __context__)

    def work() -> Any:
        return host_update.told(__salt__["state.apply"]())

    return this_host.answer_alone(work, minion, function="rack_host.update_self", bus=bus)


def reboot_self(bus: dict[str, Any] | None = None) -> Any:
    """Boot this host again in a few seconds, whatever runs on it.

    CLI Example:

    .. code-block:: bash

        salt h1 rack_host.reboot_self
    """
    minion = this_host.Minion(__opts__, __context__)
    return this_host.answer_alone(reboot.soon, minion, function="rack_host.reboot_self", bus=bus)


def _signed(name: str, call: this_host.Asked, bus: dict[str, Any] | None) -> Any:
    minion = this_host.Minion(__opts__, __context__)
    return this_host.answer_bus(call, minion, function=f"rack_host.{name}", bus=bus)
