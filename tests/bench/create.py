"""M3: a create in process, over the API, and by raw virsh with the same XML and the same disk step, in turn."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import demo
import deploy
from rackbox_lib.rack import Rack
from tests.bench.figures import Figure

_ROUNDS = 12
_GOAL_S = 0.25
_HOST = "h1"
_VM = "bench1"

#: In the master, in one process, as the API of the next version will do it.
_OURS = """
import json, sys, time
import salt.config
from racksalt import access
from racksalt.adapters import this_rack
from racksalt.rack_requests import ActOnVm, CreateVm
from racksalt.rack_vms import RackVms
from racksalt.vm_create import VmCreate

with this_rack.connected(salt.config.master_config("/etc/salt/master")) as rack:
    print("ready", flush=True)
    for line in sys.stdin:
        settings = rack.settings()
        caller = access.identify("root", settings)
        began = time.perf_counter()
        asked = CreateVm("acme/bench1", flavor="m1.tiny", image="tiny", host="h1")
        VmCreate(rack).create(caller, asked, rack.settings())
        print(json.dumps(time.perf_counter() - began), flush=True)
        RackVms(rack).act(caller, ActOnVm("acme/bench1", "delete"), rack.settings())
        print("deleted", flush=True)
"""

#: On the host: the same disk, seed and XML by hand.
_RAW = """
set -e
began=$(date +%s%N)
qemu-img create -q -f qcow2 /var/lib/racksalt/volumes/raw.qcow2 1G
xorrisofs -quiet -volid cidata -joliet -rock -output /var/lib/racksalt/volumes/raw.iso /tmp/raw-seed
virsh -q define /tmp/raw.xml
virsh -q start raw1
ended=$(date +%s%N)
echo $((ended - began))
virsh -q destroy raw1
virsh -q undefine raw1
rm /var/lib/racksalt/volumes/raw.qcow2 /var/lib/racksalt/volumes/raw.iso
"""


def measure() -> list[Figure]:
    """Medians of interleaved rounds on a rack of one host, with nothing else on it."""
    rack = Rack("bench")
    rack.up(1)
    deploy.deploy(rack)
    try:
        return _measure(rack)
    finally:
        rack.down()


def _measure(rack: Rack) -> list[Figure]:
    tenant = tenant_of(rack)
    prepare_raw(rack, tenant)
    ours, raw, api = [], [], []
    with _InProcess(rack) as process:
        for _ in range(_ROUNDS):
            ours.append(process.create())
            raw.append(int(rack.node(_HOST).run(["sh", "-c", _RAW], timeout_s=60).stdout) / 1e9)
            api.append(_over_api(tenant))
    middle, other = statistics.median(ours), statistics.median(raw)
    return [
        Figure(
            "M3",
            "create in process, p50",
            middle,
            other,
            "raw virsh",
            "s",
            "<= raw + 0.25 s",
            middle <= other + _GOAL_S,
        ),
        Figure("M3", "create over salt-api, p50", statistics.median(api), other, "raw virsh", "s", "-", None),
    ]


class _InProcess:
    """A process in the master that creates and deletes at each line it gets."""

    def __init__(self, rack: Rack) -> None:
        argv = rack.master.exec_argv(["/opt/racksalt-master/bin/python3", "-c", _OURS])
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> _InProcess:
        self._await("ready")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(timeout=30)

    def create(self) -> float:
        """One create, timed inside; the VM is deleted afterwards."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        seconds = json.loads(self._process.stdout.readline())
        self._await("deleted")
        return float(seconds)

    def _await(self, word: str) -> None:
        assert self._process.stdout
        line = self._process.stdout.readline().strip()
        if line != word:
            raise RuntimeError(f"the process in the master said {line!r}, not {word!r}")


def tenant_of(rack: Rack) -> Any:
    """The API, logged in as the user of acme."""
    env = dict(line.removeprefix("export ").split("=", 1) for line in deploy.env_path(rack).read_text().splitlines())
    ca = Path(env["RACK_CA"])
    return demo.Tenant.log_in(env["RACK_URL"], ca, env["ACME_USER"], env["ACME_PASSWORD"])


def _over_api(tenant: Any) -> float:
    began = time.perf_counter()
    tenant.call("rack_vm.create", name=_VM, flavor="m1.tiny", image="tiny")
    seconds = time.perf_counter() - began
    tenant.call("rack_vm.delete", name=_VM)
    return seconds


def prepare_raw(rack: Rack, tenant: Any, host_name: str = _HOST) -> None:
    """The XML of a VM of ours under another name, and its seed, on a host."""
    asked = {"flavor": "m1.tiny", "image": "tiny", "host": host_name}
    words = [f"{key}={value}" for key, value in asked.items()]
    rack.master.run(["salt-run", "rack_vm.create", f"acme/{_VM}", *words], timeout_s=60)
    host = rack.node(host_name)
    xml = host.run(["virsh", "dumpxml", "--inactive", f"acme.{_VM}"], timeout_s=20).stdout
    xml = re.sub(r"<metadata>.*</metadata>|<uuid>.*</uuid>|<mac address=[^>]*>", "", xml, flags=re.S)
    xml = re.sub(r"/var/lib/racksalt/volumes/acme/[^']*\.qcow2", "/var/lib/racksalt/volumes/raw.qcow2", xml)
    xml = re.sub(r"/var/lib/racksalt/volumes/acme/[^']*\.iso", "/var/lib/racksalt/volumes/raw.iso", xml)
    xml = re.sub(r"/var/log/libvirt/qemu/[^']*\.console\.log", "/var/log/libvirt/qemu/raw.console.log", xml)
    host.write("/tmp/raw.xml", xml.replace(f"<name>acme.{_VM}</name>", "<name>raw1</name>"))
    seed = (
        "mkdir -p /tmp/raw-seed; cd /tmp/raw-seed; echo instance-id: raw > meta-data; echo '#cloud-config' > user-data"
    )
    host.run(["sh", "-c", seed], timeout_s=20)
    tenant.call("rack_vm.delete", name=_VM)
