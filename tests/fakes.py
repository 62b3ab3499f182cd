"""Fakes of the ports: a whole rack in memory, running the same code as the real one.

Each fake says only what the real thing says; ``tests/functional/test_contract.py`` holds both to it.
"""

from __future__ import annotations

import copy
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

from racksalt import errors, record, shape
from racksalt.errors import Conflict, NotFound, RacksaltError, Refused
from racksalt.host_requests import ActOnHost, CreateOnHost, PurgeOnHost
from racksalt.host_vms import HostVms
from racksalt.model import Claim, Domain, HostReport, Look, Nic, Room
from racksalt.ports import Answer, HostLock, Silent
from racksalt.rack import Rack

Fault = Callable[[str], None]


@dataclass
class FakeClock:
    """Time that moves only when somebody sleeps, and a little at each look."""

    time: float = 1_000_000.0
    tick: float = 0.001

    def now(self) -> float:
        self.time += self.tick
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


@contextmanager
def no_lock() -> Iterator[None]:
    """One thread needs none."""
    yield


@dataclass
class FakeHypervisor:
    """Domains by UUID. ``fault(step)`` may raise at any step; ``obeys`` are the rungs that a guest listens to."""

    total: Room = field(default_factory=lambda: Room(8, 4096, 100))
    obeys: frozenset[str] = frozenset({"acpi"})
    fault: Fault = lambda step: None
    xml: dict[str, str] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    networks: frozenset[str] = frozenset({"nat"})
    leases: dict[str, str] = field(default_factory=dict)
    foreign: list[Domain] = field(default_factory=list)

    def report(self) -> HostReport:
        self.fault("report")
        domains = [self._domain(uuid, xml) for uuid, xml in list(self.xml.items())]
        return HostReport("", self.total, (*domains, *self.foreign), "fake")

    def define(self, xml: str) -> None:
        self.fault("define")
        root = ElementTree.fromstring(xml)
        uuid = root.findtext("uuid") or ""
        if any(ElementTree.fromstring(other).findtext("name") == root.findtext("name") for other in self._others(uuid)):
            raise Refused("libvirt_refused", "domain already exists with another uuid")
        self.xml[uuid] = xml
        self.states.setdefault(uuid, "stopped")

    def undefine(self, uuid: str) -> None:
        self._known(uuid)
        del self.xml[uuid], self.states[uuid]

    def start(self, uuid: str) -> None:
        self.fault("start")
        if self.state(uuid) in ("running", "paused"):
            raise Conflict("vm_state", "domain is already running")
        self.states[uuid] = "running"

    def state(self, uuid: str) -> str:
        self._known(uuid)
        return self.states[uuid]

    def press_power(self, uuid: str) -> None:
        self._ask(uuid, "acpi")

    def press_ctrl_alt_del(self, uuid: str) -> None:
        self._ask(uuid, "ctrl_alt_del")

    def ask_agent_to_halt(self, uuid: str) -> None:
        if "agent" not in self.obeys:
            raise Conflict("vm_state", "guest agent is not connected")
        self._ask(uuid, "agent")

    def destroy(self, uuid: str) -> None:
        self._running(uuid)
        self.states[uuid] = "stopped"

    def suspend(self, uuid: str) -> None:
        self._running(uuid)
        self.states[uuid] = "paused"

    def resume(self, uuid: str) -> None:
        if self.state(uuid) != "paused":
            raise Conflict("vm_state", "domain is not paused")
        self.states[uuid] = "running"

    def save(self, uuid: str) -> None:
        self._running(uuid)
        self.states[uuid] = "suspended"

    def discard_save(self, uuid: str) -> None:
        self._known(uuid)
        self.states[uuid] = "stopped"

    def write_record(self, uuid: str, xml: str) -> None:
        self.fault("write_record")
        self._known(uuid)
        root = ElementTree.fromstring(self.xml[uuid])
        metadata = root.find("metadata")
        assert metadata is not None
        metadata.clear()
        metadata.append(ElementTree.fromstring(xml))
        self.xml[uuid] = ElementTree.tostring(root, encoding="unicode")

    def reserve_address(self, nic: Nic) -> None:
        self.fault("reserve_address")
        if nic.network not in self.networks:
            raise NotFound("network_missing", f"no network {nic.network} here")
        self.leases[nic.mac] = nic.address

    def release_address(self, nic: Nic) -> None:
        self.leases.pop(nic.mac, None)

    def _domain(self, uuid: str, xml: str) -> Domain:
        root = ElementTree.fromstring(xml)
        known = record.from_domain(root)
        return Domain(
            uuid,
            root.findtext("name") or "",
            self.states.get(uuid, "stopped"),  # type: ignore[arg-type]
            int(root.findtext("vcpu") or 0),
            int(root.findtext("memory") or 0),
            known.disk_gib if known else 0,
            known,
        )

    def _others(self, uuid: str) -> list[str]:
        return [xml for known, xml in self.xml.items() if known != uuid]

    def _known(self, uuid: str) -> None:
        if uuid not in self.xml:
            raise NotFound("vm_not_found", f"no domain {uuid}")

    def _running(self, uuid: str) -> None:
        if self.state(uuid) not in ("running", "paused"):
            raise Conflict("vm_state", "domain is not running")

    def _ask(self, uuid: str, rung: str) -> None:
        self._running(uuid)
        if rung in self.obeys:
            self.states[uuid] = "stopped"


@dataclass
class FakeVolumes:
    """Paths that exist; images that are missing can be named."""

    missing: frozenset[str] = frozenset()
    fault: Fault = lambda step: None
    files: set[str] = field(default_factory=set)
    seeds: dict[str, Mapping[str, str]] = field(default_factory=dict)

    def create(self, tenant: str, uuid: str, *, size_gib: int, backing: str | None, format: str) -> str:
        path = f"/volumes/{tenant}/{uuid}.qcow2"
        self.files.add(path)
        self.fault("create")
        return path

    def write_seed(self, tenant: str, uuid: str, files: Mapping[str, str]) -> str:
        path = f"/volumes/{tenant}/{uuid}-seed.iso"
        self.files.add(path)
        self.seeds[uuid] = files
        self.fault("write_seed")
        return path

    def remove(self, tenant: str, uuid: str) -> list[str]:
        gone = sorted(path for path in self.files if path.startswith(f"/volumes/{tenant}/{uuid}"))
        self.files -= set(gone)
        return gone

    def console_log(self, uuid: str) -> str:
        return f"/logs/{uuid}.console.log"

    def image_path(self, sha256: str) -> str:
        if sha256 in self.missing:
            raise NotFound("image_missing", f"image {sha256} is not in the store")
        return f"/images/{sha256}"


@dataclass
class FakeHost:
    """One host: its parts, and what is wrong with it."""

    name: str
    clock: FakeClock
    hypervisor: FakeHypervisor = field(default_factory=FakeHypervisor)
    volumes: FakeVolumes = field(default_factory=FakeVolumes)
    silent: bool = False
    loses_returns: bool = False
    lock: HostLock = field(default=no_lock)

    def vms(self) -> HostVms:
        return HostVms(self.name, self.hypervisor, self.volumes, self.lock, self.clock)

    def call(self, function: str, request: Mapping[str, Any]) -> Answer:
        """As the execution modules do it: plain data in, plain data or the error out."""
        try:
            return shape.plain(self._call(function, shape.plain(request)))
        except RacksaltError as error:
            return errors.from_dict(error.as_dict())

    def _call(self, function: str, arguments: dict[str, Any]) -> Any:
        vms, test = self.vms(), arguments.get("test", False)
        if function == "rack_host.report":
            return vms.report()
        if function == "rack_vm.create":
            return vms.create(shape.parse(CreateOnHost, arguments["request"]), test=test)
        if function == "rack_vm.act":
            return vms.act(shape.parse(ActOnHost, arguments["request"]), test=test)
        if function == "rack_vm.purge":
            return vms.purge(shape.parse(PurgeOnHost, arguments["request"]))
        raise NotFound("function_unknown", function)


@dataclass
class FakeFleet:
    """Hosts in this process. ``before(host, function)`` runs first: where races and faults come in."""

    hosts: dict[str, FakeHost]
    before: Callable[[str, str], None] = lambda host, function: None
    calls: list[tuple[str, str]] = field(default_factory=list)

    def ask(
        self, hosts: Sequence[str], function: str, request: Mapping[str, Any], *, timeout_s: float
    ) -> dict[str, Answer]:
        return {name: self._ask(name, function, request, timeout_s) for name in hosts}

    def _ask(self, name: str, function: str, request: Mapping[str, Any], timeout_s: float) -> Answer:
        self.before(name, function)
        self.calls.append((name, function))
        host = self.hosts.get(name)
        if host is None or host.silent:
            return Silent(timeout_s)
        answer = host.call(function, request)
        return Silent(timeout_s) if host.loses_returns else answer


@dataclass
class FakeClaims:
    """Claims in memory."""

    held: dict[str, Claim] = field(default_factory=dict)

    locked = staticmethod(no_lock)

    def all(self) -> list[Claim]:
        return list(self.held.values())

    certain = all

    def write(self, claim: Claim) -> None:
        self.held[claim.record.uuid] = claim

    def remove(self, uuid: str) -> None:
        self.held.pop(uuid, None)


@dataclass
class FakeLastKnown:
    """The last look and its reports in memory."""

    reports: dict[str, HostReport] = field(default_factory=dict)
    newest: Look | None = None
    lock: Any = field(default_factory=threading.Lock)

    def locked(self) -> Any:
        return self.lock

    def look(self) -> Look | None:
        return self.newest

    def write_look(self, look: Look) -> None:
        self.newest = look

    def read(self) -> dict[str, HostReport]:
        return dict(self.reports)

    def read_one(self, host: str) -> HostReport | None:
        return self.reports.get(host)

    def write(self, report: HostReport) -> None:
        self.reports[report.host] = report


@dataclass(frozen=True)
class FakeFile:
    """One of the rack's files as plain data; every key is on line 1."""

    path: str
    data: Any
    problem: dict[str, Any] | None = None

    def line_of(self, path: shape.Path) -> int:
        return 1


@dataclass
class FakeFiles:
    """The rack's files in memory."""

    data: dict[str, Any]

    locked = staticmethod(no_lock)

    def read(self, name: str) -> FakeFile:
        return FakeFile(name, self.data.get(name, {}))

    def change(self, name: str, edit: Callable[[Any], None], check: Callable[[Any], Any]) -> None:
        changed = FakeFiles(copy.deepcopy(self.data))
        edit(changed.data.setdefault(name, {}))
        check(changed)
        self.data = changed.data


TINY = {"kind": "kernel", "kernel": "1" * 64, "initrd": "2" * 64, "cmdline": "quiet"}


def rack_files(hosts: int = 3, **files: Any) -> dict[str, Any]:
    """The files of a small rack: tenants acme and beta, users for each role."""
    return {
        "hosts.yaml": {
            "rack": "test",
            "writer": "master",
            "defaults": {"accelerator": "qemu"},
            "hosts": {f"h{number}": {"labels": {"zone": "ab"[number % 2]}} for number in range(1, hosts + 1)},
        },
        "tenants.yaml": {"tenants": {"acme": {"quota": {"vms": 50, "memory_mib": -1}}, "beta": {}}},
        "users.yaml": {
            "users": {
                "alice": {"tenants": {"acme": "member"}},
                "bob": {"tenants": {"beta": "member"}},
                "carol": {"tenants": {"acme": "reader", "beta": "member"}},
                "olivia": {"operator": True},
            }
        },
        "flavors.yaml": {
            "flavors": {
                "m1.tiny": {"vcpus": 1, "memory_mib": 128, "disk_gib": 1},
                "m1.large": {"vcpus": 4, "memory_mib": 2048, "disk_gib": 20},
            }
        },
        "images.yaml": {"images": {"tiny": dict(TINY)}},
        "networks.yaml": {
            "networks": {
                "nat": {
                    "subnet": "10.80.0.0/20",
                    "gateway": "10.80.0.1",
                    "pool_first": "10.80.0.16",
                    "pool_last": "10.80.15.254",
                }
            }
        },
        **files,
    }


@dataclass
class FakeRack:
    """A whole rack in memory."""

    hosts: dict[str, FakeHost]
    fleet: FakeFleet
    claims: FakeClaims
    files: FakeFiles
    clock: FakeClock
    rack: Rack

    def vms_on_hosts(self) -> list[str]:
        """Every domain that is really there."""
        return sorted(
            itertools.chain.from_iterable(
                [domain.name for domain in host.hypervisor.report().domains] for host in self.hosts.values()
            )
        )

    def leftovers(self) -> list[str]:
        """Disks, leases and claims."""
        found = [path for host in self.hosts.values() for path in host.volumes.files]
        found += [address for host in self.hosts.values() for address in host.hypervisor.leases.values()]
        return sorted(found) + [uuid for uuid, claim in self.claims.held.items() if claim.settled_at is None]


def fake_rack(hosts: int = 3, **files: Any) -> FakeRack:
    """A rack of ``hosts`` equal hosts with :func:`rack_files`."""
    clock = FakeClock()
    machines = {f"h{number}": FakeHost(f"h{number}", clock) for number in range(1, hosts + 1)}
    fleet, claims = FakeFleet(machines), FakeClaims()
    folder = FakeFiles(rack_files(hosts, **files))
    rack = Rack(folder, fleet, claims, FakeLastKnown(), clock, "master")
    return FakeRack(machines, fleet, claims, folder, clock, rack)
