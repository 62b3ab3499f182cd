"""What reaches a host of the rack's files: its networks and images, and nothing of tenants, users or quotas."""

from __future__ import annotations

import json
from typing import Any

import pytest

from racksalt import host_slices
from racksalt.settings import Settings, load
from tests.fakes import FakeAuthority, FakeFiles, rack_files

DISK = {"kind": "disk", "sha256": "3" * 64, "format": "raw", "url": "https://images.example.org/d"}


@pytest.fixture
def settings() -> Settings:
    files = rack_files()
    files["tenants.yaml"]["tenants"]["secret-tenant"] = {"description": "secret-words", "quota": {"vms": 4711}}
    files["users.yaml"]["users"]["secret-user"] = {"tenants": {"secret-tenant": "member"}}
    files["images.yaml"]["images"]["debian"] = dict(DISK)
    files["profiles.yaml"] = {
        "profiles": {"secret-profile": {"flavor": "m1.tiny", "image": "tiny", "user_data": "#!secret-data"}}
    }
    return load(FakeFiles(files))


def keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {key for item in value.values() for key in keys(item)}
    return {key for item in value for key in keys(item)} if isinstance(value, list) else set()


def test_a_hypervisor_gets_networks_and_images(settings: Settings) -> None:
    told = host_slices.slice_for("h1", settings, FakeAuthority())
    assert told["rack"] == "test" and told["roles"] == ["hypervisor"]
    assert told["networks"]["nat"]["bridge"] == "rs-nat" and told["networks"]["nat"]["gateway_mac"].startswith("0a:72:")
    assert [image["sha256"][0] for image in told["images"]] == ["1", "2", "3"]
    assert told["images"][-1]["url"] == DISK["url"]


@pytest.mark.parametrize("minion", ["h1", "h2", "master"])
def test_no_slice_holds_a_tenant_a_user_or_a_quota(minion: str, settings: Settings) -> None:
    told = host_slices.slice_for(minion, settings, FakeAuthority())
    text = json.dumps(told)
    for word in ("secret", "acme", "beta", "alice", "olivia", "4711", "root"):
        assert word not in text
    assert not {"tenants", "tenant", "users", "quota", "profiles", "flavors", "hosts", "shell_operators"} & keys(told)


@pytest.mark.parametrize("minion", ["h9", "", "H1", "h1\n", "*", "../h1"])
def test_an_unknown_minion_gets_nothing(minion: str, settings: Settings) -> None:
    authority = FakeAuthority()
    assert host_slices.slice_for(minion, settings, authority) == {} and not authority.asked


def test_the_writer_gets_its_role_and_both_when_it_is_a_host_too(settings: Settings) -> None:
    authority = FakeAuthority()
    assert host_slices.slice_for("master", settings, authority) == {"rack": "test", "roles": ["master"]}
    assert not authority.asked
    files = rack_files()
    files["hosts.yaml"]["writer"] = "h1"
    both = host_slices.slice_for("h1", load(FakeFiles(files)), authority)
    assert both["roles"] == ["master", "hypervisor"] and "networks" in both


def test_a_hypervisor_gets_its_own_certificates_and_no_others() -> None:
    files = rack_files()
    files["hosts.yaml"]["hosts"]["h2"] = {"address": "192.0.2.2", "storage": "shared1"}
    settings, authority = load(FakeFiles(files)), FakeAuthority()
    one, two = (host_slices.slice_for(name, settings, authority)["migration"] for name in ("h1", "h2"))
    assert (one["address"], one["shared_volumes"]) == ("h1", False)
    assert (two["address"], two["shared_volumes"]) == ("192.0.2.2", True)
    for told, name in ((one, "h1"), (two, "h2")):
        assert told["tls"]["qemu"]["key"] == f"key of {name} for qemu"
        assert set(told["tls"]) == {"libvirt", "qemu"}
    assert "h2" not in json.dumps(one) and authority.asked == ["h1", "h2"]
