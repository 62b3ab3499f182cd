"""Jobs that nobody waited for: fetched by those whose they are, found when they were lost, and ended."""

from __future__ import annotations

from typing import Any

import pytest

from tests.on_rack import CLAIMS, CREATE, Api, RealRack, wait_for

#: A claim's time, and a look at its host.
LOOKED_UP_S = 120.0


def _until_claimed(rack: RealRack) -> None:
    """A create has claimed its place, and is on its way to the host."""

    def claimed() -> bool:
        return bool(rack.master.run(["ls", CLAIMS], timeout_s=10).stdout.split())

    wait_for(claimed, "a claim", timeout_s=30, pause_s=0.05)


def _open_claims(rack: RealRack) -> list[str]:
    script = f"grep -L '\"settled_at\": [0-9]' {CLAIMS}/*.json"
    return rack.master.run(["sh", "-c", script], timeout_s=10, check=False).stdout.split()


def _true_end(api: Api, job: str, name: str) -> dict[str, Any]:
    """The end of a lost create, held against what there is."""
    told = api.end_of(job, timeout_s=LOOKED_UP_S)
    there = api.attempt("rack_vm.show", name=name)
    assert (told["state"] == "done") == (there is None), (told, there)
    if told["state"] == "failed":
        assert told["result"]["error"]["code"] == "job_lost"
    return told


def test_a_result_is_fetched_by_its_tenant_and_refused_to_the_other(clean_rack: RealRack) -> None:
    rack = clean_rack
    alice, carol, bob = rack.api("ACME"), rack.api("READER"), rack.api("BETA")
    job = alice.start("rack_vm.create", name="later", user_data="#!/bin/sh\n# hush-hush", **CREATE)
    told = alice.end_of(job)
    assert told["state"] == "done" and told["result"]["vm"]["name"] == "later"
    assert (told["user"], told["tenant"], told["object"]) == ("alice", "acme", "later")
    assert carol.call("rack_job.show", job=job) == told
    assert "hush" not in str(told) and "envelope" not in str(told) and "host" not in told["result"]["vm"]
    refused, unknown = bob.refusal("rack_job.show", job=job), bob.refusal("rack_job.show", job=str(int(job) + 1))
    assert (refused.status, refused.code) == (unknown.status, unknown.code) == (404, "job_not_found")
    assert bob.refusal("rack_job.cancel", job=job).code == "job_not_found"
    assert job in [line["job"] for line in alice.call("rack_job.list")["jobs"]]
    assert job not in [line["job"] for line in bob.call("rack_job.list")["jobs"]]
    assert rack.run("rack_job.show", job).data == told

    again = alice.end_of(alice.start("rack_vm.create", name="later", **CREATE))
    assert again["state"] == "failed" and again["result"]["error"]["code"] == "name_in_use"
    listing = alice.start("rack_vm.list")
    assert [vm["name"] for vm in alice.end_of(listing)["result"]["vms"]] == ["later"]
    assert carol.refusal("rack_job.show", job=listing).code == "job_not_found", "a read is its user's own"


@pytest.mark.promise("P14")
def test_the_end_of_a_create_is_found_when_the_master_was_killed_in_the_middle(clean_rack: RealRack) -> None:
    rack = clean_rack
    alice = rack.api("ACME")
    job = alice.start("rack_vm.create", name="orphan", **CREATE)
    _until_claimed(rack)
    rack.master.run(["systemctl", "kill", "--signal=KILL", "salt-master"], timeout_s=30)
    rack.master.run(["systemctl", "restart", "salt-master"], timeout_s=60)
    wait_for(lambda: alice.attempt("rack_vm.list") is None, "the API answers", timeout_s=90, pause_s=1)
    _true_end(alice, job, "orphan")


@pytest.mark.promise("P14")
def test_the_end_of_a_create_is_found_when_its_host_was_cut_off(clean_rack: RealRack) -> None:
    rack = clean_rack
    olivia = rack.api("OPERATOR")
    job = olivia.start("rack_vm.create", name="acme/cut", host="h1", **CREATE)
    _until_claimed(rack)
    rack.host("h1").cut()
    try:
        told = olivia.call("rack_job.show", job=job)
        assert told["state"] in ("running", "done"), told
    finally:
        rack.host("h1").heal()
    rack.await_hosts(["h1"])
    _true_end(olivia, job, "acme/cut")
    wait_for(lambda: not _open_claims(rack), "its claim ends", timeout_s=LOOKED_UP_S, pause_s=2)


@pytest.mark.promise("P14")
def test_a_killed_runner_is_told_with_the_vm_as_it_is(clean_rack: RealRack) -> None:
    rack = clean_rack
    alice = rack.api("ACME")
    alice.call("rack_vm.create", name="busy", **CREATE)
    host = rack.host_of("acme/busy")
    job = alice.start("rack_vm.note", name="busy", note="x")
    host.freeze()
    try:
        wait_for(lambda: _pid(rack, job), "its process", timeout_s=10, pause_s=0.05)
        rack.master.run(["kill", "-KILL", str(_pid(rack, job))], timeout_s=10, check=False)
    finally:
        host.thaw()
    rack.await_hosts([host.name])
    told = alice.end_of(job)
    assert told["state"] in ("lost", "done", "failed")
    if told["state"] == "lost":
        assert told["vm"]["name"] == "busy" and told["told"]


def test_a_running_create_is_cancelled(clean_rack: RealRack) -> None:
    rack = clean_rack
    olivia, alice = rack.api("OPERATOR"), rack.api("ACME")
    job = olivia.start("rack_vm.create", name="acme/stopped", host="h1", **CREATE)
    _until_claimed(rack)
    rack.host("h1").freeze()
    try:
        assert alice.refusal("rack_job.cancel", job=job).status in (403, 409)
        told = olivia.attempt("rack_job.cancel", job=job)
        assert told is None or told.code == "job_ended"
        if told is None:
            lines = olivia.call("rack_audit.list", job=job)["lines"]
            assert [line.get("result") for line in lines if line["kind"] == "outcome"] == ["job_cancelled"]
            assert not _pid(rack, job), "its file of processes is gone too"
    finally:
        rack.host("h1").thaw()
    rack.await_hosts(["h1"])
    _true_end(olivia, job, "acme/stopped")
    assert olivia.refusal("rack_job.cancel", job=job).code == "job_ended"


def _pid(rack: RealRack, job: str) -> int:
    """The process of a job, by the file that Salt keeps while it runs; 0 for none."""
    script = (
        "import sys, pathlib, salt.payload\n"
        "path = pathlib.Path('/var/cache/salt/master/proc', sys.argv[1])\n"
        "print(salt.payload.loads(path.read_bytes())['pid'] if path.exists() and path.stat().st_size else 0)\n"
    )
    python = "/opt/racksalt-master/bin/python3"
    done = rack.master.run([python, "-c", script, job], timeout_s=30, check=False)
    return int(done.stdout.strip() or 0)
