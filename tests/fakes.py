"""Fakes of the ports: a whole rack in memory, running the same code as the real one.

Each fake says only what the real thing says; ``tests/functional/test_contract.py`` holds both to it.
"""

from __future__ import annotations

import ast
import base64
import copy
import hashlib
import itertools
import json
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any
from xml.etree import ElementTree

from racksalt import acl, audit, errors, holdings, host_several, host_update, record, record_proof, shape
from racksalt.audit import Entry
from racksalt.audit_check import Raw
from racksalt.drift_requests import EnrollOnHost, RestoreOnHost, SetAsideOnHost
from racksalt.errors import Conflict, NotFound, RacksaltError, Refused, Unavailable
from racksalt.holdings import Definition, Volume
from racksalt.host_arrivals import HostArrivals
from racksalt.host_away import HostAway
from racksalt.host_creates import HostCreates
from racksalt.host_departures import HostDepartures
from racksalt.host_drift import HostDrift
from racksalt.host_feed import Moment
from racksalt.host_moves import HostMoves
from racksalt.host_requests import (
    ActOnHost,
    CreateOnHost,
    EndMove,
    KeepSnapshot,
    OfferMove,
    PurgeOnHost,
    ReadProgress,
    ReadSnapshot,
    RecallMove,
    ReceiveMove,
    SendMove,
    SettleOnHost,
    SignOnHost,
    WithdrawMove,
)
from racksalt.host_turns import HostTurns
from racksalt.host_vms import HostVms
from racksalt.job_trail import Kept, Running
from racksalt.model import (
    Claim,
    Domain,
    Head,
    HostConfig,
    HostCpu,
    HostReport,
    Look,
    Nic,
    NumaCell,
    Record,
    Room,
    SnapshotHead,
)
from racksalt.noted_fleet import NotedFleet
from racksalt.ports import Answer, Clock, HostLock, Return, Silent
from racksalt.rack import Rack
from racksalt.record_proof import Ring
from racksalt.tls_certificates import PURPOSES, TlsPair
from tests.fake_moves import FakeDoors, FakeMoves

Fault = Callable[[str], None]


@dataclass
class FakeClock:
    """Time that moves only when somebody sleeps, and a little at each look."""

    time: float = 1_000_000.0
    tick: float = 0.001
    passed: float = 0.0

    def now(self) -> float:
        self.sleep(self.tick)
        return self.time

    def steady(self) -> float:
        self.sleep(self.tick)
        return self.passed

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.passed += seconds


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
    #: Those that are on their way, from here or to here.
    moving: set[str] = field(default_factory=set)
    live: dict[str, str] = field(default_factory=dict)
    cpu: HostCpu | None = None
    numa: tuple[NumaCell, ...] = ()

    def report(self, *, cpu: bool = True) -> HostReport:
        self.fault("report")
        domains = [self._domain(uuid, xml) for uuid, xml in list(self.xml.items())]
        return HostReport(
            "", self.total, (*domains, *self.foreign), "fake", cpu=self.cpu if cpu else None, numa=self.numa
        )

    def domains(self, uuids: Collection[str] | None = None) -> tuple[Domain, ...]:
        return tuple(domain for domain in self.report().domains if uuids is None or domain.uuid in uuids)

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
        metadata = ElementTree.SubElement(root, "metadata") if metadata is None else metadata
        metadata.clear()
        metadata.append(ElementTree.fromstring(xml))
        self.xml[uuid] = ElementTree.tostring(root, encoding="unicode")

    def is_moving(self, uuid: str) -> bool:
        self._known(uuid)
        return uuid in self.moving

    def reserve_address(self, nic: Nic) -> None:
        self.fault("reserve_address")
        if nic.network not in self.networks:
            raise NotFound("network_missing", f"no network {nic.network} here")
        self.leases[nic.mac] = nic.address

    def release_address(self, nic: Nic) -> None:
        self.fault("release_address")
        self.leases.pop(nic.mac, None)

    def reserved(self) -> tuple[Nic, ...]:
        network = next(iter(self.networks))
        return tuple(Nic(network, mac, address) for mac, address in sorted(self.leases.items()))

    def definition(self, uuid: str) -> str:
        self._known(uuid)
        return self.xml[uuid]

    def definitions(self) -> tuple[Definition, ...]:
        self.fault("definitions")
        roots = {uuid: ElementTree.fromstring(xml) for uuid, xml in self.xml.items()}
        running = {uuid: root for uuid, root in roots.items() if self.states.get(uuid) in ("running", "paused")}
        live = {uuid: ElementTree.fromstring(self.live[uuid]) for uuid in running if uuid in self.live}
        return tuple(
            holdings.definition_of(uuid, None if uuid in self.transient else root, live.get(uuid, running.get(uuid)))
            for uuid, root in roots.items()
        )

    def set_aside(self, uuid: str) -> str:
        self.fault("set_aside")
        if self._state(uuid) == "suspended":
            raise Conflict("vm_state", "refusing to undefine while domain managed save image exists")
        self.states.pop(uuid)
        return self.xml.pop(uuid)

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
            incoming=known is not None and uuid in self.transient & self.moving,
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
class FakeDiskInMaking:
    """One that is made at once, when it is kept."""

    volumes: FakeVolumes
    aside: str

    def keep(self) -> str:
        path = self.aside.replace("/.", "/")
        self.volumes.files.add(path)
        self.volumes.fault("create")
        self.volumes.files.discard(self.aside)
        return path

    def drop(self) -> None:
        self.volumes.files.discard(self.aside)


@dataclass
class FakeVolumes:
    """Paths that exist; images that are missing can be named."""

    missing: frozenset[str] = frozenset()
    fault: Fault = lambda step: None
    files: set[str] = field(default_factory=set)
    seeds: dict[str, Mapping[str, str]] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)

    def begin(self, tenant: str, uuid: str, *, size_bytes: int, backing: str | None, format: str) -> FakeDiskInMaking:
        aside = f"/volumes/{tenant}/.{uuid}.qcow2"
        self.files.add(aside)
        return FakeDiskInMaking(self, aside)

    def write_seed(self, tenant: str, uuid: str, files: Mapping[str, str]) -> str:
        path = f"/volumes/{tenant}/{uuid}-seed.iso"
        self.files.add(path)
        self.seeds[uuid] = files
        self.fault("write_seed")
        return path

    def paths(self, tenant: str, uuid: str) -> tuple[str, str]:
        return f"/volumes/{tenant}/{uuid}.qcow2", f"/volumes/{tenant}/{uuid}-seed.iso"

    def exists(self, path: str) -> bool:
        return path in self.files

    def read_seed(self, tenant: str, uuid: str) -> bytes:
        self.fault("read_seed")
        if self.paths(tenant, uuid)[1] not in self.files:
            raise NotFound("disk_missing", "the seed is not there")
        return repr(self.seeds[uuid]).encode()

    def copy_seed(self, tenant: str, uuid: str, data: bytes) -> str:
        return self.write_seed(tenant, uuid, ast.literal_eval(data.decode()))

    def remove(self, tenant: str, uuid: str, *, disks: bool = True) -> list[str]:
        self.fault("remove")
        own = (f"/volumes/{tenant}/{uuid}", f"/volumes/{tenant}/.{uuid}")
        gone = sorted(path for path in tuple(self.files) if disks and path.startswith(own))
        self.files -= set(gone)
        return gone

    def console_log(self, uuid: str) -> str:
        return f"/logs/{uuid}.console.log"

    def all(self) -> tuple[Volume, ...]:
        parts = [(path, path.split("/")) for path in sorted(self.files) if path.startswith("/volumes/")]
        return tuple(Volume(tenant, file, path, 1) for path, (_, _, tenant, file) in parts)

    def set_aside(self, tenant: str, files: Collection[str]) -> list[str]:
        self.fault("set_aside")
        self.files -= {f"/volumes/{tenant}/{file}" for file in files}
        moved = [f"/lost/{tenant}/{file}" for file in files]
        self.files |= set(moved)
        return moved

    def keep(self, name: str, text: str) -> str:
        self.fault("keep")
        self.kept[name] = text
        return f"/lost/{name}"

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

    def seal_with(self, key: str, text: str, *, context: str) -> str:
        return FakeKey(base64.b64decode(key.splitlines()[1]).decode().strip()).seal(text, context=context)

    def unseal(self, sealed: str, *, context: str) -> str:
        host, sealed_for, text = ast.literal_eval(base64.b64decode(sealed.rpartition(".")[2]).decode())
        if (host, sealed_for) != (self.host, context):
            raise Refused("not_unsealed", "sealed for something else")
        return str(text)


@dataclass
class FakeSnapshotStore:
    """Snapshots in memory."""

    newest: dict[str, KeepSnapshot] = field(default_factory=dict)
    pieces: dict[str, str] = field(default_factory=dict)

    def heads(self) -> tuple[SnapshotHead, ...]:
        return tuple(kept.head for kept in self.newest.values())

    def read(self, master: str, name: str) -> str | None:
        return self.pieces.get(name)

    def keep(self, asked: KeepSnapshot) -> list[str]:
        known = self.newest.get(asked.head.master)
        if known is not None and known.head.version >= asked.head.version:
            return []
        self.pieces |= asked.texts
        missing = [name for name in asked.names if name not in self.pieces]
        if not missing:
            self.newest[asked.head.master] = replace(asked, texts={})
        return missing


class FakeSnapshots(FakeSnapshotStore):
    """A master's, with a seal that everybody knows, but for the key."""

    def seal(self, data: bytes, label: str, ring: Ring) -> str:
        return f"{ring.newest}." + base64.b64encode(repr((label, ring.keys[ring.newest], data)).encode()).decode()

    def unseal(self, text: str, label: str, ring: Ring) -> bytes:
        number, _, sealed = text.partition(".")
        try:
            sealed_for, key, data = ast.literal_eval(base64.b64decode(sealed).decode())
        except (ValueError, SyntaxError):
            raise Refused("snapshot_unreadable", "not what was sealed") from None
        if (sealed_for, key) != (label, ring.keys.get(int(number))):
            raise Refused("snapshot_unreadable", "sealed for something else")
        return bytes(data)


@dataclass
class FakeBootWord:
    """What a host knows since its boot; ``booted`` at first, as fakes have been up for long."""

    booted: bool = True
    word: frozenset[str] | None = None

    def waits(self) -> bool:
        return not self.booted

    def read(self) -> frozenset[str] | None:
        return self.word

    def write(self, keep_off: Collection[str]) -> None:
        self.word = frozenset(keep_off)

    def done(self) -> None:
        self.booted = True


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
    journal: tuple[dict[str, str], ...] = ()
    #: What Salt would say to a highstate.
    highstate: Any = field(default_factory=dict)
    boot: str = "boot-1"
    booted_at: float = 500_000.0
    snapshots: FakeSnapshotStore = field(default_factory=FakeSnapshotStore)
    word: FakeBootWord = field(default_factory=FakeBootWord)
    doors: FakeDoors = field(default_factory=FakeDoors)
    mover: FakeMoves = field(init=False)

    def __post_init__(self) -> None:
        self.mover = FakeMoves(self.name, self.hypervisor)

    def moves(self) -> HostMoves:
        return HostMoves(self.vms(), self.mover, self.doors, self.mover.lock)

    def away(self) -> HostAway:
        return HostAway(self.vms(), self.word, self.snapshots)

    def crash(self) -> None:
        """Power off and on: nothing runs any more, and its unit waits for the writer's word."""
        self.boot = f"boot-{int(self.boot.rpartition('-')[2]) + 1}"
        self.word = FakeBootWord(booted=False)
        for uuid, state in list(self.hypervisor.states.items()):
            if state in ("running", "paused"):
                self.hypervisor.states[uuid] = "stopped"

    def moment(self) -> Moment:
        """By its own clock, which began when it booted."""
        return Moment(self.boot, self.clock.now() - self.booted_at)

    def vms(self) -> HostVms:
        return HostVms(
            self.name,
            self.hypervisor,
            self.volumes,
            self.lock,
            self.clock,
            FakeKey(self.name),
            self.mover.sending.__contains__,
        )

    def call(self, function: str, request: Mapping[str, Any]) -> Answer:
        """As the execution modules do it: plain data in, plain data or the error out."""
        try:
            return shape.plain(self._call(function, shape.plain(request)))
        except RacksaltError as error:
            return errors.from_dict(error.as_dict())

    def _call(self, function: str, arguments: dict[str, Any]) -> Any:
        vms, test = self.vms(), arguments.get("test", False)
        if function == "rack_host.report":
            now = self.moment()
            return replace(self.away().report(), audit_heads=self.heads, boot=now.boot, uptime_s=now.uptime_s)
        if function == "rack_host.settle":
            return self.away().settle(shape.parse(SettleOnHost, arguments["request"]))
        if function == "rack_host.keep_snapshot":
            return self.away().keep_snapshot(shape.parse(KeepSnapshot, arguments["request"]))
        if function == "rack_host.snapshot":
            return self.away().snapshot(shape.parse(ReadSnapshot, arguments["request"]))
        if function == "rack_host.update_self":
            return host_update.told(self.highstate)
        if function == "rack_host.reboot_self":
            self.crash()
            return {}
        if function == "rack_vm.create":
            return HostCreates(vms).create(shape.parse(CreateOnHost, arguments["request"]), test=test)
        if function == "rack_vm.act":
            return vms.act(shape.parse(ActOnHost, arguments["request"]), test=test)
        if function == "rack_host.holdings":
            return HostDrift(vms).holdings()
        if function == "rack_host.set_aside":
            return HostDrift(vms).set_aside(shape.parse(SetAsideOnHost, arguments["request"]), test=test)
        if function == "rack_host.errors":
            return {"count": len(self.journal), "lines": list(self.journal)}
        if function == "rack_vm.enroll":
            return HostDrift(vms).enroll(shape.parse(EnrollOnHost, arguments["request"]))
        if function == "rack_vm.restore":
            return HostDrift(vms).restore(shape.parse(RestoreOnHost, arguments["request"]), test=test)
        if function == "rack_vm.sign":
            return vms.sign(shape.parse(SignOnHost, arguments["request"]))
        if function == "rack_vm.purge":
            return vms.purge(shape.parse(PurgeOnHost, arguments["request"]))
        return self._move(function, arguments)

    def _move(self, function: str, arguments: dict[str, Any]) -> Any:
        asked = arguments.get("request")
        if function in host_several.FUNCTIONS and host_several.are_in(asked):
            if function == "rack_vm.send":
                turns = HostTurns(self.mover.lock, self.clock, lambda: nullcontext(HostDepartures(self.moves())))
                return turns.send(asked, self.name)
            way = host_several.as_far_as_told if function == "rack_vm.offer" else host_several.in_turn
            return way(asked, self.name, lambda one: self._move_one(function, one))
        return self._move_one(function, asked)

    def _move_one(self, function: str, request: Any) -> Any:
        moves = self.moves()
        if function == "rack_vm.offer":
            return HostDepartures(moves).offer(shape.parse(OfferMove, request))
        if function == "rack_vm.receive":
            return HostArrivals(moves).receive(shape.parse(ReceiveMove, request))
        if function == "rack_vm.send":
            sent = shape.parse(SendMove, request)
            comes_here = sent.record.host == self.name
            return HostArrivals(moves).await_arrival(sent) if comes_here else HostDepartures(moves).send(sent)
        if function == "rack_vm.progress":
            return HostDepartures(moves).progress(shape.parse(ReadProgress, request))
        if function == "rack_vm.conclude":
            return moves.conclude(shape.parse(EndMove, request))
        if function == "rack_vm.recall":
            return HostDepartures(moves).recall(shape.parse(RecallMove, request))
        if function == "rack_vm.withdraw":
            return HostArrivals(moves).withdraw(shape.parse(WithdrawMove, request))
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
        self,
        hosts: Sequence[str],
        function: str,
        request: Mapping[str, Any],
        *,
        timeout_s: float,
        lead: str | None = None,
    ) -> dict[str, Answer]:
        answers: dict[str, Answer] = {}
        for name in sorted(hosts, key=lambda name: name != lead):
            failed = lead in answers and isinstance(answers[lead], (Silent, RacksaltError))
            answers[name] = (
                Silent(timeout_s, passed_over=True) if failed else self._ask(name, function, request, timeout_s)
            )
        return answers

    def seal(self, host: str, text: str, *, context: str) -> str:
        if host in self.without_key:
            raise Unavailable("host_key", f"no key of {host}")
        return FakeKey(host).seal(text, context=context)

    def public_key(self, host: str) -> str:
        if host in self.without_key:
            raise Unavailable("host_key", f"no key of {host}")
        text = base64.b64encode(host.ljust(90).encode()).decode()
        return f"-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n"

    def proves(self, host: str, data: bytes, signature: str) -> bool:
        return host not in self.without_key and FakeKey(host).verify(data, signature)

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

    def next_return(self, jobs: Collection[str], *, wait_s: float) -> Return | None:
        coming = [(self.coming[job][0][0], job) for job in jobs if self.coming[job]]
        at, job = min(coming, default=(float("inf"), ""))
        if at > self.clock.time + wait_s:
            self.clock.sleep(wait_s)
            return None
        self.clock.sleep(max(0.0, at - self.clock.time))
        _, said = self.coming[job].pop(0)
        return Return(job, said.name, said.returned)

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
    lock: Any = field(default_factory=threading.Lock)

    def locked(self) -> Any:
        return self.lock

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
    newest_part: Look | None = None
    lives: dict[str, HostReport] = field(default_factory=dict)
    touches: dict[str, float] = field(default_factory=dict)
    unclaimed: dict[str, float] = field(default_factory=dict)
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
        self.newest = self.newest_part = None
        self.reports = {host: report for host, report in self.reports.items() if host in keep}
        self.lives = {host: report for host, report in self.lives.items() if host in keep}

    def live(self) -> dict[str, HostReport]:
        return dict(self.lives)

    def live_one(self, host: str) -> HostReport | None:
        return self.lives.get(host)

    def write_live(self, report: HostReport) -> None:
        self.lives[report.host] = report

    def drop_live(self, host: str) -> None:
        self.lives.pop(host, None)

    def touched(self) -> dict[str, float]:
        return dict(self.touches)

    def touched_unclaimed(self) -> dict[str, float]:
        return dict(self.unclaimed)

    def touch(self, host: str, at: float, *, claimed: bool = False) -> None:
        self.touches[host] = at
        if not claimed:
            self.unclaimed[host] = at

    def part(self) -> Look | None:
        return self.newest_part

    def write_part(self, look: Look) -> None:
        self.newest_part = look


@dataclass
class FakePlans:
    """Plans in memory."""

    kept: dict[str, Any] = field(default_factory=dict)

    def keep(self, name: str, plan: Mapping[str, Any]) -> None:
        self.kept[name] = plan

    def read(self, name: str) -> Any:
        return self.kept.get(name, {})


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
class FakeAuthority:
    """Certificates that only say whose they are; ``asked`` are the hosts that got theirs."""

    asked: list[str] = field(default_factory=list)

    def pairs_of(self, host: HostConfig) -> dict[str, TlsPair]:
        self.asked.append(host.name)
        keys = {use: f"key of {host.name} for {use}" for use in PURPOSES}
        return {use: TlsPair(f"authority for {use}", "certificate", key) for use, key in keys.items()}


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

    def stamp(self, names: Collection[str]) -> str:
        return json.dumps({name: self.data.get(name) for name in names}, sort_keys=True, default=str)

    def change(self, name: str, edit: Callable[[Any], None], check: Callable[[Any], Any]) -> None:
        changed = FakeFiles(copy.deepcopy(self.data))
        edit(changed.data.setdefault(name, {}))
        check(changed)
        self.data = changed.data


@dataclass
class FakeSaved:
    """Saved racks in memory."""

    texts: dict[str, str] = field(default_factory=dict)

    def read(self, path: str) -> str:
        if path not in self.texts:
            raise NotFound("inventory_not_found", f"{path}: No such file or directory")
        return self.texts[path]


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
    for host in machines.values():
        host.mover.peers = {name: other.hypervisor for name, other in machines.items()}
        host.mover.doors = {name: other.doors for name, other in machines.items()}
    fleet, claims = FakeFleet(machines), FakeClaims()
    folder, jobs = FakeFiles(rack_files(hosts, **files)), FakeJobs(clock)
    ring, audited = FakeRing(), FakeAudit(clock)
    last_known = FakeLastKnown({name: HostReport(name, host.hypervisor.total) for name, host in machines.items()})
    noted = NotedFleet(fleet, last_known, clock)
    kept = FakeSnapshots(), FakePlans(), FakeSaved()
    rack = Rack(folder, noted, claims, last_known, clock, "master", ring, audited, jobs, FakeSaltAcl(), *kept)
    return FakeRack(machines, fleet, claims, folder, clock, rack)
