"""Plans as values: their hash, what they rest on, and how much of one is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from racksalt import plans, shape
from racksalt.drain_plan import drain_plan
from racksalt.errors import Conflict
from racksalt.inventory import Inventory
from racksalt.model import Record
from racksalt.plans import Plan
from tests.unit.small_racks import host, seen_of, settings_of, vm

HOSTS = [(host(f"h{number}"), 1000) for number in range(1, 4)]
VMS = [vm(1, "h1", 300), vm(2, "h1", 200), vm(3, "h2", 100)]


def rack(vms: list[Record] = VMS, **switched: bool) -> Inventory:
    hosts = [(replace(config, enabled=switched.get(config.name, True)), total) for config, total in HOSTS]
    return seen_of(hosts, vms)


def plan() -> Plan:
    seen = rack()
    return drain_plan(seen, settings_of(view.config for view in seen.hosts.values()), "h1")


def moved(one: Record, to: str) -> Record:
    return replace(one, host=to, generation=one.generation + 1)


def test_a_plan_survives_its_way_through_plain_data() -> None:
    assert (
        shape.parse(Plan, shape.plain(plan())) == plan() and shape.parse(Plan, shape.plain(plan())).hash == plan().hash
    )


CHANGES: dict[str, Callable[[Plan], Plan]] = {
    "a step": lambda plan: replace(plan, steps=plan.steps[:-1]),
    "a target": lambda plan: replace(plan, steps=(*plan.steps[:-1], replace(plan.steps[-1], to="h9"))),
    "an order": lambda plan: replace(plan, steps=(*plan.steps[:-1], replace(plan.steps[-1], waits_for=(2,)))),
    "a refusal": lambda plan: replace(plan, refusals=(plans.Refusal("a/b", "u", "h1", "code", "why"),)),
    "a fact": lambda plan: replace(plan, facts=plans.Facts()),
    "its object": lambda plan: replace(plan, object="h2"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_changes_the_hash(change: str) -> None:
    assert CHANGES[change](plan()).hash != plan().hash


def test_of_a_plan_of_now_nothing_is_done() -> None:
    assert plans.done_of(plan(), rack()) == frozenset()


def test_of_a_plan_that_was_cut_off_its_own_steps_are_done() -> None:
    first = plan().steps[1]
    assert first.vm == "acme/vm1"
    assert plans.done_of(plan(), rack(h1=False)) == {1}
    half = rack([moved(VMS[0], first.to), *VMS[1:]], h1=False)
    assert plans.done_of(plan(), half) == {1, 2}
    left = plan().without(plans.done_of(plan(), half))
    assert [(step.n, step.vm, step.waits_for) for step in left.steps] == [(3, "acme/vm2", ())]


STALE = {
    "acme/vm1 has generation 5, and had 1": rack([replace(VMS[0], generation=5), *VMS[1:]]),
    "acme/vm2 is not there any more": rack([VMS[0], VMS[2]]),
    "host h1 has 1 more VMs": rack([*VMS, vm(4, "h1", 1)]),
    "host h2 is disabled now": rack(h2=False),
    "host h1 has 1 VMs less": rack([VMS[0], VMS[2]]),
    "acme/vm1 does not run now": seen_of(HOSTS, VMS, states={"vm1": "stopped"}),
    "host h3 does not answer now": seen_of(HOSTS, VMS, silent=["h3"]),
}


@pytest.mark.parametrize("change", STALE)
def test_a_stale_plan_names_what_changed(change: str) -> None:
    with pytest.raises(Conflict) as told:
        plans.done_of(plan(), STALE[change])
    assert told.value.code == "plan_changed" and change in told.value.detail and told.value.facts["changes"]


def test_a_vm_that_somebody_moved_elsewhere_is_no_step_of_the_plan() -> None:
    target = plan().steps[1].to
    other = next(name for name in ("h2", "h3") if name != target)
    with pytest.raises(Conflict) as told:
        plans.done_of(plan(), rack([moved(VMS[0], other), *VMS[1:]], h1=False))
    assert f"acme/vm1 is on {other}, and was on {target}" in told.value.detail


def test_one_move_is_a_plan_too() -> None:
    one = plans.one_move(rack(), VMS[0], "h2", live=True, why="asked for")
    assert one.steps[0].told() == {
        "n": 1,
        "do": "move",
        "vm": "acme/vm1",
        "uuid": VMS[0].uuid,
        "from": "h1",
        "to": "h2",
        "live": True,
        "why": "asked for",
        "waits_for": [],
    }
    assert one.facts.vms[VMS[0].uuid].generation == 1 and set(one.facts.hosts) == {"h1", "h2"}
