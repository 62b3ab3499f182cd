"""S20: identity is current. What a user may do is looked up at every call, without a restart of anything."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.on_rack import CREATE, CallRefused, RealRack

pytestmark = pytest.mark.promise("S20")


@pytest.fixture(autouse=True)
def files_as_before(rack: RealRack) -> Iterator[None]:
    """The rack's files and its password file are put back after each test."""
    starts = _daemon_starts(rack)
    yield
    rack.restore_files()
    rack._logins.clear()
    assert _daemon_starts(rack) == starts, "no daemon was restarted"


def _daemon_starts(rack: RealRack) -> str:
    asked = ["systemctl", "show", "-p", "ActiveEnterTimestampMonotonic", "salt-master", "salt-api"]
    return rack.master.run(asked, timeout_s=10).stdout


def test_a_removed_users_token_is_refused_at_once(rack: RealRack) -> None:
    alice = rack.fresh_api(rack.env["ACME_USER"], rack.env["ACME_PASSWORD"]).login()
    assert alice.call("rack_tenant.show")["name"] == "acme"
    rack.edit("users.yaml", lambda text: text.replace("  alice:\n    tenants: {acme: member}\n", ""))
    assert alice.refusal("rack_tenant.show").status == 401
    with pytest.raises(CallRefused) as refused:
        alice.login()
    assert refused.value.status == 401
    rack.restore_files()
    assert alice.refusal("rack_tenant.show").status == 401, "the old token stays dead"
    assert alice.login().call("rack_tenant.show")["name"] == "acme"


def test_a_user_taken_out_of_the_password_file(rack: RealRack) -> None:
    bob = rack.fresh_api(rack.env["BETA_USER"], rack.env["BETA_PASSWORD"]).login()
    assert bob.call("rack_tenant.show")["name"] == "beta"
    rack.set_password("bob", None)
    assert bob.refusal("rack_tenant.show").status == 401


def test_a_changed_passwords_old_token_is_refused_at_once(rack: RealRack) -> None:
    bob = rack.fresh_api(rack.env["BETA_USER"], rack.env["BETA_PASSWORD"]).login()
    assert bob.call("rack_tenant.show")["name"] == "beta"
    rack.set_password("bob", "another-one")
    assert bob.refusal("rack_tenant.show").status == 401
    with pytest.raises(CallRefused):
        bob.login()
    assert rack.fresh_api("bob", "another-one").login().call("rack_tenant.show")["name"] == "beta"


def test_a_role_taken_away_ends_the_token_and_the_new_one_is_smaller(rack: RealRack) -> None:
    alice = rack.fresh_api(rack.env["ACME_USER"], rack.env["ACME_PASSWORD"]).login()
    rack.edit("users.yaml", lambda text: text.replace("tenants: {acme: member}", "tenants: {acme: reader}"))
    assert alice.refusal("rack_vm.create", name="web1", **CREATE).status == 401
    refused = alice.login().refusal("rack_vm.create", name="web1", **CREATE)
    assert (refused.status, refused.code) == (403, "role_reader")
    assert alice.call("rack_vm.list") == {"vms": []}


def test_a_tenant_taken_away_is_gone_from_the_next_call(rack: RealRack) -> None:
    carol = rack.fresh_api(rack.env["READER_USER"], rack.env["READER_PASSWORD"]).login()
    assert [tenant["name"] for tenant in carol.call("rack_tenant.list")["tenants"]] == ["acme", "beta"]
    rack.edit("users.yaml", lambda text: text.replace("{acme: reader, beta: member}", "{acme: reader}"))
    assert carol.refusal("rack_tenant.show", name="beta").status in (401, 404)
    assert carol.login().refusal("rack_tenant.show", name="beta").status == 404


def test_an_operator_no_more(rack: RealRack) -> None:
    olivia = rack.fresh_api(rack.env["OPERATOR_USER"], rack.env["OPERATOR_PASSWORD"]).login()
    assert olivia.call("rack_host.list")["hosts"]
    rack.edit("users.yaml", lambda text: text.replace("operator: true", "tenants: {beta: reader}"))
    assert olivia.refusal("rack_host.list").status == 401
    assert olivia.login().refusal("rack_host.list").status == 403


def test_a_reader_of_one_tenant_and_member_of_another(rack: RealRack) -> None:
    carol = rack.api("READER")
    made = carol.call("rack_vm.create", name="mine", tenant="beta", start=False, **CREATE)["vm"]
    assert made["tenant"] == "beta"
    assert carol.refusal("rack_vm.create", name="mine", tenant="acme", **CREATE).code == "role_reader"
    assert carol.refusal("rack_vm.create", name="mine", **CREATE).code == "tenant_ambiguous"
    assert carol.call("rack_vm.delete", name="beta/mine")["changed"]


@pytest.mark.parametrize("name", ["root", "sudo_x", "h1", "master", "salt", "UNKNOWN", "Reactor"])
def test_a_password_for_a_name_that_the_shell_or_salt_has(rack: RealRack, name: str) -> None:
    """In the password file alone, such a name logs in nowhere; in users.yaml too, the files are refused as a whole."""
    rack.set_password(name, "a-password")
    impostor = rack.fresh_api(name, "a-password")
    with pytest.raises(CallRefused) as refused:
        impostor.login()
    assert refused.value.status in (400, 401)


@pytest.mark.parametrize("name", ["root", "h1"])
def test_such_a_name_in_the_rack_files_is_a_mistake_in_the_files(rack: RealRack, name: str) -> None:
    alice = rack.api("ACME")
    rack.set_password(name, "a-password")
    rack.edit("users.yaml", lambda text: text + f"  {name}:\n    operator: true\n")
    with pytest.raises(CallRefused):
        rack.fresh_api(name, "a-password").login()
    assert alice.refusal("rack_vm.list").status in (401, 503), "no login holds while the files are wrong"
    told = rack.run("rack_tenant.list")
    assert told.code != 0 and told.error and told.error["code"] == "bad_rack_files" and name in told.error["detail"]
    rack.restore_files()
    assert alice.login().call("rack_vm.list") == {"vms": []}


def test_a_logged_out_token_is_dead(rack: RealRack) -> None:
    alice = rack.fresh_api(rack.env["ACME_USER"], rack.env["ACME_PASSWORD"]).login()
    assert alice.post("/logout").status == 200
    assert alice.refusal("rack_vm.list").status == 401


def test_guessing_is_slowed_down_and_locks_nobody_else_out(rack: RealRack) -> None:
    """Wrong passwords for one name: 429 after a few, before the master is asked; others log in as ever."""
    guesser = rack.fresh_api("carol", "wrong")
    statuses = []
    for _ in range(8):
        with pytest.raises(CallRefused) as refused:
            guesser.login()
        statuses.append(refused.value.status)
    assert statuses[0] == 401 and statuses[-1] == 429
    assert rack.fresh_api(rack.env["BETA_USER"], rack.env["BETA_PASSWORD"]).login().token
