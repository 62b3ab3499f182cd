"""What somebody does with virsh is told, and set right line by line; a libvirt VM is taken in while it runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from rackbox_lib.node import Node
from tests.on_rack import CREATE, RealRack

#: The record, which these tests change; and whether the guest's agent has come up, which the guest does.
_NOT_COMPARED = re.compile(r"\s*<metadata[^>]*(?:/>|>.*?</metadata>)| state='(?:dis)?connected'", re.DOTALL)
_LOST = "/var/lib/racksalt/lost"


@pytest.fixture
def drifting(clean_rack: RealRack) -> Iterator[RealRack]:
    """A running VM acme/vm1 on h1; what is moved out of the way goes again afterwards."""
    clean_rack.api("OPERATOR").call("rack_vm.create", name="acme/vm1", host="h1", **CREATE)
    yield clean_rack
    clean_rack.host("h1").run(["rm", "-rf", _LOST], timeout_s=10)


def virsh(host: Node, *words: str) -> str:
    out: str = host.run(["virsh", *words], timeout_s=30).stdout
    return out


def told(rack: RealRack, uuid: str) -> list[dict[str, Any]]:
    """The lines of one VM: the audit remembers those of other tests too."""
    lines = rack.api("OPERATOR").call("rack_host.drift")["lines"]
    return [line for line in lines if line["uuid"] == uuid]


def shape(host: Node, uuid: str) -> list[str]:
    """What is defined and what runs, but for metadata and agent; and the process that runs it."""
    xml = [_NOT_COMPARED.sub("", virsh(host, "dumpxml", *flags, uuid)) for flags in (["--inactive"], [])]
    return [*xml, host.run(["pgrep", "-f", f"uuid {uuid}"], timeout_s=10).stdout]


def test_a_libvirt_vm_is_taken_in_running_and_unchanged(drifting: RealRack) -> None:
    rack, host = drifting, drifting.host("h1")
    uuid = rack.vm("acme/vm1")["uuid"]
    address = rack.vm("acme/vm1")["addresses"][0]
    virsh(host, "metadata", uuid, "urn:racksalt:vm:1", "--remove", "--live", "--config")
    (line,) = told(rack, uuid)
    assert (line["kind"], line["object"], line["found"]) == ("unknown", "acme.vm1", "no record of Racksalt's")
    before = shape(host, uuid)
    rack.api("OPERATOR").call("rack_vm.adopt", uuid=uuid, tenant="acme", name="old", address=address)
    assert shape(host, uuid) == before
    shown = rack.vm("acme/old")
    assert (shown["state"], shown["addresses"], shown["image"]) == ("running", [address], "adopted")
    assert told(rack, uuid) == []


def test_a_definition_that_was_changed_by_hand_is_put_back(drifting: RealRack) -> None:
    rack, host = drifting, drifting.host("h1")
    uuid = rack.vm("acme/vm1")["uuid"]
    before = shape(host, uuid)
    virsh(host, "setvcpus", uuid, "2", "--maximum", "--config")
    virsh(host, "attach-disk", uuid, "/var/tmp/more.img", "vdh", "--config")
    (line,) = told(rack, uuid)
    assert line["kind"] == "changed" and "2 vCPUs" in line["found"] and "/var/tmp/more.img" in line["found"]
    done = rack.api("OPERATOR").call("rack_host.drift", revert=line["id"])
    assert done["changed"] and done["at_next_start"]
    assert told(rack, uuid) == [] and shape(host, uuid)[1:] == before[1:]


@pytest.mark.promise("P7")
def test_a_vm_that_was_undefined_is_missed_and_its_disk_is_kept(drifting: RealRack) -> None:
    rack, host = drifting, drifting.host("h1")
    uuid = rack.vm("acme/vm1")["uuid"]
    virsh(host, "destroy", uuid)
    virsh(host, "undefine", uuid)
    kinds = {line["kind"]: line for line in told(rack, uuid)}
    assert set(kinds) == {"missing", "disks"} and kinds["missing"]["host"] == "h1"
    moved = rack.api("OPERATOR").call("rack_host.drift", revert=kinds["disks"]["id"])["moved"]
    assert f"{_LOST}/acme/{uuid}.qcow2" in moved
    for path in moved:
        host.run(["test", "-s", path], timeout_s=10)
    (missing,) = told(rack, uuid)
    rack.api("OPERATOR").call("rack_host.drift", adopt=missing["id"])
    assert told(rack, uuid) == []


def test_the_status_tells_each_host_and_what_its_journal_has(drifting: RealRack) -> None:
    drifting.host("h2").run(["logger", "--priority", "user.err", "not one of ours"], timeout_s=10)
    status = drifting.api("OPERATOR").call("rack_host.status", since=600)
    assert [host["name"] for host in status["by_host"]] == ["h1", "h2", "h3"]
    assert status["by_host"][0]["vms"] == {"running": 1} and status["errors_unread"] == {}
    assert all(isinstance(host["errors"], int) and host["age_s"] < 60 for host in status["by_host"])
    assert "not one of ours" not in str(status["errors"])
