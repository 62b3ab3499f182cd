"""Whole drains on a rack in memory: carried out, cut off anywhere and called again, applied by hash, stopped."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from racksalt import convoy, host_several, plan_run
from racksalt.access import identify
from racksalt.drain_plan import UPDATING
from racksalt.errors import BadInput, Cancelled, Conflict, NotFound, Refused, Unavailable
from racksalt.host_arrivals import HostArrivals
from racksalt.host_requests import ActOnHost
from racksalt.model import Domain, Room
from racksalt.move_ends import MoveEnds
from racksalt.rack_drains import RackDrains
from racksalt.rack_hosts import RackHosts
from racksalt.rack_plans import RackPlans
from racksalt.rack_requests import ActOnVm, DrainHost, SwitchHost
from racksalt.rack_vms import RackVms
from tests.fakes import FakeClock, FakeRack, fake_rack
from tests.unit.test_vm_create import create


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, those that leave together find each other."""
    monkeypatch.setattr(convoy, "_GATHER_S", 10.0)


def drain(rack: FakeRack, name: str = "h1", **asked: Any) -> dict[str, Any]:
    settings = rack.rack.settings()
    drains = RackDrains(rack.rack, RackPlans(rack.rack))
    return drains.drain(identify("root", settings), DrainHost(name, **asked), settings)


def full_rack(vms: int = 4, hosts: int = 3) -> FakeRack:
    """h1 with some VMs, each second one stopped."""
    rack = fake_rack(hosts)
    for number in range(1, vms + 1):
        create(rack, "root", f"acme/web{number}", host="h1", start=bool(number % 2))
    return rack


def on(rack: FakeRack, name: str) -> list[str]:
    return sorted(domain.name for domain in rack.hosts[name].hypervisor.report().domains)


def everybody(rack: FakeRack) -> list[str]:
    """Each VM is somewhere, once, and has all that belongs to it there."""
    names = rack.vms_on_hosts()
    for host in rack.hosts.values():
        domains = host.hypervisor.report().domains
        assert not any(domain.incoming for domain in domains)
        assert len(host.hypervisor.leases) == len(domains)
        assert len(host.volumes.files) == 2 * len(domains)
    return names


ALL = [f"acme.web{number}" for number in range(1, 5)]


def test_a_drained_host_is_empty_and_disabled_and_its_vms_go_on() -> None:
    rack = full_rack()
    told = drain(rack)
    assert told["changed"] and told["empty"] and told["on_host"] == []
    assert on(rack, "h1") == [] and everybody(rack) == ALL
    assert not rack.rack.settings().hosts["h1"].enabled and rack.rack.settings().hosts["h1"].reason == "draining"
    seen = rack.rack.inventory(rack.rack.settings())
    assert {vm.record.name: vm.state for vm in seen.vms()} == {
        "web1": "running",
        "web2": "stopped",
        "web3": "running",
        "web4": "stopped",
    }
    assert all(step["end"] == "done" for step in told["steps"]) and len(told["steps"]) == 5
    assert told["steps"][1]["receipt"]["persistent"]


def test_a_drained_host_is_drained() -> None:
    rack = full_rack()
    drain(rack)
    again = drain(rack)
    assert not again["changed"] and again["steps"] == [] and again["empty"]


def test_a_test_run_changes_nothing_and_its_hash_applies_it() -> None:
    rack = full_rack()
    plan = drain(rack, test=True)
    assert plan["test"] and plan["changed"] and len(plan["steps"]) == 5 and on(rack, "h1") == ALL
    assert drain(rack, test=True)["hash"] == plan["hash"]
    told = drain(rack, apply=plan["hash"])
    assert told["hash"] == plan["hash"] and on(rack, "h1") == []


def test_a_stale_hash_does_nothing_and_names_what_changed() -> None:
    rack = full_rack()
    plan = drain(rack, test=True)
    create(rack, "root", "acme/new", host="h1")
    with pytest.raises(Conflict) as told:
        drain(rack, apply=plan["hash"])
    assert told.value.code == "plan_changed" and "host h1 has 1 more VMs" in told.value.detail
    assert len(on(rack, "h1")) == 5 and rack.rack.settings().hosts["h1"].enabled


def test_a_hash_that_nobody_kept_does_nothing() -> None:
    rack = full_rack()
    for asked in ("0" * 64, drain(rack, "h2", test=True)["hash"]):
        with pytest.raises(Conflict) as told:
            drain(rack, apply=asked)
        assert told.value.code == "plan_changed" and on(rack, "h1") == ALL


def test_a_plan_that_would_be_another_one_now_is_not_applied() -> None:
    """Nothing that it names has changed, but the room on its target."""
    rack = full_rack(vms=1)
    plan = drain(rack, test=True)
    target = plan["steps"][1]["to"]
    for number in range(5):
        create(rack, "root", f"acme/more{number}", host=target)
    with pytest.raises(Conflict) as told:
        drain(rack, apply=plan["hash"])
    assert told.value.code == "plan_changed" and any("is new in it" in line for line in told.value.facts["changes"])


def test_a_plan_of_a_lost_cache_still_applies_where_it_is_the_plan_of_now() -> None:
    rack = full_rack()
    plan = drain(rack, test=True)
    rack.rack.plans.kept.clear()  # type: ignore[attr-defined]
    assert drain(rack, apply=plan["hash"])["empty"]


def test_a_vm_that_fits_nowhere_refuses_the_whole_drain_before_its_first_step() -> None:
    rack = full_rack(hosts=2)
    rack.hosts["h2"].hypervisor.total = Room(8, 400, 100)
    with pytest.raises(Refused) as told:
        drain(rack)
    assert told.value.code == "plan_refused" and len(told.value.facts["refusals"]) == 2
    assert on(rack, "h1") == ALL and rack.rack.settings().hosts["h1"].enabled
    done = drain(rack, partial=True)
    assert len(done["on_host"]) == 2 and not done["empty"] and not rack.rack.settings().hosts["h1"].enabled


def test_a_stranger_on_the_host_refuses_it() -> None:
    rack = full_rack()
    stranger = Domain("1b5f2f40-4a4e-4b0e-9d2c-0b8f9f1d2c3e", "by-hand", "stopped", 1, 1, 1)
    rack.hosts["h1"].hypervisor.foreign.append(stranger)
    with pytest.raises(Refused):
        drain(rack)
    assert drain(rack, partial=True)["on_host"] == ["by-hand"]


def test_unknown_and_silent_hosts() -> None:
    rack = full_rack()
    with pytest.raises(NotFound):
        drain(rack, "h9")
    rack.hosts["h1"].silent = True
    with pytest.raises(Unavailable) as told:
        drain(rack)
    assert told.value.code == "host_silent"


def test_an_absent_host_stops_nobody() -> None:
    rack = full_rack()
    rack.hosts["h3"].silent = True
    assert drain(rack)["empty"] and on(rack, "h2") == ALL


def test_a_failed_step_is_told_and_the_rest_goes_on() -> None:
    rack = full_rack()

    def fail(step: str) -> None:
        if step.startswith("create"):
            raise Refused("disk_failed", "no space left on device")

    broken = drain(rack, test=True)["steps"][1]["to"]
    rack.hosts[broken].volumes.fault = fail
    with pytest.raises(Unavailable) as told:
        drain(rack)
    assert told.value.code == "plan_incomplete"
    ends = {step["n"]: step["end"] for step in told.value.facts["steps"]}
    assert ends[1] == "done" and "failed" in ends.values()
    assert everybody(rack) == ALL
    rack.hosts[broken].volumes.fault = lambda step: None
    rack.clock.sleep(100_000)
    assert drain(rack)["empty"] and everybody(rack) == ALL


def test_each_move_stands_in_the_audit() -> None:
    rack = full_rack()
    drain(rack)
    lines = [text for text in rack.rack.audit.newest() if b'"rack_vm.migrate"' in text]
    assert len(lines) == 8 and b'"result":"done"' in lines[0] and b'"object":"acme/web' in lines[0]


class Killed(BaseException):
    """The process is gone, without a word."""


def kill_at(rack: FakeRack, call: int, *, after: bool) -> None:
    """The runner dies at its so-manyth call to a host; nobody of it does anything from then on."""
    left = [call]

    def die(host: str, function: str) -> None:
        if function == "rack_host.report":
            return
        left[0] -= 1
        if left[0] <= 0:
            raise Killed

    rack.fleet.after, rack.fleet.before = (die, _nothing) if after else (_nothing, die)


def _nothing(host: str, function: str) -> None:
    """No fault."""


@pytest.mark.promise("P16")
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", range(1, 18))
def test_a_drain_that_is_cut_off_at_any_call_and_called_again_ends_the_same(call: int, after: bool) -> None:
    rack = full_rack()
    rack.files.data["hosts.yaml"]["migrations"] = {"per_host": 1, "rack": 1}
    kill_at(rack, call, after=after)
    cut = False
    try:
        drain(rack)
    except (Killed, Unavailable):
        cut = True
    rack.fleet.before = rack.fleet.after = _nothing
    told = drain(rack)
    assert told["empty"] and on(rack, "h1") == [] and everybody(rack) == ALL
    assert cut or not told["changed"]
    assert not [claim for claim in rack.claims.held.values() if claim.settled_at is None]


@pytest.mark.promise("P16")
@given(st.integers(1, 20), st.booleans(), st.sampled_from(["create", "delete", "move away", "nothing"]))
def test_a_cut_off_drain_ends_the_same_whatever_others_do_in_between(call: int, after: bool, other: str) -> None:
    rack = full_rack()
    kill_at(rack, call, after=after)
    with contextlib.suppress(Killed, Unavailable):
        drain(rack)
    rack.fleet.before = rack.fleet.after = _nothing
    meanwhile(rack, other)
    assert drain(rack)["empty"] and on(rack, "h1") == []
    expected = {"create": [*ALL, "acme.new"], "delete": [name for name in ALL if name != "acme.web3"]}
    assert sorted(everybody(rack)) == sorted(expected.get(other, ALL))


def meanwhile(rack: FakeRack, other: str) -> None:
    """Somebody else, whose call may be refused as a VM is still on the move."""
    if other == "create":
        create(rack, "root", "acme/new")
    elif other == "delete":
        rack.clock.sleep(100_000)
        drain(rack)
        act(rack, "delete")
    elif other == "move away":
        rack.files.data["hosts.yaml"]["hosts"]["h1"]["enabled"] = True


def act(rack: FakeRack, verb: Any) -> None:
    settings = rack.rack.settings()
    RackVms(rack.rack).act(identify("root", settings), ActOnVm("acme/web3", verb, hard=True), settings)


#: By such a network each VM moves by itself.
SLOW = {"bandwidth_mib_s": 10}


@pytest.mark.promise("P16")
@pytest.mark.parametrize(
    ("way", "call"),
    [*((SLOW, call) for call in range(2, 16)), *(({}, call) for call in range(2, 7))],
    ids=lambda value: value if isinstance(value, int) else "alone" if value else "together",
)
def test_an_applied_plan_that_was_cut_off_goes_on_by_the_same_hash(way: dict[str, int], call: int) -> None:
    rack = full_rack()
    rack.files.data["hosts.yaml"]["migrations"] = {"per_host": 1, "rack": 1, **way}
    plan = drain(rack, test=True)
    kill_at(rack, call, after=True)
    with pytest.raises((Killed, Unavailable)):
        drain(rack, apply=plan["hash"])
    rack.fleet.before = rack.fleet.after = _nothing
    rack.clock.sleep(100_000)
    tidy(rack)
    assert drain(rack, apply=plan["hash"])["empty"] and everybody(rack) == ALL


def tidy(rack: FakeRack) -> list[str]:
    """The writer's watch."""
    settings = rack.rack.settings()
    return MoveEnds(rack.rack).tidy(rack.rack.inventory(settings), settings)


def test_a_create_that_was_on_its_way_when_the_host_was_disabled_is_moved_too() -> None:
    rack = full_rack(vms=1)
    calls: list[str] = []

    def come(host: str, function: str) -> None:
        if function != "rack_host.report" and not calls:
            calls.append(function)
            rack.files.data["hosts.yaml"]["hosts"]["h1"]["enabled"] = True
            create(rack, "root", "acme/late", host="h1")
            rack.files.data["hosts.yaml"]["hosts"]["h1"]["enabled"] = False

    rack.fleet.before = come
    told = drain(rack)
    assert told["empty"] and everybody(rack) == ["acme.late", "acme.web1"]
    assert [step["n"] for step in told["steps"]] == [1, 2, 3]


def test_a_plan_that_is_asked_to_end_carries_the_running_steps_to_their_end() -> None:
    rack = full_rack()
    rack.files.data["hosts.yaml"]["migrations"] = {"per_host": 2, "rack": 8, **SLOW}
    moved: list[str] = []

    def movers(_: Any) -> Callable[..., Any]:
        def move(caller: Any, record: Any, target: str, *rest: Any) -> dict[str, Any]:
            moved.append(record.name)
            raise_in_main.append(True)
            return {"vm": record.title}

        return move

    raise_in_main: list[bool] = []
    real = plan_run.wait

    def wait(futures: Any, **how: Any) -> Any:
        done = real(futures, **how)
        if raise_in_main:
            raise Cancelled
        return done

    plan_run.wait = wait  # type: ignore[assignment]
    try:
        settings = rack.rack.settings()
        drains = RackDrains(rack.rack, RackPlans(rack.rack, movers))
        with pytest.raises(Conflict) as told:
            drains.drain(identify("root", settings), DrainHost("h1"), settings)
    finally:
        plan_run.wait = real
    assert told.value.code == "job_cancelled"
    ends = [step["end"] for step in told.value.facts["steps"]]
    assert ends.count("done") == 1 + len(moved) and "not begun" in ends


def test_a_move_that_waits_for_others_does_not_begin_when_the_plan_was_asked_to_end() -> None:
    rack, tries = full_rack(vms=1), 0
    real = plan_run.wait

    def movers(_: Any) -> Callable[..., Any]:
        def move(*call: Any) -> Any:
            nonlocal tries
            tries += 1
            threading.Event().wait(0.01)
            raise Conflict("too_many_migrations", "8 of 8 moves")

        return move

    def wait(futures: Any, **how: Any) -> Any:
        if not tries:
            return real(futures, **{**how, "timeout": 0.01})
        raise Cancelled

    plan_run.wait = wait  # type: ignore[assignment]
    try:
        settings = rack.rack.settings()
        with pytest.raises(Conflict) as told:
            RackDrains(rack.rack, RackPlans(rack.rack, movers)).drain(
                identify("root", settings), DrainHost("h1"), settings
            )
    finally:
        plan_run.wait = real
    assert told.value.code == "job_cancelled" and tries < 10, "it would wait for ten minutes"
    assert on(rack, "h1") == ALL[:1]


def test_vms_leave_together_in_one_call_each() -> None:
    rack = full_rack(vms=4)
    rack.files.data["hosts.yaml"]["migrations"] = {"per_host": 4, "rack": 8}
    rack.fleet.calls.clear()
    told = drain(rack)
    assert told["empty"] and everybody(rack) == ALL
    asked = Counter(call for call in rack.fleet.calls if call[1].startswith("rack_vm."))
    assert asked["h1", "rack_vm.offer"] == asked["h1", "rack_vm.send"] == 1
    assert asked["h2", "rack_vm.receive"] == asked["h3", "rack_vm.receive"] == 1
    assert asked["h2", "rack_vm.conclude"] == asked["h3", "rack_vm.conclude"] == 1 and asked.total() == 6
    receipts = [step["receipt"] for step in told["steps"] if step["do"] == "move"]
    assert [one["to"]["after"] for one in receipts] == ["running", "stopped", "running", "stopped"]


def test_one_that_cannot_leave_keeps_no_other_back() -> None:
    rack = full_rack(vms=4)
    rack.files.data["hosts.yaml"]["migrations"] = {"per_host": 4, "rack": 8}
    (uuid,) = (one.uuid for one in rack.hosts["h1"].hypervisor.report().domains if one.name == "acme.web2")
    rack.hosts["h1"].mover.kept = {uuid: ["before-update"]}
    with pytest.raises(Unavailable) as told:
        drain(rack)
    ends = {step["vm"]: step for step in told.value.facts["steps"] if step["do"] == "move"}
    assert [ends[f"acme/web{n}"]["end"] for n in (1, 2, 3, 4)] == ["done", "failed", "done", "done"]
    assert ends["acme/web2"]["error"]["code"] == "vm_cannot_move" and on(rack, "h1") == ["acme.web2"]
    assert not [claim for claim in rack.claims.all() if claim.is_moving]


@pytest.mark.parametrize(("bandwidth_mib_s", "sends"), [(0, 1), (10, 4)])
def test_what_takes_long_goes_alone(bandwidth_mib_s: int, sends: int) -> None:
    rack = full_rack(vms=4)
    hosts = rack.files.data["hosts.yaml"]
    hosts["migrations"] = {"per_host": 4, "rack": 8, "bandwidth_mib_s": bandwidth_mib_s}
    drain(rack)
    assert rack.fleet.calls.count(("h1", "rack_vm.send")) == sends and on(rack, "h1") == []


class Traffic:
    """How many VMs are on the move from a host, and how many were at the most; each takes ``each_s``."""

    def __init__(self, rack: FakeRack, host: str = "h1", each_s: float = 0.0) -> None:
        self.rack, self.each_s, self.now, self.most, self.all = rack, each_s, 0, 0, 0
        self.lock = threading.Lock()
        rack.hosts[host].mover.at = self.at

    def at(self, step: str) -> None:
        with self.lock:
            self.now += {"begin": 1, "confirm": -1}.get(step, 0)
            self.all += step == "begin"
            self.most = max(self.most, self.now)
        threading.Event().wait(0.01)
        if step == "perform":
            self.rack.clock.sleep(self.each_s)


@pytest.mark.parametrize(("per_host", "rack_wide", "most"), [(1, 8, 1), (2, 8, 2), (4, 3, 3)])
def test_no_more_are_on_the_move_than_may_be(per_host: int, rack_wide: int, most: int) -> None:
    rack = full_rack(vms=6)
    rack.files.data["hosts.yaml"]["migrations"] = {"per_host": per_host, "rack": rack_wide}
    traffic = Traffic(rack)
    assert drain(rack)["empty"] and (traffic.most, traffic.all) == (most, 6)
    assert rack.fleet.calls.count(("h1", "rack_vm.send")) == 1


def ends(told: dict[str, Any]) -> set[str]:
    return {step["end"] for step in told["steps"]}


def test_a_member_that_comes_late_adds_no_move_to_those_that_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convoy, "_GATHER_S", 0.01)
    rack = full_rack(vms=6)
    rack.files.data["hosts.yaml"]["migrations"] = {"per_host": 2, "rack": 8}
    traffic, write = Traffic(rack), rack.claims.write

    def slow(claim: Any) -> None:
        threading.Event().wait(0.05)
        write(claim)

    monkeypatch.setattr(rack.claims, "write", slow)
    told = drain(rack)
    assert ends(told) == {"done"} and (traffic.most <= 2, traffic.all) == (True, 6) and on(rack, "h1") == []
    assert rack.fleet.calls.count(("h1", "rack_vm.send")) > 1
    assert not [claim for claim in rack.claims.all() if claim.is_moving]


@pytest.mark.parametrize(("per_host", "each_s"), [(1, 40.0), (1, 200.0), (2, 40.0), (2, 200.0)])
def test_who_waits_for_its_turn_is_not_taken_back_and_moves_alone_when_it_was_missed(
    per_host: int, each_s: float
) -> None:
    rack = full_rack(vms=5)
    rack.files.data["hosts.yaml"]["migrations"] = {"per_host": per_host, "rack": 4}
    traffic = Traffic(rack, each_s=each_s)
    at = traffic.at

    def watched(step: str) -> None:
        """The watch looks during each move; those that have missed their turn are free for it before they are told."""
        at(step)
        if step == "perform":
            tidy(rack)

    rack.hosts["h1"].mover.at = watched
    plan = drain(rack, test=True)
    told = drain(rack, apply=plan["hash"])
    assert ends(told) == {"done"} and on(rack, "h1") == [] and len(everybody(rack)) == 5
    assert (traffic.most, traffic.all) == (per_host, 5)
    assert not [claim for claim in rack.claims.all() if claim.is_moving]


def test_the_watch_may_take_back_who_has_missed_its_turn_before_it_is_told() -> None:
    rack = full_rack(vms=4)
    rack.files.data["hosts.yaml"]["migrations"] = {"per_host": 2, "rack": 4}
    traffic, began = Traffic(rack), threading.Barrier(2, timeout=10)
    at = traffic.at
    taken: list[str] = []

    def unequal(step: str) -> None:
        """Two move; one of them is still at it when the turns of the others have come and gone."""
        at(step)
        if step != "perform" or traffic.all > 2:
            return
        if began.wait() == 0:
            rack.clock.sleep(100)
            return
        for _ in range(500):
            threading.Event().wait(0.02)
            rack.clock.sleep(100)  # a look that came while one was still held is made again when its time is over
            taken.extend(line for line in tidy(rack) if "it is on h1" in line)
            if len(taken) >= 2:
                return

    rack.hosts["h1"].mover.at = unequal
    told = drain(rack)
    assert len(taken) == 2, taken
    assert ends(told) == {"done"} and on(rack, "h1") == [] and traffic.all == 4
    assert not [claim for claim in rack.claims.all() if claim.is_moving]


class Ahead(FakeClock):
    """A host's clock that goes before the master's."""

    def __init__(self, clock: FakeClock, by_s: float) -> None:
        super().__init__()
        self.clock, self.by_s = clock, by_s

    def now(self) -> float:
        return self.clock.now() + self.by_s


def test_a_source_whose_clock_goes_before_sends_each_alone() -> None:
    rack = full_rack(vms=4)
    rack.files.data["hosts.yaml"]["migrations"] = {"per_host": 2, "rack": 4}
    rack.hosts["h1"].clock = Ahead(rack.clock, 45.0)
    assert ends(drain(rack)) == {"done"} and on(rack, "h1") == []
    assert rack.fleet.calls.count(("h1", "rack_vm.send")) == 5


@pytest.mark.parametrize("each_s", [10.0, 13.0, 17.5, 19.0, 26.0])
def test_clocks_that_differ_as_far_as_they_may_spoil_no_turn(each_s: float) -> None:
    """A target lets nobody in any more when the time of the claim is over by its own clock."""
    rack = full_rack(vms=6)
    rack.files.data["hosts.yaml"]["migrations"] = {"per_host": 1, "rack": 4}
    for name, host in rack.hosts.items():
        host.clock = Ahead(rack.clock, -5.0 if name == "h1" else 5.0)
        host.doors.clock = host.clock
    traffic = Traffic(rack)

    def slow(step: str) -> None:
        traffic.at(step)
        if step == "finish":
            rack.clock.sleep(each_s)

    rack.hosts["h1"].mover.at = slow
    plan = drain(rack, test=True)
    assert ends(drain(rack, apply=plan["hash"])) == {"done"} and (traffic.most, traffic.all) == (1, 6)


@pytest.mark.parametrize("each_s", [5.0, 12.0])
def test_a_target_that_is_slow_to_make_ready_is_waited_for(each_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rack = full_rack(vms=10, hosts=2)
    rack.hosts["h2"].hypervisor.total = Room(100, 100_000, 1000)
    receive = HostArrivals.receive

    def slow(self: HostArrivals, request: Any) -> Any:
        told = receive(self, request)
        rack.clock.sleep(each_s)
        return told

    monkeypatch.setattr(HostArrivals, "receive", slow)
    plan = drain(rack, test=True)
    assert ends(drain(rack, apply=plan["hash"])) == {"done"} and on(rack, "h1") == []
    assert not [claim for claim in rack.claims.all() if claim.is_moving]


@pytest.mark.parametrize("change", [{"verb": "delete"}, {"verb": "note", "note": "late"}])
def test_one_that_waits_for_its_turn_is_no_ones_to_change(change: dict[str, Any]) -> None:
    rack = full_rack(vms=4)
    rack.files.data["hosts.yaml"]["migrations"] = {"per_host": 1, "rack": 4}
    source, codes = rack.hosts["h1"], list[str]()

    def at(step: str) -> None:
        if step == "perform":
            for uuid in set(source.mover.sending) - source.hypervisor.moving:
                with pytest.raises(Conflict) as told:
                    source.vms().act(ActOnHost(uuid, **change))
                codes.append(told.value.code)

    source.mover.at = at
    assert ends(drain(rack)) == {"done"} and everybody(rack) == ALL
    assert codes == ["vm_moving"] * (3 + 2 + 1)


def test_no_more_look_at_once_when_all_goes_wrong_than_may_move_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rack = full_rack(vms=8)
    rack.files.data["hosts.yaml"]["migrations"] = {"per_host": 2, "rack": 4}
    now, most, lock = [0], [0], threading.Lock()
    ask = rack.fleet.ask

    def counted(hosts: Any, function: str, *call: Any, **how: Any) -> Any:
        looks = threading.current_thread().name.startswith("plan")
        with lock:
            now[0] += looks
            most[0] = max(most[0], now[0])
        threading.Event().wait(0.005)
        try:
            return ask(hosts, function, *call, **how)
        finally:
            with lock:
                now[0] -= looks

    monkeypatch.setattr(rack.fleet, "ask", counted)
    lost = [True]

    def before(host: str, function: str) -> None:
        rack.hosts["h1"].loses_returns = function == "rack_vm.send" and lost[0]
        lost[0] &= function != "rack_vm.send"

    rack.fleet.before = before
    drain(rack)
    assert on(rack, "h1") == [] and most[0] <= 2 and not lost[0]


def test_hosts_of_before_this_version_are_drained_one_vm_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    rack = full_rack(vms=4)
    monkeypatch.setattr(host_several, "are_in", lambda request: False)
    assert ends(drain(rack)) == {"done"} and everybody(rack) == ALL and on(rack, "h1") == []
    assert rack.fleet.calls.count(("h1", "rack_vm.offer")) == 5


def test_a_host_that_says_forever_that_the_turn_was_missed_is_not_asked_forever() -> None:
    rack = full_rack(vms=2)

    def never(step: str) -> None:
        raise host_several.turn_missed("never")

    rack.hosts["h1"].mover.at = never
    with pytest.raises(Unavailable) as told:
        drain(rack)
    moves = [step for step in told.value.facts["steps"] if step["do"] == "move"]
    assert {step["error"]["code"] for step in moves} == {"turn_missed"}
    assert rack.fleet.calls.count(("h1", "rack_vm.send")) <= 6 and on(rack, "h1") == ALL[:2]
    assert not [claim for claim in rack.claims.all() if claim.is_moving]


def test_a_send_that_nobody_answers_is_looked_at_for_each() -> None:
    rack = full_rack(vms=4)
    rack.files.data["hosts.yaml"]["migrations"] = {"per_host": 4, "rack": 8}

    def lost(host: str, function: str) -> None:
        rack.hosts["h1"].loses_returns = function == "rack_vm.send"

    rack.fleet.before = lost
    assert drain(rack)["empty"] and everybody(rack) == ALL and ("h2", "rack_vm.withdraw") not in rack.fleet.calls
    assert not [claim for claim in rack.claims.all() if claim.is_moving]


def test_moves_of_others_are_waited_for() -> None:
    rack, tries = full_rack(vms=1), [3]

    def movers(real: Any) -> Callable[..., Any]:
        def move(*call: Any) -> Any:
            tries[0] -= 1
            if tries[0]:
                raise Conflict("too_many_migrations", "8 of 8 moves")
            return RackPlans(rack.rack).movers(real)(*call)

        return move

    settings = rack.rack.settings()
    drains = RackDrains(rack.rack, RackPlans(rack.rack, movers))
    assert drains.drain(identify("root", settings), DrainHost("h1"), settings)["empty"] and tries == [0]


def test_a_saved_rack_is_planned_on_without_asking_any_host() -> None:
    rack = full_rack()
    settings = rack.rack.settings()
    told = RackHosts(rack.rack).inventory(settings)
    rack.rack.saved.texts["/root/rack.json"] = json.dumps(told)  # type: ignore[attr-defined]
    rack.fleet.calls.clear()
    plan = drain(rack, test=True, inventory="/root/rack.json")
    assert [step["do"] for step in plan["steps"]] == ["disable"] + ["move"] * 4 and not rack.fleet.calls
    for asked in ({"name": "h9", "test": True}, {"name": "h1"}):
        with pytest.raises((NotFound, BadInput)):
            drain(rack, inventory="/root/rack.json", **asked)


def test_a_reason_that_came_meanwhile_stays_and_a_drained_host_is_not_one_that_is_updated() -> None:
    rack = full_rack()
    settings = rack.rack.settings()
    RackHosts(rack.rack).switch(SwitchHost("h1", UPDATING), settings, enabled=False)
    told = drain(rack)
    assert told["steps"][0]["do"] == "disable" and rack.rack.settings().hosts["h1"].reason == "draining"
    rack = full_rack()

    def broken(host: str, function: str) -> None:
        config = rack.rack.settings().hosts["h1"]
        if config.enabled:
            RackHosts(rack.rack).switch(SwitchHost("h1", "bad memory"), rack.rack.settings(), enabled=False)

    asked = drain(rack, test=True)["hash"]
    rack.fleet.before = broken
    drain(rack, apply=asked)
    assert rack.rack.settings().hosts["h1"].reason == "bad memory" and on(rack, "h1") == []
