"""Fakes of the ports: a whole rack in memory, running the same code as the real one.

Each fake says only what the real thing says; ``tests/functional/test_contract.py`` holds both to it.
"""

from __future__ import annotations

import ast
import base64
import copy
import hashlib
import itertools
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from xml.etree import ElementTree

from racksalt import acl, audit, errors, record, record_proof, shape
from racksalt.audit import Entry
from racksalt.audit_check import Raw
from racksalt.errors import Conflict, NotFound, RacksaltError, Refused, Unavailable
from racksalt.host_requests import ActOnHost, CreateOnHost, PurgeOnHost, SignOnHost
from racksalt.host_vms import HostVms
from racksalt.job_trail import Kept, Running
from racksalt.model import Claim, Domain, Head, HostReport, Look, Nic, Record, Room
from racksalt.ports import Answer, Clock, HostLock, Silent
from racksalt.rack import Rack
from racksalt.record_proof import Ring

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
    transient: set[str] = field(default_factory=set)

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
        """One that runs goes on without a definition, until it stops."""
        self.fault("undefine")
        if uuid in self.transient:
            raise Conflict("vm_state", "domain is transient")
        if self._state(uuid) in ("running", "paused"):
            self.transient.add(uuid)
        else:
            del self.xml[uuid], self.states[uuid]

    def start(self, uuid: str) -> None:
        self.fault("start")
        if self._state(uuid) in ("running", "paused"):
            raise Conflict("vm_state", "domain is already running")
        self.states[uuid] = "running"

    def state(self, uuid: str) -> str:
        self.fault("state")
        return self._state(uuid)

    def press_power(self, uuid: str) -> None:
        self._ask(uuid, "acpi")

    def press_ctrl_alt_del(self, uuid: str) -> None:
        self._ask(uuid, "ctrl_alt_del")

    def ask_agent_to_halt(self, uuid: str) -> None:
        if "agent" not in self.obeys:
            raise Conflict("vm_state", "guest agent is not connected")
        self._ask(uuid, "agent")

    def destroy(self, uuid: str) -> None:
        self.fault("destroy")
        self._running(uuid)
        self._stopped(uuid)

    def suspend(self, uuid: str) -> None:
        self._running(uuid)
        self.states[uuid] = "paused"

    def resume(self, uuid: str) -> None:
        if self._state(uuid) != "paused":
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
        self.fault("release_address")
        self.leases.pop(nic.mac, None)

    def _state(self, uuid: str) -> str:
        self._known(uuid)
        return self.states[uuid]

    def _stopped(self, uuid: str) -> None:
        self.states[uuid] = "stopped"
        if uuid in self.transient:
            self.transient.remove(uuid)
            del self.xml[uuid], self.states[uuid]

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
        if self._state(uuid) not in ("running", "paused"):
            raise Conflict("vm_state", "domain is not running")

    def _ask(self, uuid: str, rung: str) -> None:
        self.fault(rung)
        self._running(uuid)
        if rung in self.obeys:
            self._stopped(uuid)


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
        self.fault("remove")
        gone = sorted(path for path in self.files if path.startswith(f"/volumes/{tenant}/{uuid}"))
        self.files -= set(gone)
        return gone

    def console_log(self, uuid: str) -> str:
        return f"/logs/{uuid}.console.log"

    def image_path(self, sha256: str) -> str:
        if sha256 in self.missing:
            raise NotFound("image_missing", f"image {sha256} is not in the store")
        return f"/images/{sha256}"


@dataclass(frozen=True)
class FakeKey:
    """A key that everybody knows: what it seals says for whom and what it is."""

    host: str

    def sign(self, data: bytes) -> str:
        return f"{self.host}:{hashlib.sha256(data).hexdigest()}"

    def verify(self, data: bytes, signature: str) -> bool:
        return signature == self.sign(data)

    def seal(self, text: str, *, context: str) -> str:
        return f"{'key' * 9}.{'nonce' * 9}." + base64.b64encode(repr((self.host, context, text)).encode()).decode()

    def unseal(self, sealed: str, *, context: str) -> str:
        host, sealed_for, text = ast.literal_eval(base64.b64decode(sealed.rpartition(".")[2]).decode())
        if (host, sealed_for) != (self.host, context):
            raise Refused("not_unsealed", "sealed for something else")
        return str(text)


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
    heads: tuple[Head, ...] = ()

    def vms(self) -> HostVms:
        return HostVms(self.name, self.hypervisor, self.volumes, self.lock, self.clock, FakeKey(self.name))

    def call(self, function: str, request: Mapping[str, Any]) -> Answer:
        """As the execution modules do it: plain data in, plain data or the error out."""
        try:
            return shape.plain(self._call(function, shape.plain(request)))
        except RacksaltError as error:
            return errors.from_dict(error.as_dict())

    def _call(self, function: str, arguments: dict[str, Any]) -> Any:
        vms, test = self.vms(), arguments.get("test", False)
        if function == "rack_host.report":
            return replace(vms.report(), audit_heads=self.heads)
        if function == "rack_vm.create":
            return vms.create(shape.parse(CreateOnHost, arguments["request"]), test=test)
        if function == "rack_vm.act":
            return vms.act(shape.parse(ActOnHost, arguments["request"]), test=test)
        if function == "rack_vm.sign":
            return vms.sign(shape.parse(SignOnHost, arguments["request"]))
        if function == "rack_vm.purge":
            return vms.purge(shape.parse(PurgeOnHost, arguments["request"]))
        raise NotFound("function_unknown", function)


@dataclass
class FakeFleet:
    """Hosts in this process. ``before`` and ``after(host, function)`` are where races and faults come in."""

    hosts: dict[str, FakeHost]
    before: Callable[[str, str], None] = lambda host, function: None
    after: Callable[[str, str], None] = lambda host, function: None
    calls: list[tuple[str, str]] = field(default_factory=list)
    published: list[Mapping[str, Any]] = field(default_factory=list)
    without_key: frozenset[str] = frozenset()

    def ask(
        self, hosts: Sequence[str], function: str, request: Mapping[str, Any], *, timeout_s: float
    ) -> dict[str, Answer]:
        return {name: self._ask(name, function, request, timeout_s) for name in hosts}

    def seal(self, host: str, text: str, *, context: str) -> str:
        if host in self.without_key:
            raise Unavailable("host_key", f"no key of {host}")
        return FakeKey(host).seal(text, context=context)

    def _ask(self, name: str, function: str, request: Mapping[str, Any], timeout_s: float) -> Answer:
        self.before(name, function)
        self.calls.append((name, function))
        self.published.append(request)
        host = self.hosts.get(name)
        if host is None or host.silent:
            return Silent(timeout_s)
        answer = host.call(function, request)
        self.after(name, function)
        return Silent(timeout_s) if host.loses_returns else answer


@dataclass(frozen=True)
class Said:
    """A return on the bus, ``after_s`` its publish: anybody may say anything under any name, and it may be lost."""

    after_s: float
    name: str
    returned: Any
    lost: bool = False


@dataclass
class FakeBus:
    """A bus; ``script(function, arguments, job)`` is what is said on it after a publish."""

    clock: FakeClock
    script: Callable[[str, Sequence[Any], str], list[Said]]
    known: frozenset[str] = frozenset({"h1", "h2", "h3"})
    jobs: int = 0
    coming: dict[str, list[tuple[float, Said]]] = field(default_factory=dict)
    kept: dict[str, list[tuple[float, Said]]] = field(default_factory=dict)

    def new_job(self) -> str:
        self.jobs += 1
        return f"job_{self.jobs}"

    def publish(self, hosts: Sequence[str], function: str, arguments: Sequence[Any], *, job: str) -> list[str]:
        now = self.clock.now()
        said = sorted(self.script(function, arguments, job), key=lambda one: one.after_s)
        self.kept[job] = [(now + one.after_s, one) for one in said]
        self.coming[job] = [(at, one) for at, one in self.kept[job] if not one.lost]
        return [host for host in hosts if host in self.known]

    def next_return(self, job: str, *, wait_s: float) -> tuple[str, Any] | None:
        coming = self.coming[job]
        if not coming or coming[0][0] > self.clock.time + wait_s:
            self.clock.sleep(wait_s)
            return None
        at, said = coming.pop(0)
        self.clock.time = max(self.clock.time, at)
        return said.name, said.returned

    def kept_returns(self, job: str) -> dict[str, Any]:
        first: dict[str, Any] = {}
        for at, said in self.kept.get(job, []):
            if at <= self.clock.time:
                first.setdefault(said.name, said.returned)
        return first


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

    def clear(self, *, keep: Collection[str]) -> None:
        self.newest = None
        self.reports = {host: report for host, report in self.reports.items() if host in keep}


@dataclass
class FakeRing:
    """Keys in memory; each is its own number."""

    numbers: set[int] = field(default_factory=lambda: {1})

    def read(self) -> Ring:
        if not self.numbers:
            raise Unavailable("rack_key_missing", "the ring is empty")
        return Ring({number: bytes([number]) * 32 for number in self.numbers})

    def add(self) -> Ring:
        self.numbers = self.numbers | {max(self.numbers, default=0) + 1}
        return self.read()

    def keep_only(self, number: int) -> list[int]:
        older = sorted(known for known in self.numbers if known < number)
        self.numbers = self.numbers - set(older)
        return older


def signed(vm: Record) -> Record:
    """A record as the fake rack's writer signs it at first."""
    return record_proof.sign(vm, FakeRing().read())


@dataclass
class FakeAudit:
    """Lines in memory; ``full`` is a disk without space."""

    clock: Clock
    master: str = "master"
    texts: list[bytes] = field(default_factory=list)
    full: bool = False

    def append(self, entry: Entry) -> Head:
        if self.full:
            raise Unavailable("audit_unwritable", "no space left")
        text, head = audit.line(entry, after=self.head(), at=self.clock.now(), master=self.master)
        self.texts.append(text)
        return head

    def head(self) -> Head | None:
        line = audit.read(self.texts[-1]) if self.texts else None
        return Head(line.n, line.hash, self.master) if line else None

    def lines(self) -> Iterator[Raw]:
        return (Raw("audit.jsonl", row, text) for row, text in enumerate(list(self.texts), 1))

    def newest(self, *, since: float = 0.0) -> Iterator[bytes]:
        return reversed(self.texts)


@dataclass
class FakeJobs:
    """Jobs in memory; ``on_stop`` is what a process does that is asked to end."""

    clock: Clock
    processes: dict[str, Running] = field(default_factory=dict)
    ended: dict[str, Kept] = field(default_factory=dict)
    on_stop: Callable[[str], None] = lambda job: None
    keeps_s: float = 86400.0

    def running(self) -> list[Running]:
        return list(self.processes.values())

    def newest(self) -> Iterator[Kept]:
        last_first = sorted(self.ended.values(), key=lambda kept: kept.ended_at, reverse=True)
        return (replace(kept, answer=None) for kept in last_first)

    def read(self, job: str) -> Kept | None:
        return self.ended.get(job)

    def stop(self, job: str) -> bool:
        if job not in self.processes or not self.processes[job].lives:
            return False
        self.on_stop(job)
        return True


@dataclass
class FakeSaltAcl:
    """A checker as Salt's, for entries of the kind ``@runner: [pattern]`` and patterns on minions."""

    rules: dict[str, Any] = field(default_factory=acl.external_auth)
    more: dict[str, Any] = field(default_factory=dict)

    def functions(self) -> dict[str, list[str]]:
        return {
            "runner": ["jobs.list_jobs", "salt.cmd", *acl.TENANT_CALLS, *acl.OPERATOR_CALLS],
            "wheel": ["key.accept"],
            "local": ["cmd.run", "rack_vm.act"],
        }

    def settings(self) -> dict[str, Any]:
        return {"external_auth": self.rules, "netapi_enable_clients": ["runner", "runner_async"], **self.more}

    def entries(self, login: str, groups: Sequence[str]) -> list[Any]:
        names = [*([] if login.endswith("%") else [login]), *(f"{group}%" for group in groups)]
        return [entry for name in names for entry in self.rules["rack"].get(name, [])]

    def admits(self, entries: Sequence[Any], kind: str, fun: str) -> bool:
        kinds = [entry.get(f"@{kind}", []) if isinstance(entry, dict) else [] for entry in entries]
        everywhere = [
            entry for entry in entries if isinstance(entry, str) and (kind == "local") != entry.startswith("@")
        ]
        patterns = [*itertools.chain.from_iterable(kinds), *(".*" if one == f"@{kind}" else one for one in everywhere)]
        return any(re.match(pattern, fun) for pattern in patterns)

    def file_of(self, key: str) -> str:
        return "/etc/salt/master.d/acl.conf"


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

    def once(self, names: Collection[str], parse: Callable[[Any], Any]) -> Any:
        return parse(self)

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
    folder, jobs = FakeFiles(rack_files(hosts, **files)), FakeJobs(clock)
    ring, audited = FakeRing(), FakeAudit(clock)
    rack = Rack(folder, fleet, claims, FakeLastKnown(), clock, "master", ring, audited, jobs, FakeSaltAcl())
    return FakeRack(machines, fleet, claims, folder, clock, rack)
