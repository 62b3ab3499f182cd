"""How many more VMs of one kind fit."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from racksalt import placement, survival
from racksalt.host_load import HostLoad, huge_pages_of, small_room, with_coming
from racksalt.placement import Wish
from racksalt.survival import RackSurvival

#: So many new VMs at most are tried out when it is asked whether the rack survives a host.
MOST_TRIED = 20_000


def more_of(wish: Wish, load: HostLoad) -> int:
    """How many of them one host takes besides what it has."""
    if not placement.allows(wish, load):
        return 0
    left, asked = load.capacity - load.used, small_room(wish.room, huge_pages=wish.huge_pages)
    ends = [(left.vcpus, asked.vcpus), (left.disk_gib, asked.disk_gib)]
    ends.append((left.memory_mib, asked.memory_mib + load.config.room.vm_overhead_mib))
    if wish.huge_pages:
        ends.append((huge_pages_of(load.cells) - load.huge_mib, wish.room.memory_mib))
    return max(0, min((there // one for there, one in ends if one), default=0))


def more_with_survival(wish: Wish, loads: Sequence[HostLoad], kept: RackSurvival) -> int:
    """How many of them fit, the emptiest host first, so that every VM has a place when any one host is lost.

    What is told was tried out: with so many it holds, with one more it does not. At most :data:`MOST_TRIED`.
    """
    order = list(_emptiest_first(wish, loads))
    low, high = 0, len(order) + 1
    if not _is_safe(wish, loads, kept, order[:0]):
        return 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _is_safe(wish, loads, kept, order[:middle]) else (low, middle)
    return low


def _emptiest_first(wish: Wish, loads: Sequence[HostLoad]) -> Iterator[str]:
    """The hosts in the order in which they get one each."""
    heap = [(placement.fullness(wish, load), load.config.name, load) for load in loads if more_of(wish, load)]
    heapq.heapify(heap)
    for _ in range(MOST_TRIED):
        if not heap:
            return
        _, name, load = heap[0]
        yield name
        fuller = with_coming(load, [wish])
        if more_of(wish, fuller):
            heapq.heapreplace(heap, (placement.fullness(wish, fuller), name, fuller))
        else:
            heapq.heappop(heap)


def _is_safe(wish: Wish, loads: Sequence[HostLoad], kept: RackSurvival, hosts: Sequence[str]) -> bool:
    counts = Counter(hosts)
    new = {host: [replace(wish, uuid=f"{host} {number}") for number in range(count)] for host, count in counts.items()}
    guests = {host: [*(ward.wish for ward in wards), *new.get(host, ())] for host, wards in kept.wards.items()}
    fuller = [with_coming(load, new.get(load.config.name, ())) for load in loads]
    return not survival.survival_of(fuller, guests).failing
