"""P6: one disk, one writer, also among hosts that share their volumes: the lease of virtlockd decides.

h1 and h2 share the folder of volumes. QEMU locks a disk too, and within one kernel that would be enough: so the second
domain finds another file under the disk's path, which QEMU's lock knows nothing of. Leases go by the path.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rackbox_lib.node import Node
from tests.on_rack import CREATE, VOLUMES, RealRack, rackbox_deploy

pytestmark = pytest.mark.promise("P6")

_SHARED = "/srv/shared/rack-test-volumes"
_SHARE = f"mkdir -p {_SHARED}; mount --bind {_SHARED} {VOLUMES}"
_UNSHARE = f"while umount {VOLUMES}; do :; done; true"


def _apply(rack: RealRack) -> None:
    rack.shell(["salt", "--out=json", "-L", "h1,h2", "saltutil.refresh_pillar", "wait=True"])
    rackbox_deploy.apply_highstate(rack.box, ["h1", "h2"])


def _script(host: Node, script: str, *words: str) -> tuple[bool, str]:
    done = host.run(["bash", "-c", script, "bash", *words], timeout_s=60, check=False)
    return done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def sharing(rack: RealRack) -> Iterator[RealRack]:
    """A rack whose h1 and h2 share their volumes, and as it was before at the end."""
    for name in ("h1", "h2"):
        assert _script(rack.host(name), _SHARE)[0]
    try:
        rack.edit_yaml("hosts.yaml", lambda data: [data["hosts"][name].update(storage="s1") for name in ("h1", "h2")])
        _apply(rack)
        yield rack
    finally:
        rack.clean()
        for name in ("h1", "h2"):
            _script(rack.host(name), _UNSHARE)
        _script(rack.host("h1"), f"rm -rf {_SHARED}")
        _apply(rack)


@pytest.fixture
def vm(sharing: RealRack) -> Iterator[tuple[RealRack, str]]:
    """A VM that runs on h1, and on h2 its definition, with a disk of its own under the same path."""
    made = sharing.api("OPERATOR").call("rack_vm.create", name="acme/one", host="h1", **CREATE)["vm"]
    disk = f"{VOLUMES}/acme/{made['uuid']}.qcow2"
    xml = sharing.host("h1").run(["virsh", "dumpxml", "--migratable", "acme.one"], timeout_s=10).stdout
    host = sharing.host("h2")
    host.write("/tmp/one.xml", xml)
    apart = 'cp "$1" /tmp/one.qcow2 && mount --bind /tmp/one.qcow2 "$1" && virsh define /tmp/one.xml'
    done, told = _script(host, apart, disk)
    assert done, told
    yield sharing, made["uuid"]
    _script(host, 'virsh destroy acme.one; virsh undefine acme.one; umount "$1"; rm -f /tmp/one.*', disk)
    sharing.api("OPERATOR").call("rack_vm.delete", name="acme/one")


def test_a_disk_that_is_written_on_one_host_starts_on_no_other(vm: tuple[RealRack, str]) -> None:
    rack, uuid = vm
    here, there = rack.host("h1"), rack.host("h2")
    started, told = _script(there, 'virsh start "$1"', uuid)
    assert not started and "Lockspace resource" in told and "is locked" in told
    assert "running" in _script(here, 'virsh domstate "$1"', uuid)[1], "the first one runs on"

    assert _script(here, 'virsh destroy "$1"', uuid)[0]
    started, told = _script(there, 'virsh start "$1"', uuid)
    assert started, f"nothing but the lease was in the way: {told}"
    assert not _script(here, 'virsh start "$1"', uuid)[0], "now it is the other way round"

    assert _script(there, 'virsh destroy "$1"', uuid)[0]
    assert _script(here, 'virsh start "$1"', uuid)[0], "who ends gives it back"


def test_a_lease_outlives_the_restart_of_libvirt_and_the_new_start_of_its_keeper(vm: tuple[RealRack, str]) -> None:
    rack, uuid = vm
    here, there = rack.host("h1"), rack.host("h2")
    for script in ("systemctl restart libvirtd", "systemctl reload virtlockd; sleep 1"):
        assert _script(here, script)[0]
        started, told = _script(there, 'virsh start "$1"', uuid)
        assert not started and "is locked" in told, script
    assert _script(here, 'virsh suspend "$1" && virsh resume "$1" && virsh destroy "$1"', uuid)[0]
    assert _script(there, 'virsh start "$1"', uuid)[0]


def test_leases_lie_where_the_disks_lie(sharing: RealRack) -> None:
    for name, folder in (
        ("h1", f"{VOLUMES}/.leases"),
        ("h2", f"{VOLUMES}/.leases"),
        ("h3", "/var/lib/libvirt/lockd/files"),
    ):
        settings = sharing.host(name).read("/etc/libvirt/qemu-lockd.conf")
        assert f'\nfile_lockspace_dir = "{folder}"\n' in settings


def test_a_vm_moves_to_and_fro_and_its_disk_stays_where_it_is(sharing: RealRack) -> None:
    rack, operator = sharing, sharing.api("OPERATOR")
    uuid = operator.call("rack_vm.create", name="acme/two", host="h1", **CREATE)["vm"]["uuid"]
    disk, guest = f"{VOLUMES}/acme/{uuid}.qcow2", rack.guest("acme/two")
    inode = _script(rack.host("h1"), 'stat -c %i "$1"', disk)[1]
    for source, target in (("h1", "h2"), ("h2", "h1")):
        receipt = operator.call("rack_vm.migrate", name="acme/two", target=target)
        assert receipt["live"] and receipt["from"] == {"host": source, "before": "running", "after": None}
        assert _script(rack.host(target), 'stat -c %i "$1"', disk)[1] == inode
        assert rack.guest("acme/two")["boots"] == guest["boots"], "the guest went on"
        assert "running" in _script(rack.host(target), 'virsh domstate "$1"', uuid)[1]
        assert uuid not in _script(rack.host(source), "virsh list --all --uuid")[1]
    operator.call("rack_vm.delete", name="acme/two")
    assert not _script(rack.host("h2"), 'ls "$1"', disk)[0]
