"""The rack as one value: which records count, what claims hold, and what is known of silent hosts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from racksalt import quota
from racksalt.inventory import HostView, Inventory, for_operator
from racksalt.model import Claim, Domain, HostConfig, HostReport, Record, Room
from racksalt.quota import Usage
from tests.unit.test_host_vms import UUID, vm

TOTAL = Room(8, 4096, 100)
READ_AT = 1000.0


def domain(record: Record, state: str = "running") -> Domain:
    return Domain(record.uuid, record.domain, state, 1, 128, 1, record)  # type: ignore[arg-type]


def view(name: str, *domains: Domain, answers: bool = True, reported: bool = True) -> HostView:
    report = HostReport(name, TOTAL, domains, "fake", READ_AT) if reported else None
    return HostView(HostConfig(name), report, answers, "" if answers else "silent")


def rack(*views: HostView, claims: tuple[Claim, ...] = ()) -> Inventory:
    return Inventory("r", {one.config.name: one for one in views}, claims)


def claim(record: Record, settled_at: float | None = None) -> Claim:
    return Claim(record, READ_AT + 60, settled_at)


def titles(inventory: Inventory) -> list[str]:
    return [one.record.title for one in inventory.vms()]


def test_vms_are_listed_by_tenant_and_name() -> None:
    seen = rack(view("h1", domain(vm(2)), domain(vm(1)), domain(vm(3, tenant="aaa"))))
    assert titles(seen) == ["aaa/web3", "acme/web1", "acme/web2"]


def test_the_higher_generation_wins_wherever_it_is() -> None:
    old, new = vm(host="h1", generation=1), vm(host="h2", generation=2)
    for views in (
        [view("h1", domain(old)), view("h2", domain(new))],
        [view("h2", domain(new)), view("h1", domain(old))],
    ):
        (found,) = rack(*views).vms()
        assert found.record == new


def test_a_record_that_does_not_count_takes_room_and_nothing_else() -> None:
    seen = rack(view("h1", replace(domain(vm()), record=None, unproven=vm())))
    assert seen.vms() == [] and seen.records() == [] and seen.holder("acme", "web1") is None
    assert seen.usage("acme") == Usage() and not seen.taken().has_mac(vm().nics[0].mac)
    (load,) = seen.loads()
    assert load.used == Room(1, 192, 1)


def test_two_hosts_with_equal_right_are_named_and_counted_once() -> None:
    one, other = vm(host="h1", generation=2), vm(host="h2", generation=2)
    seen = rack(view("h2", domain(other)), view("h1", domain(one)), view("h3", domain(vm(host="h3", generation=1))))
    assert seen.index.twice == {one.uuid: ("h1", "h2")}
    assert [found.record for found in seen.vms()] == [one] and seen.usage("acme").vms == 1
    assert [load.used.vcpus for load in seen.loads()] == [1, 1, 1]


def test_a_higher_generation_ends_the_doubt() -> None:
    views = [view(f"h{number}", domain(vm(host=f"h{number}", generation=number // 3 + 1))) for number in (1, 2, 3)]
    seen = rack(*views)
    assert not seen.index.twice and seen.vms()[0].record.host == "h3"


def test_a_claim_holds_while_its_host_shows_a_domain_that_does_not_count() -> None:
    unproven = replace(domain(vm()), record=None, unproven=vm())
    seen = rack(view("h1", unproven), claims=(claim(vm()),))
    assert seen.holder("acme", "web1") == vm().uuid and seen.usage("acme").vms == 1
    assert seen.loads()[0].used == Room(1, 192, 1), "the domain and its claim take their room once"


def test_names_usage_and_addresses_are_those_of_the_records() -> None:
    later = replace(vm(3, tenant="beta"), host="h2")
    seen = rack(view("h1", domain(vm(1)), domain(vm(2))), view("h2"), claims=(claim(later), claim(vm(1))))
    for record in seen.records():
        assert seen.holder(record.tenant, record.name) == record.uuid
        assert all(seen.taken().has_address(nic.network, nic.address) for nic in record.nics)
        assert all(seen.taken().has_mac(nic.mac) for nic in record.nics)
    assert len(seen.records()) == 3
    for tenant in ("acme", "beta"):
        assert seen.usage(tenant) == quota.usage(one for one in seen.records() if one.tenant == tenant)


def test_other_claims_are_added_to_the_same_index() -> None:
    seen = rack(view("h1", domain(vm(1))))
    later = seen.with_claims([claim(vm(2))])
    assert later.index is seen.index and later.holder("acme", "web2") and not seen.holder("acme", "web2")


def test_a_silent_hosts_vms_are_listed_by_its_last_report_with_an_unknown_state() -> None:
    (found,) = rack(view("h1", domain(vm()), answers=False)).vms()
    assert (found.state, found.host_answers) == ("unknown", False)
    assert rack(view("h1", answers=False, reported=False)).vms() == []


def test_a_claim_in_flight_holds_and_is_not_listed() -> None:
    seen = rack(view("h1"), claims=(claim(vm()),))
    assert seen.vms() == [] and seen.records() == [vm()] == seen.in_flight()
    assert seen.loads()[0].used == Room(1, 192, 1)


def test_a_claim_that_the_report_shows_is_not_counted_twice() -> None:
    for settled_at in (None, READ_AT - 1, READ_AT + 1):
        seen = rack(view("h1", domain(vm())), claims=(claim(vm(), settled_at),))
        assert seen.records() == [vm()] and seen.in_flight() == [] and titles(seen) == ["acme/web1"]
        assert seen.loads()[0].used == Room(1, 192, 1)


def test_a_claim_settled_after_the_report_began_is_a_vm() -> None:
    seen = rack(view("h1"), claims=(claim(vm(), READ_AT),))
    assert titles(seen) == ["acme/web1"] and seen.vms()[0].state == "unknown"
    assert seen.records() == [vm()] and seen.loads()[0].used == Room(1, 192, 1)


def test_the_state_of_a_vm_that_moved_is_not_known_while_its_new_host_is_silent() -> None:
    moved = replace(claim(vm(), READ_AT), moves_from="h2", was="running")
    assert [one.state for one in rack(view("h1"), claims=(moved,)).vms()] == ["running"]
    assert [one.state for one in rack(view("h1", answers=False), claims=(moved,)).vms()] == ["unknown"]


def test_a_vm_that_went_and_came_back_since_the_report_is_the_one_of_now() -> None:
    now = vm(generation=3)
    seen = rack(view("h1", domain(vm())), claims=(replace(claim(now, READ_AT), moves_from="h2", was="running"),))
    assert [one.record for one in seen.vms()] == [now] == seen.records() and seen.usage("acme").vms == 1
    assert seen.loads()[0].used == Room(1, 192, 1), "counted once"
    adopted = rack(view("h1", domain(vm())), claims=(claim(now, READ_AT),))
    assert [(one.record, one.state) for one in adopted.vms()] == [(now, domain(vm()).state)]


def test_a_claim_settled_before_the_report_began_is_over() -> None:
    seen = rack(view("h1"), claims=(claim(vm(), READ_AT - 0.001),))
    assert seen.vms() == [] and seen.records() == [] and seen.loads()[0].used == Room()


def test_a_claim_on_a_host_without_a_report_holds() -> None:
    for settled_at in (None, 1.0):
        seen = rack(view("h1", answers=False, reported=False), claims=(claim(vm(), settled_at),))
        assert seen.records() == [vm()]
        assert seen.with_claims(()).records() == []


def test_a_claim_on_a_host_that_is_in_no_file_any_more_is_over() -> None:
    for settled_at in (None, 5.0):
        seen = rack(view("h2"), claims=(claim(vm(), settled_at),))
        assert seen.records() == [] and seen.vms() == []


def test_only_the_operator_is_told_the_host() -> None:
    (found,) = rack(view("h1", domain(vm()))).vms()
    assert not {"host", "host_answers", "generation"} & set(found.as_dict())
    told: dict[str, Any] = for_operator(found)
    assert told["host"] == "h1" and told["uuid"] == UUID.format(1) and told["addresses"] == ["10.80.0.1"]


def test_loads_are_those_of_a_fresh_count_whichever_claims_came_and_went() -> None:
    views = view("h1", domain(vm(1))), view("h2")
    first, second, third = (claim(vm(number, host=host)) for number, host in ((2, "h1"), (3, "h1"), (4, "h2")))
    known = rack(*views)
    for claims in ((), (first,), (first, third), (second, third), (second,), (first, second), (third,), ()):
        known = known.with_claims(claims)
        assert known.loads() == rack(*views, claims=claims).loads()
        assert [load.used.vcpus for load in known.loads()] == [
            1 + sum(one.record.host == "h1" for one in claims),
            sum(one.record.host == "h2" for one in claims),
        ]


def test_a_load_that_was_added_up_is_taken_as_it_is() -> None:
    known = rack(view("h1"), claims=(claim(vm(2)),))
    (before,) = known.loads()
    (after,) = known.with_claims([claim(vm(2))]).loads()
    assert after is before
    other = replace(known, hosts={"h1": view("h1", domain(vm(1)))}, counted=None)
    assert [load.used.vcpus for load in other.with_claims([claim(vm(2))]).loads()] == [2]
