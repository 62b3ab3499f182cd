"""N+1: the kept rescues say what a plain search says, for every rack and after every new VM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from racksalt import placement, survival
from racksalt.host_load import HostLoad, with_coming
from racksalt.model import HostConfig, NumaCell, Room, RoomPolicy
from racksalt.placement import Wish

UUID = "0b5f2f40-4a4e-4b0e-9d2c-{:012x}"
GROUP = st.sampled_from([None, None, None, "db", "web"])
LABELS = st.sampled_from([{}, {}, {"disk": "ssd"}])
Guests = Mapping[str, Sequence[Wish]]


@st.composite
def hosts(draw: st.DrawFn) -> HostLoad:
    config = HostConfig(
        "h",
        enabled=draw(st.sampled_from([True, True, True, False])),
        labels=draw(LABELS),
        room=RoomPolicy(vm_overhead_mib=draw(st.sampled_from([0, 10]))),
        failure_domain=draw(st.sampled_from([None, "row1", "row2"])),
        tenants=draw(st.sampled_from([(), (), (), ("acme",)])),
    )
    capacity = Room(draw(st.integers(2, 8)), draw(st.integers(100, 500)), draw(st.integers(5, 20)))
    cells = (NumaCell(4, 400, draw(st.sampled_from([0, 100, 200]))),)
    return HostLoad(config, draw(st.sampled_from([True, True, True, False])), capacity, Room(), cells=cells)


WISHES = st.builds(
    Wish,
    st.sampled_from(["acme", "beta"]),
    st.builds(Room, st.integers(1, 2), st.sampled_from([20, 50, 100, 120]), st.integers(1, 4)),
    LABELS,
    GROUP,
    st.none(),
    GROUP,
    GROUP,
    tenant_labels=st.sampled_from([{}, {}, {}, {"disk": "ssd"}]),
    numa=st.sampled_from([False, False, True]),
    huge_pages=st.sampled_from([False, False, False, True]),
)


@st.composite
def racks(draw: st.DrawFn) -> tuple[dict[str, HostLoad], dict[str, list[Wish]]]:
    """Hosts with VMs on them, whatever the rules say of where they are."""
    loads: dict[str, HostLoad] = {}
    guests: dict[str, list[Wish]] = {}
    for number, load in enumerate(draw(st.lists(hosts(), min_size=2, max_size=5))):
        name = f"h{number}"
        wishes = [
            replace(wish, uuid=UUID.format(100 * number + one), title=f"vm{number}-{one}")
            for one, wish in enumerate(draw(st.lists(WISHES, max_size=4)))
        ]
        loads[name] = with_coming(replace(load, config=replace(load.config, name=name)), wishes)
        guests[name] = wishes
    return loads, guests


def lost_for_good(loads: Mapping[str, HostLoad], guests: Guests) -> dict[str, list[str]]:
    """By host, the VMs that find no place when it is lost: the definition, written down as it is told."""
    names = sorted(loads)
    left: dict[str, list[str]] = {}
    for row, lost in enumerate(names):
        now = {name: load for name, load in loads.items() if name != lost}
        order = [*names[row + 1 :], *names[:row]]
        largest_first = sorted(
            guests[lost], key=lambda one: (-one.room.memory_mib, -one.room.vcpus, -one.room.disk_gib, one.uuid)
        )
        for wish in largest_first:
            known = placement.among(wish, now.values())
            host = next((name for name in order if placement.fits(known, now[name])), None)
            if host is None:
                left.setdefault(lost, []).append(wish.uuid)
            else:
                now[host] = with_coming(now[host], [wish])
    return left


def told(kept: survival.RackSurvival) -> dict[str, list[str]]:
    return {host: [wish.uuid for wish in one.stranded] for host, one in kept.rescues.items() if one.stranded}


@given(racks())
@settings(max_examples=100)
def test_the_rescues_are_what_a_plain_search_finds(rack: tuple[dict[str, HostLoad], dict[str, list[Wish]]]) -> None:
    loads, guests = rack
    assert told(survival.survival_of(loads.values(), guests)) == lost_for_good(loads, guests)


@given(racks(), st.lists(st.tuples(WISHES, st.integers(0, 9)), min_size=1, max_size=5))
@settings(max_examples=100)
def test_after_each_new_vm_they_are_so_too(
    rack: tuple[dict[str, HostLoad], dict[str, list[Wish]]], coming: list[tuple[Wish, int]]
) -> None:
    loads, guests = rack
    kept = survival.survival_of(loads.values(), guests)
    for number, (bare, row) in enumerate(coming):
        wish = replace(bare, uuid=UUID.format(10_000 + number))
        host = sorted(loads)[row % len(loads)]
        loads = {**loads, host: with_coming(loads[host], [wish])}
        guests = {**guests, host: [*guests[host], wish]}
        refused = kept.refusal(wish, host)
        kept = kept.plus({host: loads[host]}, {host: [wish]})
        expected = lost_for_good(loads, guests)
        assert told(kept) == expected
        assert (refused is not None) == bool(expected)


@given(racks(), WISHES)
def test_a_host_that_fits_keeps_the_rack_safe(
    rack: tuple[dict[str, HostLoad], dict[str, list[Wish]]], wish: Wish
) -> None:
    loads, guests = rack
    known = placement.among(wish, loads.values(), survival.survival_of(loads.values(), guests))
    found = placement.candidates(known, loads.values())
    assert placement.best(known, loads.values()) == (found[0] if found else None)
    for load in loads.values():
        verdicts = placement.verdicts(known, load)
        assert tuple(verdict.rule for verdict in verdicts) == placement.RULES
        assert (load in found) == placement.fits(known, load) == all(verdict.ok for verdict in verdicts)
    for load in found:
        name = load.config.name
        after = {**loads, name: with_coming(load, [wish])}
        assert not lost_for_good(after, {**guests, name: [*guests[name], wish]})


def host(name: str, memory_mib: int = 400) -> HostLoad:
    return HostLoad(HostConfig(name, room=RoomPolicy(vm_overhead_mib=0)), True, Room(8, memory_mib, 100), Room())


def wish(number: int, memory_mib: int) -> Wish:
    return Wish("acme", Room(1, memory_mib, 1), uuid=UUID.format(number), title=f"acme/web{number}")


def test_the_last_room_stays_free_for_the_vms_of_a_lost_host() -> None:
    loads, guests = {name: host(name) for name in ("h1", "h2", "h3")}, {}
    kept = survival.survival_of(loads.values(), guests)
    placed = 0
    while load := placement.best(placement.among(wish(placed, 100), loads.values(), kept), loads.values()):
        name, new = load.config.name, wish(placed, 100)
        loads[name] = with_coming(load, [new])
        kept = kept.plus({name: loads[name]}, {name: [new]})
        placed += 1
    assert placed == 8, "of 12 places, the 4 of any one host stay free"
    told = {v.rule: v for v in placement.verdicts(placement.among(wish(9, 100), loads.values(), kept), loads["h1"])}
    assert not told["n_plus_1"].ok and told["n_plus_1"].found == "without h1, acme/web9 has no place"


def test_a_vm_that_only_one_host_can_take_is_not_survived() -> None:
    kept = survival.survival_of([host("h1", 4000), host("h2")], {"h1": [wish(1, 1000)]})
    assert kept.failing == {"h1"} and kept.refusal(wish(2, 10), "h2") == "without h1, acme/web1 has no place"


def test_the_lost_are_borne_by_different_hosts() -> None:
    loads = [with_coming(host(f"h{number}"), [wish(number, 100)]) for number in range(4)]
    kept = survival.survival_of(loads, {f"h{number}": [wish(number, 100)] for number in range(4)})
    assert {lost: list(one.places.values()) for lost, one in kept.rescues.items()} == {
        "h0": ["h1"],
        "h1": ["h2"],
        "h2": ["h3"],
        "h3": ["h0"],
    }
