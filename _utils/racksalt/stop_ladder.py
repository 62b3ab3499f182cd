"""A graceful stop: each rung asks louder, the last one cuts the power."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from racksalt.errors import Conflict, Refused
from racksalt.host_requests import Ladder
from racksalt.ports import Clock, Hypervisor
from racksalt.vm_verbs import DOWN

_LOOK_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class Rung:
    """One way of asking, and how long the guest has to answer it. A polite one may fail: a louder one follows."""

    name: str
    ask: Callable[[str], None]
    wait_s: float
    polite: bool = True


def rungs(hypervisor: Hypervisor, ladder: Ladder, *, hard: bool) -> list[Rung]:
    """ACPI power button, Ctrl-Alt-Del, guest agent, power cut; only the last one when ``hard``."""
    power_cut = Rung("hard", hypervisor.destroy, 5.0, polite=False)
    if hard:
        return [power_cut]
    polite = [
        Rung("acpi", hypervisor.press_power, ladder.acpi_s),
        Rung("ctrl_alt_del", hypervisor.press_ctrl_alt_del, ladder.ctrl_alt_del_s),
        Rung("agent", hypervisor.ask_agent_to_halt, ladder.agent_s),
    ]
    return [rung for rung in polite if rung.wait_s > 0] + [power_cut]


def descend(hypervisor: Hypervisor, uuid: str, steps: list[Rung], clock: Clock) -> list[dict[str, Any]]:
    """Ask rung by rung until the VM is stopped; tells each rung's result and seconds.

    A guest that ignores Ctrl-Alt-Del and one that reboots on it look alike from here: only ``stopped`` ends it.
    A rung is ``unavailable`` where the VM cannot be asked so, ``failed`` where asking went wrong; the power cut raises.
    """
    told: list[dict[str, Any]] = []
    for rung in steps:
        began = clock.steady()
        result = _try(hypervisor, uuid, rung, clock)
        told.append({"rung": rung.name, "result": result, "seconds": round(clock.steady() - began, 1)})
        if result == "stopped":
            break
    return told


def _try(hypervisor: Hypervisor, uuid: str, rung: Rung, clock: Clock) -> str:
    if _is_down(hypervisor, uuid):
        return "stopped"
    try:
        rung.ask(uuid)
    except (Conflict, Refused) as error:
        if _is_down(hypervisor, uuid):
            return "stopped"
        if not rung.polite:
            raise
        return "unavailable" if isinstance(error, Conflict) else "failed"
    until = clock.steady() + rung.wait_s
    while not _is_down(hypervisor, uuid):
        if clock.steady() >= until:
            return "ignored"
        clock.sleep(_LOOK_EVERY_S)
    return "stopped"


def _is_down(hypervisor: Hypervisor, uuid: str) -> bool:
    return hypervisor.state(uuid) in DOWN
