"""Moves between real hosts: what goes along, what both ends say, and one owner whatever is killed in the middle."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.on_rack import CLAIMS, CREATE, VOLUMES, RealRack, wait_for
from tests.promises import full, sample

#: Slow enough that there is a middle: a tiny guest takes half a minute.
SLOW_MIB_S = 2
#: A claim's time, the clocks' difference, the watch's turn and its look, a host's boot, on two busy processors.
ENDED_S = 240.0

#: A guest that writes over so much of its memory again and again, many times a second.
_RESTLESS_MIB = 8
_RESTLESS = f"""#!/bin/sh
head -c {_RESTLESS_MIB * 2**20} /dev/urandom > /run/one
while :; do cat /run/one > /run/other; done
"""

PHASES = ("receive", "transfer", "conclude")
FAULTS = ("runner", "source libvirtd", "target libvirtd", "link", "target host", "source host", "master")


@pytest.fixture
def vm(clean_rack: RealRack) -> Iterator[RealRack]:
    """A rack with acme/web1 on h1, whose guest is up."""
    made = clean_rack.run("rack_vm.create", "acme/web1", host="h1", **CREATE)
    assert made.code == 0, made
    clean_rack.guest("acme/web1")
    yield clean_rack
    clean_rack.revive()


def migrate(rack: RealRack, target: str, **asked: Any) -> dict[str, Any]:
    ran = rack.run("rack_vm.migrate", "acme/web1", target=target, **asked)
    assert ran.code == 0, ran
    return dict(ran.data)


@pytest.mark.promise("P5")
def test_a_vm_moves_with_all_that_is_its_own_and_survives_a_reboot_there(vm: RealRack) -> None:
    rack = vm
    before, guest = rack.vm("acme/web1"), rack.guest("acme/web1")
    seed = _seed_sum(rack, "h1", before["uuid"])
    receipt = migrate(rack, "h2")
    assert receipt["from"] == {"host": "h1", "before": "running", "after": None}
    assert receipt["to"] == {"host": "h2", "before": None, "after": "running"}
    assert receipt["live"] and receipt["persistent"] and receipt["copied_bytes"] > 2**20 and receipt["pause_ms"] > 0
    after = rack.vm("acme/web1")
    assert {**after, "host": "h1", "generation": 1} == {**before, "state": "running"} and after["generation"] == 2
    assert _goes_on(guest, rack.guest("acme/web1")), "the guest was not started anew"
    assert _seed_sum(rack, "h2", before["uuid"]) == seed
    assert _owners(rack, before["uuid"]) == {"h2": "running"} and _nothing_of(rack, "h1", before["uuid"])
    assert _doors(rack) == []

    rack.api("ACME").call("rack_vm.restart", name="web1", hard=True)
    assert _same_but_booted(rack, guest, 1), "the definition, the disk, the seed and the address moved"
    rack.host("h2").restart()
    rack.await_hosts(["h2"])
    rack.api("ACME").call("rack_vm.start", name="web1")
    assert _same_but_booted(rack, guest, 2)


def test_a_stopped_vm_moves_and_stays_stopped(clean_rack: RealRack) -> None:
    rack = clean_rack
    rack.run("rack_vm.create", "acme/web1", host="h1", start=False, **CREATE)
    uuid = rack.vm("acme/web1")["uuid"]
    receipt = migrate(rack, "h3")
    assert not receipt["live"] and receipt["to"]["after"] == "stopped"
    assert _owners(rack, uuid) == {"h3": "shut off"} and _nothing_of(rack, "h1", uuid)
    rack.api("ACME").call("rack_vm.start", name="web1")
    assert rack.guest("acme/web1")


def test_a_guest_may_be_slowed_down(vm: RealRack) -> None:
    """Slowly, so that the guest's memory is gone through more than once."""
    rack, guest = vm, vm.guest("acme/web1")
    receipt = migrate(rack, "h2", bandwidth_mib_s=20, auto_converge=True)
    assert receipt["live"] and receipt["persistent"] and _owners(rack, receipt["uuid"]) == {"h2": "running"}
    assert _goes_on(guest, rack.guest("acme/web1"))


def test_a_guest_that_writes_faster_than_its_memory_goes_over_stays_or_goes_ahead_of_it(clean_rack: RealRack) -> None:
    rack = clean_rack
    rack.api("OPERATOR").call("rack_vm.create", name="acme/web1", host="h1", user_data=_RESTLESS, **CREATE)
    guest, uuid = rack.guest("acme/web1"), rack.vm("acme/web1")["uuid"]
    wait_for(lambda: _written(rack, uuid) > _RESTLESS_MIB / 2, "the guest writes all the time", timeout_s=60)
    refused = rack.api("OPERATOR").refusal(
        "rack_vm.migrate", name="acme/web1", target="h2", bandwidth_mib_s=_RESTLESS_MIB // 2, timeout_s=20
    )
    assert refused.code == "migration_failed" and refused.error["vm_is"] == "it is on h1, running"
    assert _owners(rack, uuid) == {"h1": "running"} and _nothing_of(rack, "h2", uuid) and _doors(rack) == []
    assert _goes_on(guest, rack.guest("acme/web1"))
    receipt = migrate(rack, "h2", bandwidth_mib_s=4 * _RESTLESS_MIB, post_copy=True)
    assert receipt["live"] and receipt["persistent"] and _owners(rack, uuid) == {"h2": "running"}
    assert _goes_on(guest, rack.guest("acme/web1"))


def _written(rack: RealRack, uuid: str) -> float:
    """How many MiB of its memory the guest writes in a second, by libvirt's own count."""
    script = f"virsh -q domdirtyrate-calc {uuid} --seconds 1; sleep 1.5; virsh domstats --dirtyrate {uuid}"
    told = rack.host("h1").run(["sh", "-c", script], timeout_s=30).stdout
    found = re.search(r"megabytes_per_second=(\d+)", told)
    return float(found.group(1)) if found else 0.0


def test_a_move_that_is_cancelled_leaves_the_guest_where_it_is(vm: RealRack) -> None:
    rack = vm
    operator, uuid, guest = rack.api("OPERATOR"), rack.vm("acme/web1")["uuid"], rack.guest("acme/web1")
    job = operator.start("rack_vm.migrate", name="acme/web1", target="h2", bandwidth_mib_s=SLOW_MIB_S)
    _await_phase(rack, "transfer", uuid)
    moving = wait_for(lambda: _counted(rack), "the source tells how far it has come", timeout_s=60)
    assert (moving["from"], moving["to"]) == ("h1", "h2") and 0 < moving["percent"] < 100
    assert moving["left_bytes"] > 0
    assert rack.api("ACME").refusal("rack_vm.stop", name="web1").code == "vm_moving"
    operator.call("rack_job.cancel", job=job)
    wait_for(lambda: not _open_claims(rack), "the move has ended", timeout_s=ENDED_S, pause_s=1)
    assert _owners(rack, uuid) == {"h1": "running"} and _nothing_of(rack, "h2", uuid) and _doors(rack) == []
    assert _goes_on(guest, rack.guest("acme/web1"))


def _counted(rack: RealRack) -> dict[str, Any] | None:
    moving: dict[str, Any] = rack.vm("acme/web1")["moving"]
    return moving if moving.get("percent") else None


@dataclass(frozen=True)
class Case:
    fault: str
    phase: str

    def __str__(self) -> str:
        return f"{self.fault}, {self.phase}"


@pytest.mark.promise("P4")
@pytest.mark.parametrize("case", sample([Case(fault, phase) for fault in FAULTS for phase in PHASES], 2), ids=str)
def test_a_move_that_is_cut_off_leaves_one_owner(vm: RealRack, case: Case) -> None:
    rack, guest = vm, vm.guest("acme/web1")
    uuid = rack.vm("acme/web1")["uuid"]
    slow = {"bandwidth_mib_s": SLOW_MIB_S} if case.phase == "transfer" else {}
    words = ["salt-run", "rack_vm.migrate", "acme/web1", "target=h2", *(f"{key}={slow[key]}" for key in slow)]
    runner = subprocess.Popen(rack.master.exec_argv(words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    watched: list[dict[str, str]] = []
    _await_phase(rack, case.phase, uuid)
    undo = _break(rack, case.fault)
    watched.append(_owners(rack, uuid))
    undo()
    runner.wait(timeout=400)
    rack.await_hosts(["h1", "h2", "h3"])
    _hurry(rack)
    wait_for(lambda: not _open_claims(rack), "a look has ended the move", timeout_s=ENDED_S, pause_s=1)
    owners = _owners(rack, uuid)
    assert len(owners) == 1 and all(len(seen) <= 1 for seen in watched), (case, owners, watched)
    (host, state), crashed = next(iter(owners.items())), case.fault.endswith("host")
    assert rack.vm("acme/web1")["host"] == host and _nothing_of(rack, {"h1": "h2", "h2": "h1"}[host], uuid)
    assert state == "running" or crashed, (case, owners)
    if not crashed:
        assert _goes_on(guest, rack.guest("acme/web1")), "the guest ran on, wherever it is"
    assert migrate(rack, "h3")["persistent"] and _owners(rack, uuid).keys() == {"h3"}


def _break(rack: RealRack, fault: str) -> Callable[[], None]:
    """Let it happen; what heals it."""
    host = rack.host("h2" if fault.startswith(("target", "link")) else "h1")
    if fault == "runner":
        kill = "pkill -9 -f '^[^ ]*python[^ ]* [^ ]*salt-run rack_vm.migrate '"
        rack.master.run(["sh", "-c", kill], timeout_s=20, check=False)
        return lambda: None
    if fault == "master":
        rack.master.run(["systemctl", "kill", "-s", "KILL", "salt-master"], timeout_s=20)
        threading.Event().wait(20 if full() else 5)
        return lambda: (rack.master.run(["systemctl", "restart", "salt-master"], timeout_s=60), None)[1]
    if fault.endswith("libvirtd"):
        host.run(["systemctl", "kill", "--kill-whom=main", "-s", "KILL", "libvirtd"], timeout_s=20)
        return lambda: None
    if fault == "link":
        host.cut()
        threading.Event().wait(45 if full() else 5)
        return host.heal
    host.crash()
    return lambda: (host.boot(), host.wait_ready())[0]


def _await_phase(rack: RealRack, phase: str, uuid: str) -> None:
    at, script = {
        "receive": ("h2", f"test -e {VOLUMES}/acme/{uuid}.qcow2"),
        "transfer": ("h2", f"virsh domstate {uuid}"),
        "conclude": ("h1", f"! virsh domstate {uuid}"),
    }[phase]
    loop = f"for _ in $(seq 3000); do {{ {script}; }} >/dev/null 2>&1 && exit 0; sleep 0.02; done; exit 1"
    rack.host(at).run(["bash", "-c", loop], timeout_s=120)


def _hurry(rack: RealRack) -> None:
    """The claims that are left are past their time now, and not in a minute."""
    script = (
        "import glob, json, os\n"
        f"for path in glob.glob('{CLAIMS}/*.json'):\n"
        "    claim = json.load(open(path))\n"
        "    if claim.get('settled_at') is None:\n"
        "        claim['deadline'] -= 120\n"
        "        json.dump(claim, open(path + '.new', 'w')); os.replace(path + '.new', path)\n"
    )
    rack.master.run(["/opt/racksalt-master/bin/python3", "-c", script], timeout_s=20)


def _owners(rack: RealRack, uuid: str) -> dict[str, str]:
    """The hosts that have it for good, and its state there; those that are off have nothing that runs."""
    found = {}
    for host in rack.hosts:
        if host.state() == "running":
            script = f"virsh dominfo {uuid} 2>/dev/null | sed -n 's/^\\(State\\|Persistent\\): *//p'"
            lines = host.run(["bash", "-c", script], timeout_s=60, check=False).stdout.split("\n")
            if len(lines) > 1 and lines[1].strip() == "yes":
                found[host.name] = lines[0].strip()
    return found


def _nothing_of(rack: RealRack, host: str, uuid: str) -> bool:
    address = rack.vm("acme/web1")["addresses"][0]
    script = (
        f"virsh list --all --uuid | grep {uuid}; ls {VOLUMES}/*/{uuid}*; grep -r {address} /var/lib/racksalt/leases"
    )
    return rack.host(host).run(["bash", "-c", script], timeout_s=30, check=False).stdout.strip() == ""


def _doors(rack: RealRack) -> list[str]:
    """Who is let in to migrate, anywhere."""
    script = "nft -j list set inet racksalt_moves sources4"
    sets = [json.loads(host.run(["sh", "-c", script], timeout_s=20).stdout) for host in rack.hosts]
    return [str(one) for found in sets for item in found["nftables"] for one in item.get("set", {}).get("elem", [])]


def _seed_sum(rack: RealRack, host: str, uuid: str) -> str:
    return rack.host(host).run(["sha256sum", f"{VOLUMES}/acme/{uuid}-seed.iso"], timeout_s=20).stdout.split()[0]


def _open_claims(rack: RealRack) -> list[str]:
    script = f"grep -L '\"settled_at\": [0-9]' {CLAIMS}/*.json"
    return rack.master.run(["sh", "-c", script], timeout_s=10, check=False).stdout.split()


def _same_but_booted(rack: RealRack, before: dict[str, Any], times: int) -> bool:
    now = rack.guest("acme/web1")
    return {**now, "uptime_s": 0} == {**before, "uptime_s": 0, "boots": before["boots"] + times}


def _goes_on(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether it is the same run of the same guest, which counts its boots on its disk."""
    same = all(before[key] == after[key] for key in ("instance_id", "address", "mac", "boots"))
    return same and bool(after["uptime_s"] > before["uptime_s"])
