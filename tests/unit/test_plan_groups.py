"""Which steps begin together: small VMs of one host, within the limits of all hosts."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from racksalt.plan_groups import Group, Limits, next_groups
from racksalt.plans import Step


def move(n: int, source: str, to: str) -> Step:
    return Step(n, "move", source, "why", (), vm=f"acme/vm{n}", uuid=str(n), to=to)


def begun(
    steps: list[Step], limits: Limits, *at_work: Group, shares: dict[int, float] | None = None
) -> list[tuple[list[int], int]]:
    groups = next_groups(steps, at_work, limits, lambda step: (shares or {}).get(step.n, 0.05))
    return [([step.n for step in group.steps], group.abreast) for group in groups]


def test_small_vms_of_one_host_leave_together_so_many_abreast() -> None:
    steps = [move(n, "h1", f"h{2 + n % 2}") for n in range(1, 9)]
    assert begun(steps, Limits(4, 8)) == [([1, 2, 3, 4, 5, 6, 7, 8], 4)]
    assert begun(steps, Limits(4, 3)) == [([1, 2, 3, 4, 5, 6, 7, 8], 3)]
    assert begun(steps[:2], Limits(4, 8)) == [([1, 2], 2)]


def test_those_of_several_hosts_leave_side_by_side() -> None:
    steps = [move(1, "h1", "h3"), move(2, "h2", "h3"), move(3, "h1", "h4"), move(4, "h2", "h4")]
    assert begun(steps, Limits(2, 8)) == [([1, 3], 2), ([2, 4], 2)]
    assert begun(steps, Limits(1, 8)) == [([1, 3], 1)], "h3 and h4 are busy with the first"


def test_a_large_one_goes_alone_and_a_group_is_full_at_some_point() -> None:
    steps = [move(n, "h1", "h2") for n in range(1, 5)]
    assert begun(steps, Limits(2, 8), shares={2: 0.5}) == [([1, 3, 4], 2)]
    assert begun(steps, Limits(3, 8), shares={1: 0.5}) == [([1], 1), ([2, 3, 4], 2)]
    assert begun(steps, Limits(2, 8), shares=dict.fromkeys(range(5), 0.25)) == [([1, 2, 3, 4], 2)]
    assert begun(steps, Limits(1, 8), shares={1: 0.24, 2: 0.25, 3: 0.25, 4: 0.25}) == [([1, 2, 3, 4], 1)]
    assert begun([*steps, move(5, "h1", "h2")], Limits(1, 8), shares=dict.fromkeys(range(6), 0.25))[0][0] == [
        1,
        2,
        3,
        4,
    ]


def test_a_target_that_is_busy_takes_them_one_after_the_other_in_one_group() -> None:
    steps = [move(n, "h1", "h2") for n in range(1, 9)]
    assert begun(steps, Limits(2, 8), Group((move(9, "h3", "h2"),), 1)) == [([1, 2, 3, 4, 5, 6, 7, 8], 1)]
    assert begun(steps, Limits(3, 8), Group((move(9, "h3", "h2"),), 1)) == [([1, 2, 3, 4, 5, 6, 7, 8], 2)]


def test_what_is_no_move_begins_by_itself() -> None:
    disable = Step(1, "disable", "h1", "draining")
    assert begun([disable, move(2, "h1", "h2")], Limits(2, 8)) == [([1], 1), ([2], 1)]


def test_a_target_takes_no_more_than_it_may() -> None:
    busy = Group((move(9, "h4", "h2"),), 1)
    steps = [move(1, "h1", "h2"), move(2, "h1", "h2"), move(3, "h1", "h3"), move(4, "h1", "h3")]
    assert begun(steps, Limits(2, 8), busy) == [([1, 3, 4], 2)], "h2 has place for one more"


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(5, 8), st.floats(0.01, 1.0)), max_size=12),
    st.lists(st.tuples(st.integers(1, 4), st.integers(5, 8)), max_size=3),
    st.integers(1, 4),
    st.integers(1, 6),
)
def test_no_limit_is_ever_passed_and_no_place_is_left_free(
    some: list[tuple[int, int, float]], working: list[tuple[int, int]], per_host: int, rack: int
) -> None:
    steps = [move(n, f"h{source}", f"h{to}") for n, (source, to, _) in enumerate(some)]
    shares = {n: share for n, (_, _, share) in enumerate(some)}
    limits, at_work = Limits(per_host, rack), list[Group]()
    for source, to in working:
        at_work += next_groups([move(99, f"h{source}", f"h{to}")], at_work, limits, lambda step: 1)
    new = list(next_groups(steps, at_work, limits, lambda step: shares[step.n]))
    busy: Counter[str] = sum((group.load() for group in (*at_work, *new)), Counter())
    running = sum(group.abreast for group in (*at_work, *new))
    assert running <= rack and all(number <= per_host for number in busy.values())
    taken = [step.n for group in new for step in group.steps]
    assert len(taken) == len(set(taken))
    assert all(sum(shares[step.n] for step in group.steps) <= 1 for group in new)
    begins = {group.steps[0].host for group in new}
    for step in steps:
        free = running < rack and all(busy[host] < per_host for host in step.hosts)
        assert step.n in taken or not free or step.host in begins


def test_the_places_of_those_that_have_ended_are_free() -> None:
    group = Group(tuple(move(n, "h1", f"h{n}") for n in (2, 3, 4)), 2)
    assert group.without({2}) == Group(group.steps[1:], 2) and group.without({2, 3}).load() == {"h1": 1, "h4": 1}
    assert group.without({2, 3, 4}) == Group((), 0)


def test_a_step_that_cannot_begin_slows_no_other_down() -> None:
    full = (Group((move(8, "h5", "h4"),), 1), Group((move(9, "h6", "h4"),), 1))
    steps = [move(1, "h1", "h2"), move(2, "h1", "h3"), move(3, "h1", "h4")]
    assert begun(steps, Limits(2, 8), *full) == [([1, 2], 2)]
    shares = dict.fromkeys(range(1, 6), 0.25)
    assert begun([move(n, "h1", f"h{n + 1}") for n in range(1, 6)], Limits(4, 8), shares=shares) == [([1, 2, 3, 4], 4)]
