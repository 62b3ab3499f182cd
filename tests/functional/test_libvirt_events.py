"""What libvirt tells by itself, from its own test driver."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from racksalt.adapters import libvirt_events, system
from racksalt.adapters.libvirt_events import DomainEvents
from racksalt.adapters.libvirt_host import LibvirtHost
from racksalt.errors import Unavailable
from racksalt.host_feed import HostFeed


@pytest.fixture
def both() -> Iterator[tuple[LibvirtHost, DomainEvents]]:
    with libvirt_events.connected(disk_gib=1, uri="test:///default") as connected:
        yield connected
        # All connections to the test driver are to the same domain.
        (domain,) = connected[0].report().domains
        if domain.state == "paused":
            connected[0].resume(domain.uuid)


def test_each_change_is_heard_at_once_and_told(both: tuple[LibvirtHost, DomainEvents]) -> None:
    hypervisor, events = both
    feed = HostFeed("h1", system.moment)
    whole = feed.turn(hypervisor, events.wait(feed.pause_s()))
    assert whole
    (before,) = whole.changed
    hypervisor.suspend(before.uuid)
    began = time.monotonic()
    told = feed.turn(hypervisor, events.wait(5))
    assert told and time.monotonic() - began < 2
    assert [(domain.uuid, domain.state) for domain in told.changed] == [(before.uuid, "paused")]
    assert told.uptime_s > whole.uptime_s and told.boot == whole.boot


def test_several_events_of_one_act_are_one(both: tuple[LibvirtHost, DomainEvents]) -> None:
    hypervisor, events = both
    (domain,) = hypervisor.report().domains
    for _ in range(5):
        hypervisor.suspend(domain.uuid)
        hypervisor.resume(domain.uuid)
    assert events.wait(5) == {domain.uuid}
    assert events.wait(0.1) == set()


def test_without_a_change_the_wait_ends_in_time(both: tuple[LibvirtHost, DomainEvents]) -> None:
    began = time.monotonic()
    assert both[1].wait(0.1) == set() and 0.1 <= time.monotonic() - began < 2


def test_a_libvirt_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(Unavailable) as told, libvirt_events.connected(disk_gib=1, uri="test:///nosuch.xml"):
        pass
    assert told.value.code == "libvirt_down"
