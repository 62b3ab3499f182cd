"""The generated ACL, asked by Salt itself: the listed functions pass, and nothing that looks like them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import salt.config
import salt.utils.minions
import yaml

from racksalt import acl, acl_file

FILE = Path(__file__).resolve().parents[2] / "api-config/acl.conf"
FORMS = {
    "no dot": "rack_vm",
    "module": "rack_vm.",
    "more after": "rack_vm.stop_all",
    "more before": "xrack_vm.stop",
    "newline": "rack_vm.stop\n",
    "line after": "rack_vm.stop\nrack_vm.list",
    "any character for the dot": "rack_vmxstop",
    "upper case": "RACK_VM.STOP",
    "space": " rack_vm.stop",
    "list": "rack_vm.stop,cmd.run",
    "alias": "rack_vm.list_",
    "private": "rack_vm._answer",
    "dunder": "rack_vm.__virtual__",
    "three parts": "rack_vm.stop.x",
    "glob": "rack_vm.*",
    "empty": "",
}
FOREIGN = [
    "salt.cmd",
    "salt.execute",
    "cmd.run",
    "test.arg",
    "state.orch",
    "manage.up",
    "config.values",
    "pillar.show_pillar",
    "cache.pillar",
    "jobs.list_jobs",
    "fileserver.file_list",
    "runner.rack_vm",
    "rack_vm.steal",
    "rack_audit.append",
]


@cache
def checker() -> Any:
    """Salt's own, as the master makes it."""
    return salt.utils.minions.CkMinions({**salt.config.DEFAULT_MASTER_OPTS, "__role": "master"})


def auth_list(*groups: str) -> list[Any]:
    """What Salt reads of the file for a user in these groups, as ``LoadAuth.get_auth_list`` does."""
    eauth = yaml.safe_load(FILE.read_text())["external_auth"]["rack"]
    return [item for group in groups for item in eauth[f"{group}%"]]


def allowed(fun: str, *groups: str, form: str = "runner") -> bool:
    return checker().spec_check(auth_list(*groups), fun, {"arg": [], "kwarg": {}}, form) is True


@pytest.mark.parametrize("fun", acl.TENANT_CALLS)
def test_a_tenant_may_call_what_is_listed(fun: str) -> None:
    assert allowed(fun, "tenant")


@pytest.mark.parametrize("fun", [*acl.TENANT_CALLS, *acl.OPERATOR_CALLS])
def test_an_operator_may_call_what_is_listed(fun: str) -> None:
    assert allowed(fun, "operator")


@pytest.mark.parametrize("fun", acl.OPERATOR_CALLS)
def test_a_tenant_may_not_call_what_is_the_operators(fun: str) -> None:
    assert not allowed(fun, "tenant")


@pytest.mark.parametrize("fun", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("group", ["tenant", "operator"])
def test_what_only_looks_like_a_listed_function_is_refused(fun: str, group: str) -> None:
    assert not allowed(fun, group)


@pytest.mark.parametrize("group", ["tenant", "operator"])
def test_every_pattern_is_anchored(group: str) -> None:
    for fun in (*acl.TENANT_CALLS, *acl.OPERATOR_CALLS):
        for other in (f"{fun}_all", f"{fun}\n", f"{fun} ", f"x{fun}", fun.replace(".", "x"), fun.upper()):
            assert not allowed(other, group), other


@pytest.mark.parametrize("fun", FOREIGN)
@pytest.mark.parametrize("group", ["tenant", "operator"])
def test_no_other_runner_is_allowed(fun: str, group: str) -> None:
    assert not allowed(fun, group)


@pytest.mark.parametrize("fun", ["key.accept", "key.list_all", "rack_vm.stop", "config.values"])
@pytest.mark.parametrize("group", ["tenant", "operator"])
def test_no_wheel_function_is_allowed(fun: str, group: str) -> None:
    assert not allowed(fun, group, form="wheel")


def test_no_minion_can_be_reached() -> None:
    for entry in auth_list("tenant", "operator"):
        assert set(entry) == {"@runner"}


def test_a_group_beyond_the_two_has_nothing() -> None:
    assert set(acl.external_auth()["rack"]) == {"tenant%", "operator%"}


def test_the_file_is_the_generated_text() -> None:
    assert FILE.read_text() == acl_file.text()
    assert yaml.safe_load(acl_file.text())["external_auth"] == acl.external_auth()
