"""P18 on real parts: two tenants and an operator do anything, side by side, while hosts, libvirt and guests fail.

What each call answers is not judged, as long as it is an answer. Once the rack is calm, its hosts and its lists agree.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.on_rack import CREATE, RealRack, at_once, wait_for
from tests.promises import full

ROLES = {"acme": "ACME", "beta": "BETA"}
QUOTA = 3
ROUNDS = 60 if full() else 5
CALLS = 5
#: Claims end when their time is over, by a look at their hosts.
CALM_S = 400.0
#: A full one would only wait: no guest of this image hears the power button while it boots.
HARD = {"stop": {"hard": True}, "restart": {"hard": True}}


class Chaos:
    """What may be done, and what may go wrong; chosen by a seed."""

    def __init__(self, rack: RealRack, seed: int) -> None:
        self.rack, self.chance = rack, random.Random(seed)
        self.log: list[str] = []

    def call(self) -> Callable[[], None]:
        """Something that a tenant or the operator asks for."""
        tenant, name = self.chance.choice(list(ROLES)), f"vm{self.chance.randrange(4)}"
        verb = self.chance.choice(["create"] * 4 + ["delete", "stop", "start", "restart", "note"] + ["migrate"] * 3)
        if verb == "create":
            return lambda: self._ask(ROLES[tenant], "rack_vm.create", name=name, **CREATE)
        if verb == "migrate":
            target = self.chance.choice([None, "h1", "h2", "h3"])
            return lambda: self._ask("OPERATOR", "rack_vm.migrate", name=f"{tenant}/{name}", target=target)
        more = HARD.get(verb, {"note": "meanwhile"} if verb == "note" else {})
        return lambda: self._ask(ROLES[tenant], f"rack_vm.{verb}", name=name, **more)

    def fault(self) -> Callable[[], None]:
        """Something that goes wrong on one host, and ends by itself."""
        host = self.rack.host(self.chance.choice(["h1", "h2", "h3"]))
        kind = self.chance.choice(["libvirtd", "minion", "guests", "cut", "none"])
        scripts = {
            "libvirtd": "systemctl kill -s KILL libvirtd",
            "minion": "systemctl restart --no-block salt-minion",
            "guests": "pkill -9 -f '^[^ ]*qemu-system' || true",
        }

        def happen() -> None:
            self.log.append(f"{kind} on {host.name}")
            if kind in scripts:
                host.run(["sh", "-c", scripts[kind]], timeout_s=30)
            elif kind == "cut":
                host.cut()
                self._sleep(6)
                host.heal()

        return happen

    def round(self) -> None:
        """Calls and a fault, side by side."""
        calls = [self.call() for _ in range(CALLS)]
        calls.insert(self.chance.randrange(CALLS), self.fault())
        at_once(calls, threads=len(calls))

    def _ask(self, role: str, fun: str, **asked: Any) -> None:
        refused = self.rack.api(role).attempt(fun, **{key: value for key, value in asked.items() if value is not None})
        self.log.append(f"{fun} {asked.get('name')}: {refused.code if refused else 'done'}")
        assert refused is None or refused.status < 500 or refused.status == 503, (fun, asked, refused.error)

    def _sleep(self, seconds: float) -> None:
        self.rack.master.run(["sleep", str(seconds)], timeout_s=seconds + 10)


def _calm(rack: RealRack) -> dict[str, Any] | None:
    """The status, once nothing is under way."""
    status = rack.run("rack_host.status").data
    busy = status["claims_in_flight"] or status["silent_hosts"] or status["twice"]
    return None if busy else dict(status)


@pytest.mark.promise("P18")
def test_whatever_is_done_and_goes_wrong_the_rack_agrees_with_its_hosts(clean_rack: RealRack) -> None:
    rack = clean_rack
    for tenant in ROLES:
        assert rack.run("rack_tenant.quota", tenant, vms=QUOTA).code == 0
    chaos = Chaos(rack, seed=7)
    for _ in range(ROUNDS):
        chaos.round()
    rack.revive()
    wait_for(lambda: _calm(rack), f"a calm rack after {chaos.log}", timeout_s=CALM_S, pause_s=3)

    vms = rack.api("OPERATOR").call("rack_vm.list")["vms"]
    found: dict[str, str] = {}
    for host in rack.hosts:
        for uuid in host.run(["virsh", "list", "--all", "--uuid"], timeout_s=30).stdout.split():
            assert uuid not in found, (uuid, host.name, found, chaos.log)
            found[uuid] = host.name
    assert found == {vm["uuid"]: vm["host"] for vm in vms}, chaos.log
    assert max(Counter(vm["tenant"] for vm in vms).values(), default=0) <= QUOTA
    addresses = Counter(address for vm in vms for address in vm["addresses"])
    assert not addresses or max(addresses.values()) == 1
    told = rack.run("rack_host.drift").data["lines"]
    assert [line for line in told if line["kind"] != "missing"] == [], chaos.log
    assert not {line["uuid"] for line in told} & set(found)
    assert rack.run("rack_audit.verify").data["ok"]
