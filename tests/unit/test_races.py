"""Creates at the same time, with the real claims and locks: never one too many, and nothing left over."""

from __future__ import annotations

import multiprocessing
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from racksalt.adapters.claim_files import ClaimFiles
from racksalt.adapters.system import FileLock
from racksalt.errors import RacksaltError
from racksalt.model import Room
from tests.fakes import FakeRack, fake_rack, rack_files
from tests.unit.test_vm_create import create

AT_ONCE = 8
FORK = multiprocessing.get_context("fork")


def real_locks(folder: Path, hosts: int = 1, **files: Any) -> FakeRack:
    """A fake rack that keeps its claims and takes its locks as a real one does."""
    rack = fake_rack(hosts, **files)
    for name, host in rack.hosts.items():
        host.lock = FileLock(folder / name)
    rack.rack = replace(rack.rack, claims=ClaimFiles(folder / "claims"))
    return rack


def outcomes(call: Callable[[int], Any]) -> Counter[str]:
    """How many of the calls at once were done, and the codes of the others."""
    told: Counter[str] = Counter()
    start = threading.Barrier(AT_ONCE)

    def work(number: int) -> None:
        start.wait()
        try:
            call(number)
        except RacksaltError as error:
            told[error.code] += 1
        else:
            told["done"] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return told


def nothing_left(rack: FakeRack) -> None:
    """Every disk, address and claim is of a VM that is there."""
    made = len(rack.vms_on_hosts())
    assert sum(len(host.volumes.files) for host in rack.hosts.values()) == 2 * made
    assert sum(len(host.hypervisor.leases) for host in rack.hosts.values()) == made
    claims = rack.rack.claims.all()
    assert len(claims) == made and all(claim.settled_at for claim in claims)


@pytest.mark.parametrize(("hosts", "places"), [(1, 1), (1, 3), (2, 2)])
def test_the_last_places_are_given_once(tmp_path: Path, hosts: int, places: int) -> None:
    rack = real_locks(tmp_path, hosts)
    for host in rack.hosts.values():
        host.hypervisor.total = Room(8, 192 * places, 100)
    told = outcomes(lambda number: create(rack, name=f"web{number}"))
    assert told == {"done": hosts * places, "no_host_fits": AT_ONCE - hosts * places}
    assert len(rack.vms_on_hosts()) == hosts * places
    nothing_left(rack)


def test_a_quota_is_never_passed(tmp_path: Path) -> None:
    tenants = {"tenants": {"acme": {"quota": {"vms": 3}}, "beta": {}}}
    rack = real_locks(tmp_path, 3, **{"tenants.yaml": tenants})
    told = outcomes(lambda number: create(rack, name=f"web{number}"))
    assert told == {"done": 3, "quota_exceeded": AT_ONCE - 3}
    nothing_left(rack)


def test_a_name_is_given_once(tmp_path: Path) -> None:
    rack = real_locks(tmp_path, 3)
    told = outcomes(lambda number: create(rack, name="web1"))
    assert told == {"done": 1, "name_in_use": AT_ONCE - 1}
    nothing_left(rack)


def test_an_address_is_given_once(tmp_path: Path) -> None:
    networks = rack_files()["networks.yaml"]
    networks["networks"]["nat"]["pool_last"] = "10.80.0.19"
    rack = real_locks(tmp_path, 3, **{"networks.yaml": networks})
    told = outcomes(lambda number: create(rack, name=f"web{number}"))
    assert told == {"done": 4, "addresses_exhausted": AT_ONCE - 4}
    given = [address for host in rack.hosts.values() for address in host.hypervisor.leases.values()]
    assert len(set(given)) == 4
    nothing_left(rack)


def test_a_group_that_must_not_share_a_host_does_not(tmp_path: Path) -> None:
    rack = real_locks(tmp_path, 3)
    told = outcomes(lambda number: create(rack, name=f"db{number}", anti_affinity="db"))
    assert told == {"done": 3, "no_host_fits": AT_ONCE - 3}
    assert [len(host.hypervisor.xml) for host in rack.hosts.values()] == [1, 1, 1]
    nothing_left(rack)


def test_the_same_request_at_once_makes_one_vm(tmp_path: Path) -> None:
    rack = real_locks(tmp_path, 3)
    wanted = "0b5f2f40-4a4e-4b0e-9d2c-0b8f9f1d2c3e"
    told = outcomes(lambda number: create(rack, request_id=wanted))
    assert set(told) <= {"done", "name_in_use"} and rack.vms_on_hosts() == ["acme.web1"]
    assert not create(rack, request_id=wanted)["changed"]
    nothing_left(rack)


def test_creates_and_deletes_at_once_end_with_what_they_say(tmp_path: Path) -> None:
    rack = real_locks(tmp_path, 2)
    for number in range(4):
        create(rack, name=f"old{number}")

    def work(number: int) -> None:
        if number % 2:
            create(rack, name=f"new{number}")
        else:
            host = next(h for h in rack.hosts.values() if f"acme.old{number // 2}" in names(h))
            uuid = next(d.uuid for d in host.hypervisor.report().domains if d.name == f"acme.old{number // 2}")
            host.call("rack_vm.act", {"request": {"uuid": uuid, "verb": "delete"}})

    def names(host: Any) -> list[str]:
        return [domain.name for domain in host.hypervisor.report().domains]

    assert outcomes(work) == {"done": AT_ONCE}
    assert rack.vms_on_hosts() == [f"acme.new{number}" for number in (1, 3, 5, 7)]


def claim_in_a_process(folder: Path, number: int, start: Any) -> None:
    """A runner whose host never answers: what it claimed stays held."""
    tenants = {"tenants": {"acme": {"quota": {"vms": 3}}, "beta": {}}}
    rack = real_locks(folder, **{"tenants.yaml": tenants})

    def goes_dark(host: str, function: str) -> None:
        rack.hosts[host].silent |= function == "rack_vm.create"

    rack.fleet.before = goes_dark
    start.wait()
    try:
        create(rack, name=f"web{number}")
    except RacksaltError as error:
        (folder / f"told-{number}").write_text(error.code)


def test_processes_never_claim_more_than_the_quota(tmp_path: Path) -> None:
    start = FORK.Barrier(AT_ONCE)
    processes = [FORK.Process(target=claim_in_a_process, args=(tmp_path, n, start)) for n in range(AT_ONCE)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    told = Counter(path.read_text() for path in tmp_path.glob("told-*"))
    assert told == {"host_silent": 3, "quota_exceeded": AT_ONCE - 3}
    claims = ClaimFiles(tmp_path / "claims").all()
    assert len(claims) == 3 and len({claim.record.nics[0].address for claim in claims}) == 3
