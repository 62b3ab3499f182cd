"""Where VMs go, and who gets the last place: decided by the writer, checked again by each host."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.on_rack import CREATE, RealRack, at_once
from tests.promises import full

#: So many calls at a time.
AT_ONCE = 16
#: What one tiny VM takes of a host's memory, with QEMU's own share.
VM_MIB = 128 + 64


def _room_for(rack: RealRack, places: dict[str, int]) -> None:
    def change(data: dict[str, Any]) -> None:
        for name, number in places.items():
            entry = data["hosts"][name]
            entry["room"] = {"cap": {"vcpus": 64, "memory_mib": number * VM_MIB, "disk_gib": 64}}

    rack.edit_yaml("hosts.yaml", change)
    rack.edit_yaml("tenants.yaml", lambda data: data["tenants"]["acme"].update(quota={"vms": 100, "vcpus": 100}))


def _create(rack: RealRack, name: str, **more: Any) -> str:
    """``made``, or the refusal's code."""
    refused = rack.api("ACME").attempt("rack_vm.create", name=name, start=False, **{**CREATE, **more})
    if refused is None:
        return "made"
    assert refused.error["detail"] and not [host for host in ("h1", "h2", "h3") if host in str(refused.error)]
    assert refused.code != "no_host_fits" or refused.status == 422
    return _with_numbers(str(refused.code), refused.error)


def _create_by_shell(rack: RealRack, name: str) -> str:
    ran = rack.run("rack_vm.create", f"acme/{name}", start=False, **CREATE)
    if ran.error is None:
        assert ran.code == 0, ran.stderr
        return "made"
    assert ran.code != 0
    return _with_numbers(ran.error["code"], ran.error)


def _with_numbers(code: str, error: Any) -> str:
    """A refusal for want of room says how many hosts each rule refuses; to operators, every number."""
    if code != "no_host_fits":
        return code
    counted = "refused_by_rule" in error and sum(error["refused_by_rule"].values()) >= 1
    numbers = all({"host", "rule", "asked", "found"} <= set(item) for item in error.get("refusals", ()))
    lost_race = "refused_by_rule" not in error and "nothing was kept" in error["detail"]
    return "refused with numbers" if (counted and numbers) or lost_race else f"refused without numbers: {error}"


@pytest.mark.promise("P8")
def test_fifty_creates_at_once_for_room_for_ten(clean_rack: RealRack) -> None:
    rack = clean_rack
    places = {"h1": 4, "h2": 3, "h3": 3}
    _room_for(rack, places)
    by_shell = 25 if full() else 8
    calls = [
        lambda n=number: _create_by_shell(rack, f"vm{n}") if n % 50 < by_shell else _create(rack, f"vm{n}")
        for number in range(50)
    ]
    outcomes = Counter(at_once(calls, threads=AT_ONCE))
    assert outcomes == {"made": 10, "refused with numbers": 40}

    report = rack.api("OPERATOR").call("rack_host.list")["hosts"]
    assert {line["name"]: line["vms"] for line in report} == places
    assert all(line["left"]["memory_mib"] == 0 for line in report), report
    listing = ["virsh", "list", "--all", "--name"]
    defined = {host.name: host.run(listing, timeout_s=20).stdout.split() for host in rack.hosts}
    assert {name: len(domains) for name, domains in defined.items()} == places
    assert rack.api("OPERATOR").call("rack_host.status")["claims_in_flight"] == []
    leases = [line for lines in rack.snapshot().values() for line in lines if line.startswith("lease /var")]
    assert len(leases) == 10 == len(set(leases)), leases


def test_eight_creates_race_for_the_last_place(clean_rack: RealRack) -> None:
    rack = clean_rack
    _room_for(rack, {"h1": 0, "h2": 1, "h3": 0})
    outcomes = Counter(at_once([lambda n=number: _create(rack, f"race{n}") for number in range(8)], threads=8))
    assert outcomes == {"made": 1, "refused with numbers": 7}
    assert len(rack.api("ACME").call("rack_vm.list")["vms"]) == 1
    assert rack.api("ACME").call("rack_tenant.usage")["used"]["vms"] == 1


def test_one_name_raced_for_is_given_once(clean_rack: RealRack) -> None:
    rack = clean_rack
    outcomes = Counter(at_once([lambda: _create(rack, "same") for _ in range(6)], threads=6))
    assert outcomes == {"made": 1, "name_in_use": 5}
    assert len(rack.api("ACME").call("rack_vm.list")["vms"]) == 1


def test_anti_affinity_spreads_and_then_refuses(clean_rack: RealRack) -> None:
    rack = clean_rack
    outcomes = at_once([lambda n=n: _create(rack, f"apart{n}", anti_affinity="web") for n in range(4)], threads=4)
    assert Counter(outcomes) == {"made": 3, "refused with numbers": 1}
    hosts = [vm["host"] for vm in rack.api("OPERATOR").call("rack_vm.list")["vms"]]
    assert sorted(hosts) == ["h1", "h2", "h3"]
    other = rack.api("BETA").call("rack_vm.create", name="apart", anti_affinity="web", start=False, **CREATE)
    assert other["changed"], "another tenant's group of the same name is another group"


def test_labels_choose_the_host(clean_rack: RealRack) -> None:
    rack = clean_rack
    acme = rack.api("ACME")
    acme.call("rack_vm.create", name="zoned", labels={"zone": "b"}, start=False, **CREATE)
    assert rack.vm("acme/zoned")["host"] == "h2"
    refused = acme.refusal("rack_vm.create", name="nowhere", labels={"zone": "c"}, **CREATE)
    assert (refused.status, refused.code) == (422, "no_host_fits")
    assert refused.error["refused_by_rule"] == {"labels": 3} and "refusals" not in refused.error


def test_why_not_tells_tenants_counts_and_operators_everything(rack: RealRack) -> None:
    asked = {"flavor": "m1.large", "image": "tiny", "labels": {"zone": "a"}}
    told = rack.api("ACME").call("rack_vm.why_not", **asked)
    assert told == {"fits": False, "refused_by_rule": {"labels": 1, "memory": 3, "disk": 3}}
    every = rack.api("OPERATOR").call("rack_vm.why_not", tenant="acme", **asked)
    assert set(every["hosts"]) == {"h1", "h2", "h3"}
    memory = next(rule for rule in every["hosts"]["h2"] if rule["rule"] == "memory")
    assert memory == {"rule": "memory", "ok": False, "asked": 8192 + 64, "found": 2048}
    assert rack.api("ACME").call("rack_vm.why_not", **CREATE)["fits"] is True


def test_a_disabled_host_gets_nothing_and_the_files_comments_stay(clean_rack: RealRack) -> None:
    rack = clean_rack
    rack.edit("hosts.yaml", lambda text: text.replace("  h2:\n", "  h2:   # the one with {{ new }} disks\n"))
    operator = rack.api("OPERATOR")
    rack.api("ACME").call("rack_vm.create", name="stays", labels={"zone": "b"}, start=False, **CREATE)
    before = rack.master.read("/etc/racksalt/rack/hosts.yaml")
    assert operator.call("rack_host.disable", name="h2", reason="new disks", test=True)["test"]
    assert rack.master.read("/etc/racksalt/rack/hosts.yaml") == before

    assert operator.call("rack_host.disable", name="h2", reason="new disks")["changed"]
    assert operator.call("rack_host.disable", name="h2", reason="new disks")["changed"] is False
    assert operator.call("rack_host.status")["disabled_hosts"] == {"h2": "new disks"}
    refused = rack.api("ACME").refusal("rack_vm.create", name="no", labels={"zone": "b"}, **CREATE)
    assert refused.error["refused_by_rule"] == {"enabled": 1, "labels": 2}
    assert rack.api("ACME").call("rack_vm.note", name="stays", note="still managed")["changed"]

    assert operator.call("rack_host.enable", name="h2")["changed"]
    after = rack.master.read("/etc/racksalt/rack/hosts.yaml")
    assert "# the one with {{ new }} disks" in after and after.startswith("# The rack and its hosts")
    assert "reason" not in after
    rack.api("ACME").call("rack_vm.create", name="yes", labels={"zone": "b"}, start=False, **CREATE)


def test_a_quota_is_refused_with_its_numbers(clean_rack: RealRack) -> None:
    beta = clean_rack.api("BETA")
    outcomes = at_once([lambda n=n: _create_as(clean_rack, n) for n in range(6)], threads=6)
    assert Counter(outcomes) == {"made": 3, "quota_exceeded": 3}
    refused = beta.refusal("rack_vm.create", name="more", **CREATE)
    assert refused.status == 403
    assert refused.error["limits"] == [{"what": "vms", "limit": 3, "used": 3, "asked": 1}]


def _create_as(rack: RealRack, number: int) -> str:
    refused = rack.api("BETA").attempt("rack_vm.create", name=f"q{number}", start=False, **CREATE)
    return "made" if refused is None else str(refused.code)
