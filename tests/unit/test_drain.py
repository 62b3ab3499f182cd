"""Emptying a host on paper: where its VMs go, what makes room, what refuses it; and every rule at every moment."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from racksalt.drain_plan import drain_plan, update_plan
from racksalt.inventory import Inventory
from racksalt.model import Claim, Domain, HostConfig, Record
from racksalt.plans import Plan, Step
from tests.unit.small_racks import host, seen_of, settings_of, vm

H1, H2, H3, H4 = (host(f"h{number}") for number in range(1, 5))


def drained(seen: Inventory, name: str = "h1") -> Plan:
    return drain_plan(seen, settings_of(view.config for view in seen.hosts.values()), name)


def moves(plan: Plan) -> list[tuple[str, str, str]]:
    return [(step.vm.partition("/")[2], step.host, step.to) for step in plan.steps if step.do == "move"]


def waits(plan: Plan) -> dict[str, tuple[int, ...]]:
    return {step.vm.partition("/")[2]: step.waits_for for step in plan.steps if step.do == "move"}


def test_a_host_is_taken_out_of_placement_first_and_its_vms_go_where_the_most_room_is() -> None:
    seen = seen_of([(H1, 1000), (H2, 1000), (H3, 1000)], [vm(1, "h1", 100), vm(2, "h1", 300), vm(3, "h2", 100)])
    plan = drained(seen)
    assert plan.steps[0].told() == {
        "n": 1,
        "do": "disable",
        "host": "h1",
        "why": "draining: no VM may come to it any more",
        "waits_for": [],
    }
    assert moves(plan) == [("vm2", "h1", "h3"), ("vm1", "h1", "h2")]
    assert waits(plan) == {"vm1": (1,), "vm2": (1,)} and not plan.refusals


def test_a_disabled_host_is_only_emptied() -> None:
    seen = seen_of([(host("h1", enabled=False), 1000), (H2, 1000)], [vm(1, "h1", 100)])
    assert [step.do for step in drained(seen).steps] == ["move"]


def test_an_empty_disabled_host_needs_nothing() -> None:
    assert drained(seen_of([(host("h1", enabled=False), 1000), (H2, 1000)], [])).steps == ()


@pytest.mark.parametrize("other", [host("h2", enabled=False), host("h2", tenants=("beta",))])
def test_nothing_goes_to_a_host_that_takes_none(other: HostConfig) -> None:
    seen = seen_of([(H1, 1000), (other, 1000)], [vm(1, "h1", 100)])
    (refusal,) = drained(seen).refusals
    assert refusal.vm == "acme/vm1" and refusal.code == "no_host_fits" and set(refusal.hosts) == {"h2"}


def test_nothing_goes_to_a_silent_host() -> None:
    seen = seen_of([(H1, 1000), (H2, 1000), (H3, 1000)], [vm(1, "h1", 100)], silent=["h2"])
    assert moves(drained(seen)) == [("vm1", "h1", "h3")]


def test_a_refusal_has_the_numbers_of_each_host() -> None:
    seen = seen_of([(H1, 1000), (H2, 1000), (H3, 500)], [vm(1, "h1", 600), vm(2, "h2", 500), vm(3, "h3", 400)])
    (refusal,) = drained(seen).refusals
    assert refusal.refused_by_rule == {"memory": 2}
    assert refusal.hosts["h2"] == ("memory: asked 600, found 500",)
    assert refusal.hosts["h3"] == ("memory: asked 600, found 100",)


def test_a_vm_in_the_way_goes_first() -> None:
    big = host("h2", labels={"disk": "ssd"})
    seen = seen_of([(H1, 1000), (big, 1000), (H3, 500)], [vm(1, "h1", 700, labels={"disk": "ssd"}), vm(2, "h2", 400)])
    plan = drained(seen)
    assert moves(plan) == [("vm2", "h2", "h3"), ("vm1", "h1", "h2")]
    assert waits(plan) == {"vm2": (1,), "vm1": (2,)}
    assert plan.steps[1].why == "makes room for acme/vm1"


def test_a_chain_makes_room() -> None:
    """vm1 must have h2, where vm2 is, which fits on no other host before another one has gone."""
    two = host("h2", labels={"a": "x"})
    vms = [vm(1, "h1", 900, labels={"a": "x"}), vm(2, "h2", 900), vm(3, "h3", 500), vm(4, "h4", 400)]
    seen = seen_of([(H1, 1000), (two, 1000), (H3, 1000), (H4, 1000)], vms)
    plan = drained(seen)
    assert moves(plan) == [("vm4", "h4", "h3"), ("vm2", "h2", "h4"), ("vm1", "h1", "h2")]
    assert waits(plan) == {"vm4": (1,), "vm2": (2,), "vm1": (3,)} and plays(seen, plan)


def test_two_change_places_by_way_of_a_third_host() -> None:
    """vm1 must have h2, where vm2 is; vm2 may only have h3, where vm3 is; vm3 fits on h2 beside vm1, and on h4."""
    two, three, four = host("h2", labels={"a": "y"}), host("h3", labels={"b": "y"}), H4
    vms = [
        vm(1, "h1", 600, labels={"a": "y"}),
        vm(2, "h2", 900),
        vm(3, "h3", 300),
        vm(4, "h1", 300, labels={"c": "y"}),
    ]
    hosts = [(H1, 1000), (two, 1000), (three, 1000), (replace(four, labels={"c": "y"}), 300)]
    seen = seen_of(hosts, vms)
    plan = drained(seen)
    assert not plan.refusals, plan.refusals
    assert plays(seen, plan)
    places = final(seen, plan)
    assert places == {"vm1": "h2", "vm2": "h3", "vm3": "h2", "vm4": "h4"}
    assert [to for name, _, to in moves(plan) if name == "vm3"] == ["h4", "h2"], "by way of the third host"


def test_groups() -> None:
    """Those that belong together go together; those that keep apart, or spread, do so at every moment."""
    hosts = [
        (host("h1", failure_domain="a"), 1000),
        (host("h2", failure_domain="a"), 1000),
        (host("h3", failure_domain="b"), 1000),
    ]
    vms = [
        vm(1, "h1", 300, affinity="pair"),
        vm(2, "h1", 300, affinity="pair"),
        vm(3, "h1", 100, anti_affinity="db"),
        vm(4, "h3", 100, anti_affinity="db"),
        vm(5, "h1", 100, spread="web"),
        vm(6, "h3", 100, spread="web"),
    ]
    seen = seen_of(hosts, vms)
    plan = drained(seen)
    places = final(seen, plan)
    assert not plan.refusals and places["vm1"] == places["vm2"]
    assert places["vm3"] == "h2" and places["vm5"] == "h2" and plays(seen, plan)


@pytest.mark.parametrize(("memory_mib", "survives"), [(300, True), (400, False)])
def test_what_is_left_survives_the_loss_of_a_host_where_that_is_asked_for(memory_mib: int, survives: bool) -> None:
    seen = seen_of([(H1, 1000), (H2, 1000), (H3, 1000)], [vm(n, f"h{n}", memory_mib) for n in (1, 2, 3)])
    settings = settings_of([H1, H2, H3])
    assert not drain_plan(seen, settings, "h1").refusals
    plan = drain_plan(seen, replace(settings, survive=1), "h1")
    assert [refusal.refused_by_rule for refusal in plan.refusals] == ([] if survives else [{"n_plus_1": 2}])


def test_nothing_goes_to_another_accelerator() -> None:
    seen = seen_of([(H1, 1000), (host("h2", accelerator="kvm"), 1000)], [vm(1, "h1", 100)])
    assert drained(seen).refusals[0].refused_by_rule == {"accelerator": 1}


def test_a_group_that_fits_nowhere_as_a_whole_stays_as_a_whole() -> None:
    vms = [vm(1, "h1", 300, affinity="pair"), vm(2, "h1", 300, affinity="pair")]
    plan = drained(seen_of([(H1, 1000), (H2, 500), (H3, 500)], vms))
    assert {refusal.vm for refusal in plan.refusals} == {"acme/vm1", "acme/vm2"} and not moves(plan)


@pytest.mark.parametrize(("state", "live"), [("running", True), ("paused", True), ("stopped", False)])
def test_a_vm_moves_as_it_is(state: Any, live: bool) -> None:
    seen = seen_of([(H1, 1000), (H2, 1000)], [vm(1, "h1", 100)], states={"vm1": state})
    assert drained(seen).steps[1].live is live


def test_what_cannot_be_moved_is_told() -> None:
    seen = seen_of([(H1, 1000), (H2, 1000)], [vm(1, "h1", 100)], states={"vm1": "suspended"})
    view = seen.hosts["h1"]
    assert view.report is not None
    stranger = Domain("0b5f2f40-4a4e-4b0e-9d2c-0000000000ff", "by-hand", "running", 1, 1, 1)
    report = replace(view.report, domains=(*view.report.domains, stranger))
    seen = replace(seen, hosts={**seen.hosts, "h1": replace(view, report=report)})
    assert {(one.vm, one.code) for one in drained(seen).refusals} == {
        ("acme/vm1", "vm_state"),
        ("by-hand", "vm_foreign"),
    }


def test_a_vm_on_the_move_is_waited_for() -> None:
    seen = seen_of([(H1, 1000), (H2, 1000)], [vm(1, "h1", 100), vm(2, "h1", 100)])
    moving = replace(vm(1, "h2", 100), generation=2)
    seen = replace(seen, claims=(Claim(moving, 1e12, moves_from="h1", was="running"),))
    plan = drained(seen)
    assert plan.moving == ("acme/vm1",) and moves(plan) == [("vm2", "h1", "h2")]


def test_the_hosts_of_an_update_are_emptied_one_after_the_other() -> None:
    seen = seen_of([(H1, 1000), (H2, 1000)], [vm(1, "h1", 300), vm(2, "h2", 300)])
    plan = update_plan(seen, settings_of([H1, H2]), ["h1", "h2"], reboot=True)
    assert [(step.do, step.host) for step in plan.steps] == [
        *(("disable", "h1"), ("move", "h1"), ("update", "h1"), ("reboot", "h1"), ("enable", "h1")),
        *(("disable", "h2"), ("move", "h2"), ("move", "h2"), ("update", "h2"), ("reboot", "h2"), ("enable", "h2")),
    ]
    assert [step.n for step in plan.steps] == list(range(1, 12))
    assert plan.steps[5].waits_for == (5,) and plan.steps[8].waits_for == (6, 7, 8)


def test_a_host_that_the_operator_disabled_stays_so_after_an_update() -> None:
    for reason, last in (("new disks", "update"), ("updating", "enable")):
        one = host("h1", enabled=False, reason=reason)
        plan = update_plan(seen_of([(one, 1000), (H2, 1000)], []), settings_of([one, H2]), ["h1"], reboot=False)
        assert plan.steps[-1].do == last


def test_a_plan_is_the_same_for_the_same_rack() -> None:
    vms = [vm(number, f"h{number % 2 + 1}", 50 + number) for number in range(1, 12)]
    one, two = (drained(seen_of([(H1, 1000), (H2, 600), (H3, 900)], some)) for some in (vms, vms[::-1]))
    assert one == two and one.hash == two.hash


def final(seen: Inventory, plan: Plan) -> dict[str, str]:
    """Where everybody is at the end."""
    places = {one.record.name: one.record.host for one in seen.vms()}
    return places | {name: to for name, _, to in moves(plan)}


def plays(seen: Inventory, plan: Plan, order: Sequence[int] = ()) -> bool:
    """Carry out the plan step by step, and hold every rule at every moment, both ends of a move counted.

    ``order`` chooses what happens next: of all steps that may begin, and all that are at work and may end.
    """
    left, at_work, done = {step.n: step for step in plan.steps}, list[Step](), set[int]()
    where = {one.record.uuid: {one.record.host} for one in seen.vms()}
    records = {one.record.uuid: one.record for one in seen.vms()}
    choices = itertools.chain(order, itertools.repeat(0))
    while left or at_work:
        may = [step for step in left.values() if set(step.waits_for) <= done]
        events = [("begin", step) for step in may] + [("end", step) for step in at_work]
        assert events, f"nothing may go on: {left}"
        what, step = events[next(choices) % len(events)]
        if what == "begin":
            at_work.append(left.pop(step.n))
            if step.do == "move":
                assert where[step.uuid] == {step.host}, "it is where the step takes it from"
                where[step.uuid] = {step.host, step.to}
                obeys(seen, plan, records, where)
        else:
            at_work.remove(step)
            done.add(step.n)
            if step.do == "move":
                where[step.uuid] = {step.to}
    return True


def obeys(seen: Inventory, plan: Plan, records: dict[str, Record], where: dict[str, set[str]]) -> None:
    """The rules in their plainest words."""
    moved = {step.uuid for step in plan.steps if step.uuid}
    for name, view in seen.hosts.items():
        here = [records[uuid] for uuid, hosts in where.items() if name in hosts]
        assert view.report is not None
        assert sum(one.memory_mib for one in here) <= view.report.total.memory_mib, f"{name} is overfull"
        apart = [(one.tenant, one.anti_affinity) for one in here if one.anti_affinity]
        assert len(apart) == len(set(apart)), f"{name} has two that keep apart"
        for one in here:
            if one.uuid in moved and one.host != name:
                assert all(view.config.labels.get(key) == value for key, value in one.labels.items())
    domains: dict[tuple[str, str, str], set[str]] = {}
    for uuid, hosts in where.items():
        if group := records[uuid].spread:
            for name in hosts:
                config = seen.hosts[name].config
                domains.setdefault((records[uuid].tenant, group, config.failure_domain or name), set()).add(uuid)
    assert all(len(uuids) == 1 for uuids in domains.values()), "a group is not spread"


LABELS = st.sampled_from([{}, {}, {}, {"zone": "a"}, {"zone": "b"}])
SPECS = st.tuples(
    st.integers(0, 4),
    st.integers(1, 6),
    LABELS,
    st.sampled_from([None, None, None, "db"]),
    st.sampled_from([None, None, None, "web"]),
    st.sampled_from([None, None, None, "pair"]),
)


@st.composite
def racks(draw: st.DrawFn) -> Inventory:
    """Up to five hosts, rather full; the VMs are where the rules allow them to be."""
    zones = draw(st.lists(st.sampled_from(["a", "b"]), min_size=3, max_size=5))
    hosts = [
        (host(f"h{n}", labels={"zone": zone}, failure_domain=f"f{n % 3}"), draw(st.integers(4, 12)))
        for n, zone in enumerate(zones, 1)
    ]
    vms: list[Record] = []
    for number, (at, size, labels, apart, spread, together) in enumerate(draw(st.lists(SPECS, max_size=12))):
        config, total = hosts[at % len(hosts)]
        one = vm(number, config.name, size, labels=labels, anti_affinity=apart, spread=spread, affinity=together)
        if sum(other.memory_mib for other in vms if other.host == one.host) + size <= total and may_be(one, vms, hosts):
            vms.append(one)
    return seen_of(hosts, vms)


def may_be(one: Record, others: list[Record], hosts: list[tuple[HostConfig, int]]) -> bool:
    """Whether a VM may be where it is."""
    configs = {config.name: config for config, _ in hosts}
    here = [other for other in others if other.host == one.host]
    domain = configs[one.host].failure_domain
    near = [other for other in others if configs[other.host].failure_domain == domain]
    return (
        all(configs[one.host].labels.get(key) == value for key, value in one.labels.items())
        and not (one.anti_affinity and any(other.anti_affinity for other in here))
        and not (one.spread and any(other.spread for other in near))
        and not (one.affinity and any(other.affinity and other.host != one.host for other in others))
    )


@pytest.mark.promise("P16")
@given(racks(), st.lists(st.integers(0, 50), max_size=60))
def test_every_rule_holds_at_every_moment_whatever_is_done_first(seen: Inventory, order: list[int]) -> None:
    plan = drained(seen)
    assert plays(seen, plan, order)
    left = {name for name, at in final(seen, plan).items() if at == "h1"}
    assert left == {refusal.vm.partition("/")[2] for refusal in plan.refusals}
    assert drained(seen) == plan
