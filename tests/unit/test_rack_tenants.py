"""Tenants: who sees which, what they use, and the operator's changes to the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from racksalt.access import identify
from racksalt.adapters.yaml_files import YamlFolder
from racksalt.errors import BadInput, Conflict, Denied, NotFound
from racksalt.model import Quota
from racksalt.rack_requests import CreateTenant, OneTenant, SetQuota
from racksalt.rack_tenants import RackTenants
from tests.fakes import FakeRack, fake_rack, rack_files
from tests.unit.test_vm_create import create


def call(rack: FakeRack, verb: str, user: str, asked: Any = None) -> dict[str, Any]:
    settings = rack.rack.settings()
    arguments = [asked] if asked is not None else []
    answer: dict[str, Any] = getattr(RackTenants(rack.rack), verb)(identify(user, settings), *arguments, settings)
    return answer


@pytest.mark.parametrize(
    ("user", "seen"),
    [
        ("alice", ["acme"]),
        ("bob", ["beta"]),
        ("carol", ["acme", "beta"]),
        ("olivia", ["acme", "beta"]),
        ("root", ["acme", "beta"]),
    ],
)
def test_a_list_shows_ones_own_tenants(user: str, seen: list[str]) -> None:
    assert [tenant["name"] for tenant in call(fake_rack(), "list", user)["tenants"]] == seen


def test_a_member_sees_its_role_and_the_operator_all_users() -> None:
    rack = fake_rack()
    shown = call(rack, "show", "carol", OneTenant("acme"))
    assert shown["role"] == "reader" and "users" not in shown
    assert call(rack, "show", "root", OneTenant("acme"))["users"] == {"alice": "member", "carol": "reader"}


@pytest.mark.parametrize("name", ["beta", "none"])
@pytest.mark.parametrize("verb", ["show", "usage", "quota"])
def test_a_foreign_tenant_is_answered_like_none(verb: str, name: str) -> None:
    asked = SetQuota(name) if verb == "quota" else OneTenant(name)
    with pytest.raises(NotFound) as told:
        call(fake_rack(), verb, "alice", asked)
    assert (told.value.code, told.value.detail) == ("tenant_not_found", f"no tenant {name!r}")


def test_usage_counts_vms_and_what_is_in_the_making() -> None:
    rack = fake_rack()
    create(rack)
    create(rack, "bob", "db1")
    used = call(rack, "usage", "alice", OneTenant())
    assert used["used"] == {"vms": 1, "vcpus": 1, "memory_mib": 128, "disk_gib": 1} and used["quota"]["vms"] == 50


def test_a_quota_is_shown_to_its_tenant_and_changed_by_the_operator_only() -> None:
    rack = fake_rack()
    assert call(rack, "quota", "alice", SetQuota())["quota"]["vms"] == 50
    with pytest.raises(Denied) as told:
        call(rack, "quota", "alice", SetQuota(vms=99))
    assert told.value.code == "operator_only"
    assert call(rack, "quota", "olivia", SetQuota("beta", vms=3))["changed"]
    assert rack.rack.settings().tenants["beta"].quota == Quota(vms=3)
    assert not call(rack, "quota", "olivia", SetQuota("beta", vms=3))["changed"]


def test_a_quota_of_zero_is_a_change() -> None:
    rack = fake_rack()
    assert call(rack, "quota", "root", SetQuota("acme", vms=0))["changed"]
    assert rack.rack.settings().tenants["acme"].quota.vms == 0


def test_a_test_run_of_a_quota_writes_nothing() -> None:
    rack = fake_rack()
    told = call(rack, "quota", "root", SetQuota("acme", vms=1, test=True))
    assert told["changed"] and told["test"] and told["quota"]["vms"] == 1
    assert rack.rack.settings().tenants["acme"].quota.vms == 50


def test_a_new_tenant_is_there_at_once_and_only_once() -> None:
    rack = fake_rack()
    asked = CreateTenant("gamma", "Third", {"vms": 1})
    assert call(rack, "create", "root", asked)["changed"]
    assert rack.rack.settings().tenants["gamma"].quota.vms == 1
    with pytest.raises(Conflict) as told:
        call(rack, "create", "root", asked)
    assert told.value.code == "tenant_exists"


def test_only_the_operator_makes_tenants() -> None:
    rack = fake_rack()
    for user in ("alice", "carol"):
        with pytest.raises(Denied):
            call(rack, "create", user, CreateTenant("gamma"))
    assert call(rack, "create", "root", CreateTenant("delta", test=True))["test"]
    assert set(rack.rack.settings().tenants) == {"acme", "beta"}


@pytest.fixture
def real(tmp_path: Path) -> FakeRack:
    """The same rack on real files."""
    rack = fake_rack()
    for name, data in rack_files().items():
        (tmp_path / name).write_text(yaml.safe_dump(data, sort_keys=False))
    rack.rack = replace(rack.rack, files=YamlFolder(tmp_path))
    return rack


def test_real_files_are_changed_too(real: FakeRack) -> None:
    call(real, "create", "root", CreateTenant("gamma", "Third: <b>", {"vms": 1}))
    call(real, "quota", "root", SetQuota("beta", disk_gib=7))
    tenants = real.rack.settings().tenants
    assert tenants["gamma"].description == "Third: <b>" and tenants["beta"].quota.disk_gib == 7


def test_a_file_that_is_wrong_stops_every_change(real: FakeRack, tmp_path: Path) -> None:
    settings = real.rack.settings()
    (tmp_path / "flavors.yaml").write_text("flavors: 5\n")
    before = (tmp_path / "tenants.yaml").read_text()
    with pytest.raises(BadInput):
        RackTenants(real.rack).create(identify("root", settings), CreateTenant("gamma"), settings)
    assert (tmp_path / "tenants.yaml").read_text() == before
