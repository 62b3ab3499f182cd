"""A plan: ordered steps with their reasons, what is refused, and a hash of both and of the facts that they rest on.

Who has read a plan can have exactly that one carried out, by its hash. Where a fact has changed since, nothing is done;
where all that changed are the plan's own first steps, it is the same plan, cut off, and goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from racksalt import inventory_json, shape
from racksalt.errors import Conflict
from racksalt.inventory import Inventory
from racksalt.model import Record, State
from racksalt.vm_verbs import DOWN

Kind = Literal["drain", "balance", "update", "migrate"]
Do = Literal["disable", "move", "update", "reboot", "enable"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step. A move is from ``host`` to ``to``, of a VM that runs (``live``) or does not.

    ``waits_for`` are the numbers of the earlier steps that have to be done before this one begins.
    """

    n: int
    do: Do
    host: str
    why: str
    waits_for: tuple[int, ...] = ()
    vm: str = ""
    uuid: str = ""
    to: str = ""
    live: bool = False

    def told(self) -> dict[str, Any]:
        """The step as plain data, with what it has of its kind."""
        if self.do != "move":
            what: dict[str, Any] = {"host": self.host}
        else:
            what = {"vm": self.vm, "uuid": self.uuid, "from": self.host, "to": self.to, "live": self.live}
        return {"n": self.n, "do": self.do, **what, "why": self.why, "waits_for": list(self.waits_for)}

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts that it keeps busy."""
        return (self.host, self.to) if self.do == "move" else (self.host,)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A VM that cannot be moved.

    ``refused_by_rule`` counts hosts, and ``hosts`` has what each of them refuses it for, with numbers.
    """

    vm: str
    uuid: str
    host: str
    code: str
    why: str
    refused_by_rule: Mapping[str, int] = field(default_factory=dict)
    hosts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VmFact:
    """What a plan rests on of a VM that it moves."""

    title: str
    host: str
    generation: int
    live: bool


@dataclass(frozen=True, slots=True)
class HostFact:
    """What a plan rests on of a host; of one that is to be ``emptied``, also all VMs on it, by UUID."""

    enabled: bool
    answers: bool
    emptied: bool = False
    vms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """What a plan rests on; VMs are by UUID, hosts by name."""

    vms: Mapping[str, VmFact] = field(default_factory=dict)
    hosts: Mapping[str, HostFact] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """``object`` is what it is about: a host, a VM, or the rack. ``moving`` are VMs that it has to wait for."""

    kind: Kind
    object: str
    steps: tuple[Step, ...]
    refusals: tuple[Refusal, ...] = ()
    moving: tuple[str, ...] = ()
    facts: Facts = field(default_factory=Facts)

    @property
    def hash(self) -> str:
        """The SHA-256 of the whole plan as canonical JSON."""
        return hashlib.sha256(inventory_json.canonical(shape.plain(self))).hexdigest()

    def told(self) -> dict[str, Any]:
        """The plan as people read it."""
        return {
            "plan": self.kind,
            "object": self.object,
            "hash": self.hash,
            "steps": [step.told() for step in self.steps],
            "refusals": [shape.plain(refusal) for refusal in self.refusals],
            "moving": list(self.moving),
        }

    def without(self, done: Collection[int]) -> Plan:
        """The same plan with only the steps that are not done; their numbers stay."""
        left = [step for step in self.steps if step.n not in done]
        waiting = (replace(step, waits_for=tuple(n for n in step.waits_for if n not in done)) for step in left)
        return replace(self, steps=tuple(waiting))


def one_move(seen: Inventory, record: Record, target: str, *, live: bool, why: str) -> Plan:
    """The plan for a VM that is moved by itself."""
    step = Step(1, "move", record.host, why, vm=record.title, uuid=record.uuid, to=target, live=live)
    return Plan("migrate", record.title, (step,), facts=facts_of(seen, [step]))


def is_live(state: State) -> bool:
    """Whether a VM in this state is moved while it runs."""
    return state not in DOWN


def facts_of(seen: Inventory, steps: Iterable[Step], *, emptied: Collection[str] = ()) -> Facts:
    """The facts of now that these steps rest on; the hosts in ``emptied`` are to have no VM left."""
    steps = tuple(steps)
    hosts = {host for step in steps for host in step.hosts} | set(emptied)
    return look(seen, {step.uuid for step in steps if step.uuid}, hosts, emptied=emptied)


def look(seen: Inventory, vms: Collection[str], hosts: Collection[str], *, emptied: Collection[str]) -> Facts:
    """The facts of now about these VMs, by UUID, and these hosts; what is gone is not in them."""
    on_hosts: dict[str, list[str]] = {host: [] for host in emptied}
    found: dict[str, VmFact] = {}
    for vm in seen.vms():
        record = vm.record
        if record.host in on_hosts:
            on_hosts[record.host].append(record.uuid)
        if record.uuid in vms:
            found[record.uuid] = VmFact(record.title, record.host, record.generation, is_live(vm.state))
    views = {name: seen.hosts[name] for name in sorted(hosts) if name in seen.hosts}
    return Facts(
        dict(sorted(found.items())),
        {
            name: HostFact(view.config.enabled, view.answers, name in emptied, tuple(sorted(on_hosts.get(name, ()))))
            for name, view in views.items()
        },
    )


def done_of(plan: Plan, seen: Inventory) -> frozenset[int]:
    """The steps of ``plan`` that are done, where nothing else has changed since it was made.

    Raises ``plan_changed`` with all that did. A VM's generation rises with each of its moves, so that a move is
    neither missed nor done twice.
    """
    emptied = [name for name, fact in plan.facts.hosts.items() if fact.emptied]
    now = look(seen, plan.facts.vms.keys(), plan.facts.hosts.keys(), emptied=emptied)
    done = frozenset(_done(plan, now))
    told = [list(_differences(before, now)) for before in (_expected(plan, done), plan.facts)]
    if all(told):
        raise changed(plan.hash, min(told, key=len))
    return done


def other_steps(before: Plan, now: Plan) -> list[str]:
    """How the steps and refusals of two plans differ, where the facts do not tell."""
    told = {True: "is not in it any more", False: "is new in it"}
    old, new = (dict.fromkeys([*map(_line, plan.steps), *map(_refused, plan.refusals)]) for plan in (before, now))
    return [f"{line!r} {told[line in old]}" for line in [*old, *new] if (line in old) != (line in new)]


def changed(asked: str, differences: Sequence[str]) -> Conflict:
    """The error for a plan that is not the one of now."""
    return Conflict(
        "plan_changed",
        f"the plan {asked[:12]} is not the one of now: {'; '.join(differences)}; nothing was done: read the plan "
        "of now with test=True, and apply that one",
        changes=list(differences),
    )


def _line(step: Step) -> str:
    return f"{step.do} {step.vm} from {step.host} to {step.to}" if step.do == "move" else f"{step.do} {step.host}"


def _refused(refusal: Refusal) -> str:
    return f"{refusal.vm} cannot be moved: {refusal.code}"


def _done(plan: Plan, now: Facts) -> Iterator[int]:
    """As many moves of each VM as its generation has risen by, and a host's disabling where it is disabled."""
    moves: dict[str, list[Step]] = {}
    for step in plan.steps:
        if step.do == "move":
            moves.setdefault(step.uuid, []).append(step)
        elif step.do == "disable" and step.host in now.hosts and not now.hosts[step.host].enabled:
            yield step.n
    for uuid, own in moves.items():
        risen = now.vms[uuid].generation - plan.facts.vms[uuid].generation if uuid in now.vms else 0
        yield from (step.n for step in own[: max(0, risen)])


def _expected(plan: Plan, done: Collection[int]) -> Facts:
    """What the facts are to be after these steps."""
    vms, hosts = dict(plan.facts.vms), dict(plan.facts.hosts)
    for step in plan.steps:
        if step.n not in done:
            continue
        if step.do == "disable":
            hosts[step.host] = replace(hosts[step.host], enabled=False)
        elif step.do == "move":
            fact = vms[step.uuid]
            vms[step.uuid] = replace(fact, host=step.to, generation=fact.generation + 1)
            on_source = tuple(uuid for uuid in hosts[step.host].vms if uuid != step.uuid)
            hosts[step.host] = replace(hosts[step.host], vms=on_source)
    return Facts(vms, hosts)


def _differences(before: Facts, now: Facts) -> Iterator[str]:
    for uuid, fact in before.vms.items():
        if uuid not in now.vms:
            yield f"{fact.title} is not there any more"
        else:
            yield from _of_vm(fact, now.vms[uuid])
    for name, host in before.hosts.items():
        if name not in now.hosts:
            yield f"host {name} is not in hosts.yaml any more"
        else:
            yield from _of_host(name, host, now.hosts[name])


def _of_vm(before: VmFact, now: VmFact) -> Iterator[str]:
    if before.host != now.host:
        yield f"{before.title} is on {now.host}, and was on {before.host}"
    if before.generation != now.generation:
        yield f"{before.title} has generation {now.generation}, and had {before.generation}"
    if before.live != now.live:
        yield f"{before.title} {'runs' if now.live else 'does not run'} now"


def _of_host(name: str, before: HostFact, now: HostFact) -> Iterator[str]:
    if before.enabled != now.enabled:
        yield f"host {name} is {'enabled' if now.enabled else 'disabled'} now"
    if before.answers != now.answers:
        yield f"host {name} {'answers' if now.answers else 'does not answer'} now"
    if new := set(now.vms) - set(before.vms):
        yield f"host {name} has {len(new)} more VMs: {', '.join(sorted(new))}"
    if gone := set(before.vms) - set(now.vms):
        yield f"host {name} has {len(gone)} VMs less: {', '.join(sorted(gone))}"
