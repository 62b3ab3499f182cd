"""A drain of a real host: read, cut off in the middle, called again; and a host brought up to date."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from rackbox_lib.node import Node
from tests.on_rack import CLAIMS, CREATE, RealRack, wait_for

VMS = ("web1", "web2", "web3")
#: A move whose runner was killed goes on at its hosts, and is looked up when its claim's time is over.
DRAINED_S = 400.0


@pytest.fixture
def host_with_vms(clean_rack: RealRack) -> RealRack:
    """A rack with three tiny guests on h1, the last one stopped."""
    for name in VMS:
        made = clean_rack.run("rack_vm.create", f"acme/{name}", host="h1", start=name != "web3", **CREATE)
        assert made.code == 0, made
    return clean_rack


def drain(rack: RealRack, **asked: Any) -> dict[str, Any]:
    ran = rack.run("rack_host.drain", "h1", timeout_s=DRAINED_S, **asked)
    assert ran.code == 0, ran
    return dict(ran.data)


def _states(rack: RealRack) -> dict[str, str]:
    """Each domain with its state, by its host's own word; nobody is on two hosts."""
    found: dict[str, str] = {}
    for host in rack.hosts:
        listed = host.run(["virsh", "list", "--all", "--name"], timeout_s=20).stdout.split()
        assert not found.keys() & set(listed), (host.name, listed, found)
        found |= {name: host.run(["virsh", "domstate", name], timeout_s=20).stdout.split()[0] for name in listed}
    return found


def _boot_of(host: Node) -> str:
    return str(host.read("/proc/sys/kernel/random/boot_id"))


@pytest.mark.promise("P16")
def test_a_drain_whose_runner_is_killed_is_called_again_and_ends_the_same(host_with_vms: RealRack) -> None:
    rack = host_with_vms
    rack.guest("acme/web1")
    before = _states(rack)
    plan = drain(rack, test=True)
    assert [step["do"] for step in plan["steps"]] == ["disable", "move", "move", "move"] and not plan["refusals"]
    words = ["salt-run", "rack_host.drain", "h1", f"apply={plan['hash']}"]
    runner = subprocess.Popen(rack.master.exec_argv(words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    moving = f'grep -l \'"moves_from": "h1"\' {CLAIMS}/*.json 2>/dev/null || true'
    wait_for(
        lambda: rack.master.run(["sh", "-c", moving], timeout_s=10).stdout, "a VM moves", timeout_s=90, pause_s=0.05
    )
    kill = "pkill -9 -f '^[^ ]*python[^ ]* [^ ]*salt-run rack_host.drain '"
    rack.master.run(["sh", "-c", kill], timeout_s=20)
    runner.wait(timeout=60)

    told = drain(rack)
    assert told["empty"] and told["on_host"] == []
    assert rack.host("h1").run(["virsh", "list", "--all", "--name"], timeout_s=20).stdout.split() == []
    assert _states(rack) == before
    line = next(host for host in rack.run("rack_host.list").data["hosts"] if host["name"] == "h1")
    assert (line["enabled"], line["reason"], line["vms"]) == (False, "draining", 0)
    assert rack.guest("acme/web1") and rack.run("rack_audit.verify").data["ok"]
    assert not drain(rack)["changed"]


@pytest.mark.promise("P13")
def test_a_host_is_emptied_while_another_one_is_away(host_with_vms: RealRack) -> None:
    rack = host_with_vms
    rack.host("h3").cut()
    try:
        assert drain(rack)["empty"]
        assert len(rack.host("h2").run(["virsh", "list", "--all", "--name"], timeout_s=20).stdout.split()) == len(VMS)
    finally:
        rack.host("h3").heal()
        rack.await_hosts(["h3"])


def test_a_stale_plan_does_nothing(host_with_vms: RealRack) -> None:
    rack = host_with_vms
    plan = drain(rack, test=True)
    rack.run("rack_vm.delete", "acme/web3")
    before = rack.snapshot()
    refused = rack.run("rack_host.drain", "h1", apply=plan["hash"])
    assert refused.error and refused.error["code"] == "plan_changed", refused
    assert any("acme/web3" in change for change in refused.error["changes"]) and rack.snapshot() == before


def test_a_host_is_brought_up_to_date_and_booted_again(host_with_vms: RealRack) -> None:
    rack, host = host_with_vms, host_with_vms.host("h1")
    before, boot = _states(rack), _boot_of(host)
    ran = rack.run("rack_host.update", hosts=["h1"], reboot=True, timeout_s=900)
    assert ran.code == 0, ran
    ends = [(step["do"], step["end"]) for step in ran.data["steps"] if step["do"] != "move"]
    assert ends == [(what, "done") for what in ("disable", "update", "reboot", "enable")]
    assert _boot_of(host) != boot
    receipt = next(step["receipt"] for step in ran.data["steps"] if step["do"] == "update")
    assert receipt["states"] > 10 and receipt["failed"] == [] and _states(rack) == before
    assert rack.run("rack_host.list").data["hosts"][0]["enabled"]
