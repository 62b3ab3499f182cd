"""Who is calling: always by the files as they are now, never by what the call says."""

from __future__ import annotations

import pytest

from racksalt import access
from racksalt.access import Caller, identify
from racksalt.errors import BadInput, Denied, NotFound
from racksalt.settings import Settings, load
from tests.fakes import FakeFiles, rack_files


@pytest.fixture
def settings() -> Settings:
    return load(FakeFiles(rack_files()))


@pytest.mark.parametrize("user", ["root", "sudo_alice", "sudo_x"])
def test_the_shells_operators_are_operators(user: str, settings: Settings) -> None:
    assert identify(user, settings) == Caller(user, operator=True)


@pytest.mark.parametrize(
    "user",
    [
        "nobody",
        "",
        "Root",
        "root ",
        "roots",
        "xsudo_alice",
        "UNKNOWN",
        "salt",
        "Reactor",
        "h1",
        "master",
        "ALICE",
        "alice\n",
        "*",
    ],
)
def test_an_unknown_user_may_do_nothing(user: str, settings: Settings) -> None:
    with pytest.raises(Denied) as told:
        identify(user, settings)
    assert told.value.code == "user_unknown"


def test_a_user_has_the_roles_of_the_file(settings: Settings) -> None:
    assert identify("carol", settings).roles == {"acme": "reader", "beta": "member"}
    assert identify("olivia", settings).operator and not identify("alice", settings).operator


def test_a_removed_user_may_do_nothing_at_the_next_call() -> None:
    files = rack_files()
    folder = FakeFiles(files)
    assert identify("alice", load(folder))
    del files["users.yaml"]["users"]["alice"]
    with pytest.raises(Denied):
        identify("alice", load(folder))


def test_only_the_operator_passes_for_one(settings: Settings) -> None:
    access.require_operator(identify("olivia", settings))
    with pytest.raises(Denied) as told:
        access.require_operator(identify("alice", settings))
    assert told.value.code == "operator_only"


def test_a_list_shows_ones_own_tenants_or_the_named_one(settings: Settings) -> None:
    carol = identify("carol", settings)
    assert access.visible_tenants(carol, None, settings) == ("acme", "beta")
    assert access.visible_tenants(carol, "beta", settings) == ("beta",)
    assert access.visible_tenants(identify("root", settings), None, settings) == ("acme", "beta")


@pytest.mark.parametrize("tenant", ["beta", "none", "", "acme\n", "ACME"])
def test_a_foreign_tenant_is_answered_like_none(tenant: str, settings: Settings) -> None:
    with pytest.raises(NotFound) as told:
        access.acting_tenant(identify("alice", settings), tenant, settings, changes=False)
    assert (told.value.code, told.value.detail) == ("tenant_not_found", f"no tenant {tenant!r}")


def test_one_tenant_need_not_be_named_and_several_have_to(settings: Settings) -> None:
    assert access.acting_tenant(identify("alice", settings), None, settings, changes=True) == "acme"
    with pytest.raises(BadInput) as told:
        access.acting_tenant(identify("carol", settings), None, settings, changes=False)
    assert told.value.code == "tenant_ambiguous" and told.value.facts["tenants"] == ["acme", "beta"]


def test_a_user_without_tenants_has_none_to_act_in(settings: Settings) -> None:
    with pytest.raises(BadInput) as told:
        access.acting_tenant(Caller("dave"), None, settings, changes=False)
    assert told.value.code == "tenant_missing"


def test_the_role_counts_in_each_tenant_by_itself(settings: Settings) -> None:
    carol = identify("carol", settings)
    assert access.acting_tenant(carol, "acme", settings, changes=False) == "acme"
    assert access.acting_tenant(carol, "beta", settings, changes=True) == "beta"
    with pytest.raises(Denied) as told:
        access.acting_tenant(carol, "acme", settings, changes=True)
    assert told.value.code == "role_reader"


def test_the_operator_may_change_in_every_tenant(settings: Settings) -> None:
    assert access.acting_tenant(identify("olivia", settings), "beta", settings, changes=True) == "beta"
