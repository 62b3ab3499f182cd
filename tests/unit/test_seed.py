"""The NoCloud seed: what cloud-init reads back is what went in, and a tenant's own user-data is not touched."""

from __future__ import annotations

import re

import yaml
from hypothesis import given
from hypothesis import strategies as st

from racksalt import names, seed
from racksalt.model import Network, Nic, Record
from tests.unit.allowed import NASTY_TEXT, values
from tests.unit.test_record import RECORD

NETWORK = Network("nat", "10.80.0.0/20", "10.80.0.1", "10.80.0.16", "10.80.15.254", dns=("10.0.0.53",))
KEYS = st.lists(values(names.SshKey), max_size=3)
VMS = values(Record).map(lambda vm: vm if vm.nics else RECORD)


@given(VMS, values(Network), KEYS)
def test_what_cloud_init_reads_is_what_went_in(vm: Record, network: Network, keys: list[str]) -> None:
    files = seed.files(vm, network, ssh_keys=keys)
    assert set(files) == {"meta-data", "user-data", "network-config"}
    assert yaml.safe_load(files["meta-data"]) == {
        "instance-id": vm.uuid,
        "local-hostname": vm.name,
        "public-keys": keys,
    }
    first, _, config = files["user-data"].partition("\n")
    assert first == "#cloud-config"
    assert yaml.safe_load(config) == {"hostname": vm.name, "ssh_authorized_keys": keys}
    card = yaml.safe_load(files["network-config"])["ethernets"]["primary"]
    assert card["match"] == {"macaddress": vm.nics[0].mac} and card["dhcp4"] is True
    assert card.get("nameservers", {}).get("addresses", []) == list(network.dns)


@given(st.text(NASTY_TEXT + "\n\t\x00", min_size=1))
def test_user_data_of_the_tenant_stands_as_it_is(text: str) -> None:
    files = seed.files(RECORD, NETWORK, ssh_keys=["ssh-ed25519 " + "A" * 68], user_data=text)
    assert files["user-data"] == text
    assert yaml.safe_load(files["meta-data"])["public-keys"] == ["ssh-ed25519 " + "A" * 68]


def test_names_that_yaml_would_take_for_something_else_stay_names() -> None:
    for name in ("no", "on", "null", "1e3", "0x10", "12", "2024-01-01", "0b1"):
        vm = Record(
            "r", RECORD.uuid, "t", name, "h", "f", "i", 1, 1, 1, 1, (Nic("nat", "52:54:00:00:00:00", "10.0.0.1"),)
        )
        files = seed.files(vm, NETWORK)
        assert yaml.safe_load(files["meta-data"])["local-hostname"] == name
        assert yaml.safe_load(files["user-data"])["hostname"] == name


def test_a_mac_is_text_even_where_it_looks_like_a_number() -> None:
    vm = Record("r", RECORD.uuid, "t", "n", "h", "f", "i", 1, 1, 1, 1, (Nic("nat", "52:54:00:00:00:10", "10.0.0.1"),))
    config = seed.files(vm, NETWORK)["network-config"]
    assert yaml.safe_load(config)["ethernets"]["primary"]["match"]["macaddress"] == "52:54:00:00:00:10"
    assert re.search(r"macaddress: ['\"]?52:54", config)
