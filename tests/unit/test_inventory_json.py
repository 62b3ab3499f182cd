"""The inventory as a value: the same bytes for the same rack, whatever the order, the moment and the cache."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from racksalt import inventory_json
from racksalt.inventory import HostView, Inventory
from racksalt.model import Claim, Domain, HostConfig, HostReport, Room
from racksalt.rack_hosts import RackHosts
from tests.fakes import FakeRack, fake_rack
from tests.unit.test_host_vms import UUID, vm
from tests.unit.test_inventory import claim
from tests.unit.test_vm_create import create


def _domains(host: str, first: int) -> list[Domain]:
    """VMs, one that does not count, and a foreign domain."""
    records = [vm(number, host=host) for number in range(first, first + 3)]
    made = [Domain(record.uuid, record.domain, "running", 1, 128, 1, record) for record in records]
    unproven = replace(made[2], record=None, unproven=records[2])
    return [*made[:2], unproven, Domain(UUID.format(first + 3), "by-hand", "stopped", 2, 64, 5)]


HOSTS = {host: _domains(host, number * 10) for number, host in enumerate(("h1", "h2", "h3"), 1)}


def _bytes(seen: Inventory) -> bytes:
    return inventory_json.canonical(inventory_json.value(seen))


def _seen(order: list[str], domains: dict[str, list[Domain]], read_at: float, state: str) -> Inventory:
    hosts = {
        host: HostView(
            HostConfig(host),
            HostReport(
                host,
                Room(8, 4096, 100),
                tuple(replace(domain, state=state) for domain in domains[host]),  # type: ignore[arg-type]
                "fake",
                read_at,
            ),
            True,
        )
        for host in order
    }
    return Inventory("r", hosts)


@given(
    st.permutations(sorted(HOSTS)),
    st.fixed_dictionaries({host: st.permutations(domains) for host, domains in HOSTS.items()}),
    st.floats(0, 1e9),
    st.sampled_from(["running", "stopped", "crashed"]),
)
def test_order_age_and_run_states_change_no_byte(
    order: list[str], domains: dict[str, list[Domain]], read_at: float, state: str
) -> None:
    assert _bytes(_seen(order, domains, read_at, state)) == _bytes(_seen(sorted(HOSTS), HOSTS, 1.0, "running"))


def test_the_value_has_every_host_and_domain_once() -> None:
    value = inventory_json.value(_seen(sorted(HOSTS), HOSTS, 1.0, "running"))
    assert json.loads(inventory_json.canonical(value)) == value
    assert [len(value[part]) for part in ("hosts", "vms", "unknown", "foreign")] == [3, 6, 3, 3]
    assert value["hosts"][0]["name"] == value["hosts"][0]["config"]["name"] == "h1"
    assert value["hosts"][0]["total"] == {"vcpus": 8, "memory_mib": 4096, "disk_gib": 100}
    assert value["vms"][0]["uuid"] == UUID.format(10) and value["foreign"][0]["name"] == "by-hand"


def test_another_note_is_another_value() -> None:
    changed = {**HOSTS, "h1": [replace(HOSTS["h1"][0], record=vm(10, note="x")), *HOSTS["h1"][1:]]}
    assert _bytes(_seen(sorted(HOSTS), changed, 1.0, "running")) != _bytes(_seen(sorted(HOSTS), HOSTS, 1.0, "running"))


def test_a_vm_is_the_same_from_its_claim_and_from_its_host() -> None:
    made = _seen(["h1"], {"h1": HOSTS["h1"][:1]}, 1000.0, "running")
    settled: Claim = claim(vm(10), 1001.0)
    assert _bytes(_seen(["h1"], {"h1": []}, 1000.0, "running").with_claims([settled])) == _bytes(made)


# Over a whole rack.


def _rack() -> FakeRack:
    rack = fake_rack()
    for number in range(6):
        create(rack, "root", f"acme/web{number}", tags=("role=web",), note="front")
    rack.hosts["h2"].hypervisor.foreign.append(Domain(UUID.format(9), "by-hand", "running", 1, 128, 1))
    return rack


def told(rack: FakeRack) -> bytes:
    value = RackHosts(rack.rack).inventory(rack.rack.settings())
    assert value["silent_hosts"] == {}
    return inventory_json.canonical(value["inventory"])


@pytest.mark.promise("P11")
def test_the_inventory_is_the_same_after_the_cache_and_the_claims_were_deleted() -> None:
    rack = _rack()
    before = RackHosts(rack.rack).inventory(rack.rack.settings())
    assert before["vms"] == 6 and before["hosts"] == 3
    rack.clock.sleep(600)
    rack.rack.last_known.clear(keep=())
    rack.claims.held.clear()
    after = RackHosts(rack.rack).inventory(rack.rack.settings())
    assert inventory_json.canonical(after) == inventory_json.canonical(before)


def test_a_rebuild_reads_every_host_anew() -> None:
    rack = _rack()
    before = RackHosts(rack.rack).inventory(rack.rack.settings())
    plan = RackHosts(rack.rack).rebuild_inventory(rack.rack.settings(), test=True)
    assert plan == {"test": True, "changed": True, "hosts": 3, "not_read": {}}
    rebuilt = RackHosts(rack.rack).rebuild_inventory(rack.rack.settings())
    assert rebuilt["sha256"] == before["sha256"] and rebuilt["not_read"] == {} and rebuilt["hosts"] == 3


def test_a_rebuild_keeps_what_is_known_of_a_silent_host() -> None:
    rack = _rack()
    told(rack)
    rack.hosts["h1"].silent = True
    before = RackHosts(rack.rack).inventory(rack.rack.settings())
    rack.rack.last_known.write(HostReport("h9", Room(1, 1, 1)))
    rebuilt = RackHosts(rack.rack).rebuild_inventory(rack.rack.settings())
    assert list(rebuilt["not_read"]) == ["h1"] and rebuilt["sha256"] == before["sha256"]
    assert set(rack.rack.last_known.read()) == {"h1", "h2", "h3"}
