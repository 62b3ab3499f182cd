"""The proof over a rack and its master's configuration: what is as it should be, and each thing put in by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import salt.config

from racksalt import acl, acl_fence, rack_answer
from racksalt.adapters.salt_acl import SaltAcl
from racksalt.errors import Conflict, RacksaltError
from racksalt.rack_acl_check import RackAclCheck, through_runner
from racksalt.rack_answer import Came
from racksalt.rack_requests import CheckAcl
from tests.fakes import FakeRack, FakeSaltAcl, fake_rack


def rules(**changed: Any) -> dict[str, Any]:
    """The generated ACL with more in the tenants' group."""
    made = acl.external_auth()
    made["rack"].update(changed)
    return made


def with_pattern(pattern: str) -> dict[str, Any]:
    made = acl.external_auth()
    made["rack"]["tenant%"][0]["@runner"].append(pattern)
    return made


def real(tmp_path: Path, external_auth: Any, **more: Any) -> SaltAcl:
    """Salt's own, with the defaults of a master."""
    folders = ("pki_dir", "cachedir", "sock_dir", "extension_modules")
    opts = {**salt.config.master_config(None), **{key: str(tmp_path / key) for key in folders}}
    conf = {"conf_file": str(tmp_path / "master"), "default_include": "master.d/*.conf"}
    clients = {"netapi_enable_clients": ["runner", "runner_async"]}
    return SaltAcl({**opts, **conf, **clients, "external_auth": external_auth, "grains": {"os": "x"}, **more})


def check(rack: FakeRack, salt_acl: Any = None, login: str | None = "alice") -> dict[str, Any]:
    """With another checker, only the outer fence is of interest: functions then answer nothing."""
    one = replace(rack.rack, acl=salt_acl) if salt_acl else rack.rack
    door = (lambda *_: {}) if salt_acl else through_runner
    try:
        return RackAclCheck(one, door=door).check(CheckAcl(login), one.settings())
    except Conflict as error:
        return {"code": error.code, **error.facts}


def test_a_rack_as_it_should_be() -> None:
    told = check(fake_rack())
    assert (told["ok"], told["logins"], told["leaks"], told["found"]) == (True, 1, [], 0)
    assert told["cases"] > 8000 and told["functions"] > 50


def test_without_a_login_every_user_and_both_groups_are_judged() -> None:
    told = check(fake_rack(), login=None)
    assert told["ok"] and told["logins"] == 4 and told["cases"] > 3 * 8000
    opened = FakeSaltAcl(with_pattern("salt.cmd"))
    found = {leak["login"] for leak in check(fake_rack(), opened, None)["leaks"] if leak["fun"] == "salt.cmd"}
    assert found == {"alice"}, "logins with the same entries are told once"
    empty = fake_rack(**{"users.yaml": {"users": {}}})
    found = {leak["login"] for leak in check(empty, opened, None)["leaks"] if leak["fun"] == "salt.cmd"}
    assert found == {"tenant%"}, "a group is judged also where nobody is in it yet"


def test_nothing_is_changed_and_hosts_are_read_once() -> None:
    rack = fake_rack()
    audit = rack.rack.audit
    assert check(rack, login=None)["ok"]
    assert rack.fleet.calls == [(name, "rack_host.report") for name in rack.hosts]
    assert list(audit.lines()) == [] and rack.claims.held == {} and rack.vms_on_hosts() == []


def test_a_login_that_is_none() -> None:
    rack = fake_rack()
    with pytest.raises(RacksaltError) as refused:
        RackAclCheck(rack.rack).check(CheckAcl("mallory"), rack.rack.settings())
    assert (refused.value.code, refused.value.status) == ("login_unknown", 404)


@pytest.mark.parametrize("user", ["alice", "carol"])
def test_it_is_the_operators(user: str) -> None:
    with pytest.raises(RacksaltError) as refused:
        rack_answer.carry_out(fake_rack().rack, Came("rack_tenant.acl_check", user, {"login": "bob", "unknown": {}}))
    assert refused.value.code == "operator_only"
    done = rack_answer.carry_out(
        fake_rack().rack, Came("rack_tenant.acl_check", "olivia", {"login": "olivia", "unknown": {}})
    )
    assert done["ok"] and done["cases"] == 0, "to an operator nothing is foreign"


@pytest.mark.parametrize(
    ("pattern", "fun"),
    [
        ("rack_host.*", "rack_host.list"),
        (".*", "jobs.list_jobs"),
        (r"rack_host\.list\Z", "rack_host.list"),
        ("rack_vm.stop", "rack_vm.stop_all"),
        (r"salt\.cmd", "salt.cmd"),
    ],
)
@pytest.mark.parametrize("kind", ["fake", "real"])
def test_a_pattern_put_in_by_hand_is_found(pattern: str, fun: str, kind: str, tmp_path: Path) -> None:
    changed = with_pattern(pattern)
    told = check(fake_rack(), FakeSaltAcl(changed) if kind == "fake" else real(tmp_path, changed))
    assert (told["ok"], told["code"]) == (False, "acl_leak")
    by_structure = [leak for leak in told["leaks"] if leak["login"] == "tenant%"]
    assert [leak["value"] for leak in by_structure] == [f"@runner: {pattern}"]
    admitted = [leak for leak in told["leaks"] if leak["login"] == "alice"]
    assert {leak["value"] for leak in admitted} == {f"@runner: {pattern}"}
    assert fun in {leak["fun"] for leak in admitted} or len(admitted) == 10


@pytest.mark.parametrize(
    ("entry", "fun"),
    [("@wheel", "key.accept"), ("@runner", "salt.cmd"), ("@runners", "salt.cmd"), ("@jobs", "jobs.list_jobs")],
)
def test_a_whole_kind_put_in_by_hand_is_found_by_salts_checker(entry: str, fun: str, tmp_path: Path) -> None:
    changed = rules(**{"tenant%": [*acl.external_auth()["rack"]["tenant%"], entry]})
    judge = real(tmp_path, changed)
    kind = "wheel" if entry == "@wheel" else "runner"
    subject = acl_fence.Subject("alice", ("tenant",), frozenset(acl.TENANT_CALLS))
    found = list(acl_fence.admitted(judge, subject, {kind: [fun, "rack_vm.list"]}))
    assert (fun, entry) in {(leak.fun, leak.value) for leak in found}
    assert any(leak.value == entry for leak in acl_fence.configured(judge))


def test_functions_of_minions_are_found_for_any_minion(tmp_path: Path) -> None:
    judge = real(tmp_path, rules(**{"tenant%": [{"h1": ["cmd.*"]}, "test.ping"]}))
    subject = acl_fence.Subject("alice", ("tenant",), frozenset(acl.TENANT_CALLS))
    found = list(acl_fence.admitted(judge, subject, {"local": ["cmd.run", "test.ping", "state.apply"]}))
    assert {(leak.fun, leak.value) for leak in found} == {("cmd.run", "h1: cmd.*"), ("test.ping", "test.ping")}


@pytest.mark.parametrize(
    ("changed", "login"),
    [
        ({"pam": {"bob": [".*"]}}, "bob"),
        ({"rack": {"alice": [".*"]}}, "alice"),
        ({"rack": {"*": ["test.ping"]}}, "*"),
        ({"rack": {"admins%": ["@wheel"]}}, "admins%"),
        ({"ldap": {"wheel%": ["@runner"]}}, "wheel%"),
        ({"rack": ["x"]}, "*"),
        (["x"], "*"),
    ],
)
def test_other_backends_users_and_groups_are_leaks(changed: Any, login: str) -> None:
    found = list(acl_fence.configured(FakeSaltAcl(changed)))
    assert [(leak.login, leak.argument) for leak in found] == [(login, "external_auth")]


@pytest.mark.parametrize("key", sorted(acl_fence.OFF))
def test_each_setting_that_must_be_off(key: str) -> None:
    found = list(acl_fence.configured(FakeSaltAcl(more={key: {".*": [".*"]}})))
    assert [leak.argument for leak in found] == [key]
    assert "/etc/salt/master.d/acl.conf" in found[0].what


@pytest.mark.parametrize("clients", [["runner", "local"], ["wheel"], ["ssh", "runner_async"], "local"])
def test_other_clients_are_leaks(clients: Any) -> None:
    found = list(acl_fence.configured(FakeSaltAcl(more={"netapi_enable_clients": clients})))
    assert [leak.argument for leak in found] == ["netapi_enable_clients"]


def test_a_leak_of_the_inner_fence_is_told_with_function_argument_and_value() -> None:
    def door(rack: Any, user: str, case: Any) -> Any:
        seen_by = "root" if case.fun == "rack_vm.show" else user
        return through_runner(rack, seen_by, case)

    rack = fake_rack()
    with pytest.raises(RacksaltError) as leak:
        RackAclCheck(rack.rack, door=door).check(CheckAcl("alice"), rack.rack.settings())
    assert leak.value.code == "acl_leak" and "rack_vm.show" in str(leak.value.facts["leaks"])
    assert {one["fun"] for one in leak.value.facts["leaks"]} == {"rack_vm.show"}
    told = {(one["argument"], one["value"]) for one in leak.value.facts["leaks"] if one["argument"] == "name"}
    assert ("name", "stranger/strange-vm-1") in told


def test_salts_own_functions_and_the_file_that_sets_a_key(tmp_path: Path) -> None:
    (tmp_path / "master.d").mkdir()
    (tmp_path / "master").write_text("interface: 0.0.0.0\n")
    (tmp_path / "master.d/acl.conf").write_text("external_auth:\n  rack: {}\n")
    judge = real(tmp_path, rules())
    known = judge.functions()
    assert "jobs.list_jobs" in known["runner"] and "key.accept" in known["wheel"] and "cmd.run" in known["local"]
    assert judge.file_of("external_auth") == str(tmp_path / "master.d/acl.conf")
    assert "configuration" in judge.file_of("peer")
    assert list(acl_fence.configured(judge)) == []


def test_the_fake_checker_and_salts_agree(tmp_path: Path) -> None:
    for changed in (rules(), with_pattern("rack_host.*"), rules(alice=["test.*", "@wheel"])):
        fake, judge = FakeSaltAcl(changed), real(tmp_path, changed)
        for login, groups in (("alice", ["tenant"]), ("olivia", ["operator"]), ("x", [])):
            entries = fake.entries(login, groups)
            assert sorted(map(str, entries)) == sorted(map(str, judge.entries(login, groups)))
            for kind, funs in fake.functions().items():
                for fun in (*funs, "test.ping", "rack_vm.stop_all"):
                    assert fake.admits(entries, kind, fun) == judge.admits(entries, kind, fun), (kind, fun)
