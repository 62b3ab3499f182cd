"""The rack as the balance takes it: what may move where; and that placement takes each move of what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from racksalt import balance
from racksalt.balance_board import Board as Scored
from racksalt.balance_cluster import Cluster
from racksalt.balance_input import cluster_of, even_out
from racksalt.drain_plan import pieces_of
from racksalt.inventory import Inventory
from racksalt.model import HostConfig, Record, RoomPolicy
from racksalt.plan_board import Move, board_of
from tests.unit.small_racks import host, seen_of, settings_of, vm

H1, H2, H3 = (host(f"h{number}") for number in range(1, 4))


def cluster(seen: Inventory) -> Cluster:
    return cluster_of(seen, settings_of(view.config for view in seen.hosts.values()))


def moves(hosts: Sequence[HostConfig], vms: Sequence[Record], **more: Any) -> list[tuple[str, str, str]]:
    seen = seen_of([(config, 4000) for config in hosts], vms, **more)
    names = {one.uuid: one.name for one in vms}
    return [(names[move.uuid], move.source, move.target) for move in balance.plan(cluster(seen)).moves]


def test_a_host_has_what_may_be_given_to_vms_and_its_vms_take_their_overhead() -> None:
    policy = RoomPolicy(vm_overhead_mib=64)
    found = cluster(seen_of([(host("h1", room=policy), 4000), (H2, 4000)], [vm(1, "h1", 100)]))
    assert [one.total.memory_mib for one in found.hosts] == [4000, 4000]
    assert [(one.host, one.room.memory_mib, one.movable) for one in found.vms] == [("h1", 164, True)]
    assert [one.reserved.memory_mib for one in found.hosts] == [0, 0]


def test_vcpus_are_counted_by_those_of_the_machine_and_limited_by_what_may_be_promised() -> None:
    found = cluster(seen_of([(host("h1", room=RoomPolicy()), 4000)], []))
    assert (found.hosts[0].total.vcpus, found.hosts[0].most_vcpus) == (1000, 4000)


def test_vms_go_where_there_are_fewer() -> None:
    assert len(moves([H1, H2], [vm(number, "h1", 500) for number in range(4)])) == 2


def test_nothing_goes_to_or_from_a_host_out_of_placement_or_silent() -> None:
    own = [vm(number, "h1", 500) for number in range(4)]
    assert not moves([H1, host("h2", enabled=False)], own)
    assert not moves([host("h1", enabled=False), H2], own)
    assert not moves([H1, H2], own, silent=["h2"])


def test_vms_stay_where_their_labels_and_tenants_are() -> None:
    own = [vm(number, "h1", 500, labels={"disk": "ssd"}) for number in range(4)]
    ssd = {"labels": {"disk": "ssd"}}
    assert not moves([host("h1", **ssd), H2], own)
    assert {to for _, _, to in moves([host("h1", **ssd), H2, host("h3", **ssd)], own)} == {"h3"}
    assert not moves([H1, host("h2", tenants=("beta",))], [vm(number, "h1", 500) for number in range(4)])


def test_an_affinity_group_stays_together_and_one_alone_may_go() -> None:
    both = [vm(1, "h1", 500, affinity="a"), vm(2, "h1", 500, affinity="a")]
    assert not moves([H1, H2], both)
    assert len(moves([H1, H2], [both[0], vm(2, "h1", 500, affinity="b")])) == 1


def test_groups_keep_apart_also_from_what_does_not_move() -> None:
    apart = [vm(1, "h1", 500, anti_affinity="a"), vm(2, "h1", 500, anti_affinity="a"), vm(3, "h1", 500)]
    kept = [vm(4, "h2", 1, anti_affinity="a")]
    assert [name for name, _, _ in moves([H1, H2], [*apart, *kept])] == ["vm3"]
    assert not moves([H1, H2], [apart[0], apart[1], *kept], states={"vm4": "suspended"})


def test_a_failure_domain_is_shared_with_hosts_that_are_left_out() -> None:
    hosts = [H1, host("h2", failure_domain="row1"), host("h3", failure_domain="row1", enabled=False)]
    own = [vm(1, "h1", 500, spread="s"), vm(2, "h1", 500, spread="s")]
    assert not moves(hosts, [*own, vm(3, "h3", 500, spread="s")])
    assert len(moves(hosts, [*own, vm(3, "h3", 500)])) == 1


NAMES = st.none() | st.sampled_from(["a", "b"])


@st.composite
def racks(draw: st.DrawFn) -> Inventory:
    names = ["h1", "h2", "h3", "h4"]
    hosts = [
        host(
            name,
            enabled=draw(st.integers(0, 5)) > 0,
            accelerator=draw(st.sampled_from(["qemu", "qemu", "kvm"])),
            failure_domain=draw(st.sampled_from([None, "row1", "row2"])),
            labels=draw(st.sampled_from([{}, {"disk": "ssd"}])),
            tenants=draw(st.sampled_from([(), (), ("acme",)])),
            room=RoomPolicy(vm_overhead_mib=draw(st.sampled_from([0, 64]))),
        )
        for name in names
    ]
    vms = [
        vm(
            number,
            draw(st.sampled_from(names)),
            draw(st.sampled_from([100, 300, 700])),
            tenant=draw(st.sampled_from(["acme", "beta"])),
            labels=draw(st.sampled_from([{}, {}, {"disk": "ssd"}])),
            affinity=draw(NAMES),
            anti_affinity=draw(NAMES),
            spread=draw(NAMES),
        )
        for number in range(draw(st.integers(0, 10)))
    ]
    sizes = [(config, draw(st.sampled_from([1500, 3000]))) for config in hosts]
    return seen_of(sizes, vms, silent=draw(st.sampled_from([[], [], ["h4"]])))


@settings(max_examples=80, deadline=None)
@given(racks(), st.sampled_from([0, 0, 1]))
def test_placement_takes_every_move_when_those_before_it_are_done(seen: Inventory, survive: int) -> None:
    rules = replace(settings_of(view.config for view in seen.hosts.values()), survive=survive)
    found = cluster_of(seen, rules)
    told = even_out(seen, rules)
    assert told.score_before == Scored(found).score()
    pieces = {piece.uuid: piece for own in pieces_of(seen, rules).movable.values() for piece in own}
    board = board_of(seen, rules)
    for move in told.moves:
        piece = pieces[move.uuid]
        assert board.at(piece) == {move.source} and board.takes(piece, move.target)
        board = board.after(Move(piece, move.source, move.target, "evens out"))
