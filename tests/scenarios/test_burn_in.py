"""Burn-in: tenants and an operator do anything in any order while hosts, libvirt, answers and runners fail.

Whatever happens, what must never be is never; and once everything answers again, nothing is left over and nothing lost.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from racksalt.errors import RacksaltError
from racksalt.model import Domain, Record
from tests.promises import full
from tests.scenarios import faults, view
from tests.scenarios.stage import Hook, Killed, stage

#: Room for four small VMs on each host, and quotas that are reached.
MEMORY_MIB, VM_MIB = 800, 192
QUOTAS = {"acme": 5, "beta": 3}
OWNERS = {"acme": "alice", "beta": "bob"}
HOSTS = ("h1", "h2", "h3")
FUNCTIONS = (
    *("rack_vm.create", "rack_vm.purge", "rack_vm.act", "rack_host.settle", "rack_host.report"),
    *("rack_vm.offer", "rack_vm.receive", "rack_vm.send", "rack_vm.conclude", "rack_vm.recall", "rack_vm.withdraw"),
)
STEPS = (
    *("define", "start", "undefine", "create", "write_seed", "remove", "reserve_address", "release_address", "open"),
    *("move:begin", "move:prepare", "move:perform", "move:confirm"),
)
#: After its last fault a rack is calm when its watches have had so many turns, each so late.
TURNS, TURN_S = 12, 400.0

hosts = st.sampled_from(HOSTS)
tenants = st.sampled_from(sorted(OWNERS))
names = st.sampled_from(["web1", "web2", "web3", "web4"])
numbers = st.integers(0, 9)
requests = st.sampled_from([None, *(f"1111111{number}-1111-4111-8111-111111111111" for number in range(3))])


class BurnIn(RuleBasedStateMachine):
    """``made`` are the VMs that their users were told of, by UUID, less the ``unwanted`` ones: those to be deleted."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = stage(len(HOSTS), room={"memory_mib": MEMORY_MIB})
        self.fake = self.stage.fake
        self.made: dict[str, str] = {}
        self.unwanted: set[str] = set()
        for tenant, vms in QUOTAS.items():
            self.call("root", "rack_tenant.quota", name=tenant, vms=vms)
            self.create(tenant, "web1", start=True, request_id=None)

    def call(self, user: str, fun: str, **arguments: Any) -> Any:
        """The answer, or ``None`` where there is none that is to be relied on."""
        try:
            answer = self.stage.call(user, fun, arguments)
        except Killed:
            return None
        if isinstance(answer, RacksaltError):
            assert "'internal'" not in repr(answer.as_dict()), answer.as_dict()
            return None
        return answer

    @rule(tenant=tenants, name=names, start=st.booleans(), request_id=requests)
    def create(self, tenant: str, name: str, start: bool, request_id: str | None) -> None:
        told = self.call(
            OWNERS[tenant], "rack_vm.create", name=name, profile="small", start=start, request_id=request_id
        )
        if told:
            self.made[told["vm"]["uuid"]] = f"{tenant}/{told['vm']['name']}"

    @rule(number=numbers, verb=st.sampled_from(["start", "stop", "restart", "pause", "resume", "note"]))
    def act(self, number: int, verb: str) -> None:
        more = {"stop": {"hard": True}, "restart": {"hard": True}, "note": {"note": f"note {number}"}}.get(verb, {})
        for record in self.one(number):
            self.call(OWNERS[record.tenant], f"rack_vm.{verb}", name=record.name, **more)

    @rule(number=numbers)
    def delete(self, number: int) -> None:
        """From when it is asked for, nobody is promised the VM any more; its user asks again until it is gone."""
        for record in self.one(number):
            self.made.pop(record.uuid, None)
            self.unwanted.add(record.uuid)
            self.call(OWNERS[record.tenant], "rack_vm.delete", name=record.name)

    @rule(number=numbers, to=st.sampled_from([None, *HOSTS]))
    def migrate(self, number: int, to: str | None) -> None:
        for record in self.one(number):
            self.call("root", "rack_vm.migrate", name=record.title, target=to)

    @rule(host=hosts, partial=st.booleans())
    def drain(self, host: str, partial: bool) -> None:
        self.call("root", "rack_host.drain", name=host, partial=partial)

    @rule(host=hosts, verb=st.sampled_from(["enable", "enable", "disable"]))
    def switch(self, host: str, verb: str) -> None:
        self.call("root", f"rack_host.{verb}", name=host)

    @rule()
    def rotate_key(self) -> None:
        self.call("root", "rack_host.rotate_key")

    @rule(host=hosts, verb=st.sampled_from(["silence", "back", "back", "lose-returns", "keep-returns", "heal"]))
    def fault(self, host: str, verb: str) -> None:
        faults.VERBS[verb](self.stage, host)

    @rule(host=hosts)
    def crash(self, host: str) -> None:
        faults.VERBS["crash"](self.stage, host)

    @rule(host=hosts, steps=st.lists(st.sampled_from(STEPS), min_size=1, max_size=3))
    def fail(self, host: str, steps: list[str]) -> None:
        faults.fail(self.stage, host, *steps)

    @rule(
        when=st.sampled_from(["before", "after"]),
        function=st.sampled_from(FUNCTIONS),
        host=hosts,
        verb=st.sampled_from(["kill", "kill", "silence", "lose-returns", "crash"]),
    )
    def fault_in_the_middle(self, when: str, function: str, host: str, verb: str) -> None:
        """When a host is next asked for this; a look of the watch is not killed, as the daemon is started again."""

        def then() -> None:
            if verb != "kill":
                faults.VERBS[verb](self.stage, host)
            elif self.stage.jobs.processes:
                self.stage.kill()

        self.stage.hooks = [*self.stage.hooks[-2:], Hook(when, function, host, then)]

    @rule(seconds=st.sampled_from([1, 30, 100, 400]))
    def wait(self, seconds: int) -> None:
        self.fake.clock.sleep(seconds)

    @rule()
    def watch(self) -> None:
        self.stage.look_after()

    @rule()
    def restart_master(self) -> None:
        faults.restart(self.stage)

    @precondition(lambda self: not any(host.silent or host.loses_returns for host in self.fake.hosts.values()))
    @rule()
    def lose_cache(self) -> None:
        faults.VERBS["lose-cache"](self.stage)

    @rule()
    def calm(self) -> None:
        """Everything answers again, and some time goes by."""
        self.stage.hooks.clear()
        for name, host in self.fake.hosts.items():
            host.silent = host.loses_returns = False
            faults.fail(self.stage, name)
        for _ in range(TURNS):
            self.fake.clock.sleep(TURN_S)
            self.stage.look_after()
        for host in self.fake.hosts.values():
            if host.word.waits():
                host.away().boot()
        for uuid in self.unwanted & set(self.records()):
            self.call("root", "rack_vm.delete", name=uuid)
        self.unwanted.clear()
        self.check_calm()

    def teardown(self) -> None:
        self.calm()

    @invariant()
    def a_vm_is_on_one_host(self) -> None:
        """Two have it only while it is not known how its move ends; it runs on one at most."""
        moving = {claim.record.uuid for claim in self.fake.claims.all() if claim.is_moving}
        there = Counter(domain.uuid for _, domain in self.domains() if not domain.incoming)
        twice = [uuid for uuid, count in there.items() if count > 1 and uuid not in moving]
        running = Counter(domain.uuid for _, domain in self.domains() if domain.state == "running")
        assert not twice and not [uuid for uuid, count in running.items() if count > 1]

    @invariant()
    def no_vm_is_lost(self) -> None:
        there = {domain.uuid for _, domain in self.domains() if not domain.incoming}
        assert not {title for uuid, title in self.made.items() if uuid not in there}

    @invariant()
    def no_host_is_overcommitted(self) -> None:
        used = Counter(host for host, _ in self.domains())
        assert all(vms * VM_MIB <= MEMORY_MIB for vms in used.values()), used

    @invariant()
    def quotas_hold(self) -> None:
        """A deletion that waits for its host counts no more."""
        waiting = self.fake.rack.settings().deletions
        used = Counter(record.tenant for uuid, record in self.records().items() if uuid not in waiting)
        assert all(used[tenant] <= quota for tenant, quota in QUOTAS.items()), used

    @invariant()
    def names_and_addresses_are_unique(self) -> None:
        holders: dict[object, set[str]] = defaultdict(set)
        for uuid, record in self.records().items():
            for unique in (record.title, *(nic.address for nic in record.nics), *(nic.mac for nic in record.nics)):
                holders[unique].add(uuid)
        assert not {unique: uuids for unique, uuids in holders.items() if len(uuids) > 1}

    def check_calm(self) -> None:
        """Nothing is held, nothing waits, nothing is left over; what hosts have is what tenants see."""
        odd = [line for line in view.lines(self.fake) if not _is_plain(line)]
        assert not odd, odd
        for tenant, user in OWNERS.items():
            told = self.call(user, "rack_vm.list")
            expected = sorted(record.name for record in self.records().values() if record.tenant == tenant)
            assert [vm["name"] for vm in told["vms"]] == expected
        assert self.call("root", "rack_audit.verify")["ok"]
        assert self.call("root", "rack_host.drift")["lines"] == []

    def one(self, number: int) -> list[Record]:
        """One of the VMs that there are, if there is any."""
        found = sorted(self.records().values(), key=lambda record: (record.title, record.uuid))
        return [found[number % len(found)]] if found else []

    def domains(self) -> Iterator[tuple[str, Domain]]:
        for name, host in self.fake.hosts.items():
            for domain in view.domains(host):
                yield name, domain

    def records(self) -> dict[str, Record]:
        return {domain.uuid: domain.record for _, domain in self.domains() if domain.record is not None}


def _is_plain(line: str) -> bool:
    """A VM with all that it needs, or a host that is disabled."""
    rest = line.partition(", generation ")
    return line.startswith("disabled: ") or (line[:1] == "h" and "," not in rest[0] + rest[2] and " has " not in line)


@pytest.mark.promise("P18")
class TestBurnIn(BurnIn.TestCase):  # type: ignore[misc, name-defined]
    settings = settings(
        max_examples=2000 if full() else 15,
        stateful_step_count=60 if full() else 30,
        deadline=None,
        derandomize=not full(),
        database=None,
        suppress_health_check=list(HealthCheck),
    )
