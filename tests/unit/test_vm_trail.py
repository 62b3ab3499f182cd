"""Which VMs there should be, by the audit: made, and not deleted since."""

from __future__ import annotations

from typing import Any

import pytest

from racksalt import audit
from racksalt.audit import Act, Head
from racksalt.vm_trail import VmTrail

UUID, OTHER = "0b5f2f40-4a4e-4b0e-9d2c-000000000001", "0b5f2f40-4a4e-4b0e-9d2c-000000000002"
LATE = audit.moment(10_000.0)


class Audit:
    """Lines, a second apart."""

    def __init__(self) -> None:
        self.texts: list[bytes] = []
        self.head: Head | None = None

    def call(self, fun: str, object: str | None, result: str | None = "done", **more: Any) -> None:
        """An intent, and its outcome where there is one."""
        vm, arguments = more.pop("vm", None), more.pop("arguments", {})
        tenant, operator = more.pop("tenant", "acme"), more.pop("operator", False)
        act = Act("alice", fun, None, f"2026{len(self.texts):016d}", tenant, object, arguments, operator)
        self.add(audit.intent(act))
        if result is not None:
            self.add(audit.outcome(act, result, vm=vm))

    def add(self, entry: audit.Entry) -> None:
        text, self.head = audit.line(entry, after=self.head, at=1000.0 + len(self.texts), master="m")
        self.texts.append(text)

    def made(self, until: str = LATE) -> dict[str, str]:
        return {uuid: made.title for uuid, made in VmTrail().add(self.texts, until=until).made.items()}


@pytest.fixture
def lines() -> Audit:
    lines = Audit()
    lines.call("rack_vm.create", "web1", vm=UUID)
    return lines


def test_a_vm_is_there_from_its_creation_on(lines: Audit) -> None:
    assert lines.made() == {UUID: "acme/web1"}
    assert lines.made(until=audit.moment(1000.5)) == {}, "it may not be in the reports yet"


def test_the_first_refusal_makes_nothing(lines: Audit) -> None:
    lines.call("rack_vm.create", "web2", "no_host")
    lines.call("rack_vm.create", "web3", None)
    lines.call("rack_vm.adopt", None)
    assert lines.made() == {UUID: "acme/web1"}


def test_an_adopted_one_is_there_too(lines: Audit) -> None:
    lines.call("rack_vm.adopt", "old", vm=OTHER, tenant="beta")
    assert lines.made()[OTHER] == "beta/old"


@pytest.mark.parametrize("named", ["web1", "acme/web1", UUID])
@pytest.mark.parametrize("result", ["done", "host_silent", "cut off", None])
def test_it_is_gone_as_soon_as_its_deletion_was_begun(lines: Audit, named: str, result: str | None) -> None:
    lines.call("rack_vm.delete", named, result)
    assert lines.made() == {}


@pytest.mark.parametrize("result", ["vm_protected", "vm_not_found", "vm_moving", "tenant_not_found"])
def test_a_refused_deletion_changes_nothing(lines: Audit, result: str) -> None:
    lines.call("rack_vm.delete", "web1", result)
    assert lines.made() == {UUID: "acme/web1"}


def test_another_tenants_vm_of_that_name_is_another(lines: Audit) -> None:
    lines.call("rack_vm.delete", "web1", tenant="beta")
    assert lines.made() == {UUID: "acme/web1"}


def test_a_name_that_came_again_is_the_newer_vm(lines: Audit) -> None:
    lines.call("rack_vm.delete", "web1")
    lines.call("rack_vm.create", "web1", vm=OTHER)
    assert lines.made() == {OTHER: "acme/web1"}


def test_a_line_that_was_changed_proves_nothing(lines: Audit) -> None:
    lines.texts = [text.replace(UUID.encode(), OTHER.encode()) for text in lines.texts]
    assert lines.made() == {}


def test_what_was_accepted_is_known_by_the_intent_of_what_was_done(lines: Audit) -> None:
    lines.call("rack_host.drift", None, arguments={"adopt": "a" * 12})
    lines.call("rack_host.drift", None, "drift_gone", arguments={"adopt": "b" * 12})
    lines.call("rack_host.drift", None, arguments={"revert": "c" * 12})
    assert VmTrail().add(lines.texts, until=LATE).accepted == {"a" * 12}


@pytest.mark.parametrize("named", ["acme/web1", UUID])
@pytest.mark.parametrize("tenant", ["beta", None])
def test_whose_it_is_not_makes_it_forgotten_by_no_outcome(lines: Audit, named: str, tenant: str | None) -> None:
    for result in ("job_cancelled", "vm_not_found", "host_silent", None):
        lines.call("rack_vm.delete", named, result, tenant=tenant)
    assert lines.made() == {UUID: "acme/web1"}


@pytest.mark.parametrize("named", ["acme/web1", UUID])
def test_an_operator_and_a_user_of_two_tenants_delete_it_all_the_same(lines: Audit, named: str) -> None:
    texts, head = list(lines.texts), lines.head
    lines.call("rack_vm.delete", named, "host_silent", tenant=None, operator=True)
    assert lines.made() == {}
    lines.texts, lines.head = texts, head
    lines.call("rack_vm.delete", named, tenant=None, vm=UUID)
    assert lines.made() == {}
