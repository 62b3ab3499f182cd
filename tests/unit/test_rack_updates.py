"""Bringing hosts up to date one after the other, on a rack in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from racksalt import host_update
from racksalt.access import identify
from racksalt.errors import Conflict, NotFound, Refused, Unavailable
from racksalt.model import Room
from racksalt.rack_drains import RackDrains
from racksalt.rack_hosts import RackHosts
from racksalt.rack_plans import RackPlans
from racksalt.rack_requests import SwitchHost, UpdateHosts
from racksalt.rack_upkeep import RackUpkeep
from tests.fakes import FakeRack
from tests.unit.test_rack_drains import ALL, everybody, full_rack, on

FAILED = {"pkg_|-a_|-a_|-installed": {"result": False, "comment": "no such package", "__id__": "a", "changes": {}}}
DONE = {"pkg_|-a_|-a_|-installed": {"result": True, "comment": "", "changes": {"a": "new"}}}


def update(rack: FakeRack, **asked: Any) -> dict[str, Any]:
    settings = rack.rack.settings()
    return RackDrains(rack.rack, RackPlans(rack.rack)).update(
        identify("root", settings), UpdateHosts(**asked), settings
    )


def did(told: dict[str, Any]) -> list[tuple[str, str]]:
    return [(step["do"], step["host"]) for step in told["steps"] if step["do"] != "move"]


def test_each_host_is_emptied_updated_booted_and_enabled_before_the_next() -> None:
    rack = full_rack()
    for host in rack.hosts.values():
        host.highstate = DONE
    told = update(rack, reboot=True)
    assert did(told) == [(what, f"h{n}") for n in (1, 2, 3) for what in ("disable", "update", "reboot", "enable")]
    assert {host.boot for host in rack.hosts.values()} == {"boot-2"} and everybody(rack) == ALL
    assert all(config.enabled for config in rack.rack.settings().hosts.values())
    assert [step["n"] for step in told["steps"]] == list(range(1, len(told["steps"]) + 1))
    updated = next(step for step in told["steps"] if step["do"] == "update")
    assert updated["receipt"] == {"states": 1, "changed": 1, "failed": []}


def test_the_first_host_that_fails_ends_it_and_stays_out_of_placement() -> None:
    rack = full_rack()
    rack.hosts["h2"].highstate = FAILED
    with pytest.raises(Unavailable) as told:
        update(rack)
    assert told.value.code == "plan_incomplete" and "no such package" in told.value.detail
    hosts = rack.rack.settings().hosts
    assert hosts["h1"].enabled and not hosts["h2"].enabled and hosts["h3"].enabled
    assert hosts["h2"].reason == "updating" and everybody(rack) == ALL
    rack.hosts["h2"].highstate = DONE
    assert did(update(rack, hosts=("h2",))) == [("update", "h2"), ("enable", "h2")]


def test_what_was_done_is_told_where_a_later_host_cannot_be_emptied() -> None:
    rack = full_rack()
    rack.hosts["h1"].highstate = rack.hosts["h2"].highstate = DONE

    def away(host: str, function: str) -> None:
        if (host, function) == ("h1", "rack_host.update_self"):
            rack.hosts["h2"].silent = True

    rack.fleet.after = away
    with pytest.raises(Unavailable) as told:
        update(rack, hosts=("h1", "h2"))
    assert told.value.code == "plan_incomplete" and "host h2 does not answer" in told.value.detail
    assert ("enable", "h1") in did(told.value.facts) and told.value.facts["error"]["code"] == "host_silent"
    assert rack.rack.settings().hosts["h1"].enabled


def test_a_host_that_was_disabled_meanwhile_stays_out_of_placement() -> None:
    rack = full_rack()
    rack.hosts["h1"].highstate = DONE

    def broken(host: str, function: str) -> None:
        if function == "rack_host.update_self":
            RackHosts(rack.rack).switch(SwitchHost("h1", "bad memory"), rack.rack.settings(), enabled=False)

    rack.fleet.after = broken
    with pytest.raises(Unavailable) as told:
        update(rack, hosts=("h1",))
    assert told.value.code == "plan_incomplete" and "bad memory" in told.value.detail
    config = rack.rack.settings().hosts["h1"]
    assert (config.enabled, config.reason) == (False, "bad memory")


def test_a_host_is_not_booted_under_a_vm_that_is_on_its_way_to_it() -> None:
    """Claimed in the moment before the host was disabled."""
    rack = full_rack(vms=1, hosts=2)
    (claim,) = rack.claims.all()
    coming = replace(claim, settled_at=None, record=replace(claim.record, host="h2"))
    upkeep = RackUpkeep(rack.rack)
    rack.claims.write(coming)
    with pytest.raises(Conflict) as told:
        upkeep.reboot("h2")
    assert (
        told.value.code == "host_not_empty" and "acme/web1" in told.value.detail and rack.hosts["h2"].boot == "boot-1"
    )
    rack.claims.write(replace(coming, settled_at=rack.clock.now()))
    upkeep.reboot("h2")
    assert rack.hosts["h2"].boot == "boot-2"


def test_a_refused_update_names_no_argument_that_it_has_not() -> None:
    rack = full_rack(hosts=2)
    rack.hosts["h2"].hypervisor.total = Room(8, 400, 100)
    with pytest.raises(Refused) as told:
        update(rack, hosts=("h1",))
    assert told.value.code == "plan_refused" and "partial" not in told.value.detail


def test_a_plan_of_all_hosts_is_read_and_applied() -> None:
    rack = full_rack()
    plan = update(rack, test=True)
    assert plan["test"] and on(rack, "h1") == ALL
    told = update(rack, apply=plan["hash"])
    assert all(step["end"] == "done" for step in told["steps"]) and everybody(rack) == ALL
    with pytest.raises(Conflict) as again:
        update(rack, apply=plan["hash"])
    assert again.value.code == "plan_changed"


def test_an_unknown_host() -> None:
    with pytest.raises(NotFound):
        update(full_rack(), hosts=("h9",))


def test_a_highstate_that_cannot_be_applied_is_an_error() -> None:
    with pytest.raises(Unavailable) as told:
        host_update.told(["Rendering SLS 'base:hypervisor' failed"])
    assert told.value.code == "highstate_failed" and "Rendering" in told.value.detail
    assert host_update.told(FAILED)["failed"] == [{"state": "a", "comment": "no such package"}]
