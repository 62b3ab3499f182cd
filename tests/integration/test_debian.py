"""A whole Debian guest: cloud-init does what it is told, and its user comes in by ssh."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests import on_rack
from tests.on_rack import RealRack, wait_for

#: From the start under emulation until cloud-init says that it is done, on two busy cores.
UP_S = 240.0
KEY = "/root/guest-key"


@pytest.mark.slow
def test_a_debian_guest_takes_its_name_and_its_key_from_cloud_init(clean_rack: RealRack, tmp_path: Path) -> None:
    rack = clean_rack
    on_rack.rackbox_deploy.add_debian(rack.box)
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "tester", "-f", key], check=True, timeout=20)
    made = rack.api("ACME").call(
        "rack_vm.create",
        name="deb1",
        flavor="m1.small",
        image="debian-12",
        ssh_keys=[(tmp_path / "key.pub").read_text().strip()],
    )["vm"]
    host = rack.host_of("acme/deb1")
    host.write(KEY, key.read_text(), 0o600)
    known = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"]
    ssh = ["ssh", "-i", KEY, *known, "-o", "ConnectTimeout=5", f"debian@{made['addresses'][0]}"]

    def done() -> str:
        script = "hostname; cloud-init status; df --output=size -B1 / | tail -n 1"
        asked = host.run([*ssh, script], timeout_s=30, check=False).stdout
        return asked if "status: done" in asked else ""

    told = wait_for(done, "cloud-init done, asked over ssh", timeout_s=UP_S, pause_s=3).split()
    assert told[0] == "deb1" and int(told[-1]) > 4 * 10**9, "the root file system has its disk's size"
    stopped = rack.api("ACME").call("rack_vm.stop", name="deb1", ladder={"acpi_s": 90})
    assert [rung["rung"] for rung in stopped["rungs"]] == ["acpi"]
    host.run(["rm", "-f", KEY], timeout_s=10)
