"""Questions on placement over a whole rack: how many more, what if a host is lost, which CPU all share."""

from __future__ import annotations

import json
from typing import Any

import pytest

from racksalt.errors import Denied, NotFound, Refused
from racksalt.model import HostCpu, NumaCell
from racksalt.rack_hosts import RackHosts
from racksalt.rack_places import RackPlaces
from racksalt.rack_requests import CountRoom, ExplainVm, FindHosts, LoseHost, ShareCpu
from tests.fakes import FakeRack, fake_rack, rack_files
from tests.unit.test_vm_create import caller, create


def with_policy(hosts: int = 3, host: dict[str, dict[str, Any]] | None = None, **keys: Any) -> FakeRack:
    """A rack with more keys in ``hosts.yaml``, for the rack or by host."""
    files = rack_files(hosts)
    for name, more in (host or {}).items():
        files["hosts.yaml"]["hosts"][name] |= more
    files["hosts.yaml"] |= keys
    files["flavors.yaml"]["flavors"]["m1.medium"] = {"vcpus": 1, "memory_mib": 900, "disk_gib": 1}
    return fake_rack(hosts, **files)


def capacity(rack: FakeRack, **asked: Any) -> dict[str, Any]:
    return RackPlaces(rack.rack).capacity(CountRoom(**{"flavor": "m1.tiny", **asked}), rack.rack.settings())


def survive(rack: FakeRack, **asked: Any) -> dict[str, Any]:
    return RackPlaces(rack.rack).survive(LoseHost(**asked), rack.rack.settings())


def why_not(rack: FakeRack, user: str, **asked: Any) -> dict[str, Any]:
    request = ExplainVm("any", **{"flavor": "m1.tiny", "image": "tiny", **asked})
    return RackPlaces(rack.rack).why_not(caller(rack, user), request, rack.rack.settings())


def save(rack: FakeRack, path: str = "/rack.json") -> str:
    told = RackHosts(rack.rack).inventory(rack.rack.settings())
    rack.rack.saved.texts[path] = json.dumps(told)  # type: ignore[attr-defined]
    return path


@pytest.mark.promise("P8")
def test_with_n_plus_1_the_room_for_any_one_host_stays_free() -> None:
    rack = with_policy(survive=1)
    for number in range(8):
        create(rack, "root", f"acme/vm{number}", flavor="m1.medium")
    # Of 12 places, those of any one host's VMs are on the others.
    with pytest.raises(Refused) as told:
        create(rack, "root", "acme/one-more", flavor="m1.medium")
    assert told.value.facts["refused_by_rule"] == {"n_plus_1": 3}
    now = capacity(rack, flavor="m1.medium")
    assert (now["more"], now["more_with_n_plus_1"]) == (4, 0) and survive(rack)["survives"]


def test_without_the_policy_every_place_is_given() -> None:
    rack = with_policy()
    told = capacity(rack, flavor="m1.medium")
    assert (told["more"], told["more_with_n_plus_1"]) == (12, 8) and told["hosts"] == {"h1": 4, "h2": 4, "h3": 4}
    assert capacity(rack)["hosts"] == {"h1": 21, "h2": 21, "h3": 21} and capacity(rack)["more_with_n_plus_1"] == 42
    for number in range(9):
        create(rack, "root", f"acme/vm{number}", flavor="m1.medium")
    assert capacity(rack, flavor="m1.medium")["more"] == 3 and not survive(rack)["survives"]


def test_a_lost_host_is_told_with_places_and_reasons() -> None:
    rack = fake_rack(2)
    for number in (1, 2):
        create(rack, "root", f"acme/large{number}", flavor="m1.large", host=f"h{number}")
    create(rack, "root", "acme/web1", host="h1")
    told = survive(rack, host="h1")
    assert not told["survives"] and told["hosts"]["h1"]["places"] == {"acme/web1": "h2"}
    (stranded,) = told["hosts"]["h1"]["no_place"]
    assert stranded["vm"] == "acme/large1" and stranded["refused_by_rule"] == {"memory": 1}
    assert [one["vm"] for one in survive(rack)["hosts"]["h2"]["no_place"]] == ["acme/large2"]
    with pytest.raises(NotFound):
        survive(rack, host="h9")


def test_what_a_vm_asked_for_stays_with_it() -> None:
    rack = with_policy(host={"h1": {"failure_domain": "row1"}, "h2": {"failure_domain": "row1"}})
    hosts = [create(rack, "root", f"acme/db{number}", spread="db")["vm"]["host"] for number in (1, 2)]
    assert "h3" in hosts
    with pytest.raises(Refused) as told:
        create(rack, "root", "acme/db3", spread="db")
    assert told.value.facts["refused_by_rule"] == {"spread": 3}
    web = [create(rack, "root", f"acme/web{number}", affinity="web", labels={"zone": "b"}) for number in range(3)]
    assert len({one["vm"]["host"] for one in web}) == 1
    records = {vm.record.name: vm.record for vm in rack.rack.inventory(rack.rack.settings()).vms()}
    assert records["web0"].labels == {"zone": "b"} and records["web0"].affinity == "web"
    assert records["db1"].spread == "db" and records["db1"].labels == {}


def test_a_dedicated_host_takes_no_other_tenants_vms() -> None:
    rack = with_policy(2, host={"h1": {"tenants": ["acme"]}})
    assert create(rack, "root", "beta/one")["vm"]["host"] == "h2"
    told = why_not(rack, "bob", host=None)
    assert told == {"fits": True, "refused_by_rule": {"tenants": 1}}
    assert RackPlaces(rack.rack).find(FindHosts("m1.tiny", "beta"), rack.rack.settings())["hosts"] == ["h2"]


def test_a_tenant_is_kept_to_hosts_with_its_labels() -> None:
    tenants = {"tenants": {"acme": {"labels": {"zone": "a"}}, "beta": {}}}
    rack = fake_rack(**{"tenants.yaml": tenants})
    assert {create(rack, "alice", f"web{number}")["changed"] for number in range(3)} == {True}
    settings = rack.rack.settings()
    assert {vm.record.host for vm in rack.rack.inventory(settings).vms()} == {"h2"}
    assert why_not(rack, "alice")["refused_by_rule"] == {"tenants": 2}


def test_what_if_is_answered_from_a_file_without_asking_any_host() -> None:
    rack = fake_rack()
    for number in range(3):
        create(rack, "root", f"acme/web{number}")
    now, path = capacity(rack), save(rack)
    lost, found = survive(rack), RackPlaces(rack.rack).find(FindHosts("m1.tiny"), rack.rack.settings())
    for host in rack.hosts.values():
        host.silent = True
    assert capacity(rack, inventory=path) == now and survive(rack, inventory=path) == lost
    assert RackPlaces(rack.rack).find(FindHosts("m1.tiny", inventory=path), rack.rack.settings()) == found
    assert why_not(rack, "root", tenant="acme", inventory=path)["fits"]


@pytest.mark.parametrize("path", ["/rack.json", "/none", "/etc/shadow"])
def test_no_tenant_ever_names_a_file(path: str) -> None:
    rack = fake_rack()
    save(rack)
    with pytest.raises(Denied) as told:
        why_not(rack, "alice", inventory=path)
    assert told.value.code == "operator_only"


def test_the_shared_cpu_is_told_with_who_holds_it_back() -> None:
    rack = with_policy(3, host={f"h{number}": {"accelerator": "kvm"} for number in (1, 2, 3)})
    old, new = HostCpu("Old", "Intel", "aes", "Old"), HostCpu("New", "Intel", "aes avx2", "New Old")
    rack.hosts["h1"].hypervisor.cpu, rack.hosts["h2"].hypervisor.cpu = old, new
    told = RackPlaces(rack.rack).baseline(ShareCpu(), rack.rack.settings())
    assert told["cpu"] == {"model": "Old", "features": ["aes"]} and told["held_back_by"] == {"h1": ["avx2"]}
    assert told["hosts"] == ["h1", "h2"] and told["not_told"] == ["h3"] and told["emulated"] == []


def test_a_vm_gets_the_racks_cpu_on_a_host_that_has_it() -> None:
    kvm = {f"h{number}": {"accelerator": "kvm"} for number in (1, 2)}
    rack = with_policy(2, kvm, cpu={"model": "Old", "features": ["aes"]})
    rack.hosts["h2"].hypervisor.cpu = HostCpu("New", "Intel", "aes avx2", "New Old")
    made = create(rack, "root", "acme/web1")["vm"]
    assert made["host"] == "h2" and '<model fallback="forbid">Old</model>' in str(rack.hosts["h2"].hypervisor.xml)
    assert why_not(rack, "root", tenant="acme")["refused_by_rule"] == {"cpu": 1}


def test_a_flavor_of_huge_pages_makes_a_vm_of_them() -> None:
    flavors = {"flavors": {"huge": {"vcpus": 1, "memory_mib": 128, "disk_gib": 1, "huge_pages": True}}}
    rack = fake_rack(2, **{"flavors.yaml": flavors})
    assert capacity(rack, flavor="huge")["refused"] == {"h1": ["huge_pages"], "h2": ["huge_pages"]}
    rack.hosts["h2"].hypervisor.numa = (NumaCell(8, 4096, 300),)
    assert capacity(rack, flavor="huge")["hosts"] == {"h1": 0, "h2": 2}
    create(rack, "root", "acme/db1", flavor="huge")
    assert "<hugepages" in str(rack.hosts["h2"].hypervisor.xml)
    assert capacity(rack, flavor="huge")["hosts"]["h2"] == 1
