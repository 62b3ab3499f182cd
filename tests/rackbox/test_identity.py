from pathlib import Path

import pytest

from rackbox_lib.errors import RackboxError
from rackbox_lib.identity import RackIdentity, hosts_file, node_address, node_names, node_number

ONE = RackIdentity("demo", Path("/srv/one"))
OTHER = RackIdentity("demo", Path("/srv/other"))


def test_the_same_name_in_another_checkout_is_another_rack() -> None:
    assert ONE.id != OTHER.id
    assert ONE.bridge != OTHER.bridge
    assert ONE.mac("h1") != OTHER.mac("h1")


def test_names_of_interfaces_fit_into_the_kernels_15_characters() -> None:
    for node in node_names(20):
        assert len(ONE.port(node)) <= 15
    assert len(ONE.bridge) <= 15


def test_every_node_has_its_own_address_and_mac() -> None:
    nodes = node_names(20)
    assert len({node_address(7, node) for node in nodes}) == len(nodes)
    assert len({*(ONE.mac(node) for node in nodes), ONE.bridge_mac}) == len(nodes) + 1
    assert node_address(7, "master") == "10.77.7.10"
    assert node_address(7, "h1") == "10.77.7.11"


def test_macs_are_local_and_unicast() -> None:
    first = int(ONE.mac("h1").split(":")[0], 16)
    assert first & 0b11 == 0b10


@pytest.mark.parametrize("name", ["", "Demo", "a" * 21, "a/b", ".."])
def test_a_name_that_could_lead_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(RackboxError, match="rack name"):
        RackIdentity(name, Path("/srv/one"))


@pytest.mark.parametrize("node", ["h0", "h01", "h21", "host1", "../h1", ""])
def test_no_such_node(node: str) -> None:
    with pytest.raises(RackboxError, match="no node"):
        node_number(node)


def test_more_hosts_than_a_rack_has_are_refused() -> None:
    with pytest.raises(RackboxError, match="0 to 20"):
        node_names(21)


def test_every_node_knows_all_names() -> None:
    lines = hosts_file(7).splitlines()
    assert "10.77.7.10 master salt" in lines
    assert "10.77.7.30 h20" in lines
