"""A move, decided: who has the VM when it was cut off, and how long it may take."""

from __future__ import annotations

from dataclasses import replace

import pytest

from racksalt import migration
from racksalt.host_requests import MoveDisk, MoveOffer
from racksalt.migration import How
from racksalt.model import Claim, Domain, Migrations, State, Together
from tests.unit.test_record import RECORD

AFTER = replace(RECORD, host="h2", generation=RECORD.generation + 1)
CLAIM = Claim(AFTER, 100.0, moves_from="h1", was="running")


def at_source(state: State = "running") -> Domain:
    return Domain(RECORD.uuid, "acme.web1", state, 1, 128, 1, RECORD)


def at_target(state: State = "running", *, incoming: bool = False) -> Domain:
    return Domain(RECORD.uuid, "acme.web1", state, 1, 128, 1, AFTER, incoming=incoming)


@pytest.mark.parametrize(
    ("source", "target", "outcome"),
    [
        (at_source(), None, "stayed"),
        (at_source("stopped"), None, "stayed"),
        (None, at_target(), "moved"),
        (None, at_target("stopped"), "moved"),
        (at_source("paused"), at_target(), "moved"),
        (at_source("stopped"), at_target("stopped"), "moved"),
        (at_source("paused"), at_target("paused"), "moved"),
        (at_source(), at_target(), "moved"),
        (at_source(), at_target("stopped"), "stayed"),
        (at_source(), at_target("paused"), "stayed"),
        (at_source(), at_target("paused", incoming=True), "under way"),
        (None, at_target("paused", incoming=True), "under way"),
        (None, None, "lost"),
        (None, replace(at_target(), record=None, unproven=AFTER), "under way"),
        (replace(at_source(), record=None, unproven=RECORD), None, "lost"),
        (at_source(), replace(at_target(), record=RECORD), "under way"),
    ],
)
def test_the_owner_is_who_has_it_for_good(source: Domain | None, target: Domain | None, outcome: str) -> None:
    assert migration.outcome(CLAIM, source, target) == outcome


def offer(memory_mib: int, used_bytes: int) -> MoveOffer:
    return MoveOffer("running", 1, memory_mib, MoveDisk(2**40, used_bytes))


def test_a_large_vm_may_take_longer_and_a_slow_way_too() -> None:
    limits = Migrations()
    small = migration.way_of(How(), offer(128, 0), limits, shared=False).timeout_s
    large = migration.way_of(How(), offer(128, 100 * 2**30), limits, shared=False).timeout_s
    slow = migration.way_of(How(bandwidth_mib_s=1), offer(128, 100 * 2**30), limits, shared=False).timeout_s
    assert 300 < small < 330 < 3600 < large < slow


def test_shared_disks_take_no_time() -> None:
    limits = Migrations()
    told = [migration.way_of(How(), offer(128, used), limits, shared=True).timeout_s for used in (0, 2**40)]
    assert told[0] == told[1]


def test_the_callers_own_time_and_bandwidth_count() -> None:
    way = migration.way_of(
        How(timeout_s=5, bandwidth_mib_s=9), offer(1, 1), Migrations(bandwidth_mib_s=3), shared=False
    )
    assert (way.timeout_s, way.bandwidth_mib_s) == (5, 9)


def test_of_a_convoy_only_those_abreast_are_under_way() -> None:
    def claim(number: int, to: str, convoy: str = "") -> Claim:
        together = Together(convoy, 2) if convoy else None
        return replace(CLAIM, record=replace(AFTER, uuid=str(number), host=to), together=together)

    moves = [claim(1, "h2"), *(claim(n, "h2", "one") for n in (2, 3, 4)), claim(5, "h3", "one"), claim(6, "h3", "two")]
    assert migration.under_way(moves) == 1 + 2 + 1
    assert [migration.under_way(moves, host) for host in ("h1", "h2", "h3", "h4")] == [4, 3, 2, 0]
