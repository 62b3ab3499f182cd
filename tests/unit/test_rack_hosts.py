"""The hosts as the operator sees them, and taking them in and out of placement."""

from __future__ import annotations

from typing import Any

import pytest

from racksalt.errors import BadInput, NotFound
from racksalt.model import Domain
from racksalt.rack_hosts import RackHosts, overview
from racksalt.rack_places import RackPlaces
from racksalt.rack_requests import FindHosts, NamedHost, SwitchHost
from tests.fakes import FakeRack, fake_rack
from tests.unit.test_vm_create import create


def switch(rack: FakeRack, name: str, *, enabled: bool, reason: str = "", test: bool = False) -> dict[str, Any]:
    asked = SwitchHost(name, reason, test)
    return RackHosts(rack.rack).switch(asked, rack.rack.settings(), enabled=enabled)


def find(rack: FakeRack, **asked: Any) -> dict[str, Any]:
    return RackPlaces(rack.rack).find(FindHosts(**asked), rack.rack.settings())


def test_each_host_is_one_line_with_its_room() -> None:
    rack = fake_rack()
    create(rack, "root", "acme/web1", host="h2")
    rack.hosts["h3"].silent = True
    h1, h2, h3 = RackHosts(rack.rack).list(rack.rack.settings())["hosts"]
    assert h1["capacity"] == {"vcpus": 32, "memory_mib": 4096, "disk_gib": 100} and h1["vms"] == 0
    assert h2["vms"] == 1 and h2["used"] == {"vcpus": 1, "memory_mib": 192, "disk_gib": 1}
    assert h2["left"] == {"vcpus": 31, "memory_mib": 3904, "disk_gib": 99}
    assert h3["answers"] is False and h3["error"] and h1["error"] == ""


def test_one_host_is_shown_with_its_vms_and_foreign_domains() -> None:
    rack = fake_rack()
    create(rack, "root", "acme/web1", host="h1")
    foreign = Domain("1b5f2f40-4a4e-4b0e-9d2c-0b8f9f1d2c3e", "by-hand", "stopped", 1, 1, 1)
    rack.hosts["h1"].hypervisor.foreign.append(foreign)
    shown = RackHosts(rack.rack).show(NamedHost("h1"), rack.rack.settings())
    assert [vm["name"] for vm in shown["vms"]] == ["web1"] and shown["foreign"] == ["by-hand"]
    assert shown["labels"] == {"zone": "b"} and shown["accelerator"] == "qemu"


def test_an_unknown_host_is_not_found() -> None:
    rack = fake_rack()
    with pytest.raises(NotFound) as told:
        RackHosts(rack.rack).show(NamedHost("h9"), rack.rack.settings())
    assert told.value.code == "host_unknown" and "h1, h2, h3" in told.value.detail
    with pytest.raises(NotFound):
        switch(rack, "h9", enabled=False)


def test_the_status_tells_the_whole_rack() -> None:
    rack = fake_rack()
    create(rack, "root", "acme/web1", host="h1")
    create(rack, "root", "acme/web2", host="h2")
    rack.hosts["h2"].silent = True
    switch(rack, "h3", enabled=False, reason="new disks")
    told = overview(rack.rack.inventory(rack.rack.settings()), rack.rack.settings())
    assert told["hosts"] == 3 and list(told["silent_hosts"]) == ["h2"]
    assert told["disabled_hosts"] == {"h3": "new disks"}
    assert told["vms_by_state"] == {"running": 1, "unknown": 1} and told["claims_in_flight"] == ["acme/web2"]


def test_a_disabled_host_takes_no_new_vm_until_it_is_enabled() -> None:
    rack = fake_rack(hosts=2)
    create(rack, "root", "acme/old", host="h1")
    assert switch(rack, "h1", enabled=False, reason="new disks")["changed"]
    assert {create(rack, "root", f"acme/web{n}")["vm"]["host"] for n in range(3)} == {"h2"}
    assert "acme.old" in rack.vms_on_hosts()
    assert switch(rack, "h1", enabled=True)["changed"]
    assert rack.files.data["hosts.yaml"]["hosts"]["h1"] == {"labels": {"zone": "b"}, "enabled": True}
    assert create(rack, "root", "acme/web9")["vm"]["host"] == "h1"


def test_switching_to_what_is_so_already_changes_nothing() -> None:
    rack = fake_rack()
    assert not switch(rack, "h1", enabled=True)["changed"]
    switch(rack, "h1", enabled=False, reason="x")
    assert not switch(rack, "h1", enabled=False, reason="x")["changed"]
    assert switch(rack, "h1", enabled=False, reason="y")["changed"]


def test_a_test_run_of_a_switch_writes_nothing() -> None:
    rack = fake_rack()
    assert switch(rack, "h1", enabled=False, test=True)["test"]
    assert rack.rack.settings().hosts["h1"].enabled


def test_a_host_without_any_setting_can_be_switched() -> None:
    files = {"rack": "test", "writer": "master", "hosts": {"h1": None}}
    rack = fake_rack(hosts=1, **{"hosts.yaml": files})
    switch(rack, "h1", enabled=False, reason="x")
    assert not rack.rack.settings().hosts["h1"].enabled


def test_find_tells_candidates_and_what_refuses_the_others() -> None:
    rack = fake_rack()
    create(rack, "root", "acme/web1", host="h1")
    found = find(rack, flavor="m1.large", labels={"zone": "b"})
    assert found["hosts"] == ["h3", "h1"]
    assert [verdict["rule"] for verdict in found["refused"]["h2"]] == ["labels"]
    with pytest.raises(BadInput) as told:
        find(rack, flavor="none")
    assert told.value.code == "flavor_unknown"
