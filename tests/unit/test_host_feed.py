"""What a host tells by itself, and when."""

from __future__ import annotations

import pytest

from racksalt import host_events
from racksalt.errors import Unavailable
from racksalt.host_events import Changes
from racksalt.host_feed import BEAT_S, BREATH_S, SETTLE_S, HostFeed
from racksalt.model import Domain
from tests.fakes import FakeHost, FakeRack, fake_rack
from tests.unit.test_host_vms import vm
from tests.unit.test_rack import make


def feed_of(rack: FakeRack) -> tuple[HostFeed, FakeHost]:
    host = rack.hosts["h1"]
    return HostFeed("h1", host.moment), host


def turn(feed: HostFeed, host: FakeHost, *uuids: str) -> list[Changes]:
    told = feed.turn(host.hypervisor, uuids)
    return [told] if told else []


def test_at_first_all_is_told_and_then_only_that_nothing_has_changed() -> None:
    rack = fake_rack()
    uuid = make(rack).uuid
    feed, host = feed_of(rack)
    (first,) = turn(feed, host)
    assert first.whole and [domain.uuid for domain in first.changed] == [uuid]
    assert turn(feed, host) == [] and BEAT_S - 0.1 < feed.pause_s() <= BEAT_S
    rack.clock.sleep(BEAT_S)
    (beat,) = turn(feed, host)
    assert (beat.whole, beat.changed, beat.gone, beat.digest) == (True, (), (), first.digest)
    assert beat.uptime_s > first.uptime_s


def test_a_change_is_told_at_once_and_all_soon_after() -> None:
    rack = fake_rack()
    uuid = make(rack).uuid
    feed, host = feed_of(rack)
    turn(feed, host)
    rack.clock.sleep(2)
    host.hypervisor.destroy(uuid)
    (told,) = turn(feed, host, uuid)
    assert not told.whole and [(domain.uuid, domain.state) for domain in told.changed] == [(uuid, "stopped")]
    assert feed.pause_s() <= SETTLE_S
    rack.clock.sleep(SETTLE_S)
    (whole,) = turn(feed, host)
    assert whole.whole and whole.digest == told.digest


def test_what_is_gone_is_told_and_what_was_never_there_is_not() -> None:
    rack = fake_rack()
    uuid = make(rack).uuid
    feed, host = feed_of(rack)
    turn(feed, host)
    assert turn(feed, host, vm(7).uuid) == []
    host.hypervisor.destroy(uuid)
    host.hypervisor.undefine(uuid)
    (told, *_) = turn(feed, host, uuid)
    assert told.gone == (uuid,) and told.changed == () and told.digest == host_events.digest({})


def test_what_libvirt_did_not_tell_is_in_the_next_whole_read() -> None:
    rack = fake_rack()
    uuid = make(rack).uuid
    feed, host = feed_of(rack)
    turn(feed, host)
    host.hypervisor.destroy(uuid)
    feed.look_again()
    (told,) = turn(feed, host)
    assert told.whole and [domain.state for domain in told.changed] == ["stopped"]


def test_a_domain_that_changes_all_the_time_is_told_a_few_times_a_second_and_all_are_read_every_other_one() -> None:
    rack = fake_rack()
    uuid = make(rack).uuid
    feed, host = feed_of(rack)
    wholes, some = 0, 0
    for number in range(100):
        (host.hypervisor.suspend if number % 2 else host.hypervisor.resume)(uuid) if number else None
        told = turn(feed, host, uuid)
        wholes += sum(one.whole for one in told)
        some += sum(not one.whole for one in told)
        rack.clock.sleep(0.1)
    assert 4 <= wholes <= 6 and 14 <= some <= 22


def test_what_changes_right_after_something_was_told_is_told_together_and_soon() -> None:
    rack = fake_rack()
    uuids = [make(rack, number).uuid for number in (1, 2, 3)]
    feed, host = feed_of(rack)
    turn(feed, host)
    rack.clock.sleep(1)
    for uuid in uuids:
        host.hypervisor.destroy(uuid)
    (first,) = turn(feed, host, uuids[0])
    rack.clock.sleep(0.01)
    assert turn(feed, host, uuids[1]) == [] and turn(feed, host, uuids[2]) == []
    assert 0 < feed.pause_s() <= BREATH_S
    rack.clock.sleep(feed.pause_s())
    (second,) = turn(feed, host)
    assert [domain.uuid for domain in first.changed] == uuids[:1]
    assert not second.whole and {domain.uuid for domain in second.changed} == set(uuids[1:])


def test_what_could_not_be_read_is_told_later() -> None:
    rack = fake_rack()
    uuid = make(rack).uuid
    feed, host = feed_of(rack)
    turn(feed, host)
    rack.clock.sleep(1)
    host.hypervisor.destroy(uuid)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host.hypervisor, "domains", failing)
        with pytest.raises(Unavailable):
            turn(feed, host, uuid)
    (told,) = turn(feed, host)
    assert [domain.state for domain in told.changed] == ["stopped"]


def failing(uuids: object = None) -> list[Domain]:
    raise Unavailable("libvirt_down", "gone")
