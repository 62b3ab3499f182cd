"""The hosts' events on a master: what is forged, replayed, late, lost or of another boot changes nothing wrongly."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from racksalt import access, host_events, inventory_feed
from racksalt.errors import RacksaltError
from racksalt.host_events import Changes
from racksalt.host_feed import BEAT_S, SETTLE_S, HostFeed
from racksalt.rack import FRESH_S, RECENT_S
from racksalt.rack_requests import CreateVm, ListVms
from racksalt.rack_vms import RackVms
from racksalt.rack_watch import RackWatch
from racksalt.vm_create import VmCreate
from tests.fakes import FakeKey, FakeRack, fake_rack
from tests.unit.test_host_vms import vm
from tests.unit.test_rack import make
from tests.unit.test_rack_migrations import migrate
from tests.unit.test_vm_create import create


@dataclass
class Wire:
    """A rack whose hosts tell their changes; what is on the wire may be kept, lost, and sent again."""

    rack: FakeRack = field(default_factory=fake_rack)
    watch: RackWatch = field(default_factory=RackWatch)
    feeds: dict[str, HostFeed] = field(default_factory=dict)

    def tell(self, host: str, *uuids: str) -> list[dict[str, Any]]:
        """What the host sends now."""
        machine = self.rack.hosts[host]
        feed = self.feeds.setdefault(host, HostFeed(host, machine.moment))
        told = feed.turn(machine.hypervisor, uuids)
        return [self.sent(told)] if told else []

    def sent(self, changes: Changes, *, by: str | None = None, tag: str | None = None) -> dict[str, Any]:
        data = host_events.signed(changes, FakeKey(by or changes.host).sign)
        return {"tag": tag or host_events.tag(changes.host), "data": {"id": changes.host, "data": data}}

    def hear(self, *events: dict[str, Any] | None) -> None:
        for event in events or (None,):
            self.watch.turn(self.rack.rack, event)

    def pass_on(self, host: str, *uuids: str) -> None:
        self.hear(*self.tell(host, *uuids))

    def beat(self, seconds: float = BEAT_S) -> None:
        self.rack.clock.sleep(seconds)
        for host, machine in self.rack.hosts.items():
            if not machine.silent:
                self.pass_on(host)

    def states(self) -> dict[str, str]:
        settings = self.rack.rack.settings()
        listed = RackVms(self.rack.rack).list(access.identify("root", settings), ListVms(), settings)
        return {vm["name"]: vm["state"] for vm in listed["vms"]}

    def asked(self) -> int:
        """How often a host was asked since the last time."""
        count = len(self.rack.fleet.calls)
        self.rack.fleet.calls.clear()
        return count

    def dropped(self) -> list[str]:
        texts = self.rack.rack.audit.texts  # type: ignore[attr-defined]
        return [line["reason"] for line in map(json.loads, texts) if line["kind"] == "dropped"]


def ready() -> tuple[Wire, str]:
    """A rack with one VM on h1, all of whose hosts are known by their events."""
    wire = Wire()
    uuid = make(wire.rack).uuid
    wire.hear()
    wire.beat()
    wire.asked()
    return wire, uuid


def test_a_vm_that_stops_by_itself_is_seen_and_no_host_is_asked() -> None:
    wire, uuid = ready()
    assert wire.states() == {"web1": "running"} and wire.asked() == 0
    wire.rack.hosts["h1"].hypervisor.destroy(uuid)
    wire.pass_on("h1", uuid)
    assert wire.states() == {"web1": "stopped"} and wire.asked() == 0


def test_a_vm_that_is_gone_is_gone() -> None:
    wire, uuid = ready()
    host = wire.rack.hosts["h1"].hypervisor
    host.destroy(uuid)
    host.undefine(uuid)
    wire.pass_on("h1", uuid)
    assert wire.states() == {} and wire.asked() == 0


def test_beats_alone_keep_all_fresh() -> None:
    wire, _ = ready()
    for _ in range(50):
        wire.beat()
        wire.states()
    assert wire.asked() == 0


def test_a_lost_event_is_noticed_by_the_next_one_and_only_its_host_is_read() -> None:
    wire, uuid = ready()
    wire.rack.hosts["h1"].hypervisor.destroy(uuid)
    wire.rack.clock.sleep(2)
    assert len(wire.tell("h1", uuid)) == 1, "lost"
    wire.rack.clock.sleep(SETTLE_S)
    wire.pass_on("h1")
    assert wire.rack.fleet.calls == [("h1", "rack_host.report")]
    assert wire.states() == {"web1": "stopped"}


def test_a_host_that_is_not_heard_any_more_is_asked_at_each_read() -> None:
    wire, uuid = ready()
    wire.rack.hosts["h1"].hypervisor.destroy(uuid)
    wire.rack.hosts["h1"].silent = True
    for _ in range(3):
        wire.beat()
    assert wire.states() == {"web1": "unknown"}
    assert {host for host, _ in wire.rack.fleet.calls} >= {"h1"} and len(wire.rack.fleet.calls) == 2
    wire.rack.hosts["h1"].silent = False
    wire.beat()
    assert wire.states() == {"web1": "stopped"}


def test_without_the_watch_all_hosts_are_asked() -> None:
    wire, uuid = ready()
    wire.rack.clock.sleep(FRESH_S + 1)
    wire.rack.hosts["h1"].hypervisor.destroy(uuid)
    assert wire.states() == {"web1": "stopped"} and wire.asked() == 3


def test_forged_events_change_nothing_and_are_told() -> None:
    wire, uuid = ready()
    (beat,) = _beat_of(wire, "h1")
    empty = replace(beat, digest=host_events.digest({}), gone=(uuid,), changed=())
    for event in (
        wire.sent(empty, by="h3"),
        wire.sent(replace(empty, host="h3"), tag=host_events.tag("h1")),
        wire.sent(empty, tag=host_events.tag("h2")),
        wire.sent(replace(empty, host="stranger")),
        {"tag": host_events.tag("h1"), "data": {"id": "h1", "data": {"signed": {"changes": "{}", "signature": ""}}}},
        {"tag": host_events.tag("h1"), "data": {"id": "h1", "data": None}},
        {"tag": "racksalt/vm/state", "data": {"id": "h1"}},
    ):
        wire.rack.clock.sleep(61)
        wire.hear(event)
    assert len(wire.dropped()) == 7
    wire.beat()
    assert wire.states() == {"web1": "running"}


def _beat_of(wire: Wire, host: str) -> list[Changes]:
    wire.rack.clock.sleep(BEAT_S)
    told = wire.feeds[host].turn(wire.rack.hosts[host].hypervisor, ())
    return [told] if told else []


def test_replayed_and_reordered_events_change_nothing() -> None:
    wire, uuid = ready()
    host = wire.rack.hosts["h1"].hypervisor
    wire.rack.clock.sleep(2)
    host.destroy(uuid)
    stopped = wire.tell("h1", uuid)
    host.start(uuid)
    started = wire.tell("h1", uuid)
    wire.hear(*started)
    wire.hear(*stopped, *stopped, *started)
    wire.rack.clock.sleep(1)
    wire.pass_on("h1")
    assert wire.states() == {"web1": "running"}
    wire.asked()
    for _ in range(10):
        wire.hear(*stopped)
    assert wire.states() == {"web1": "running"} and wire.asked() == 0


def test_an_event_that_was_long_on_its_way_makes_nothing_fresh() -> None:
    wire, uuid = ready()
    kept = [wire.sent(changes) for changes in _beat_of(wire, "h1")]
    wire.rack.clock.sleep(10 * FRESH_S)
    wire.rack.hosts["h1"].hypervisor.destroy(uuid)
    wire.rack.hosts["h1"].silent = True
    wire.hear(*kept)
    assert wire.states() == {"web1": "unknown"}


def test_who_has_changed_something_sees_it_also_where_the_event_is_late() -> None:
    wire, uuid = ready()
    settings = wire.rack.rack.settings()
    wire.rack.rack.fleet.ask(
        ["h1"], "rack_vm.act", {"request": {"uuid": uuid, "verb": "stop", "hard": True}}, timeout_s=5
    )
    assert settings and wire.states() == {"web1": "stopped"}
    assert ("h1", "rack_host.report") in wire.rack.fleet.calls
    wire.asked()
    wire.rack.clock.sleep(1)
    wire.pass_on("h1", uuid)
    wire.beat(1)
    assert wire.states() == {"web1": "stopped"} and wire.asked() == 0, "its events count again"


def test_the_masters_clock_may_be_set() -> None:
    for step_s in (86_400.0, -86_400.0):
        wire, uuid = ready()
        for host in wire.rack.hosts.values():
            host.booted_at += step_s
        wire.rack.clock.time += step_s
        wire.beat()
        wire.beat()
        wire.asked()
        wire.rack.hosts["h1"].hypervisor.destroy(uuid)
        wire.pass_on("h1", uuid)
        assert wire.states() == {"web1": "stopped"} and wire.asked() == 0


def test_after_another_boot_a_host_is_read_anew() -> None:
    wire, uuid = ready()
    old = [wire.sent(changes) for changes in _beat_of(wire, "h1")]
    host = wire.rack.hosts["h1"]
    host.boot = "boot-2"
    host.hypervisor.destroy(uuid)
    wire.rack.clock.sleep(BEAT_S)
    wire.hear(*wire.tell("h1"))
    assert wire.states() == {"web1": "stopped"}
    wire.rack.clock.sleep(5)
    wire.asked()
    wire.hear(*old)
    assert wire.asked() == 1, "an event of before is at most a hint to read again"
    assert wire.states() == {"web1": "stopped"}


def test_events_that_never_fit_are_not_answered_by_a_read_each() -> None:
    wire, _ = ready()
    (beat,) = _beat_of(wire, "h1")
    for number in range(200):
        wire.rack.clock.sleep(1)
        wire.hear(wire.sent(replace(beat, uptime_s=beat.uptime_s + number + 1, digest="0" * 64)))
    assert wire.asked() < 12


def test_a_host_cannot_fill_its_master_with_domains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory_feed, "MOST_DOMAINS", 20)
    wire, _ = ready()
    (beat,) = _beat_of(wire, "h1")
    (known,) = wire.rack.hosts["h1"].hypervisor.report().domains
    for number in range(1, 40):
        more = [replace(known, uuid=f"{one:08}{known.uuid[8:]}", record=None) for one in range(number)]
        marks = host_events.marks([known, *more])
        told = replace(beat, uptime_s=beat.uptime_s + number, changed=tuple(more), digest=host_events.digest(marks))
        wire.hear(wire.sent(told))
    live = wire.rack.rack.last_known.live_one("h1")
    assert live is None or len(live.domains) <= 20


def test_a_new_watch_reads_all_hosts_once_and_goes_on_with_their_events() -> None:
    wire, uuid = ready()
    wire.watch = RackWatch()
    wire.hear()
    assert wire.asked() == 3
    wire.rack.hosts["h1"].hypervisor.destroy(uuid)
    wire.pass_on("h1", uuid)
    wire.beat()
    assert wire.states() == {"web1": "stopped"} and wire.asked() == 0


def test_the_cache_may_be_deleted_at_any_time() -> None:
    wire, _ = ready()
    wire.rack.rack.last_known.clear(keep=())
    assert wire.states() == {"web1": "running"} and wire.asked() == 3
    wire.beat()
    assert wire.states() == {"web1": "running"} and wire.asked() == 0


def test_a_host_that_left_the_files_is_not_heard() -> None:
    wire, _ = ready()
    del wire.rack.files.data["hosts.yaml"]["hosts"]["h1"]
    wire.beat()
    assert wire.dropped() and wire.states() == {}


def test_a_record_that_the_rack_did_not_sign_does_not_count_by_an_event_either() -> None:
    wire, uuid = ready()
    hypervisor = wire.rack.hosts["h1"].hypervisor
    hypervisor.xml[uuid] = hypervisor.xml[uuid].replace('name="web1"', 'name="web9"')
    wire.pass_on("h1", uuid)
    assert wire.states() == {} and wire.asked() == 0


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_lost_repeated_or_late_the_next_beat_puts_right(seed: int) -> None:
    wire, _ = ready()
    uuids = [make(wire.rack, number).uuid for number in (2, 3, 4)]
    hypervisor, chance = wire.rack.hosts["h1"].hypervisor, random.Random(seed)
    late: list[dict[str, Any]] = []
    for _ in range(60):
        uuid = chance.choice(uuids)
        act = {"running": hypervisor.destroy, "stopped": hypervisor.start}.get(hypervisor.states[uuid])
        if act:
            act(uuid)
        sent = wire.tell("h1", *([uuid] if chance.random() < 0.8 else []))
        late += sent
        wire.hear(*(event for event in sent if chance.random() < 0.7), *chance.sample(late, min(2, len(late))))
        wire.rack.clock.sleep(chance.choice([0.01, 0.5, 3.0]))
    wire.beat()
    wire.beat()
    wire.asked()
    assert wire.states() == {f"web{n}": hypervisor.states[u] for n, u in enumerate([vm(1).uuid, *uuids], 1)}
    assert wire.asked() == 0


def test_a_create_begins_on_what_the_hosts_told_lately() -> None:
    wire, _ = ready()

    def asked_for(name: str) -> list[str]:
        settings = wire.rack.rack.settings()
        order = CreateVm(f"acme/{name}", flavor="m1.tiny", image="tiny")
        VmCreate(wire.rack.rack).create(access.identify("root", settings), order, settings)
        functions = [function for _, function in wire.rack.fleet.calls]
        wire.asked()
        return functions

    assert asked_for("web2") == ["rack_vm.create"]
    wire.rack.clock.sleep(RECENT_S + 0.1)
    assert asked_for("web3") == ["rack_vm.create"], "what was created a moment ago stands in its claim"
    wire.rack.rack.fleet.ask(["h2"], "rack_vm.act", {"request": {"uuid": "…", "verb": "note"}}, timeout_s=5)
    wire.asked()
    assert set(asked_for("web4")) == {"rack_host.report", "rack_vm.create"}
    wire.rack.clock.sleep(FRESH_S + 1)
    assert set(asked_for("web5")) == {"rack_host.report", "rack_vm.create"}


def test_a_move_that_is_refused_takes_its_claim_along_and_no_name_becomes_free_by_that() -> None:
    """The claim of the move before it is gone too, while the host's event of that one is still on its way."""
    wire = Wire()
    uuid = create(wire.rack, "root", "acme/web1", host="h1")["vm"]["uuid"]
    wire.hear()
    wire.beat()
    wire.rack.clock.sleep(RECENT_S + 0.1)
    migrate(wire.rack, "h2")
    wire.hear(*wire.tell("h1", uuid))
    wire.rack.hosts["h3"].hypervisor.networks = frozenset()
    with pytest.raises(RacksaltError, match="network"):
        migrate(wire.rack, "h3")
    wire.rack.hosts["h3"].hypervisor.networks = frozenset({"nat"})
    assert not wire.rack.claims.held
    with pytest.raises(RacksaltError) as told:
        create(wire.rack, "root", "acme/web1", host="h3")
    assert told.value.code == "name_in_use"


def test_a_host_that_is_silent_when_it_is_to_create_is_looked_at_before_the_next_create() -> None:
    wire, _ = ready()
    wire.rack.clock.sleep(RECENT_S + 0.1)
    wire.rack.hosts["h2"].silent = True
    with pytest.raises(RacksaltError, match="did not confirm"):
        create(wire.rack, "root", "acme/web2", host="h2")
    wire.rack.fleet.calls.clear()
    with pytest.raises(RacksaltError):
        create(wire.rack, "root", "acme/web3", host="h2")
    assert "rack_host.report" in {function for _, function in wire.rack.fleet.calls}
