"""Claims: what a create holds the writer's lock for, on a rack of 1,000 hosts with 20,000 VMs, and how it got there."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from racksalt import access, record_proof, shape
from racksalt.adapters.claim_files import ClaimFiles
from racksalt.adapters.yaml_files import YamlFolder
from racksalt.inventory import HostView, Inventory
from racksalt.ip_plan import mac_of
from racksalt.model import Claim, Domain, HostReport, Nic, Record, Room
from racksalt.rack_requests import CreateVm
from racksalt.record_proof import Ring
from racksalt.settings import FILES
from racksalt.vm_create import VmCreate
from racksalt.vm_order import resolve
from tests.bench.figures import Figure, percentile
from tests.fakes import FakeRack, FakeRing, fake_rack

_HOSTS = 1000
_VMS_A_HOST = 20
_TENANTS = 100
_RUNS = 100
_GOAL_S = 0.005
_NETWORK = {"subnet": "10.64.0.0/15", "gateway": "10.64.0.1", "pool_first": "10.64.0.16", "pool_last": "10.65.255.254"}


@dataclass(frozen=True)
class TimedClaims(ClaimFiles):
    """Real claims; how long each lock was held, how much of that was work, and how much the disk's."""

    held_s: list[float] = field(default_factory=list)
    worked_s: list[float] = field(default_factory=list)
    wrote_s: list[float] = field(default_factory=list)

    @contextmanager
    def locked(self) -> Iterator[None]:  # type: ignore[override]
        """The real lock, timed from taken to given back."""
        with ClaimFiles.locked(self):
            began, worked = time.perf_counter(), time.thread_time()
            yield
            self.worked_s.append(time.thread_time() - worked)
        self.held_s.append(time.perf_counter() - began)

    def write(self, claim: Claim) -> None:
        """The real write, with its two fsyncs."""
        began = time.perf_counter()
        ClaimFiles.write(self, claim)
        self.wrote_s.append(time.perf_counter() - began)


def measure() -> list[Figure]:
    """With few and with many claims in flight, as each of them is read again under the lock."""
    ring = FakeRing().read()
    rack = _rack()
    settings = rack.rack.settings()
    reports = _reports(ring)
    plain_ = [shape.plain(report) for report in reports.values()]
    read_s, _ = _timed(lambda: [shape.parse(HostReport, one) for one in plain_])
    proof_s, proven = _timed(
        lambda: {name: record_proof.proven(one, name, rack="test", ring=ring) for name, one in reports.items()}
    )
    hosts = {name: HostView(settings.hosts[name], report, True) for name, report in proven.items()}
    seen = Inventory("test", hosts)
    index_s, _ = _timed(lambda: seen.index)
    figures = [
        _told("20,000 reports as values", read_s),
        _told("20,000 records verified", proof_s),
        _told("20,000 VMs added up", index_s),
    ]
    for claims in (0, 50, 200):
        times = _locked(rack, seen, claims)
        for says, values in (("lock to unlock", times.held_s), ("of it processor", times.worked_s)):
            p50, p99 = percentile(values, 50), percentile(values, 99)
            case = f"claim beside {claims} others, {says}"
            figures.append(Figure("CLAIM", f"{case}, p50", p50, None, "", "s", "< 0.005 s", p50 < _GOAL_S))
            figures.append(Figure("CLAIM", f"{case}, p99", p99, None, "", "s", "< 0.005 s", p99 < _GOAL_S))
        figures.append(_told(f"claim beside {claims} others, its durable write, p50", percentile(times.wrote_s, 50)))
    return figures


def _locked(rack: FakeRack, seen: Inventory, claims: int) -> TimedClaims:
    with tempfile.TemporaryDirectory(prefix="claims-", dir=Path.cwd()) as folder:
        files = TimedClaims(Path(folder) / "claims")
        create = VmCreate(replace(rack.rack, claims=files, files=_written(rack, Path(folder))))
        settings = create.rack.settings()
        caller = access.identify("root", settings)
        for number in range(claims):
            record = _record(f"h{number + 1}", 10**6 + number)
            files.write(Claim(record, time.time() + 60))
        files.wrote_s.clear()
        for number in range(_RUNS):
            asked = CreateVm(f"t{number % _TENANTS}/new{number}", flavor="m1.tiny", image="tiny")
            order = resolve(caller, asked, settings, changes=True)
            claim = create._claim(caller, order, settings, seen.with_claims(files.all()))
            assert isinstance(claim, Claim)
            files.remove(claim.record.uuid)
        return files


def _written(rack: FakeRack, folder: Path) -> YamlFolder:
    """The rack's files on a disk. What was written lately is read anew each time, so that is waited for."""
    for name in FILES:
        path = folder / name
        path.write_text(json.dumps(rack.rack.files.read(name).data), encoding="utf-8")
    time.sleep(2.5)
    return YamlFolder(folder)


def _rack() -> FakeRack:
    tenants: dict[str, Any] = {f"t{number}": {"quota": {"vms": -1, "vcpus": -1}} for number in range(_TENANTS)}
    for tenant in tenants.values():
        tenant["quota"] |= {"memory_mib": -1, "disk_gib": -1}
    return fake_rack(
        _HOSTS,
        **{
            "tenants.yaml": {"tenants": tenants},
            "users.yaml": {"users": {"olivia": {"operator": True}}},
            "networks.yaml": {"networks": {"nat": _NETWORK}},
        },
    )


def _reports(ring: Ring) -> dict[str, HostReport]:
    names = [f"h{number}" for number in range(1, _HOSTS + 1)]
    return {
        name: HostReport(name, Room(64, 256 * 1024, 4000), tuple(_domains(name, at * _VMS_A_HOST, ring)), "fake", 1.0)
        for at, name in enumerate(names)
    }


def _domains(host: str, first: int, ring: Ring) -> Iterator[Domain]:
    for number in range(first, first + _VMS_A_HOST):
        record = record_proof.sign(_record(host, number), ring)
        yield Domain(record.uuid, record.domain, "running", 1, 128, 1, record)


def _record(host: str, number: int) -> Record:
    at = 16 + number * 40_503 % 131_000  # all over the pool, as the plan of addresses has them
    address = f"10.{64 + at // 65_536}.{at // 256 % 256}.{at % 256}"
    uuid = f"0b5f2f40-4a4e-4b0e-9d2c-{number:012x}"
    tenant = f"t{number % _TENANTS}"
    nic = Nic("nat", mac_of(address), address)
    return Record("test", uuid, tenant, f"web{number}", host, "m1.tiny", "tiny", 1, 1, 128, 1, (nic,))


def _timed(work: Any) -> tuple[float, Any]:
    began = time.perf_counter()
    value = work()
    return time.perf_counter() - began, value


def _told(case: str, seconds: float) -> Figure:
    return Figure("CLAIM", case, seconds, None, "", "s", "-", None)
