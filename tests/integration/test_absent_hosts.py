"""Hosts that are away hold up nobody; without the master, hosts go on by themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.on_rack import CREATE, RealRack, at_once, wait_for

#: An operation that meets a silent host for the first time asks once more before it goes on without it.
FIRST_S, LATER_S = 25.0, 12.0


@pytest.fixture
def one_vm_on_each_host(clean_rack: RealRack) -> Iterator[RealRack]:
    """A running VM on each host: acme/vm1 on h1, and so on."""
    operator = clean_rack.api("OPERATOR")
    at_once(
        [
            lambda n=n: operator.call("rack_vm.create", name=f"acme/vm{n}", host=f"h{n}", start=n == 3, **CREATE)
            for n in (1, 2, 3)
        ]
    )
    yield clean_rack
    clean_rack.revive()


def _await_not_heard(rack: RealRack, *names: str) -> None:
    """A host's last events count for ten seconds; then it is asked, and is silent."""

    def listed() -> bool:
        return set(rack.api("OPERATOR").call("rack_vm.list")["silent_hosts"]) == set(names)

    wait_for(listed, f"{', '.join(names)} are said to be silent", timeout_s=40, pause_s=0.5)


@pytest.mark.promise("P13")
def test_half_the_hosts_off_and_everything_works_on_the_others(
    one_vm_on_each_host: RealRack, record_property: Callable[[str, object], None]
) -> None:
    rack = one_vm_on_each_host
    acme, operator = rack.api("ACME"), rack.api("OPERATOR")
    rack.guest("acme/vm3")
    rack.host("h1").crash()
    rack.host("h2").crash()
    _await_not_heard(rack, "h1", "h2")
    took: dict[str, float] = {}

    def timed(fun: str, *, by: Any = acme, **kwarg: Any) -> Any:
        began = time.monotonic()
        try:
            return by.call(fun, **kwarg)
        finally:
            what = fun if took else f"{fun}, the first"
            took[what] = round(time.monotonic() - began, 1)
            assert took[what] < (FIRST_S if len(took) == 1 else LATER_S), f"{what} took {took[what]} s"

    listed = timed("rack_vm.list", by=operator)
    assert set(listed["silent_hosts"]) == {"h1", "h2"}
    states = {vm["name"]: (vm["state"], vm["host_answers"]) for vm in listed["vms"]}
    assert states == {"vm1": ("unknown", False), "vm2": ("unknown", False), "vm3": ("running", True)}
    assert {vm["name"]: vm["state"] for vm in timed("rack_vm.list")["vms"]}["vm1"] == "unknown"
    hosts = {line["name"]: line for line in timed("rack_host.list", by=operator)["hosts"]}
    assert [name for name, line in hosts.items() if not line["answers"]] == ["h1", "h2"]
    assert "silent" in hosts["h1"]["error"] and hosts["h1"]["vms"] == 1
    assert set(timed("rack_host.status", by=operator)["silent_hosts"]) == {"h1", "h2"}
    assert timed("rack_host.show", by=operator, name="h1")["answers"] is False
    assert timed("rack_host.find", by=operator, flavor="m1.tiny")["hosts"] == ["h3"]

    made = timed("rack_vm.create", name="new", **CREATE)
    assert made["changed"] and rack.vm("acme/new")["host"] == "h3"
    assert timed("rack_vm.why_not", **CREATE) == {"fits": True, "refused_by_rule": {"answers": 2}}
    assert timed("rack_vm.show", name="new")["uuid"] == made["vm"]["uuid"]
    for fun in ("pause", "resume"):
        assert timed(f"rack_vm.{fun}", name="vm3")["changed"]
    for fun, words in {"note": {"note": "x"}, "tag": {"tags": ["x"]}, "protect": {"protected": False}}.items():
        timed(f"rack_vm.{fun}", name="vm3", **words)
    assert timed("rack_vm.stop", name="vm3", hard=True)["state"] == "stopped"
    assert timed("rack_vm.start", name="vm3")["state"] == "running"
    assert timed("rack_vm.restart", name="vm3", hard=True)["state"] == "running"
    assert timed("rack_tenant.usage")["used"]["vms"] == 4, "what a silent host holds stays held"
    assert timed("rack_vm.delete", name="new")["changed"]
    _what_is_away_is_refused_soon(rack)
    record_property("seconds", took)
    print("\nseconds with half the hosts off:", took)


def _what_is_away_is_refused_soon(rack: RealRack) -> None:
    acme = rack.api("ACME")
    for fun in ("start", "stop"):
        began = time.monotonic()
        refused = acme.refusal(f"rack_vm.{fun}", name="vm1")
        assert (refused.status, refused.code) == (503, "host_silent") and "h1" not in str(refused.error)
        assert time.monotonic() - began < LATER_S
    assert acme.call("rack_vm.delete", name="vm1")["pending"]
    taken = acme.refusal("rack_vm.create", name="vm1", **CREATE)
    assert taken.code == "name_in_use", "a silent host's names stay held"
    assert acme.refusal("rack_vm.create", name="zoned", labels={"zone": "b"}, **CREATE).code == "no_host_fits"


def test_a_crashed_host_is_said_to_be_silent_and_comes_back(one_vm_on_each_host: RealRack) -> None:
    rack = one_vm_on_each_host
    acme = rack.api("ACME")
    before = rack.vm("acme/vm3")
    assert rack.guest("acme/vm3")["boots"] == 1
    rack.host("h3").crash()
    _await_not_heard(rack, "h3")
    assert acme.call("rack_vm.show", name="vm3")["state"] == "unknown"
    assert acme.call("rack_vm.start", name="vm1")["state"] == "running"

    rack.host("h3").boot()
    rack.host("h3").wait_ready()
    rack.await_hosts(["h3"])

    def runs() -> bool:
        return bool(rack.vm("acme/vm3")["state"] == "running")

    wait_for(runs, "what ran before is started by its host", timeout_s=120, pause_s=1)
    shown = rack.vm("acme/vm3")
    assert (shown["uuid"], shown["addresses"]) == (before["uuid"], before["addresses"])
    assert acme.call("rack_vm.start", name="vm3")["changed"] is False
    assert rack.guest("acme/vm3")["boots"] == 2, "the same disk, at the same address"


def test_a_frozen_host_is_silent_too_and_thaws(one_vm_on_each_host: RealRack) -> None:
    rack = one_vm_on_each_host
    rack.host("h1").freeze()
    try:
        _await_not_heard(rack, "h1")
        assert rack.api("ACME").call("rack_vm.note", name="vm2", note="meanwhile")["changed"]
    finally:
        rack.host("h1").thaw()
    rack.await_hosts(["h1"])


def test_without_the_master_a_host_starts_its_vms(one_vm_on_each_host: RealRack) -> None:
    rack = one_vm_on_each_host
    host, local = rack.host("h2"), ["salt-call", "--local", "--out=json"]
    rack.master.run(["systemctl", "stop", "salt-master"], timeout_s=60)
    try:
        listed = rack.shell([*local, "rack_vm.list"], node=host)
        assert [(vm["name"], vm["state"]) for vm in listed.data["local"]] == [("vm2", "stopped")]
        started = rack.shell([*local, "rack_vm.start", "acme/vm2"], node=host)
        assert started.code == 0 and started.data["local"]["state"] == "running"
        assert rack.guest_at(listed.data["local"][0]["nics"][0]["address"], host)["name"] == "vm2"
        refused = rack.shell([*local, "--retcode-passthrough", "rack_vm.start", "nosuch"], node=host)
        assert refused.code != 0 and refused.data["local"]["error"]["code"] == "vm_not_found"
        _api_says_so(rack)
    finally:
        rack.master.run(["systemctl", "start", "salt-master"], timeout_s=60)
    rack.await_hosts(["h1", "h2", "h3"])
    assert rack.vm("acme/vm2")["state"] == "running"


def _api_says_so(rack: RealRack) -> None:
    began = time.monotonic()
    refused = rack.api("ACME").refusal("rack_vm.list")
    assert refused.status == 503 and "Traceback" not in str(refused.error)
    assert time.monotonic() - began < FIRST_S, "the caller is not kept waiting"


def test_a_master_that_was_away_is_asked_again(rack: RealRack) -> None:
    """Tokens outlive a restart of salt-master: they are the API's own."""
    acme = rack.api("ACME")
    rack.master.run(["systemctl", "restart", "salt-master"], timeout_s=60)

    def answered() -> bool:
        refused = acme.attempt("rack_vm.list")
        assert refused is None or refused.status == 503, refused
        return refused is None

    assert wait_for(answered, "the API answers again", timeout_s=60, pause_s=1)
