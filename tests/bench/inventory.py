"""M8 and M9: the inventory read anew from all hosts, and how soon a change on a host is in it."""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import deploy
from rackbox_lib.rack import Rack as Box
from racksalt import record_proof, shape
from racksalt.adapters.inventory_cache import InventoryCache
from racksalt.model import Domain, HostReport, Room
from racksalt.ports import Answer
from tests.bench import claim, create
from tests.bench.figures import Figure
from tests.fakes import FakeFleet, FakeRack, FakeRing, fake_rack

_HOSTS = 200
_VMS_A_HOST = 50
#: One publish and its answers, as measured on a rackbox; the other side makes one for each domain.
_PUBLISH_S = 0.1
_CHANGES = 20

#: In the master: when a VM of a state is in what the events of its host add up to.
_WATCH = """
import json, sys, time
import salt.config
from racksalt.adapters.inventory_cache import InventoryCache

cache = InventoryCache(salt.config.master_config("/etc/salt/master"))
print(json.dumps("ready"), flush=True)
host, uuid, before = sys.argv[1], sys.argv[2], None
until = time.monotonic() + float(sys.argv[3])
while time.monotonic() < until:
    report = cache.live_one(host)
    state = next((one.state for one in report.domains if one.uuid == uuid), None) if report else None
    if state != before:
        print(json.dumps([time.time(), state]), flush=True)
        before = state
    time.sleep(0.002)
"""

#: On the host: when libvirt itself told of the same changes, to who listens to it.
_CHANGE = """
import json, sys, threading, time
import libvirt

libvirt.virEventRegisterDefaultImpl()
connection = libvirt.open("qemu:///system")
told = []
connection.domainEventRegisterAny(
    None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, lambda *event: told.append(time.time()), None
)
threading.Thread(target=lambda: [libvirt.virEventRunDefaultImpl() for _ in iter(int, 1)], daemon=True).start()
domain = connection.lookupByUUIDString(sys.argv[1])
for number in range(int(sys.argv[2])):
    count = len(told)
    (domain.resume if number % 2 else domain.suspend)()
    while len(told) == count:
        time.sleep(0.001)
    print(json.dumps([told[count], "running" if number % 2 else "paused"]), flush=True)
    time.sleep(1.5)
"""


@dataclass
class SimulatedFleet(FakeFleet):
    """Hosts that answer at once with what they are told to have, as plain data."""

    replies: Mapping[str, Any] = field(default_factory=dict)
    publishes: int = 0

    def ask(
        self,
        hosts: Sequence[str],
        function: str,
        request: Mapping[str, Any],
        *,
        timeout_s: float,
        lead: str | None = None,
    ) -> dict[str, Answer]:
        """One publish to all of them."""
        self.publishes += 1
        return {host: self.replies[host] for host in hosts}


def rebuilt() -> list[Figure]:
    """M8: all that the master does with simulated replies; the other side's publishes are counted, not made."""
    fake = fake_rack(_HOSTS)
    fleet = SimulatedFleet({}, replies=_replies())
    with tempfile.TemporaryDirectory(prefix="inventory-", dir=Path.cwd()) as folder:
        opts = {"cache": "localfs", "cachedir": folder, "extension_modules": "", "__role": "master"}
        rack = replace(fake.rack, fleet=fleet, last_known=InventoryCache(opts))
        settings = rack.settings()
        began = time.perf_counter()
        seen = rack.inventory(settings)
        assert len(seen.vms()) == _HOSTS * _VMS_A_HOST
        whole_s = time.perf_counter() - began + _PUBLISH_S
        assert fleet.publishes == 1
        for report in rack.last_known.read().values():
            rack.last_known.write_live(replace(report, read_at=rack.clock.now()))
        fleet.publishes = 0
        began = time.perf_counter()
        assert len(rack.live_inventory(settings).vms()) == _HOSTS * _VMS_A_HOST
        live_s = time.perf_counter() - began
        assert fleet.publishes == 0
    each_s = _one_by_one(fake)
    vms = f"{_HOSTS} hosts x {_VMS_A_HOST} VMs"
    return [
        Figure("M8", f"{vms}, read anew", whole_s, each_s, "each domain in turn", "s", "< 5 s", whole_s < 5),
        Figure("M8", f"{vms}, as their events tell it", live_s, whole_s, "read anew", "s", "-", None),
    ]


def _one_by_one(fake: FakeRack) -> float:
    """A publish for each domain, and its answer made a value; a hundredth of them, times a hundred."""
    one = next(iter(_replies().values()))["domains"][0]
    count = _HOSTS * _VMS_A_HOST
    began = time.perf_counter()
    for _ in range(count // 100):
        shape.parse(Domain, one)
    return (time.perf_counter() - began) * 100 + count * _PUBLISH_S


def _replies() -> dict[str, Any]:
    ring = FakeRing().read()
    told = {}
    for at in range(_HOSTS):
        name = f"h{at + 1}"
        records = [claim._record(name, number) for number in range(at * _VMS_A_HOST, (at + 1) * _VMS_A_HOST)]
        domains = tuple(Domain(vm.uuid, vm.domain, "running", 1, 128, 1, record_proof.sign(vm, ring)) for vm in records)
        told[name] = shape.plain(HostReport(name, Room(64, 2**18, 4000), domains, "fake", boot="b", uptime_s=1.0))
    return told


def seen_after() -> list[Figure]:
    """M9: from libvirt's own event to the master's cache; all nodes have the outer machine's clock."""
    box = Box("bench")
    box.up(1)
    deploy.deploy(box)
    try:
        return [_after(box)]
    finally:
        box.down()


def _after(box: Box) -> Figure:
    host = box.hosts()[0]
    api = create.tenant_of(box)
    api.call("rack_vm.create", name="seen", flavor="m1.tiny", image="tiny")
    uuid = host.run(["virsh", "list", "--uuid"], timeout_s=20).stdout.split()[0]
    python = "/opt/racksalt-master/bin/python3"
    argv = [python, "-c", _WATCH, host.name, uuid, str(_CHANGES * 2 + 10)]
    with subprocess.Popen(box.master.exec_argv(argv), stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout and "ready" in watch.stdout.readline()
        time.sleep(6)
        told = host.run(["/usr/bin/python3", "-c", _CHANGE, uuid, str(_CHANGES)], timeout_s=_CHANGES * 5)
        seen = [json.loads(line) for line in watch.stdout]
    late = [_first(seen, at, state) - at for at, state in map(json.loads, told.stdout.splitlines())]
    middle = statistics.median(late)
    return Figure(
        "M9", "a change, from libvirt's event to the inventory", middle, None, "", "s", "< 0.1 s", middle < 0.1
    )


def _first(seen: list[list[Any]], at: float, state: str) -> float:
    """When this state was seen first, after it was told."""
    return float(next(moment for moment, found in seen if found == state and moment > at - 0.01))
