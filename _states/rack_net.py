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
    told = __salt__["rack_net.ensure"](spec, test=test)
    error = told["error"]["detail"] if "error" in told else None
    return state_result.of(
        name, told.get("changes", {}), test=test, done=f"network {name} is as the rack says", error=error
    )
