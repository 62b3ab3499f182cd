"""M2: racks evened out by Racksalt and by Ganeti's hbal from the same input, and both judged by hbal.

hbal tries every VM on every host at each move: 20 hosts take it seconds, 80 minutes, 320 a day. So most racks have 20
hosts, of 160 only hbal's first moves are waited for, and larger ones are measured without it.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from racksalt import balance
from racksalt.balance import Balance
from racksalt.balance_cluster import Cluster, Host, Vm
from racksalt.model import Room
from tests.bench import hbal
from tests.bench.figures import Figure

#: Hosts, seeds, and how many of hbal's moves are waited for.
_RACKS = (
    (20, range(1, 21), None),
    (40, range(1, 4), None),
    (80, range(1, 2), None),
    (160, range(1, 2), 2),
)
_VMS_A_HOST = 10
_TIMES = 11
_SIZES = tuple(Room(vcpus, 1024 * gib) for vcpus, gib in ((1, 1), (1, 2), (2, 2), (2, 4), (4, 4), (4, 8)))
#: hbal writes scores with eight places.
_WRITTEN = 5e-9


@dataclass(frozen=True)
class Race:
    """One rack: what hbal says of its own end and of ours, and how many moves each took to where hbal ended."""

    ours: float
    hbals: float
    our_moves: float
    hbal_moves: int
    hbal_s: float


def measure() -> list[Figure]:
    """Score and moves beside hbal's, then the time."""
    hbal.ensure()
    races = {
        (hosts, most, skewed): [_race(rack(seed, hosts, skewed=skewed), most) for seed in seeds]
        for hosts, seeds, most in _RACKS
        for skewed in (False, True)
    }
    figures = [
        figure
        for (hosts, most, skewed), run in races.items()
        for figure in ([_moves(hosts, run, most, skewed=skewed)] if most else _beside(hosts, run, skewed=skewed))
    ]
    for skewed in (False, True):
        took = statistics.median(race.hbal_s for race in races[80, None, skewed])
        figures.append(_time(80, took, skewed=skewed, goal_s=0.1))
        figures.append(_time(1000, None, skewed=skewed, goal_s=30))
    return figures


def rack(seed: int, hosts: int, *, skewed: bool) -> Cluster:
    """Ten VMs a host, each anywhere that has room; skewed ones have hosts of four sizes, some of them favoured."""
    chance = random.Random(seed)
    kinds = ((65536, 16), (131072, 32), (196608, 64), (262144, 48)) if skewed else ((131072, 32),)
    named = []
    for number in range(hosts):
        memory_mib, vcpus = chance.choice(kinds)
        named.append(Host(f"h{number:04}", Room(vcpus, memory_mib, 1000), Room(0, 2048, 0), 4 * vcpus))
    favour = [chance.random() ** 2 + 0.05 if skewed else 1.0 for _ in named]
    left = [[host.total.memory_mib - 2048, host.most_vcpus] for host in named]
    vms = []
    for number in range(_VMS_A_HOST * hosts):
        room = chance.choice(_SIZES)
        at = _place(room, left, favour, chance)
        left[at][0] -= room.memory_mib
        left[at][1] -= room.vcpus
        vms.append(Vm(f"v{number:05}", named[at].name, room))
    return Cluster(tuple(named), tuple(vms))


def _place(room: Room, left: list[list[int]], favour: list[float], chance: random.Random) -> int:
    while True:
        (at,) = chance.choices(range(len(left)), favour)
        if left[at][0] > room.memory_mib and left[at][1] >= room.vcpus:
            return at


def _race(cluster: Cluster, most: int | None) -> Race:
    theirs = hbal.run(cluster, most=most)
    told = balance.plan(cluster)
    judged = hbal.run(hbal.after(cluster, {move.uuid: move.target for move in told.moves}), most=0)
    own = hbal.run(hbal.after(cluster, {uuid: to for uuid, _, to, _ in theirs.moves}), most=0)
    return Race(judged.before, own.before, _until(told, theirs.after), len(theirs.moves), theirs.took_s)


def _until(told: Balance, score: float) -> float:
    """How many moves it takes to come down to this score."""
    reached = (at for at, move in enumerate(told.moves, 1) if move.score_after <= score + _WRITTEN)
    return 0 if told.score_before <= score + _WRITTEN else next(reached, float("inf"))


def _beside(hosts: int, run: Sequence[Race], *, skewed: bool) -> list[Figure]:
    return [
        Figure(
            "M2",
            f"score after, {_what(hosts, run, skewed=skewed)}",
            statistics.mean(race.ours for race in run),
            statistics.mean(race.hbals for race in run),
            "hbal, judged by hbal",
            "",
            "each <= hbal's + 1e-9",
            all(race.ours <= race.hbals + 1e-9 for race in run),
        ),
        _moves(hosts, run, None, skewed=skewed),
    ]


def _moves(hosts: int, run: Sequence[Race], most: int | None, *, skewed: bool) -> Figure:
    """How many moves it takes to where hbal ends, or to where it is after its first ones."""
    return Figure(
        "M2",
        f"moves to hbal's score{f' after its first {most}' if most else ''}, {_what(hosts, run, skewed=skewed)}",
        statistics.mean(race.our_moves for race in run),
        statistics.mean(race.hbal_moves for race in run),
        "hbal",
        "moves",
        "each <= hbal's",
        all(race.our_moves <= race.hbal_moves for race in run),
    )


def _what(hosts: int, run: Sequence[Race], *, skewed: bool) -> str:
    return f"{hosts} hosts {'of four sizes' if skewed else 'alike'}, mean of {len(run)}"


def _time(hosts: int, hbal_s: float | None, *, skewed: bool, goal_s: float) -> Figure:
    cluster = rack(1, hosts, skewed=skewed)
    times = []
    for _ in range(_TIMES):
        began = time.perf_counter()
        balance.plan(cluster)
        times.append(time.perf_counter() - began)
    took = statistics.median(times)
    what = f"plan, {hosts} hosts {'of four sizes' if skewed else 'alike'} x {_VMS_A_HOST} VMs"
    other_is = "hbal, with its start and reading" if hbal_s else ""
    return Figure("M2", what, took, hbal_s, other_is, "s", f"< {goal_s:g} s", took < goal_s)
