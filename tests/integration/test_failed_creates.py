"""A create that fails leaves nothing behind, whichever step it was, and its name is free again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.on_rack import CREATE, VOLUMES, RealRack

GARBAGE = "5" * 64
EMPTY = "6" * 64


def _nothing(_rack: RealRack) -> None:
    """Nothing is broken on the host."""


def _on_h2(*words: str) -> Callable[[RealRack], None]:
    def act(rack: RealRack) -> None:
        rack.host("h2").run(list(words), timeout_s=60)

    return act


def _full(inodes: int) -> Callable[[RealRack], None]:
    """A disk with room, on which nobody can make more than so many files: `No space left on device`."""
    return _on_h2("mount", "-t", "tmpfs", "-o", f"size=64g,nr_inodes={inodes}", "tmpfs", VOLUMES)


_DOMAIN = """<domain type='qemu'><name>acme.broken</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type></os></domain>"""


def _same_domain(rack: RealRack) -> None:
    host = rack.host("h2")
    host.write("/tmp/foreign.xml", _DOMAIN)
    host.run(["virsh", "define", "/tmp/foreign.xml"], timeout_s=30)


@dataclass(frozen=True)
class Fault:
    """What is broken, by what, how it is mended, and what the operator reads of it."""

    says: str
    breaks: Callable[[RealRack], None]
    mends: Callable[[RealRack], None]
    detail: str
    image: str = "tiny"


FAULTS = [
    Fault("the image is not in the store", _nothing, _nothing, "not in the store", image="ghost"),
    Fault("the image is no image", _nothing, _nothing, "qemu-img", image="garbage"),
    Fault("the kernel is none: the start fails", _nothing, _nothing, "libvirt", image="empty"),
    Fault("the disk is full: no folder", _full(1), _on_h2("umount", VOLUMES), "No space left"),
    Fault("the disk is full: no volume", _full(2), _on_h2("umount", VOLUMES), "No space left"),
    Fault("the disk is full: no seed", _full(3), _on_h2("umount", VOLUMES), "No space left"),
    Fault("the network is off", _on_h2("virsh", "net-destroy", "nat"), _on_h2("virsh", "net-start", "nat"), "nat"),
    Fault(
        "a foreign domain has its name",
        _same_domain,
        _on_h2("virsh", "undefine", "acme.broken"),
        "has a domain acme.broken",
    ),
]


@pytest.fixture(scope="module")
def strange_images(rack: RealRack) -> Iterator[RealRack]:
    """Images that no VM can be made of."""
    store = rack.box.images_dir
    (store / GARBAGE).write_bytes(b"not a qcow2 at all\n" * 100)
    (store / EMPTY).write_bytes(b"")
    rack.edit_yaml("images.yaml", _add_images)
    yield rack
    for name in (GARBAGE, EMPTY):
        (store / name).unlink()


def _add_images(data: dict[str, Any]) -> None:
    disk = {"kind": "disk", "format": "qcow2"}
    data["images"]["ghost"] = {**disk, "sha256": "e" * 64}
    data["images"]["garbage"] = {**disk, "sha256": GARBAGE}
    data["images"]["empty"] = {**data["images"]["tiny"], "kernel": EMPTY}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.says)
def test_a_create_that_fails_leaves_nothing(strange_images: RealRack, fault: Fault) -> None:
    rack, operator = strange_images, strange_images.api("OPERATOR")
    fault.breaks(rack)
    try:
        before = rack.snapshot()
        refused = operator.refusal("rack_vm.create", name="acme/broken", host="h2", **{**CREATE, "image": fault.image})
        assert refused.code == "host_failed" and fault.detail in refused.error["detail"], refused.error
        assert rack.snapshot() == before
    finally:
        fault.mends(rack)
    assert operator.call("rack_vm.create", name="acme/broken", host="h2", test=True, **CREATE)["changed"]
    assert operator.call("rack_host.status")["claims_in_flight"] == []


def test_the_tenant_reads_that_it_failed_and_nothing_of_the_rack(strange_images: RealRack) -> None:
    rack = strange_images
    refused = rack.api("ACME").refusal("rack_vm.create", name="broken", flavor="m1.tiny", image="ghost")
    assert (refused.status, refused.code) == (503, "host_failed") and "nothing was kept" in refused.error["detail"]
    assert not [word for word in ("h1", "h2", "h3", "e" * 64, "/var/lib") if word in str(refused.error)]


def test_another_host_takes_it_where_one_fails(strange_images: RealRack) -> None:
    """The first choice is the emptiest host; two of three are broken, so the third one gets it."""
    rack = strange_images
    for name in ("h1", "h2"):
        rack.host(name).run(["mount", "-t", "tmpfs", "-o", "size=64g,nr_inodes=2", "tmpfs", VOLUMES], timeout_s=20)
    try:
        assert rack.api("ACME").call("rack_vm.create", name="moved", start=False, **CREATE)["changed"]
        assert rack.vm("acme/moved")["host"] == "h3"
    finally:
        for name in ("h1", "h2"):
            rack.host(name).run(["umount", VOLUMES], timeout_s=20)
    assert rack.api("ACME").call("rack_vm.delete", name="moved")["changed"]
