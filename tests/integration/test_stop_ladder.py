"""A graceful stop, with guests that listen to some rungs only: which one ended each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.on_rack import CREATE, RealRack, at_once

#: How long a rung gets that is to be ignored, and one that is to be obeyed.
DEAF_S = 1.5
LISTENS_S = 30.0

CASES = {
    "polite": ("none", {"acpi_s": LISTENS_S}, ["acpi stopped"]),
    "no-acpi": ("acpi", {"acpi_s": DEAF_S, "ctrl_alt_del_s": LISTENS_S}, ["acpi ignored", "ctrl_alt_del stopped"]),
    "agent-only": (
        "cad",
        {"acpi_s": DEAF_S, "ctrl_alt_del_s": DEAF_S, "agent_s": LISTENS_S},
        ["acpi ignored", "ctrl_alt_del ignored", "agent stopped"],
    ),
    "deaf": (
        "all",
        {"acpi_s": DEAF_S, "ctrl_alt_del_s": DEAF_S, "agent_s": DEAF_S},
        ["acpi ignored", "ctrl_alt_del ignored", "agent unavailable", "hard stopped"],
    ),
}


@pytest.fixture(scope="module")
def guests(rack: RealRack) -> Iterator[RealRack]:
    """One guest for each kind of stubbornness, all running."""

    def create(name: str) -> None:
        user_data = f"#cloud-config\n#racksalt stubborn={CASES[name][0]}\n"
        rack.api("ACME").call("rack_vm.create", name=name, user_data=user_data, **CREATE)

    at_once([lambda name=name: create(name) for name in CASES], threads=4)
    at_once([lambda name=name: rack.guest(f"acme/{name}") for name in CASES], threads=4)
    yield rack
    rack.clean()


@pytest.mark.parametrize("name", list(CASES))
def test_the_rung_that_a_guest_listens_to_ends_it(guests: RealRack, name: str) -> None:
    _, ladder, expected = CASES[name]
    told = guests.api("ACME").call("rack_vm.stop", name=name, ladder=ladder)
    assert told["state"] == "stopped"
    assert [f"{rung['rung']} {rung['result']}" for rung in told["rungs"]] == expected
    ignored = [rung["seconds"] for rung in told["rungs"] if rung["result"] == "ignored"]
    assert all(DEAF_S <= seconds < DEAF_S + 3 for seconds in ignored), "a rung takes its seconds and little more"


def test_hard_cuts_the_power_at_once(guests: RealRack) -> None:
    acme = guests.api("ACME")
    acme.call("rack_vm.start", name="deaf")
    told = acme.call("rack_vm.stop", name="deaf", hard=True)
    assert [rung["rung"] for rung in told["rungs"]] == ["hard"] and told["state"] == "stopped"


def test_no_seconds_leave_a_rung_out(guests: RealRack) -> None:
    acme = guests.api("ACME")
    acme.call("rack_vm.start", name="polite")
    told = acme.call("rack_vm.stop", name="polite", ladder={"acpi_s": 0, "ctrl_alt_del_s": 0, "agent_s": 0})
    assert [rung["rung"] for rung in told["rungs"]] == ["hard"]


def test_a_paused_guest_is_resumed_to_hear_it(guests: RealRack) -> None:
    acme = guests.api("ACME")
    acme.call("rack_vm.start", name="polite")
    guests.guest("acme/polite")
    acme.call("rack_vm.pause", name="polite")
    assert acme.refusal("rack_vm.pause", name="no-acpi").code == "vm_state"
    told = acme.call("rack_vm.stop", name="polite", ladder={"acpi_s": LISTENS_S})
    assert told["rungs"][-1]["rung"] == "acpi" and told["state"] == "stopped"
