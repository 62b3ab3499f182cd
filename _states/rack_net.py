"""States for the rack's networks on a host."""

from __future__ import annotations

from typing import Any

from racksalt import state_result

__virtualname__ = "rack_net"

__salt__: dict[str, Any]
__opts__: dict[str, Any]


def __virtual__() -> str | tuple[bool, str]:
    if "rack_net.ensure" not in __salt__:
        return False, "rack_net needs the execution module rack_net"
    return __virtualname__


def present(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """The network ``name`` is defined as ``spec`` says, runs, and starts with the host."""
    test = bool(__opts__["test"])
    done = f"network {name} is as the rack says"
    told = __salt__["rack_net.ensure"](spec, test=test)
    if "error" not in told:
        return state_result.of(name, told["changes"], test=test, done=done)
    if test and told["error"]["code"] in ("libvirt_missing", "libvirt_down"):
        return state_result.of(name, {"network": {"old": None, "new": name}}, test=True, done=done)
    return state_result.of(name, {}, test=test, done=done, error=told["error"]["detail"])


def firewall(name: str, management: list[str]) -> dict[str, Any]:
    """Guests on the rack's bridges reach neither each other, nor the host, nor the networks in ``management``."""
    test = bool(__opts__["test"])
    told = __salt__["rack_net.firewall"](management, test=test)
    error = told["error"]["detail"] if "error" in told else None
    return state_result.of(name, told.get("changes", {}), test=test, done="the guests' firewall is loaded", error=error)


def migration_port(name: str) -> dict[str, Any]:
    """Nobody opens a connection to libvirt's TLS port or QEMU's migration ports who is not let in for a migration."""
    test = bool(__opts__["test"])
    told = __salt__["rack_net.migration_port"](test=test)
    error = told["error"]["detail"] if "error" in told else None
    return state_result.of(name, told.get("changes", {}), test=test, done="the ports are closed", error=error)
