"""Claims when everything goes wrong at once: a race, a host cut off, a runner killed, a disk full."""

from __future__ import annotations

import subprocess
import threading
import time
from collections import Counter

import pytest

from tests.on_rack import CLAIMS, CREATE, VOLUMES, RealRack, at_once, wait_for
from tests.promises import full

QUOTA = 7
#: A claim's time, the clocks' difference, the watch's turn and its look, on two busy processors.
ENDED_S = 180.0


def _open_claims(rack: RealRack) -> list[str]:
    script = f"grep -L '\"settled_at\": [0-9]' {CLAIMS}/*.json"
    return rack.master.run(["sh", "-c", script], timeout_s=10, check=False).stdout.split()


def _create(rack: RealRack, number: int, *, by_shell: bool) -> str:
    name = f"vm{number}"
    if by_shell:
        ran = rack.run("rack_vm.create", f"acme/{name}", start=False, **CREATE)
        return str(ran.error["code"]) if ran.error else "made"
    refused = rack.api("ACME").attempt("rack_vm.create", name=name, start=False, **CREATE)
    return str(refused.code) if refused else "made"


def _kill_in_the_middle(rack: RealRack, name: str) -> None:
    """A create on the shell whose runner is killed as soon as it has claimed its place."""
    words = ["salt-run", "rack_vm.create", f"acme/{name}", "start=False", *(f"{k}={v}" for k, v in CREATE.items())]
    runner = subprocess.Popen(rack.master.exec_argv(words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    claimed = f'for _ in $(seq 600); do grep -qs \'"name": "{name}"\' {CLAIMS}/*.json && break; sleep 0.02; done; '
    kill = f"pkill -9 -f '^[^ ]*python[^ ]* [^ ]*salt-run rack_vm.create acme/{name} '"
    rack.master.run(["sh", "-c", claimed + kill], timeout_s=60)
    runner.wait(timeout=60)
    assert runner.returncode != 0


@pytest.mark.promise("P9")
def test_a_quota_holds_with_a_host_cut_off_and_a_runner_killed(clean_rack: RealRack) -> None:
    rack = clean_rack
    rack.edit_yaml("tenants.yaml", lambda data: data["tenants"]["acme"].update(quota={"vms": QUOTA, "vcpus": -1}))
    assert rack.api("ACME").call("rack_vm.list") == {"vms": []}
    _kill_in_the_middle(rack, "killed")
    assert rack.run("rack_tenant.usage", "acme").data["used"]["vms"] == 1
    many = 50 if full() else 24
    cutter = threading.Timer(2.0, rack.host("h2").cut)
    cutter.start()
    calls = [lambda n=number: _create(rack, n, by_shell=n % 4 == 0) for number in range(many)]
    outcomes = Counter(at_once(calls, threads=16))
    cutter.join()
    assert set(outcomes) <= {"made", "quota_exceeded", "host_silent"}, outcomes
    used = rack.run("rack_tenant.usage", "acme").data["used"]["vms"]
    assert used == QUOTA and outcomes["made"] <= QUOTA, outcomes

    rack.host("h2").heal()
    rack.await_hosts(["h1", "h2", "h3"])
    wait_for(lambda: not _open_claims(rack), "all claims are ended by the watch", timeout_s=ENDED_S, pause_s=2)
    _nothing_is_orphaned(rack)
    outcomes += Counter(at_once([lambda n=n: _create(rack, n, by_shell=False) for n in range(100, 112)], threads=8))
    assert rack.run("rack_tenant.usage", "acme").data["used"]["vms"] == QUOTA
    assert not _open_claims(rack)
    _nothing_is_orphaned(rack)
    assert rack.run("rack_audit.verify").data["ok"]


def _nothing_is_orphaned(rack: RealRack) -> None:
    """Each domain, disk and address is that of a listed VM, and each VM has all of its own."""
    vms = {vm["uuid"]: vm for vm in rack.api("OPERATOR").call("rack_vm.list")["vms"]}
    by_host = {host.name: {uuid for uuid, vm in vms.items() if vm["host"] == host.name} for host in rack.hosts}
    for host in rack.hosts:
        script = f"virsh list --all --uuid; echo =; ls {VOLUMES}/acme | sed -E 's/(-seed)?[.].*//' | sort -u; echo =; "
        script += "cut -d, -f2 /var/lib/racksalt/leases/nat/* 2>/dev/null; true"
        domains, disks, addresses = host.run(["bash", "-c", script], timeout_s=30).stdout.split("=")
        own = by_host[host.name]
        assert set(domains.split()) == own, host.name
        assert set(disks.split()) == own, host.name
        assert set(addresses.split()) == {address for uuid in own for address in vms[uuid]["addresses"]}, host.name


@pytest.mark.promise("P15")
@pytest.mark.parametrize(
    ("folder", "code", "words"),
    [
        (
            "/var/lib/racksalt/audit",
            "not_written",
            ["rack_vm.create", "acme/full", "flavor=m1.tiny", "image=tiny"],
        ),
        ("/var/lib/racksalt/claims", "not_written", ["rack_vm.create", "acme/full", "flavor=m1.tiny", "image=tiny"]),
        ("/etc/racksalt/rack", "not_written", ["rack_tenant.quota", "acme", "vms=9"]),
    ],
)
def test_a_full_or_read_only_disk_on_the_writer_loses_no_file_and_keeps_nothing_half(
    clean_rack: RealRack, folder: str, code: str, words: list[str]
) -> None:
    rack = clean_rack
    rack.api("ACME").call("rack_vm.create", name="before", start=False, **CREATE)
    before, kept = rack.snapshot(), "/root/kept"
    read_only = folder.endswith("audit")
    fill = f"dd if=/dev/zero of={folder}/filler bs=4k 2>/dev/null || test $(df --output=avail {folder} | tail -1) = 0"
    spoil = f"""
        set -e; rm -rf {kept}; cp -a {folder} {kept}
        mount -t tmpfs -o size=4m,mode=0700 tmpfs {folder}; cp -a {kept}/. {folder}; rm -f {folder}/*.json
        {f"mount -o remount,ro {folder}" if read_only else fill}
    """
    mend = f"""
        set -e; rm -f {folder}/filler; cp -a {folder}/. {kept}
        umount {folder}; cp -a {kept}/. {folder}; rm -r {kept}
    """
    rack.master.run(["bash", "-c", spoil], timeout_s=30)
    try:
        told = rack.run(*words)
        assert told.code != 0 and told.error and told.error["code"] == code, told
        if words[0] == "rack_vm.create":
            refused = rack.api("ACME").refusal("rack_vm.create", name="full", start=False, **CREATE)
            assert (refused.status, refused.code) == (503, "rack_unavailable"), refused
        assert {vm["name"] for vm in rack.api("ACME").call("rack_vm.list")["vms"]} == {"before"}
    finally:
        rack.master.run(["bash", "-c", f"umount {folder}; rm -r {kept}" if read_only else mend], timeout_s=30)
    assert rack.snapshot() == before
    assert rack.run("rack_audit.verify").data["ok"]
    assert rack.run(*words).code == 0


@pytest.mark.promise("P11")
def test_the_inventory_is_the_same_byte_for_byte_after_its_cache_is_gone(clean_rack: RealRack) -> None:
    rack = clean_rack
    for name in ("one", "two", "three"):
        rack.api("ACME").call("rack_vm.create", name=name, start=False, **CREATE)
    before = rack.run("rack_host.inventory").data
    rack.master.run(["rm", "-rf", "/var/cache/salt/master/racksalt"], timeout_s=20)
    after = rack.run("rack_host.inventory").data
    assert after == before and before["vms"] == 3
    rebuilt = rack.run("rack_host.rebuild_inventory").data
    assert rebuilt["sha256"] == before["sha256"] and not rebuilt["not_read"], rebuilt


def test_a_request_that_is_sent_again_is_the_same_create(clean_rack: RealRack) -> None:
    """The first one is cut off from its host in the middle; the second one finds the claim, and goes on."""
    rack = clean_rack
    acme, request = rack.api("ACME"), "5f0c1d2e-3a4b-4c5d-8e6f-708192a3b4c5"
    at_host = rack.api("OPERATOR").call("rack_host.find", flavor="m1.tiny")["hosts"][0]
    rack.host(at_host).freeze()
    time.sleep(0.5)
    first = acme.attempt("rack_vm.create", name="web1", request_id=request, start=False, **CREATE)
    rack.host(at_host).thaw()
    rack.await_hosts([at_host])
    again = acme.call("rack_vm.create", name="web1", request_id=request, start=False, **CREATE)
    assert first is None or first.code == "host_silent"
    assert [vm["uuid"] for vm in acme.call("rack_vm.list")["vms"]] == [again["vm"]["uuid"]]
    assert acme.call("rack_vm.create", name="web1", request_id=request, **CREATE)["changed"] is False
    assert acme.refusal("rack_vm.create", name="web2", request_id=request, **CREATE).code == "request_id_used"
    wait_for(lambda: not _open_claims(rack), "no claim is left", timeout_s=ENDED_S, pause_s=2)
    _nothing_is_orphaned(rack)
