"""The proof over a real rack: nothing gets through as it is deployed; what is put into the ACL by hand is found."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.on_rack import CREATE, RealRack

pytestmark = [pytest.mark.promise("S1"), pytest.mark.promise("S2"), pytest.mark.promise("S3")]

ACL = "/etc/salt/master.d/acl.conf"
FIRST = "    tenant%:\n    - '@runner':\n"


@pytest.fixture
def acl_as_before(rack: RealRack) -> Iterator[str]:
    """The ACL's file, put back after the test; the running master never reads it anew."""
    text = rack.master.read(ACL)
    yield text
    rack.edit(ACL, lambda _: text)


def test_a_rack_as_it_is_deployed_leaks_nothing(rack: RealRack) -> None:
    for role in ("ACME", "BETA"):
        rack.api(role).call("rack_vm.create", name="proof", start=False, **CREATE)
    before = rack.snapshot()
    told = rack.run("rack_tenant.acl_check")
    assert told.code == 0 and told.data["ok"] and told.data["leaks"] == [], told.stdout[-3000:]
    assert told.data["logins"] >= 4 and told.data["functions"] > 1000 and told.data["cases"] > 3 * 8000
    assert rack.snapshot() == before
    over_api = rack.api("OPERATOR").call("rack_tenant.acl_check", login="alice")
    assert over_api["ok"] and over_api["functions"] > 1000


def test_it_is_for_operators(rack: RealRack) -> None:
    assert rack.api("ACME").refusal("rack_tenant.acl_check", login="bob").status == 403
    assert rack.run("rack_tenant.acl_check", "nobody").error["code"] == "login_unknown"  # type: ignore[index]


@pytest.mark.parametrize(
    ("line", "fun"),
    [
        ("      - rack_host.*\n", "rack_host.list"),
        ("      - '.*'\n", "salt.cmd"),
        ("    - '@wheel'\n", "key.accept"),
        ("    - test.ping\n", "test.ping"),
    ],
)
def test_a_leak_put_into_the_acl_by_hand_is_found(rack: RealRack, acl_as_before: str, line: str, fun: str) -> None:
    assert FIRST in acl_as_before
    opened = FIRST + line if line.startswith("      ") else FIRST.replace("    - '@runner'", f"{line}    - '@runner'")
    rack.edit(ACL, lambda text: text.replace(FIRST, opened))
    told = rack.run("rack_tenant.acl_check", "alice")
    assert told.code != 0 and told.error is not None and told.error["code"] == "acl_leak", told.stdout[-3000:]
    leaks = told.error["leaks"]
    assert any(ACL in leak["what"] for leak in leaks)
    named = {leak["fun"] for leak in leaks if leak["login"] == "alice"}
    assert fun in named or len(named) == 10
    over_api = rack.api("OPERATOR").call("rack_tenant.acl_check", login="alice")
    assert over_api["ok"], "the running master has the ACL that it was started with"


def test_a_setting_that_opens_another_way_is_found(rack: RealRack, acl_as_before: str) -> None:
    rack.edit(ACL, lambda text: f"{text}publisher_acl:\n  .*:\n  - .*\n")
    told = rack.run("rack_tenant.acl_check", "alice")
    assert told.error is not None and told.error["code"] == "acl_leak"
    assert [leak["argument"] for leak in told.error["leaks"]] == ["publisher_acl"]
