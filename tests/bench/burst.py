"""BURST: 50 creates at once on three hosts, and the same 50 by raw virsh, with as many of them side by side."""

from __future__ import annotations

import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import deploy
from rackbox_lib.node import Node
from rackbox_lib.rack import Rack
from tests.bench import by_hand, create
from tests.bench.figures import Figure

_VMS = 50
_SIDE_BY_SIDE = 8
_ROUNDS = 5
_GOAL = 1.3

#: In the master: so many processes, each with its own rack, as the API's runners have.
_OURS = """
import json, sys, time
from multiprocessing import get_context
import salt.config
from racksalt import access
from racksalt.adapters import this_rack
from racksalt.errors import RacksaltError
from racksalt.rack import RECENT_S
from racksalt.rack_requests import CreateVm
from racksalt.vm_create import VmCreate

OPTS = salt.config.master_config("/etc/salt/master")

# A runner's process has all of this loaded, what talks to the bus too: it is made by one that has. Each asks by
# itself: a look at all hosts is shared by who wants one at the same time.
def warm(_):
    with this_rack.connected(OPTS) as rack:
        rack.inventory(rack.settings())
        rack.fleet.ask(["h1"], "rack_host.report", {}, timeout_s=30)
        time.sleep(0.5)  # So that none of the processes takes the turn of another, and stays cold.

def make(number):
    with this_rack.connected(OPTS) as rack:
        settings = rack.settings()
        caller = access.identify("root", settings)
        try:
            VmCreate(rack).create(caller, CreateVm(f"acme/burst{number}", flavor="m1.tiny", image="tiny"), settings)
        except RacksaltError as error:
            return error.detail

with get_context("fork").Pool(int(sys.argv[2])) as pool:
    pool.map(warm, range(2 * int(sys.argv[2])), chunksize=1)
    time.sleep(RECENT_S)  # So that no create begins on the look of the warm-up, which nobody has timed.
    began = time.perf_counter()
    refused = [detail for detail in pool.map(make, range(int(sys.argv[1])), chunksize=1) if detail]
    print(json.dumps({"seconds": time.perf_counter() - began, "refused": refused}))
"""

#: Neither the quota nor the rackbox's hosts are to hold them back.
_LIFT = """
import yaml
from pathlib import Path
folder = Path("/etc/racksalt/rack")
tenants = yaml.safe_load((folder / "tenants.yaml").read_text())
tenants["tenants"]["acme"]["quota"] = {"vms": -1, "vcpus": -1, "memory_mib": -1, "disk_gib": -1}
(folder / "tenants.yaml").write_text(yaml.safe_dump(tenants))
hosts = yaml.safe_load((folder / "hosts.yaml").read_text())
hosts["defaults"]["room"] = {"overcommit": {"vcpus": 64, "memory": 8, "disk": 16}}
(folder / "hosts.yaml").write_text(yaml.safe_dump(hosts))
"""


def measure() -> list[Figure]:
    """Medians of interleaved rounds; all guests boot meanwhile, on either side."""
    rack = Rack("bench")
    rack.up(3)
    deploy.deploy(rack)
    try:
        return _measure(rack)
    finally:
        rack.down()


def _measure(rack: Rack) -> list[Figure]:
    rack.master.run(["/opt/racksalt-master/bin/python3", "-c", _LIFT], timeout_s=30)
    for host in rack.hosts():
        create.prepare_raw(rack, create.tenant_of(rack), host.name)
    ours, raw = [], []
    for _ in range(_ROUNDS):
        ours.append(_ours(rack))
        raw.append(_raw(rack))
    middle, other = statistics.median(ours), statistics.median(raw)
    case = f"{_VMS} creates at once, {_SIDE_BY_SIDE} side by side"
    return [Figure("BURST", case, middle, other, "raw virsh", "s", f"<= {_GOAL} x raw", middle <= _GOAL * other)]


def _ours(rack: Rack) -> float:
    argv = ["/opt/racksalt-master/bin/python3", "-c", _OURS, str(_VMS), str(_SIDE_BY_SIDE)]
    told = json.loads(rack.master.run(argv, timeout_s=600).stdout.splitlines()[-1])
    assert not told["refused"], told["refused"][:3]
    by_hand.wipe(rack)
    return float(told["seconds"])


def _raw(rack: Rack) -> float:
    hosts = rack.hosts()

    def make(number: int) -> None:
        node: Node = hosts[number % len(hosts)]
        node.run(["sh", "-c", by_hand.START, "raw", str(number)], timeout_s=300)

    began = time.perf_counter()
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        list(pool.map(make, range(_VMS)))
    seconds = time.perf_counter() - began
    by_hand.wipe(rack)
    return seconds
