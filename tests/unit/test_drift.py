"""Where hosts and records disagree: each kind as one line, its remedies, and that nothing is removed by a guess."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from racksalt import record_proof
from racksalt.errors import BadInput, Conflict, NotFound, RacksaltError
from racksalt.model import Claim, Nic, Record
from racksalt.rack_answer import Came, carry_out
from racksalt.record import to_xml
from tests.fakes import FakeRack, fake_rack, signed

#: A domain as `virt-install` would leave it, on a network of the rack and on a bridge of the host's own.
BY_HAND = """<domain type="qemu"><name>old-web</name><uuid>1b5f2f40-4a4e-4b0e-9d2c-0b8f9f1d2c3e</uuid>
<memory unit="MiB">256</memory><vcpu>2</vcpu><devices>
<disk type="file" device="disk"><source file="/srv/old/web.qcow2"/><target dev="vda"/></disk>
<interface type="network"><mac address="52:54:00:aa:bb:01"/><source network="nat"/></interface>
<interface type="bridge"><mac address="52:54:00:aa:bb:02"/><source bridge="br0"/></interface>
</devices></domain>"""
STRANGER = "1b5f2f40-4a4e-4b0e-9d2c-0b8f9f1d2c3e"
Change = Callable[[FakeRack, str], None]


class Rack:
    """A fake rack, called as the shell calls it: with its audit."""

    def __init__(self, hosts: int = 3) -> None:
        self.fake = fake_rack(hosts)
        self.jobs = 0

    def call(self, fun: str, **arguments: Any) -> Any:
        self.jobs += 1
        return carry_out(self.fake.rack, Came(fun, "root", arguments, f"20260101000000{self.jobs:06d}"))

    def create(self, title: str = "acme/web1", on: str = "h1") -> str:
        made = self.call("rack_vm.create", name=title, flavor="m1.tiny", image="tiny", host=on)
        self.settle()
        return str(made["vm"]["uuid"])

    def settle(self) -> None:
        """Every claim has ended."""
        self.fake.claims.held.clear()

    def lines(self, **asked: Any) -> list[dict[str, Any]]:
        lines: list[dict[str, Any]] = self.call("rack_host.drift", **asked)["lines"]
        return lines

    def one(self, **asked: Any) -> dict[str, Any]:
        (line,) = self.lines(**asked)
        return line

    def refused(self, **asked: Any) -> RacksaltError:
        with pytest.raises(RacksaltError) as told:
            self.call("rack_host.drift", **asked)
        return told.value

    def names(self) -> list[str]:
        return [f"{vm['tenant']}/{vm['name']}" for vm in self.call("rack_vm.list")["vms"]]

    def everything(self) -> Any:
        """All that is on the hosts."""
        return {
            name: (dict(host.hypervisor.xml), dict(host.hypervisor.states), set(host.volumes.files))
            for name, host in self.fake.hosts.items()
        }

    def record(self, host: str, uuid: str) -> Record:
        found = next(one for one in self.fake.hosts[host].hypervisor.report().domains if one.uuid == uuid).record
        assert found is not None
        return found

    def rewrite(self, host: str, uuid: str, change: Callable[[ElementTree.Element], object]) -> None:
        """As somebody with virsh does."""
        hypervisor = self.fake.hosts[host].hypervisor
        root = ElementTree.fromstring(hypervisor.xml[uuid])
        change(root)
        hypervisor.xml[uuid] = ElementTree.tostring(root, encoding="unicode")

    def undefine(self, host: str, uuid: str) -> None:
        hypervisor = self.fake.hosts[host].hypervisor
        del hypervisor.xml[uuid], hypervisor.states[uuid]


@pytest.fixture
def rack() -> Rack:
    return Rack()


def test_a_rack_as_it_should_be_has_no_line(rack: Rack) -> None:
    rack.create()
    rack.create("beta/db", "h2")
    told = rack.call("rack_host.drift")
    assert told == {"lines": [], "counts": {}, "unsure": {}}


def test_each_host_is_asked_once_for_all_of_its_domains(rack: Rack) -> None:
    for number in range(4):
        rack.create(f"acme/web{number}")
    rack.fake.fleet.calls.clear()
    rack.lines()
    per_host = [function for host, function in rack.fake.fleet.calls if host == "h1"]
    assert per_host == ["rack_host.report", "rack_host.holdings"]


# Domains without a record that counts.


def test_a_foreign_domain_is_unknown_and_adopted_as_it_is(rack: Rack) -> None:
    hypervisor = rack.fake.hosts["h2"].hypervisor
    hypervisor.define(BY_HAND)
    hypervisor.start(STRANGER)
    line = rack.one()
    assert (line["kind"], line["host"], line["object"], line["uuid"]) == ("unknown", "h2", "old-web", STRANGER)
    assert line["found"] == "no record of Racksalt's" and line["remedies"] == ["adopt", "revert"]
    assert rack.refused(adopt=line["id"]).code == "adopt_needs_name"
    before = hypervisor.xml[STRANGER]
    plan = rack.call("rack_host.drift", adopt=line["id"], tenant="acme", name="web1", test=True)
    assert plan["test"] and hypervisor.xml[STRANGER] == before and rack.names() == []
    told = rack.call("rack_host.drift", adopt=line["id"], tenant="acme", name="web1", address="10.80.0.99")
    assert told["vm"] == "acme/web1" and told["addresses"] == ["10.80.0.99"]
    assert told["cards_left"] == ["52:54:00:aa:bb:02 in no network"]
    after = ElementTree.fromstring(hypervisor.xml[STRANGER])
    after.remove(after.find("metadata"))  # type: ignore[arg-type]  # it is there
    assert ElementTree.tostring(after) == ElementTree.tostring(ElementTree.fromstring(before))
    assert hypervisor.states[STRANGER] == "running" and hypervisor.leases["52:54:00:aa:bb:01"] == "10.80.0.99"
    rack.settle()
    assert rack.names() == ["acme/web1"] and rack.lines() == []
    shown = rack.call("rack_vm.show", name="acme/web1")
    assert (shown["flavor"], shown["image"], shown["vcpus"], shown["memory_mib"]) == ("adopted", "adopted", 2, 256)


def test_an_adopted_vm_is_deleted_without_its_disks(rack: Rack) -> None:
    rack.fake.hosts["h2"].hypervisor.define(BY_HAND)
    rack.call("rack_vm.adopt", uuid=STRANGER, tenant="acme", name="web1")
    rack.settle()
    told = rack.call("rack_vm.delete", name="acme/web1")
    assert told["left"] == ["/srv/old/web.qcow2"] and rack.fake.vms_on_hosts() == []
    assert rack.lines() == [] and rack.fake.hosts["h2"].hypervisor.leases == {}


def test_a_tenant_is_not_told_where_disks_are_left(rack: Rack) -> None:
    rack.fake.hosts["h2"].hypervisor.define(BY_HAND)
    rack.call("rack_vm.adopt", uuid=STRANGER, tenant="acme", name="web1")
    told = carry_out(rack.fake.rack, Came("rack_vm.delete", "alice", {"name": "web1"}, "20260101000001000000"))
    assert "left" not in told and "removed" not in told


def test_an_adopted_vm_counts_for_name_quota_and_addresses(rack: Rack) -> None:
    rack.fake.hosts["h2"].hypervisor.define(BY_HAND)
    told = rack.call("rack_vm.adopt", uuid=STRANGER, tenant="beta", name="db")
    with pytest.raises(Conflict):
        rack.create("beta/db")
    usage = rack.call("rack_tenant.usage", name="beta")
    assert usage["used"]["vms"] == 1 and usage["used"]["vcpus"] == 2
    assert told["over_quota"] == {} and len(told["addresses"]) == 1


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"tenant": "gamma"}, "no tenant gamma"),
        ({"name": "web9"}, "there is a VM acme/web9 already"),
        ({"flavor": "m9"}, "no flavor m9"),
        ({"flavor": "m1.tiny"}, "the domain has 2 vCPUs and 256 MiB, flavor m1.tiny has 1 and 128"),
        ({"address": "10.80.0.1"}, "10.80.0.1 is not one"),
        ({"address": "192.168.0.9"}, "192.168.0.9 is not one"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_a_create_would_refuse_is_not_adopted(rack: Rack, asked: dict[str, Any], says: str) -> None:
    rack.create("acme/web9")
    rack.fake.hosts["h2"].hypervisor.define(BY_HAND)
    for test in (True, False):
        with pytest.raises(Conflict) as told:
            rack.call("rack_vm.adopt", uuid=STRANGER, **{"tenant": "acme", "name": "web1", **asked}, test=test)
        assert told.value.code == "adopt_refused" and says in told.value.detail
    assert "metadata" not in rack.fake.hosts["h2"].hypervisor.xml[STRANGER] and not rack.fake.claims.held


def test_a_transient_domain_is_not_adopted(rack: Rack) -> None:
    hypervisor = rack.fake.hosts["h2"].hypervisor
    hypervisor.define(BY_HAND)
    hypervisor.start(STRANGER)
    hypervisor.undefine(STRANGER)
    with pytest.raises(Conflict) as told:
        rack.call("rack_vm.adopt", uuid=STRANGER, tenant="acme", name="web1")
    assert "no permanent definition" in told.value.detail


def test_an_unknown_domain_is_set_aside_once_it_is_off(rack: Rack) -> None:
    host = rack.fake.hosts["h2"]
    host.hypervisor.define(BY_HAND)
    host.hypervisor.start(STRANGER)
    line = rack.one()
    assert rack.refused(revert=line["id"]).code == "not_set_aside"
    host.hypervisor.destroy(STRANGER)
    line = rack.one()
    assert rack.call("rack_host.drift", revert=line["id"], test=True)["moved"] == ["domain old-web"]
    assert STRANGER in host.hypervisor.xml
    told = rack.call("rack_host.drift", revert=line["id"])
    assert told["moved"] == [f"/lost/{STRANGER}.xml"] and host.volumes.kept == {f"{STRANGER}.xml": BY_HAND}
    assert rack.lines() == []


def test_saved_memory_is_not_lost_by_setting_aside(rack: Rack) -> None:
    host = rack.fake.hosts["h2"]
    host.hypervisor.define(BY_HAND)
    host.hypervisor.states[STRANGER] = "suspended"
    assert rack.refused(revert=rack.one()["id"]).code == "not_set_aside"
    assert STRANGER in host.hypervisor.xml


def test_a_record_that_the_rack_did_not_sign_is_unknown_and_signed_by_adopting(rack: Rack) -> None:
    uuid = rack.create()
    rack.fake.hosts["h1"].hypervisor.write_record(uuid, to_xml(replace(rack.record("h1", uuid), signature=None)))
    line = rack.one()
    assert line["kind"] == "unknown" and "did not sign" in line["found"]
    assert rack.call("rack_host.drift", adopt=line["id"])["changed"]
    rack.settle()
    assert rack.lines() == [] and rack.names() == ["acme/web1"]


# A VM on another host than its record says.


def renamed(rack: Rack) -> None:
    """h1 got the name h9, and its minion was restarted."""
    hosts = rack.fake.files.data["hosts.yaml"]["hosts"]
    hosts["h9"] = hosts.pop("h1")
    machine = rack.fake.hosts.pop("h1")
    machine.name = "h9"
    rack.fake.hosts["h9"] = rack.fake.fleet.hosts["h9"] = machine
    rack.fake.fleet.hosts.pop("h1", None)


@pytest.mark.promise("P7")
def test_a_renamed_host_shows_its_vms_as_moved_and_nothing_of_them_is_deleted(rack: Rack) -> None:
    uuids = [rack.create(f"acme/web{number}") for number in range(3)]
    before = rack.everything()
    renamed(rack)
    lines = rack.lines()
    assert [(line["kind"], line["host"], line["object"]) for line in lines] == [
        ("moved", "h9", f"acme/web{number}") for number in range(3)
    ]
    assert lines[0]["expected"] == "on host h1, which is not in hosts.yaml" and lines[0]["remedies"] == ["adopt"]
    assert rack.names() == [] and rack.refused(revert=lines[0]["id"]).code == "drift_refused"
    for fun in ("rack_vm.list", "rack_host.status", "rack_host.rebuild_inventory", "rack_host.drift"):
        rack.call(fun)
    assert rack.everything()["h9"] == before["h1"]
    for line in lines:
        rack.call("rack_host.drift", adopt=line["id"])
    rack.settle()
    assert rack.lines() == [] and rack.names() == ["acme/web0", "acme/web1", "acme/web2"]
    taken = [rack.record("h9", uuid) for uuid in uuids]
    assert {(record.host, record.generation) for record in taken} == {("h9", 2)}
    assert rack.fake.hosts["h9"].volumes.files == before["h1"][2]


@pytest.mark.promise("P7")
def test_a_host_that_is_renamed_back_has_its_vms_again(rack: Rack) -> None:
    rack.create()
    before = rack.everything()
    renamed(rack)
    assert rack.names() == []
    hosts = rack.fake.files.data["hosts.yaml"]["hosts"]
    hosts["h1"] = hosts.pop("h9")
    machine = rack.fake.hosts.pop("h9")
    machine.name = "h1"
    rack.fake.hosts["h1"] = rack.fake.fleet.hosts["h1"] = machine
    assert rack.names() == ["acme/web1"] and rack.lines() == [] and rack.everything() == before


def carry(rack: Rack, uuid: str, to: str = "h2", *, copy: bool = False) -> None:
    """Somebody migrated a VM with virsh, or defined its XML on another host."""
    source, target = rack.fake.hosts["h1"].hypervisor, rack.fake.hosts[to].hypervisor
    target.xml[uuid], target.states[uuid] = source.xml[uuid], "stopped" if copy else source.states[uuid]
    if not copy:
        rack.undefine("h1", uuid)


def test_a_vm_that_was_migrated_by_hand_has_moved(rack: Rack) -> None:
    uuid = rack.create()
    carry(rack, uuid)
    kinds = {line["kind"]: line for line in rack.lines()}
    assert set(kinds) == {"moved", "disks", "lease"} and kinds["moved"]["expected"] == "on host h1"
    assert rack.call("rack_host.drift", adopt=kinds["moved"]["id"], test=True)["test"] and rack.names() == []
    rack.call("rack_host.drift", adopt=kinds["moved"]["id"])
    rack.settle()
    record = rack.record("h2", uuid)
    assert record.host == "h2" and record.nics[0].mac in rack.fake.hosts["h2"].hypervisor.leases


def test_a_moved_vm_is_not_taken_from_a_host_that_may_have_it_too(rack: Rack) -> None:
    uuid = rack.create()
    rack.call("rack_vm.list")
    carry(rack, uuid)
    rack.lines()
    rack.fake.hosts["h1"].silent = True
    (line,) = [line for line in rack.lines() if line["kind"] == "moved"]
    refused = rack.refused(adopt=line["id"])
    assert refused.code == "adopt_refused" and "host h1 does not answer" in refused.detail


# The same VM on two hosts.


def test_a_copy_beside_the_vm_is_there_twice_and_only_the_copy_can_be_set_aside(rack: Rack) -> None:
    uuid = rack.create()
    carry(rack, uuid, copy=True)
    line = rack.one()
    assert (line["kind"], line["host"], line["expected"]) == ("twice", "h2", "on host h1 alone")
    assert line["remedies"] == ["revert"] and rack.refused(adopt=line["id"]).code == "drift_refused"
    rack.call("rack_host.drift", revert=line["id"])
    assert rack.lines() == [] and uuid in rack.fake.hosts["h1"].hypervisor.xml
    assert f"{uuid}.xml" in rack.fake.hosts["h2"].volumes.kept


def test_a_copy_that_runs_is_told_and_not_touched(rack: Rack) -> None:
    uuid = rack.create()
    carry(rack, uuid, copy=True)
    rack.fake.hosts["h2"].hypervisor.states[uuid] = "running"
    line = rack.one()
    assert line["found"] == "running here, and on h1 too"
    assert rack.refused(revert=line["id"]).code == "not_set_aside"


def test_of_two_with_equal_right_the_operator_says_which_counts(rack: Rack) -> None:
    uuid = rack.create()
    carry(rack, uuid, copy=True)
    ghost = signed(replace(rack.record("h1", uuid), host="h2", signature=None))
    rack.fake.hosts["h2"].hypervisor.write_record(uuid, to_xml(ghost))
    h1, h2 = rack.lines()
    assert (h1["host"], h2["host"]) == ("h1", "h2") and h1["remedies"] == h2["remedies"] == ["adopt", "revert"]
    rack.call("rack_host.drift", adopt=h2["id"])
    rack.settle()
    left = [line for line in rack.lines() if line["kind"] == "twice"]
    assert [(line["host"], line["expected"]) for line in left] == [("h1", "on host h2 alone")]
    assert rack.record("h2", uuid).generation == 2


# Changed by hand.


def more_vcpus(root: ElementTree.Element) -> None:
    vcpu = root.find("vcpu")
    assert vcpu is not None
    vcpu.text = "4"


def less_memory(root: ElementTree.Element) -> None:
    memory = root.find("memory")
    assert memory is not None
    memory.text = "64"


def another_disk(root: ElementTree.Element) -> None:
    devices = root.find("devices")
    assert devices is not None
    disk = ElementTree.SubElement(devices, "disk", {"type": "file", "device": "disk"})
    ElementTree.SubElement(disk, "source", {"file": "/srv/more.qcow2"})


def another_card(root: ElementTree.Element) -> None:
    devices = root.find("devices")
    assert devices is not None
    card = ElementTree.SubElement(devices, "interface", {"type": "bridge"})
    ElementTree.SubElement(card, "mac", {"address": "52:54:00:aa:bb:09"})
    ElementTree.SubElement(card, "source", {"bridge": "br0"})


def no_card(root: ElementTree.Element) -> None:
    devices = root.find("devices")
    assert devices is not None
    for card in devices.findall("interface"):
        devices.remove(card)


def other_network(root: ElementTree.Element) -> None:
    source = root.find("./devices/interface/source")
    assert source is not None
    source.set("network", "other")


CHANGES = [
    (more_vcpus, "4 vCPUs", "1 vCPUs", ["adopt", "revert"]),
    (less_memory, "64 MiB", "128 MiB", ["adopt", "revert"]),
    (another_disk, "disk /srv/more.qcow2 more", "no disk /srv/more.qcow2", ["revert"]),
    (another_card, "card 52:54:00:aa:bb:09 more", "no card 52:54:00:aa:bb:09", ["revert"]),
    (no_card, "no card ", "card ", ["adopt", "revert"]),
    (other_network, "in other", "in nat", ["revert"]),
]


@pytest.mark.parametrize(("change", "found", "expected", "remedies"), CHANGES, ids=[one[0].__name__ for one in CHANGES])
def test_what_was_changed_by_hand_is_told_and_put_back(
    rack: Rack, change: Callable[[ElementTree.Element], None], found: str, expected: str, remedies: list[str]
) -> None:
    uuid = rack.create()
    rack.call("rack_vm.stop", name="acme/web1", hard=True)
    rack.rewrite("h1", uuid, change)
    line = rack.one()
    assert (line["kind"], line["object"]) == ("changed", "acme/web1")
    assert found in line["found"] and expected in line["expected"] and line["remedies"] == remedies
    before = rack.everything()
    plan = rack.call("rack_host.drift", revert=line["id"], test=True)
    assert plan["steps"] and plan["test"] and rack.everything() == before
    told = rack.call("rack_host.drift", revert=line["id"])
    assert told["changed"] and not told["at_next_start"]
    assert rack.lines() == [] and rack.everything()["h1"][2] == before["h1"][2]


@pytest.mark.parametrize("change", [more_vcpus, less_memory, no_card])
def test_what_was_changed_by_hand_is_adopted_into_the_record(
    rack: Rack, change: Callable[[ElementTree.Element], None]
) -> None:
    uuid = rack.create()
    rack.call("rack_vm.stop", name="acme/web1", hard=True)
    rack.rewrite("h1", uuid, change)
    rack.call("rack_host.drift", adopt=rack.one()["id"])
    rack.settle()
    assert rack.lines() == [] and rack.record("h1", uuid).generation == 2
    if change is no_card:
        assert rack.record("h1", uuid).nics == () and rack.fake.hosts["h1"].hypervisor.leases == {}


def test_what_was_adopted_and_comes_again_is_told_again(rack: Rack) -> None:
    """It has the id of before: nothing but a missing VM is taken for settled by an adoption."""
    uuid = rack.create()
    rack.call("rack_vm.stop", name="acme/web1", hard=True)
    before = rack.fake.hosts["h1"].hypervisor.xml[uuid]
    rack.rewrite("h1", uuid, more_vcpus)
    line = rack.one()
    rack.call("rack_host.drift", adopt=line["id"])
    rack.settle()
    assert rack.lines() == []
    rack.fake.hosts["h1"].hypervisor.xml[uuid] = before
    rack.rewrite("h1", uuid, more_vcpus)
    assert rack.one() == line


@pytest.mark.parametrize("answer", [5, ["changed"], {"changed": True, "uuid": STRANGER, "id": "d0", "steps": []}])
def test_what_a_host_says_of_a_remedy_is_never_more_than_that(rack: Rack, answer: Any) -> None:
    uuid = rack.create()
    rack.rewrite("h1", uuid, more_vcpus)
    line = rack.one()
    host, call = rack.fake.hosts["h1"], rack.fake.hosts["h1"].call
    host.call = lambda function, request: answer if function == "rack_vm.restore" else call(function, request)  # type: ignore[method-assign]
    if isinstance(answer, dict):
        told = rack.call("rack_host.drift", revert=line["id"])
        assert (told["uuid"], told["id"], told["steps"]) == (uuid, line["id"], [])
    else:
        assert rack.refused(revert=line["id"]).code == "host_failed"


def test_what_a_vm_runs_with_until_its_next_start_is_told_without_a_remedy(rack: Rack) -> None:
    uuid = rack.create()
    hypervisor = rack.fake.hosts["h1"].hypervisor
    hypervisor.live[uuid] = hypervisor.xml[uuid].replace("<vcpu>1<", "<vcpu current='2'>4<")
    line = rack.one()
    assert line["found"] == "until its next start: 4 vCPUs" and line["remedies"] == []


def test_a_definition_is_put_back_under_a_vm_that_runs_and_holds_from_its_next_start(rack: Rack) -> None:
    uuid = rack.create()
    rack.rewrite("h1", uuid, more_vcpus)
    hypervisor = rack.fake.hosts["h1"].hypervisor
    hypervisor.live[uuid] = hypervisor.xml[uuid]
    told = rack.call("rack_host.drift", revert=rack.one()["id"])
    assert told["at_next_start"] and hypervisor.states[uuid] == "running"
    assert rack.one()["found"] == "until its next start: 4 vCPUs"


def test_what_an_adopted_size_passes_of_the_quota_is_told(rack: Rack) -> None:
    uuid = rack.create()
    rack.call("rack_tenant.quota", name="acme", vcpus=1, vms=1)
    rack.rewrite("h1", uuid, more_vcpus)
    told = rack.call("rack_host.drift", adopt=rack.one()["id"])
    assert [limit["limit"] for limit in told["over_quota"]["acme"]] == [1], "of vCPUs, and not of VMs"


def test_the_size_that_a_record_tells_is_what_the_next_create_counts(rack: Rack) -> None:
    uuid = rack.create("beta/db")
    rack.rewrite("h1", uuid, more_vcpus)
    rack.call("rack_host.drift", adopt=next(line for line in rack.lines() if line["kind"] == "changed")["id"])
    assert rack.call("rack_tenant.usage", name="beta")["used"]["vcpus"] == 4


# Missing, and what a VM leaves behind.


def test_a_vm_that_was_undefined_by_hand_is_missing_with_its_traces(rack: Rack) -> None:
    uuid = rack.create()
    rack.undefine("h1", uuid)
    kinds = {line["kind"]: line for line in rack.lines()}
    assert set(kinds) == {"missing", "disks", "lease"}
    missing = kinds["missing"]
    assert (missing["object"], missing["uuid"], missing["host"]) == ("acme/web1", uuid, "h1")
    assert missing["remedies"] == ["adopt"] and "not deleted since" in missing["expected"]
    assert kinds["disks"]["found"].startswith(f"{uuid}-seed.iso, {uuid}.qcow2")


def test_a_missing_vm_that_is_taken_as_gone_is_told_no_more(rack: Rack) -> None:
    uuid = rack.create()
    rack.undefine("h1", uuid)
    missing = rack.lines()[0]
    rack.call("rack_host.drift", adopt=missing["id"], test=True)
    assert rack.lines()[0] == missing
    assert rack.call("rack_host.drift", adopt=missing["id"])["changed"]
    assert "missing" not in {line["kind"] for line in rack.lines()}
    assert rack.refused(adopt=missing["id"]).code == "drift_gone"


@pytest.mark.parametrize("by", ["name", "uuid"])
def test_a_vm_that_was_deleted_is_not_missing(rack: Rack, by: str) -> None:
    uuid = rack.create()
    rack.call("rack_vm.delete", name="acme/web1" if by == "name" else uuid)
    assert rack.lines() == []


def test_a_vm_whose_deletion_was_refused_is_missing_all_the_same(rack: Rack) -> None:
    uuid = rack.create()
    rack.call("rack_vm.protect", name="acme/web1", protected=True)
    with pytest.raises(RacksaltError):
        rack.call("rack_vm.delete", name="acme/web1")
    rack.undefine("h1", uuid)
    assert rack.lines()[0]["kind"] == "missing"


def test_a_name_that_came_again_is_not_taken_for_the_one_before(rack: Rack) -> None:
    rack.create()
    rack.call("rack_vm.delete", name="acme/web1")
    rack.create()
    assert rack.lines() == []


def test_a_vm_on_a_silent_host_is_not_missing_and_that_host_is_not_judged(rack: Rack) -> None:
    rack.create()
    rack.call("rack_vm.list")
    rack.fake.hosts["h1"].silent = True
    told = rack.call("rack_host.drift")
    assert told["lines"] == [] and list(told["unsure"]) == ["h1"]


def test_nothing_is_missing_while_a_host_was_never_heard(rack: Rack) -> None:
    rack.create()
    rack.fake.rack.last_known.clear(keep=())
    rack.fake.hosts["h1"].silent = True
    told = rack.call("rack_host.drift")
    assert told["lines"] == [] and set(told["unsure"]) == {"h1", "missing"}


@pytest.mark.promise("P7")
def test_a_disk_without_a_vm_is_moved_aside_and_never_removed(rack: Rack) -> None:
    files = rack.fake.hosts["h1"].volumes.files
    files |= {"/volumes/acme/notes.qcow2", f"/volumes/acme/{STRANGER}.qcow2"}
    first, second = rack.lines()
    assert {line["kind"] for line in (first, second)} == {"disks"}
    before = set(files)
    assert rack.call("rack_host.drift", revert=first["id"], test=True)["moved"] and files == before
    for line in (first, second):
        rack.call("rack_host.drift", revert=line["id"])
    moved = {path.replace("/volumes/", "/lost/") for path in before}
    assert rack.fake.hosts["h1"].volumes.files == moved and rack.lines() == []


def test_a_file_that_a_domain_uses_meanwhile_is_not_moved(rack: Rack) -> None:
    host = rack.fake.hosts["h1"]
    host.volumes.files.add("/volumes/acme/web.qcow2")
    line = rack.one()

    def in_between(name: str, function: str) -> None:
        if function == "rack_host.set_aside":
            host.hypervisor.define(BY_HAND.replace("/srv/old/web.qcow2", "/volumes/acme/web.qcow2"))

    rack.fake.fleet.before = in_between
    assert rack.refused(revert=line["id"]).code == "not_set_aside"
    assert "/volumes/acme/web.qcow2" in host.volumes.files


def test_disks_on_shared_storage_belong_to_the_vms_of_all_its_hosts(rack: Rack) -> None:
    hosts = rack.fake.files.data["hosts.yaml"]["hosts"]
    hosts["h1"]["storage"] = hosts["h2"]["storage"] = "san"
    rack.create()
    shared = rack.fake.hosts["h1"].volumes.files
    rack.fake.hosts["h2"].volumes.files = shared
    assert rack.lines() == []
    shared.add("/volumes/acme/lost.qcow2")
    assert rack.one()["object"] == "acme/lost.qcow2", "once for both hosts"
    rack.fake.hosts["h2"].silent = True
    assert rack.lines() == [], "it may be a silent host's"


def test_disks_of_a_vm_in_the_making_are_nobodys_business(rack: Rack) -> None:
    uuid = rack.create()
    claim = Claim(rack.record("h1", uuid), rack.fake.clock.time + 60)
    rack.undefine("h1", uuid)
    rack.fake.claims.write(claim)
    assert rack.lines() == []


def test_a_planned_address_of_nobody_is_released(rack: Rack) -> None:
    host = rack.fake.hosts["h1"]
    host.hypervisor.leases["52:54:0a:50:00:99"] = "10.80.0.153"
    line = rack.one()
    assert (line["kind"], line["object"], line["remedies"]) == ("lease", "10.80.0.153", ["revert"])
    rack.call("rack_host.drift", revert=line["id"])
    assert host.hypervisor.leases == {} and rack.lines() == []


@pytest.mark.parametrize("wrong", [None, "10.80.0.200"])
def test_a_planned_address_that_is_lost_or_another_is_put_back(rack: Rack, wrong: str | None) -> None:
    uuid = rack.create()
    (nic,) = rack.record("h1", uuid).nics
    leases = rack.fake.hosts["h1"].hypervisor.leases
    leases.pop(nic.mac)
    if wrong:
        leases[nic.mac] = wrong
    line = rack.one()
    assert line["kind"] == "lease" and line["expected"] == nic.address
    rack.call("rack_host.drift", revert=line["id"])
    assert leases == {nic.mac: nic.address} and rack.lines() == []


# The lines themselves.


def test_a_lines_id_stays_as_long_as_what_it_tells(rack: Rack) -> None:
    uuid = rack.create()
    rack.rewrite("h1", uuid, more_vcpus)
    first = rack.lines()
    rack.create("beta/db", "h2")
    assert [line["id"] for line in rack.lines()] == [line["id"] for line in first]
    rack.rewrite("h1", uuid, less_memory)
    changed = rack.refused(revert=first[0]["id"])
    assert changed.code == "drift_gone", "what was seen is not what is there"


def test_one_hosts_lines_are_numbered_by_themselves(rack: Rack) -> None:
    for host in ("h1", "h2"):
        rack.fake.hosts[host].volumes.files.add("/volumes/acme/x.qcow2")
    assert [(line["n"], line["host"]) for line in rack.lines(host="h2")] == [(1, "h2")]
    with pytest.raises(NotFound):
        rack.lines(host="h9")


def test_what_is_not_sensible_is_refused(rack: Rack) -> None:
    with pytest.raises(BadInput):
        rack.call("rack_host.drift", adopt="d" * 12, revert="d" * 12)
    with pytest.raises(BadInput):
        rack.call("rack_host.drift", adopt="x")
    assert rack.refused(adopt="d" * 12).code == "drift_gone"


def test_looking_is_no_change_and_a_remedy_is_one(rack: Rack) -> None:
    rack.fake.hosts["h1"].volumes.files.add("/volumes/acme/x.qcow2")
    audit = rack.fake.rack.audit
    before = len(list(audit.lines()))
    line = rack.one()
    assert len(list(audit.lines())) == before
    rack.call("rack_host.drift", revert=line["id"])
    assert len(list(audit.lines())) == before + 2


def test_a_host_that_answers_nonsense_is_not_judged(rack: Rack) -> None:
    rack.create()
    rack.fake.hosts["h1"].volumes.files = {"/volumes/ACME/x"}
    told = rack.call("rack_host.drift")
    assert "h1" in told["unsure"] and told["lines"] == []


def test_records_are_only_rewritten_where_they_are_what_was_seen(rack: Rack) -> None:
    uuid = rack.create()
    rack.rewrite("h1", uuid, more_vcpus)
    line = rack.one()
    other = signed(replace(rack.record("h1", uuid), generation=5, signature=None))

    def in_between(name: str, function: str) -> None:
        if function == "rack_vm.enroll":
            rack.fake.hosts["h1"].hypervisor.write_record(uuid, to_xml(other))

    rack.fake.fleet.before = in_between
    assert rack.refused(adopt=line["id"]).code == "record_changed"
    assert record_proof.digest(rack.record("h1", uuid)) == record_proof.digest(other)


@pytest.mark.parametrize("remedy", ["adopt", "revert"])
def test_a_vm_that_began_to_move_since_the_look_is_left_alone(rack: Rack, remedy: str) -> None:
    """What is defined on its source when the move ends would be a second one."""
    uuid = rack.create()
    rack.rewrite("h1", uuid, more_vcpus)
    line = rack.one()
    rack.fake.hosts["h1"].hypervisor.moving.add(uuid)
    before = rack.everything()
    assert rack.refused(**{remedy: line["id"]}).code == "vm_moving" and rack.everything() == before


def test_what_the_host_says_of_a_vm_by_itself_stays(rack: Rack) -> None:
    uuid = rack.create()
    rack.call("rack_vm.note", name="acme/web1", note="front page")
    rack.call("rack_vm.stop", name="acme/web1", hard=True)
    rack.rewrite("h1", uuid, more_vcpus)
    rack.call("rack_host.drift", adopt=rack.one()["id"])
    assert rack.record("h1", uuid).note == "front page"


def test_a_silent_host_changes_nothing_and_the_adoption_can_be_made_again(rack: Rack) -> None:
    hypervisor = rack.fake.hosts["h2"].hypervisor
    hypervisor.define(BY_HAND)
    rack.fake.hosts["h2"].loses_returns = False

    def lost(name: str, function: str) -> None:
        rack.fake.hosts["h2"].silent = function == "rack_vm.enroll"

    rack.fake.fleet.before = lost
    with pytest.raises(RacksaltError) as told:
        rack.call("rack_vm.adopt", uuid=STRANGER, tenant="acme", name="web1")
    assert told.value.code == "host_silent"
    rack.fake.fleet.before = lambda name, function: None
    rack.fake.hosts["h2"].silent = False
    assert rack.call("rack_vm.adopt", uuid=STRANGER, tenant="acme", name="web1")["changed"]


def test_cards_have_the_addresses_of_the_rack(rack: Rack) -> None:
    """A free address is planned where none is said, and it is one that nobody has."""
    rack.create()
    rack.fake.hosts["h2"].hypervisor.define(BY_HAND)
    told = rack.call("rack_vm.adopt", uuid=STRANGER, tenant="acme", name="web2")
    nic = Nic("nat", "52:54:00:aa:bb:01", told["addresses"][0])
    assert nic in rack.fake.hosts["h2"].hypervisor.reserved()
