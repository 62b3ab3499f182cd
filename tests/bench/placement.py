"""M1: one VM placed on a simulated rack of 10 VMs a host, every rule on (N+1 is not built yet)."""

from __future__ import annotations

import random
import time

from racksalt import placement
from racksalt.model import HostConfig, Room, RoomPolicy
from racksalt.placement import HostLoad, Wish
from tests.bench.figures import Figure, percentile

_VMS_A_HOST = 10
_RUNS = 400
_GOAL_S = 0.005


def measure() -> list[Figure]:
    """The 99th percentile at each size, and how it grows with the hosts."""
    found = {hosts: _p99(hosts) for hosts in (20, 80, 320, 1000)}
    figures = [
        Figure(
            "M1",
            f"place on {hosts} hosts, p99",
            p99,
            None,
            "",
            "s",
            "p99 < 5 ms at 1000 hosts" if hosts == 1000 else "-",
            p99 < _GOAL_S if hosts == 1000 else None,
        )
        for hosts, p99 in found.items()
    ]
    growth = (found[1000] / 1000) / (found[80] / 80)
    return [*figures, Figure("M1", "cost a host, 1000 against 80", growth, None, "", "x", "<= 1.5", growth <= 1.5)]


def _p99(hosts: int) -> float:
    chance = random.Random(1)
    loads = [_load(number, chance) for number in range(hosts)]
    wish = Wish("acme", Room(2, 2048, 20), {"disk": "ssd"}, "web")
    times = []
    for _ in range(_RUNS):
        began = time.perf_counter()
        placement.best(wish, loads)
        times.append(time.perf_counter() - began)
    return percentile(times, 99)


def _load(number: int, chance: random.Random) -> HostLoad:
    policy = RoomPolicy(Room(0, 2048, 50))
    config = HostConfig(f"h{number}", labels={"disk": chance.choice(("ssd", "hdd"))}, room=policy)
    rooms = [Room(chance.choice((1, 2, 4)), chance.choice((1024, 2048, 4096)), 20) for _ in range(_VMS_A_HOST)]
    groups = frozenset({("acme", "web")} if chance.random() < 0.3 else set())
    total = Room(32, 128 * 1024, 2000)
    return HostLoad(config, True, placement.capacity(total, policy), placement.taken_by(rooms, policy), groups)
