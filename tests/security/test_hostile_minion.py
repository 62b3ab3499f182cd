"""S15: a hostile host is only a host. h3 has its own accepted key, and root; what it does changes nothing elsewhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from racksalt import record as records
from racksalt import record_proof, shape
from racksalt.model import Record
from racksalt.record_proof import Ring
from tests.on_rack import CREATE, CallRefused, RealRack, at_once, wait_for
from tests.security.attacker import WAYS
from tests.security.hostile_host import HostileHost, dropped, hostile, lines, now, slow, telling_jobs

pytestmark = pytest.mark.promise("S15")

#: Longer than a forged answer takes, shorter than what makes a host silent.
_SLOW_S = 2.0
_DOMAIN = """
<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<metadata>{metadata}</metadata><os><type arch='x86_64'>hvm</type></os></domain>
"""


@pytest.fixture(scope="module")
def rogue(rack: RealRack) -> Iterator[HostileHost]:
    """h3 in hostile hands. It had a VM of acme's, and heard how acme/web1 on h1 and beta/db1 on h2 were made."""
    operator = rack.api("OPERATOR")
    with hostile(rack.host("h3")) as host:
        for title, on in (("acme/old", "h3"), ("acme/web1", "h1"), ("beta/db1", "h2")):
            operator.call("rack_vm.create", name=title, host=on, start=False, **CREATE)
        # libvirt shows a definition in another form once it was written again, or started.
        for note in ("again", ""):
            operator.call("rack_vm.note", name="acme/web1", note=note)
        operator.call("rack_vm.start", name="beta/db1")
        operator.call("rack_vm.stop", name="beta/db1", hard=True)
        operator.call("rack_vm.delete", name="acme/old")
        operator.call("rack_host.disable", name="h3", reason="a new VM on it would be no attack")
        yield host
    rack.restore_files()


@pytest.fixture(autouse=True)
def nothing_changes(rack: RealRack, rogue: HostileHost) -> Iterator[None]:
    """Whatever a test does to the others' VMs it undoes; all else would be the attacker's."""
    before = _truth(rack)
    yield
    rogue.order(ways=[], victims=[])
    assert _truth(rack) == before


def _truth(rack: RealRack) -> dict[str, Any]:
    """All that is not on h3: the inventory's fingerprint, h1 and h2 themselves, what the tenants use."""
    operator = rack.api("OPERATOR")
    told = operator.call("rack_host.inventory")
    assert told["silent_hosts"] == {}
    parts = {key: value for key, value in told["inventory"].items() if isinstance(value, list)}
    others = {
        key: [one for one in value if "h3" not in (one.get("host"), one.get("name"))] for key, value in parts.items()
    }
    snapshot = rack.snapshot()
    return {
        "sha256": hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest(),
        "vms": [(vm["host"], vm["tenant"], vm["name"]) for vm in others["vms"]],
        "used": {name: operator.call("rack_tenant.usage", name=name)["used"] for name in ("acme", "beta")},
        "hosts": {name: snapshot[name] for name in ("h1", "h2")},
    }


@pytest.mark.parametrize("way", WAYS)
def test_an_answer_forged_in_this_way_is_dropped_and_told(rack: RealRack, rogue: HostileHost, way: str) -> None:
    """The forged one comes first, as the true host is slow; the true one is believed."""
    operator, began = rack.api("OPERATOR"), now()
    rogue.order(ways=[way], victims=["h1"])
    with slow(rack.host("h1"), _SLOW_S):
        told = operator.call("rack_host.status")
        noted = rack.api("ACME").call("rack_vm.note", name="web1", note=way)
    assert told["silent_hosts"] == {} and told["vms_by_state"] == {"stopped": 2} and told["twice"] == []
    assert noted["changed"] and rack.vm("acme/web1")["note"] == way
    rogue.order(ways=[], victims=[])
    rack.api("ACME").call("rack_vm.note", name="web1", note="")
    tried = rogue.tried(tried=way, fun="rack_host.report")
    assert tried and not any("failed" in line["went"] for line in tried), "it was really tried"
    claimed = {"stranger": "", "own": "h3", "plain event": "h3"}.get(way, "h1")
    found = [line for line in dropped(rack, began, host=claimed) if line["job"] in {one["job"] for one in tried}]
    assert found, f"not in the audit: {dropped(rack, began)}"


def test_calls_amid_all_forgeries_have_their_true_outcome(rack: RealRack, rogue: HostileHost) -> None:
    acme, beta, began = rack.api("ACME"), rack.api("BETA"), now()
    rogue.order(ways="all", victims=["h1", "h2"])
    names = ["new1", "new2", "new3", "new4"]
    made = at_once(
        [
            *(
                lambda name=name: acme.call("rack_vm.create", name=name, start=name == "new1", **CREATE)
                for name in names
            ),
            lambda: beta.call("rack_vm.start", name="db1"),
            lambda: acme.refusal("rack_vm.create", name="web1", **CREATE).code,
        ]
    )
    assert made[-1] == "name_in_use" and made[-2]["state"] == "running"
    for name, told in zip(names, made, strict=False):
        assert told["changed"] and told["vm"]["name"] == name
        host, uuid = rack.host_of(f"acme/{name}"), told["vm"]["uuid"]
        state = host.run(["virsh", "domstate", uuid], timeout_s=20).stdout.strip()
        assert host.name != "h3" and state == ("running" if name == "new1" else "shut off")
    assert rack.run("rack_host.status").data["claims_in_flight"] == []
    assert beta.call("rack_vm.stop", name="db1", hard=True)["state"] == "stopped"
    assert all(at_once([lambda name=name: acme.call("rack_vm.delete", name=name)["changed"] for name in names]))
    rogue.order(ways=[], victims=[])
    tried = [line for line in rogue.tried() if line["at"] >= began]
    jobs = {line["job"] for line in tried}
    told = [line for line in dropped(rack, began) if line["job"] in jobs]
    print(f"\n{len(tried)} forged returns to {len(jobs)} publishes; {len(told)} lines of the audit")
    assert {"h1", "h2", ""} <= {line["host"] for line in told}
    assert len(rogue.tried(fun="rack_vm.create")) >= len(names) * len(WAYS)


def test_a_forged_answer_of_a_runner_is_not_believed(rack: RealRack, rogue: HostileHost) -> None:
    """The worst case: the host knows each runner's job at once. The caller is told that the answer was lost."""
    acme, began = rack.api("ACME"), now()
    with telling_jobs(rack, rogue), slow(rack.host("h1"), _SLOW_S):
        refused = acme.refusal("rack_vm.note", name="web1", note="true")
        body = {"client": "runner_async", "fun": "rack_vm.note", "kwarg": {"name": "web1", "tags": []}}
        body["kwarg"] = {"name": "web1", "note": "later"}
        job = acme.post("/", body).body["return"][0]["jid"]
    assert (refused.status, refused.code) == (503, "internal") and "ghost" not in str(refused.error)
    wait_for(lambda: rack.vm("acme/web1")["note"] == "later", "the job nobody waited for is done", timeout_s=30)
    shown = wait_for(lambda: _ended(acme.call("rack_job.show", job=job)), "the job's end is known", timeout_s=30)
    assert shown["state"] == "done" and "ghost" not in json.dumps(shown) and shown["user"] == "alice"
    assert rack.api("BETA").refusal("rack_job.show", job=job).status == 404, "bob, whom the forged job names, sees none"
    told = lines(rack, began, kind="refused", result="answer_unproved")
    assert [(line["user"], line["fun"]) for line in told] == [("alice", "rack_vm.note")]
    assert rogue.tried(tried="runner, pretag")
    acme.call("rack_vm.note", name="web1", note="")


def _ended(job: dict[str, Any]) -> dict[str, Any] | None:
    return None if job["state"] == "running" else job


def test_forged_events_are_told_and_do_nothing(rack: RealRack, rogue: HostileHost) -> None:
    began, sender = now(), f"h1-{now():.0f}"
    rogue.order(event="racksalt/vm/state", sender=sender)

    def told() -> bool:
        found = [line for line in dropped(rack, began) if "racksalt/vm/state" in line["reason"]]
        return {line["host"] for line in found} >= {f"{sender}-event", f"{sender}-pretag", "h3"}

    wait_for(told, "each event is in the audit", timeout_s=20, pause_s=1)


def test_forged_records_hold_nothing(rack: RealRack, rogue: HostileHost) -> None:
    operator, acme, began = rack.api("OPERATOR"), rack.api("ACME"), now()
    forged = _forged_records(rogue)
    addresses = {title: rack.vm(title)["addresses"] for title in ("acme/web1", "beta/db1")}
    try:
        for what, (uuid, record) in forged.items():
            _define(rogue, what, uuid, record)
        told = operator.call("rack_host.status")
        assert told["twice"] == [] and told["silent_hosts"] == {} and told["vms_by_state"] == {"stopped": 2}
        unsigned = {line["uuid"]: line for line in told["unsigned"]}
        assert set(unsigned) == {uuid for uuid, _ in forged.values()}
        assert {line["host"] for line in unsigned.values()} == {"h3"}
        assert {title: rack.vm(title)["addresses"] for title in addresses} == addresses
        assert (rack.vm("acme/web1")["host"], rack.vm("beta/db1")["host"]) == ("h1", "h2")
        made = acme.call("rack_vm.create", name="stolen", start=False, mac=forged["made up"][1].nics[0].mac, **CREATE)
        assert made["changed"], "neither the name nor the card is taken"
        assert acme.call("rack_vm.delete", name="stolen")["changed"]
        operator.call("rack_host.status")
        reasons = [line["reason"] for line in dropped(rack, began, host="h3", fun="rack_host.report")]
        assert sorted(reasons) == sorted(
            f"the record of {record.title} is not one that the rack signed for it" for _, record in forged.values()
        ), "each is told once"
    finally:
        for uuid, _ in forged.values():
            rogue.node.run(["virsh", "undefine", uuid], timeout_s=20, check=False)


def _forged_records(rogue: HostileHost) -> dict[str, tuple[str, Record]]:
    """By what is wrong: the UUID of the domain that carries it, and the record. It heard the true ones."""
    heard = {record.title: record for record in _heard_records(rogue)}
    web1, db1, old = heard["acme/web1"], heard["beta/db1"], heard["acme/old"]
    stranger = Ring({1: hashlib.sha256(b"a made-up key").digest()})
    card = replace(web1.nics[0], mac="02:66:66:66:66:66", address="10.80.9.9")
    fresh = replace(web1, name="stolen", host="h3", request_id=None)
    made = {
        "copied": db1,
        "moved": replace(web1, host="h3"),
        "from before": replace(old, host="h1"),
        "raised": replace(old, generation=9, name="raised", nics=db1.nics),
        "made up": replace(fresh, uuid=_uuid(1), nics=(card,), signature=None),
        "strangely signed": record_proof.sign(replace(db1, uuid=_uuid(2), name="big", host="h3", vcpus=9), stranger),
        "wrong domain": old,
    }
    uuids = {"raised": _uuid(3), "wrong domain": _uuid(4)}
    return {what: (uuids.get(what, record.uuid), record) for what, record in made.items()}


def _heard_records(rogue: HostileHost) -> Iterator[Record]:
    """What the publishes of creates said, to whichever host."""
    for load in rogue.heard("rack_vm.create"):
        for argument in load["arg"]:
            if isinstance(argument, dict) and "request" in argument:
                yield shape.parse(Record, argument["request"]["record"])


def _uuid(number: int) -> str:
    return f"66666666-6666-4666-8666-{number:012}"


def _define(rogue: HostileHost, what: str, uuid: str, record: Record) -> None:
    name = f"forged-{what.replace(' ', '-')}"
    xml = _DOMAIN.format(name=name, uuid=uuid, metadata=records.to_xml(record))
    ElementTree.fromstring(xml)
    rogue.node.write("/root/forged.xml", xml)
    rogue.node.run(["virsh", "define", "/root/forged.xml"], timeout_s=20)


def test_it_is_still_a_host(rack: RealRack, rogue: HostileHost) -> None:
    """Nothing of all that made the rack refuse h3, or anybody who works on the others."""
    assert rack.api("OPERATOR").call("rack_host.show", name="h3")["answers"]
    with pytest.raises(CallRefused) as refused:
        rack.api("BETA").call("rack_vm.show", name="acme/web1")
    assert refused.value.status == 404
    assert rack.run("rack_audit.verify").data["ok"], "and the audit of it is whole"
