"""Deletions while a host is off, what it starts when it boots, and a master that was lost with all that it knew."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.on_rack import CREATE, RACK_FILES, RealRack, wait_for

#: A minion's start, the watch's look, the word, the start.
_BACK_S = 120.0
#: A snapshot that stays the newest for so long is of after the last change.
_SETTLED_S = 10.0


@pytest.fixture
def two_vms(clean_rack: RealRack) -> Iterator[RealRack]:
    """acme/gone and acme/kept run on h1."""
    operator = clean_rack.api("OPERATOR")
    for name in ("gone", "kept"):
        operator.call("rack_vm.create", name=f"acme/{name}", host="h1", **CREATE)
    yield clean_rack
    clean_rack.revive()


@pytest.mark.promise("P10")
@pytest.mark.promise("P1")
def test_a_vm_is_deleted_while_its_host_is_off_and_never_starts_again(two_vms: RealRack) -> None:
    rack, acme = two_vms, two_vms.api("ACME")
    vm = rack.vm("acme/gone")
    assert rack.guest("acme/kept")["boots"] == 1
    rack.host("h1").crash()

    gone = acme.call("rack_vm.delete", name="gone")
    assert gone["deleted"] and gone["pending"] and "h1" not in str(gone)
    assert acme.call("rack_vm.delete", name="gone")["pending"]
    assert [one["name"] for one in acme.call("rack_vm.list")["vms"]] == ["kept"]
    assert acme.call("rack_tenant.usage")["used"]["vms"] == 1
    assert acme.refusal("rack_vm.create", name="gone", **CREATE).code == "name_in_use"
    assert vm["uuid"] in rack.master.read(f"{RACK_FILES}/pending.yaml")
    (waits,) = rack.run("rack_host.status").data["deletions_pending"]
    assert (waits["vm"], waits["host"], waits["by"]) == ("acme/gone", "h1", "alice")

    rack.host("h1").boot()
    rack.host("h1").wait_ready()
    wait_for(lambda: rack.vm("acme/kept")["state"] == "running", "what ran before runs", timeout_s=_BACK_S, pause_s=1)
    assert not rack.traces(vm["uuid"], vm["addresses"][0])
    assert vm["uuid"] not in rack.master.read(f"{RACK_FILES}/pending.yaml")
    log = rack.host("h1").run(["journalctl", "-u", "racksalt-boot", "-o", "cat", "--no-pager"], timeout_s=20).stdout
    assert "acme.kept" in log and "acme.gone" not in log
    assert rack.guest("acme/kept")["boots"] == 2
    assert acme.call("rack_vm.create", name="gone", start=False, **CREATE)["changed"]


@pytest.mark.promise("P12")
def test_without_a_master_a_host_that_boots_starts_what_ran_there(two_vms: RealRack) -> None:
    rack = two_vms
    address = rack.vm("acme/kept")["addresses"][0]
    assert rack.guest("acme/kept")["boots"] == 1
    rack.api("ACME").call("rack_vm.stop", name="gone", hard=True)
    rack.master.run(["systemctl", "stop", "salt-master"], timeout_s=60)
    try:
        rack.host("h1").crash()
        rack.host("h1").boot()
        rack.host("h1").wait_ready()

        def started() -> bool:
            listed = rack.host("h1").run(["virsh", "list", "--name"], timeout_s=20, check=False).stdout.split()
            return listed == ["acme.kept"]

        wait_for(started, "the VM is started by its host", timeout_s=_BACK_S, pause_s=1)
        assert rack.guest_at(address, rack.host("h1"))["boots"] == 2
    finally:
        rack.master.run(["systemctl", "start", "salt-master"], timeout_s=60)
    rack.await_hosts(["h1", "h2", "h3"])


@pytest.mark.promise("P11")
@pytest.mark.promise("P13")
def test_a_master_that_lost_all_it_knew_knows_what_a_silent_host_holds(two_vms: RealRack) -> None:
    rack, acme = two_vms, two_vms.api("ACME")
    # What was removed by hand before this test is in no audit: after a look the next change has a snapshot without it.
    rack.run("rack_host.inventory")
    before_ms = 1000 * int(rack.master.run(["date", "+%s"], timeout_s=10).stdout)
    acme.call("rack_vm.note", name="kept", note="kept")
    before = rack.run("rack_host.inventory").data
    head = "cat /var/lib/racksalt/snapshots/master/newest.json"

    newest, since = "", time.monotonic()

    def kept() -> bool:
        """By all three, and with both VMs: the one of before them gives way within seconds."""
        nonlocal newest, since
        heads = {host.run(["sh", "-c", head], timeout_s=10, check=False).stdout for host in rack.hosts}
        own = rack.master.run(["sh", "-c", head.replace("snapshots/", "own-snapshots/")], timeout_s=10, check=False)
        if own.stdout != newest:
            newest, since = own.stdout, time.monotonic()
        is_new = bool(newest) and json.loads(newest)["version"] > before_ms
        return is_new and heads == {newest} and time.monotonic() - since >= _SETTLED_S

    def all_but_h1() -> dict[str, Any] | None:
        told: dict[str, Any] = rack.run("rack_host.inventory").data
        return {**told, "silent_hosts": {}} if set(told["silent_hosts"]) == {"h1"} else None

    wait_for(kept, "three hosts keep today's snapshot", timeout_s=60, pause_s=2)
    leaks = "grep -rl acme /var/lib/racksalt/snapshots"
    assert rack.host("h2").run(["sh", "-c", leaks], timeout_s=10, check=False).stdout == "", "sealed"

    rack.host("h1").crash()
    lose = "systemctl stop salt-master; rm -rf /var/cache/salt/master/racksalt /var/lib/racksalt/own-snapshots"
    rack.master.run(["sh", "-c", f"{lose}; systemctl start salt-master"], timeout_s=90)
    rack.await_hosts(["h2", "h3"])
    listed = wait_for(lambda: acme.call("rack_vm.list")["vms"], "the VMs are listed", timeout_s=60, pause_s=2)
    assert {vm["name"]: vm["state"] for vm in listed} == {"gone": "unknown", "kept": "unknown"}
    assert acme.refusal("rack_vm.create", name="kept", **CREATE).code == "name_in_use"
    assert acme.call("rack_vm.create", name="more", start=False, **CREATE)["changed"], "all that is in use is known"
    assert acme.call("rack_vm.delete", name="more")["changed"]
    assert wait_for(all_but_h1, "the others answer", timeout_s=60, pause_s=2) == before
