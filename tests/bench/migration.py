"""M4: a live migration by us, and one of a like VM by raw ``virsh migrate``, interleaved; total and pause."""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass

import deploy
from rackbox_lib.rack import Rack
from tests.bench import create
from tests.bench.figures import Figure

_ROUNDS = 20
_TITLE = "acme/bench2"
#: The guests' boot writes all over their memory, which is then copied more than once.
_BOOT_S = 20

#: In the master, in one process that has spoken to the bus before, as the API's runners have.
_OURS = """
import json, sys, time
import salt.config
from racksalt import access
from racksalt.adapters import this_rack
from racksalt.rack_migrations import RackMigrations
from racksalt.rack import RECENT_S
from racksalt.rack_requests import MigrateVm

with this_rack.connected(salt.config.master_config("/etc/salt/master")) as rack:
    settings = rack.settings()
    caller = access.identify("root", settings)
    rack.inventory(settings)
    time.sleep(RECENT_S)  # So that the move does not begin on this look, which nobody has timed.
    began = time.perf_counter()
    receipt = RackMigrations(rack).migrate(caller, MigrateVm(sys.argv[1], target=sys.argv[2]), settings)
    seconds = time.perf_counter() - began
print(json.dumps([seconds, receipt["pause_ms"], receipt["transfer_s"]]))
"""

#: On its first host: the same VM by hand.
_START_RAW = """
set -e
qemu-img create -q -f qcow2 /var/lib/racksalt/volumes/raw.qcow2 1G
xorrisofs -quiet -volid cidata -joliet -rock -output /var/lib/racksalt/volumes/raw.iso /tmp/raw-seed
virsh -q define /tmp/raw.xml
virsh -q start raw1
"""

#: On the target, before the clock runs: disk, seed, door.
_MAKE_READY = """
set -e
qemu-img create -q -f qcow2 /var/lib/racksalt/volumes/raw.qcow2 1G
mkdir -p /tmp/raw-seed
xorrisofs -quiet -volid cidata -joliet -rock -output /var/lib/racksalt/volumes/raw.iso /tmp/raw-seed
nft add element inet racksalt_moves sources4 "{ $1 timeout 60s }"
"""

#: On the source, with the flags that we use; nanoseconds.
_RAW = """
set -e
began=$(date +%s%N)
virsh -q migrate --live --p2p --persistent --undefinesource --tls --abort-on-error --copy-storage-inc \
    raw1 qemu+tls://$1/system tcp:$1
ended=$(date +%s%N)
echo $((ended - began))
rm -f /var/lib/racksalt/volumes/raw.*
"""


@dataclass(frozen=True)
class Move:
    """One migration, as it was measured."""

    total_s: float
    pause_ms: float


def measure() -> list[Figure]:
    """Medians of interleaved rounds on a rack of two hosts, with nothing else on it."""
    rack = Rack("bench")
    rack.up(2)
    deploy.deploy(rack)
    try:
        return figures(rack)
    finally:
        rack.down()


def figures(rack: Rack) -> list[Figure]:
    """The same on a rack that is up; both VMs run all the time, and go to and fro in turn."""
    tenant = create.tenant_of(rack)
    create.prepare_raw(rack, tenant, "h1")
    rack.node("h1").run(["sh", "-c", _START_RAW], timeout_s=60)
    rack.master.run(["salt-run", "rack_vm.create", _TITLE, "flavor=m1.tiny", "image=tiny", "host=h1"], timeout_s=120)
    time.sleep(_BOOT_S)
    ours, raw = [], []
    for number in range(_ROUNDS):
        here, there = ("h1", "h2") if number % 2 == 0 else ("h2", "h1")
        ours.append(_ours(rack, there))
        raw.append(_raw(rack, here, there))
    return [_total(ours, raw), _pause(ours, raw)]


def _total(ours: list[Move], raw: list[Move]) -> Figure:
    own, other = (statistics.median(move.total_s for move in moves) for moves in (ours, raw))
    goal = own <= 1.1 * other + 0.25
    return Figure("M4", "live migration, total, p50", own, other, "raw virsh", "s", "<= 1.1 x raw + 0.25 s", goal)


def _pause(ours: list[Move], raw: list[Move]) -> Figure:
    own, other = (statistics.median(move.pause_ms for move in moves) for moves in (ours, raw))
    return Figure(
        "M4", "live migration, pause, p50", own, other, "raw virsh", "ms", "<= raw + 20 ms", own <= other + 20
    )


def _ours(rack: Rack, target: str) -> Move:
    argv = ["/opt/racksalt-master/bin/python3", "-c", _OURS, _TITLE, target]
    total_s, pause_ms, _ = json.loads(rack.master.run(argv, timeout_s=200).stdout.splitlines()[-1])
    return Move(total_s, pause_ms)


def _raw(rack: Rack, source: str, target: str) -> Move:
    ready = ["bash", "-c", _MAKE_READY, "raw", rack.node(source).address]
    rack.node(target).run(ready, timeout_s=30)
    done = rack.node(source).run(["bash", "-c", _RAW, "raw", target], timeout_s=200)
    stats = rack.node(target).run(["virsh", "domjobinfo", "--completed", "raw1"], timeout_s=20).stdout
    pause = next(line.split()[2] for line in stats.splitlines() if line.startswith("Total downtime"))
    return Move(int(done.stdout.split()[0]) / 1e9, float(pause))
