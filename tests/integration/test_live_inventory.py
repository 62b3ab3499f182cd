"""What hosts tell by themselves: seen soon, missed by nobody, and proved."""

from __future__ import annotations

import time

import pytest

from tests.on_rack import CREATE, RealRack, wait_for

#: All hosts are heard again so soon after they were asked to change something.
HEARD_S = 30


@pytest.fixture(scope="module")
def uuid(rack: RealRack) -> str:
    """acme/live on h1, running."""
    made = rack.api("OPERATOR").call("rack_vm.create", name="acme/live", host="h1", **CREATE)
    return str(made["vm"]["uuid"])


def _state(rack: RealRack) -> str:
    return str(rack.api("ACME").call("rack_vm.show", name="live")["state"])


def _await_state(rack: RealRack, state: str, *, within_s: float = 10) -> float:
    began = time.monotonic()
    wait_for(lambda: _state(rack) == state, f"acme/live is {state}", timeout_s=within_s, pause_s=0.05)
    return time.monotonic() - began


def _qemu(rack: RealRack, uuid: str) -> None:
    rack.host("h1").run(["pkill", "-KILL", "-f", f"guest=.*uuid {uuid}"], timeout_s=20)


def _reads(rack: RealRack) -> int:
    """How often the hosts were asked for their reports."""
    done = rack.master.run(["sh", "-c", "grep -lr rack_host.report /var/cache/salt/master/jobs | wc -l"], timeout_s=30)
    return int(done.stdout)


def _await_heard(rack: RealRack) -> None:
    """Until a read asks no host."""

    def heard() -> bool:
        before = _reads(rack)
        _state(rack)
        return _reads(rack) == before

    wait_for(heard, "all hosts are known by their events", timeout_s=HEARD_S, pause_s=0.5)


def test_a_guest_that_dies_is_seen_and_no_host_is_asked(rack: RealRack, uuid: str) -> None:
    _await_heard(rack)
    before = _reads(rack)
    _qemu(rack, uuid)
    took = _await_state(rack, "stopped")
    assert _reads(rack) == before
    print(f"\nseen after {took:.2f} s")


def test_what_a_caller_changes_it_sees(rack: RealRack, uuid: str) -> None:
    acme = rack.api("ACME")
    for number in range(3):
        for verb, state in (("start", "running"), ("pause", "paused"), ("resume", "running")):
            assert acme.call(f"rack_vm.{verb}", name="live")["state"] == state == _state(rack)
        acme.call("rack_vm.note", name="live", note=f"{number}")
        assert rack.vm("acme/live")["note"] == f"{number}"
        acme.call("rack_vm.stop", name="live", hard=True)
        assert _state(rack) == "stopped"


@pytest.mark.parametrize("service", ["libvirtd", "salt-minion"])
def test_after_a_restart_on_the_host_its_events_come_again(rack: RealRack, uuid: str, service: str) -> None:
    rack.host("h1").run(["systemctl", "restart", service], timeout_s=60)
    rack.await_hosts(["h1"])
    _await_heard(rack)
    rack.host("h1").run(["virsh", "start", uuid], timeout_s=30)
    _await_state(rack, "running")
    rack.host("h1").run(["virsh", "destroy", uuid], timeout_s=30)
    _await_state(rack, "stopped")


def test_after_a_restart_of_the_master_all_is_as_before(rack: RealRack, uuid: str) -> None:
    rack.master.run(["systemctl", "restart", "salt-master"], timeout_s=60)
    rack.await_hosts([host.name for host in rack.hosts])
    rack.host("h1").run(["virsh", "start", uuid], timeout_s=30)
    _await_state(rack, "running")
    _await_heard(rack)


@pytest.mark.promise("P11")
def test_the_cache_may_go_at_any_time(rack: RealRack, uuid: str) -> None:
    operator = rack.api("OPERATOR")
    before = operator.call("rack_host.inventory")["sha256"]
    rack.master.run(["rm", "-rf", "/var/cache/salt/master/racksalt"], timeout_s=30)
    assert rack.vm("acme/live")["uuid"] == uuid
    assert operator.call("rack_host.inventory")["sha256"] == before
    assert operator.call("rack_host.rebuild_inventory")["sha256"] == before
    _await_heard(rack)
    lines = operator.call("rack_host.list")["hosts"]
    assert all(line["age_s"] < 5 for line in lines)
