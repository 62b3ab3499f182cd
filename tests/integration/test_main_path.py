"""What a tenant does with a VM, over REST, on real hosts and with real guests."""

from __future__ import annotations

from typing import Any

from tests.on_rack import CREATE, RealRack

LADDER = {"acpi_s": 20, "ctrl_alt_del_s": 5, "agent_s": 5}


def test_a_vm_from_its_creation_to_its_last_trace(rack: RealRack) -> None:
    acme = rack.api("ACME")
    made = acme.call("rack_vm.create", name="web1", tags=["role=web"], note="front", **CREATE)
    vm = made["vm"]
    assert made["changed"] and vm["state"] == "running" and vm["tenant"] == "acme"
    assert "host" not in vm, "a tenant does not learn the host"

    told = rack.guest("acme/web1")
    assert (told["name"], told["instance_id"]) == ("web1", vm["uuid"])
    assert (told["address"], told["mac"]) == (vm["addresses"][0], vm["nics"][0]["mac"])
    assert told["boots"] == 1 and told["disk_bytes"] == 2**30

    listed = acme.call("rack_vm.list")
    assert [item["name"] for item in listed["vms"]] == ["web1"] and "silent_hosts" not in listed
    assert acme.call("rack_vm.show", name="web1") == acme.call("rack_vm.show", name=vm["uuid"])
    assert [item["uuid"] for item in acme.call("rack_vm.list", tag="role=web")["vms"]] == [vm["uuid"]]
    assert acme.call("rack_vm.list", tag="role=db")["vms"] == []

    stopped = acme.call("rack_vm.stop", name="web1", ladder=LADDER)
    assert stopped["state"] == "stopped" and [rung["rung"] for rung in stopped["rungs"]] == ["acpi"]
    assert acme.call("rack_vm.stop", name="web1")["changed"] is False
    assert acme.call("rack_vm.start", name="web1")["state"] == "running"
    assert acme.call("rack_vm.start", name="web1")["changed"] is False
    assert rack.guest("acme/web1")["boots"] == 2, "the disk lives on"

    assert acme.call("rack_vm.pause", name="web1")["state"] == "paused"
    assert acme.call("rack_vm.resume", name="web1")["state"] == "running"
    _describe(rack, vm)

    acme.call("rack_vm.protect", name="web1")
    assert acme.refusal("rack_vm.delete", name="web1").code == "vm_protected"
    acme.call("rack_vm.protect", name="web1", protected=False)
    assert acme.call("rack_vm.delete", name="web1", test=True)["test"] is True
    assert acme.call("rack_vm.show", name="web1")["state"] == "running", "a plan changes nothing"

    assert acme.call("rack_vm.delete", name="web1")["changed"]
    assert rack.traces(vm["uuid"], vm["nics"][0]["mac"], vm["addresses"][0]) == []
    assert acme.refusal("rack_vm.show", name="web1").status == 404


def _describe(rack: RealRack, vm: dict[str, Any]) -> None:
    """Note and tags are in the VM's own definition, on its host."""
    acme = rack.api("ACME")
    acme.call("rack_vm.note", name="web1", note="a <note> & more\nof it")
    acme.call("rack_vm.tag", name="web1", tags=["role=db", "prod"])
    shown = acme.call("rack_vm.show", name="web1")
    assert shown["note"] == "a <note> & more\nof it" and shown["tags"] == ["role=db", "prod"]
    xml = rack.host_of("acme/web1").run(["virsh", "dumpxml", "--inactive", vm["uuid"]], timeout_s=10).stdout
    assert "role=db" in xml and "a &lt;note&gt; &amp; more" in xml
    assert acme.call("rack_vm.tag", name="web1", tags=["role=db", "prod"])["changed"] is False


def test_the_same_name_again_is_another_vm_with_an_empty_disk(rack: RealRack) -> None:
    acme = rack.api("ACME")
    first = acme.call("rack_vm.create", name="again", **CREATE)["vm"]
    assert rack.guest("acme/again")["boots"] == 1
    acme.call("rack_vm.restart", name="again", ladder=LADDER)
    assert rack.guest("acme/again")["boots"] == 2
    acme.call("rack_vm.delete", name="again")

    second = acme.call("rack_vm.create", name="again", **CREATE)["vm"]
    told = rack.guest("acme/again")
    assert second["uuid"] != first["uuid"] and told["instance_id"] == second["uuid"]
    assert told["boots"] == 1, "the new disk is empty"
    acme.call("rack_vm.delete", name="again")


def test_two_tenants_have_a_vm_of_one_name(rack: RealRack) -> None:
    acme, beta = rack.api("ACME"), rack.api("BETA")
    ours = acme.call("rack_vm.create", name="twin", start=False, **CREATE)["vm"]
    theirs = beta.call("rack_vm.create", name="twin", start=False, **CREATE)["vm"]
    assert ours["uuid"] != theirs["uuid"] and ours["addresses"] != theirs["addresses"]
    assert acme.call("rack_vm.show", name="twin")["uuid"] == ours["uuid"]
    assert beta.call("rack_vm.show", name="twin")["uuid"] == theirs["uuid"]
    beta.call("rack_vm.delete", name="twin")
    assert acme.call("rack_vm.show", name="twin")["uuid"] == ours["uuid"]
    acme.call("rack_vm.delete", name="twin")


def test_a_fixed_mac_is_the_guests_and_nobody_elses(rack: RealRack) -> None:
    acme, mac = rack.api("ACME"), "02:ac:3e:12:34:56"
    made = acme.call("rack_vm.create", name="fixed", mac=mac, **CREATE)["vm"]
    assert made["nics"][0]["mac"] == mac
    told = rack.guest("acme/fixed")
    assert told["mac"] == mac and told["address"] == made["addresses"][0]
    refused = rack.api("BETA").refusal("rack_vm.create", name="thief", mac=mac, **CREATE)
    assert refused.status == 409 and "acme" not in str(refused.error)
    acme.call("rack_vm.delete", name="fixed")


def test_a_repeated_request_makes_one_vm(rack: RealRack) -> None:
    acme, request_id = rack.api("ACME"), "7b0f6f0e-3c1c-4f5e-9a39-6d1d0e4f7c11"
    first = acme.call("rack_vm.create", name="once", request_id=request_id, start=False, **CREATE)
    second = acme.call("rack_vm.create", name="once", request_id=request_id, start=False, **CREATE)
    assert first["changed"] is True and second["changed"] is False
    assert first["vm"]["uuid"] == second["vm"]["uuid"]
    acme.call("rack_vm.delete", name="once")


def test_a_create_with_test_only_tells_its_plan(rack: RealRack) -> None:
    before = rack.snapshot()
    plan = rack.api("ACME").call("rack_vm.create", name="plan", test=True, **CREATE)
    assert plan["test"] and plan["changed"] and len(plan["steps"]) == 4 and "host" not in plan
    assert rack.snapshot() == before
