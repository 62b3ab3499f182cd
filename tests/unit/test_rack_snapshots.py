"""Snapshots of the inventory, and masters that take another one's place, on a fake rack."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from racksalt import inventory_json, snapshot
from racksalt.away_watch import AwayWatch
from racksalt.errors import Refused, Unavailable
from racksalt.host_requests import KeepSnapshot
from racksalt.inventory import Inventory
from racksalt.model import Claim, Room, SnapshotHead
from racksalt.rack import Rack
from tests.fakes import FakeAudit, FakeClaims, FakeLastKnown, FakeRack, FakeSnapshots, fake_rack
from tests.unit.test_host_vms import vm
from tests.unit.test_rack import own
from tests.unit.test_rack_vms import act, listed
from tests.unit.test_vm_create import create


def turn(rack: FakeRack, watch: AwayWatch | None = None) -> AwayWatch:
    watch = watch or AwayWatch()
    rack.clock.sleep(60)
    watch.turn(rack.rack)
    return watch


def seen(rack: FakeRack) -> Inventory:
    return rack.rack.inventory(rack.rack.settings())


def sha256(rack: FakeRack) -> str:
    return str(inventory_json.told(seen(rack))["sha256"])


def takes_over(rack: FakeRack, name: str = "other") -> FakeRack:
    """Another master with the keys and the rack's files, and nothing else."""
    rack.files.data["hosts.yaml"]["writer"] = name
    claims = FakeClaims()
    made: Rack = replace(
        rack.rack,
        claims=claims,
        last_known=FakeLastKnown(),
        master=name,
        audit=FakeAudit(rack.clock, name),
        snapshots=FakeSnapshots(),
    )
    object.__setattr__(made.fleet, "last_known", made.last_known)
    return replace(rack, rack=made, claims=claims)


def keepers(rack: FakeRack) -> list[str]:
    return [name for name, host in rack.hosts.items() if host.snapshots.newest]


def changed(rack: FakeRack) -> None:
    """Every change is in the audit; in these tests nobody else writes there."""
    from racksalt import audit

    rack.rack.audit.append(audit.login("x", None))


def test_three_hosts_keep_it_and_the_writer_does() -> None:
    rack = fake_rack(hosts=5)
    create(rack)
    turn(rack)
    assert keepers(rack) == sorted(snapshot.keepers("test", "master", rack.hosts)[:3])
    assert len(rack.rack.snapshots.heads()) == 1


def test_a_silent_keepers_place_is_taken_by_the_next_one() -> None:
    rack = fake_rack(hosts=5)
    first, *others = snapshot.keepers("test", "master", rack.hosts)
    rack.hosts[first].silent = True
    turn(rack)
    assert keepers(rack) == sorted(others[:3])


def test_nothing_is_sent_while_nothing_changes() -> None:
    rack = fake_rack()
    watch = turn(rack)
    rack.fleet.calls.clear()
    turn(rack, watch)
    assert not [call for call in rack.fleet.calls if call[1] == "rack_host.keep_snapshot"]
    changed(rack)
    turn(rack, watch)
    assert ("h1", "rack_host.keep_snapshot") in rack.fleet.calls


def test_only_what_changed_is_sent() -> None:
    rack = fake_rack(hosts=5)
    for number in range(5):
        create(rack, "root", f"acme/web{number}", host=f"h{number + 1}")
    watch = turn(rack)
    create(rack, "root", "acme/new", host="h1")
    changed(rack)
    rack.fleet.published.clear()
    turn(rack, watch)
    sent = [asked["request"] for asked in rack.fleet.published if "head" in asked.get("request", {})]
    assert {len(one["texts"]) for one in sent} == {2} and len(sent) == 3, "one host's piece and the root"


def test_what_changes_by_hand_is_in_the_next_snapshot_too() -> None:
    rack = fake_rack()
    gone = create(rack, "root", "acme/web1", host="h1")["vm"]["uuid"]
    watch = turn(rack)
    rack.hosts["h1"].hypervisor.destroy(gone)
    rack.hosts["h1"].hypervisor.undefine(gone)
    for _ in range(2):
        turn(rack, watch)
    calls = rack.fleet.calls.count(("h1", "rack_host.keep_snapshot"))
    turn(rack, watch)
    assert rack.fleet.calls.count(("h1", "rack_host.keep_snapshot")) == calls, "once"
    rack.hosts["h1"].silent = True
    assert listed(takes_over(rack)) == []


def test_one_that_could_not_be_written_is_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rack = fake_rack()
    gone = create(rack, "root", "acme/web1", host="h1")["vm"]["uuid"]
    watch = turn(rack)
    for _ in range(2):
        turn(rack, watch)
    rack.hosts["h1"].hypervisor.destroy(gone)
    rack.hosts["h1"].hypervisor.undefine(gone)

    def full(self: FakeSnapshots, asked: KeepSnapshot) -> list[str]:
        raise Unavailable("not_written", "no space left")

    with monkeypatch.context() as patched:
        patched.setattr(FakeSnapshots, "keep", full)
        turn(rack, watch)
    turn(rack, watch)
    rack.hosts["h1"].silent = True
    assert listed(takes_over(rack)) == []


def test_after_a_look_that_had_to_wait_the_next_change_is_not_left_out_for_long() -> None:
    rack, watch = fake_rack(), AwayWatch()
    rack.fleet.before = lambda host, function: rack.clock.sleep(10.0)
    turn(rack, watch)
    rack.fleet.before = lambda host, function: None
    calls = rack.fleet.calls.count(("h1", "rack_host.keep_snapshot"))
    changed(rack)
    rack.clock.sleep(6.0)
    watch.turn(rack.rack)
    assert rack.fleet.calls.count(("h1", "rack_host.keep_snapshot")) == calls + 1


def test_at_most_once_a_second() -> None:
    rack, watch = fake_rack(), AwayWatch()
    rack.clock.tick = 0.0
    for _ in range(40):
        changed(rack)
        rack.clock.sleep(0.25)
        watch.turn(rack.rack)
    sent = [call for call in rack.fleet.calls if call == ("h1", "rack_host.keep_snapshot")]
    assert len(sent) <= 10


def test_an_older_snapshot_replaces_no_newer_one() -> None:
    rack = fake_rack()
    turn(rack)
    before = rack.hosts["h1"].snapshots.heads()
    late = SnapshotHead("master", 1, "0" * 64)
    assert rack.hosts["h1"].away().keep_snapshot(KeepSnapshot(late, ("0" * 64,))) == {"lacks": []}
    assert rack.hosts["h1"].snapshots.heads() == before


@pytest.mark.promise("P11")
def test_another_master_with_all_hosts_has_the_same_inventory_byte_for_byte() -> None:
    rack = fake_rack()
    for name in ("one", "two", "three"):
        create(rack, name=name)
    before = sha256(rack)
    turn(rack)
    assert sha256(takes_over(rack)) == before


@pytest.mark.promise("P11")
def test_another_master_knows_what_silent_hosts_hold() -> None:
    rack = fake_rack(hosts=4)
    create(rack, "root", "acme/web1", host="h1")
    create(rack, "root", "acme/web2", host="h2")
    before = sha256(rack)
    turn(rack)
    rack.hosts["h1"].silent = True
    new = takes_over(rack)
    assert listed(new) == ["acme/web1", "acme/web2"]
    view = seen(new).hosts["h1"]
    assert not view.answers and view.report is not None
    with pytest.raises(Unavailable) as told:
        act(new, "start")
    assert told.value.code == "host_silent"
    assert sha256(new) == before
    assert create(new, name="more")["changed"], "all that is in use is known"


def test_what_was_in_the_making_is_held_on_by_another_master() -> None:
    rack = fake_rack()
    claim = Claim(own(vm()), rack.clock.time + 60)
    rack.claims.write(claim)
    turn(rack)
    new = takes_over(rack)
    assert [one.title for one in seen(new).in_flight()] == ["acme/web1"] and new.claims.all() == [claim]


def test_a_vm_that_was_made_since_the_last_look_is_not_lost_with_its_host() -> None:
    rack = fake_rack()
    seen(rack)
    create(rack, "root", "acme/web1", host="h1")
    rack.hosts["h1"].silent = True
    turn(rack)
    assert listed(takes_over(rack)) == ["acme/web1"]


@pytest.mark.promise("P13")
def test_a_host_that_nobody_has_read_holds_up_creates_and_nothing_else() -> None:
    rack = fake_rack()
    create(rack, "root", "acme/web1", host="h1")
    create(rack, "root", "acme/web2", host="h2")
    rack.hosts["h1"].silent = True
    new = takes_over(rack)
    for user, names in (("alice", False), ("root", True)):
        with pytest.raises(Unavailable) as told:
            create(new, user, "acme/more")
        assert told.value.code == "inventory_incomplete" and ("h1" in told.value.detail) is names
    assert act(new, "stop", "web2", hard=True)["state"] == "stopped" and act(new, "delete", "web2")["changed"]
    turn(new)
    with pytest.raises(Unavailable):
        create(new, "root", "acme/more")
    rack.hosts["h1"].silent = False
    assert create(new, "root", "acme/more")["changed"]


def test_a_new_host_that_was_never_up_holds_up_nobody() -> None:
    rack = fake_rack()
    turn(rack)
    rack.files.data["hosts.yaml"]["hosts"]["h9"] = {}
    assert create(rack)["changed"]
    turn(rack)
    assert create(rack, name="web2")["changed"]


def test_the_writers_own_copy_serves_when_its_cache_is_gone() -> None:
    rack = fake_rack()
    create(rack, "root", "acme/web1", host="h1")
    turn(rack)
    for host in rack.hosts.values():
        host.silent = True
    rack.rack.last_known.reports.clear()  # type: ignore[attr-defined]
    rack.rack.last_known.newest = None  # type: ignore[attr-defined]
    assert listed(rack) == ["acme/web1"]


@pytest.mark.promise("P11")
def test_the_old_writer_changes_nothing_more_and_learns_of_the_new_one_when_it_is_the_writer_again() -> None:
    rack = fake_rack()
    create(rack, "root", "acme/web1", host="h1")
    turn(rack)
    new = takes_over(rack)
    create(new, "root", "acme/web2", host="h2")
    turn(new)
    with pytest.raises(Unavailable) as told:
        rack.rack.require_writer(rack.rack.settings())
    assert told.value.code == "not_the_writer"
    before = sha256(new)
    turn(rack)
    assert {host.snapshots.heads()[0].master for host in rack.hosts.values()} == {"master"}
    newest = max(head.version for head in rack.hosts["h1"].snapshots.heads())
    assert newest == max(head.version for head in new.rack.snapshots.heads())
    rack.hosts["h2"].silent = True
    rack.files.data["hosts.yaml"]["writer"] = "master"
    object.__setattr__(rack.rack.fleet, "last_known", rack.rack.last_known)
    rack.rack.last_known.reports.pop("h2", None)  # type: ignore[attr-defined]
    assert listed(rack) == ["acme/web1", "acme/web2"] and sha256(rack) == before


@pytest.mark.parametrize("spoil", ["text", "missing", "key", "label", "version"])
def test_what_the_rack_has_not_sealed_is_not_read(spoil: str) -> None:
    rack = fake_rack()
    create(rack, "root", "acme/web1", host="h1")
    turn(rack)
    rack.hosts["h1"].silent = True
    for host in rack.hosts.values():
        kept = host.snapshots
        for name in list(kept.pieces):
            if spoil == "text":
                kept.pieces[name] = "1.AAAA"
            if spoil == "missing" and name != kept.newest["master"].head.root:
                del kept.pieces[name]
        if spoil == "version":
            newest = kept.newest["master"]
            kept.newest["master"] = replace(newest, head=replace(newest.head, version=newest.head.version + 5))
    new = takes_over(rack)
    if spoil == "key":
        new.rack.ring.numbers = {1, 2}  # type: ignore[attr-defined]
        new.rack.ring.keep_only(2)
    if spoil == "label":
        texts = rack.hosts["h2"].snapshots.pieces
        names = list(texts)
        for host in rack.hosts.values():
            host.snapshots.pieces = {name: texts[other] for name, other in zip(names, reversed(names), strict=True)}
    assert listed(new) == [] and seen(new).unread == ("h1",)


def test_nobody_looks_for_a_snapshot_that_a_host_made_up() -> None:
    """Every look at the hosts would wait for it."""
    rack = fake_rack()
    turn(rack)
    kept = rack.hosts["h2"].snapshots
    true = kept.newest["master"].head
    kept.newest["master"] = replace(kept.newest["master"], head=replace(true, version=true.version + 5))
    kept.newest["x"] = KeepSnapshot(SnapshotHead("x", 10**15, "0" * 64, "1.AAAA"), (), {})
    rack.fleet.calls.clear()
    assert listed(rack) == [] and ("h2", "rack_host.snapshot") not in rack.fleet.calls


def test_a_keeper_that_gives_other_pieces_is_asked_once() -> None:
    rack = fake_rack()
    create(rack, "root", "acme/web1", host="h2")
    turn(rack)
    liar, honest = rack.hosts["h1"], rack.hosts["h1"].call

    def answers(function: str, request: Any) -> Any:
        return {"texts": {"f" * 64: "1.AAAA"}} if function == "rack_host.snapshot" else honest(function, request)

    liar.call = answers  # type: ignore[method-assign]
    rack.hosts["h2"].silent = True
    rack.fleet.calls.clear()
    assert listed(takes_over(rack)) == ["acme/web1"], "h3 keeps it too"
    assert rack.fleet.calls.count(("h1", "rack_host.snapshot")) == 1


def test_one_keepers_copy_is_enough_and_liars_are_passed_over() -> None:
    rack = fake_rack(hosts=4)
    create(rack, "root", "acme/web1", host="h4")
    turn(rack)
    kept = keepers(rack)
    rack.hosts["h4"].silent = True
    liar = next(name for name in kept if name != "h4")
    rack.hosts[liar].snapshots.pieces = dict.fromkeys(rack.hosts[liar].snapshots.pieces, "1.AAAA")
    assert listed(takes_over(rack)) == ["acme/web1"]


def test_an_inventory_comes_back_from_its_pieces_as_it_was() -> None:
    rack, seals = fake_rack(), FakeSnapshots()
    create(rack)
    ring, now = rack.rack.ring.read(), seen(rack)
    maker = snapshot.Maker("m", lambda data, label: seals.seal(data, label, ring))
    made = maker.pieces(now, version=7, at=rack.clock.time)
    assert replace(maker, before=made.hosts).pieces(now, version=7, at=rack.clock.time) == made
    back = snapshot.whole(made.head, made.texts.get, lambda text, label: seals.unseal(text, label, ring))
    assert (back.rack, back.head.version, set(back.hosts)) == ("test", 7, {"h1", "h2", "h3"})
    assert [domain.record for report in back.hosts.values() for domain in report.domains] == [
        one.record for one in now.vms()
    ]
    assert back.hosts["h1"].total == Room(8, 4096, 100)
    with pytest.raises(Refused):
        snapshot.whole(made.head, {}.get, lambda text, label: b"")


@pytest.mark.parametrize("sizes", [[], [10], [300_000, 300_000], [500_000, 1, 1]])
def test_parcels_hold_everything_once_and_fit_the_bus(sizes: list[int]) -> None:
    texts = {hashlib.sha256(bytes([index])).hexdigest(): "x" * size for index, size in enumerate(sizes)}
    parcels: list[Any] = list(snapshot.parcels(texts))
    assert {name: text for parcel in parcels for name, text in parcel.items()} == texts
    assert all(len(parcel) <= 1 or sum(map(len, parcel.values())) <= 400_000 for parcel in parcels)
