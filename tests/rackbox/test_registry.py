import pytest

from rackbox_lib.errors import RackboxError
from rackbox_lib.registry import pick_subnet, subnets_of


def test_the_wish_is_granted_when_free() -> None:
    assert pick_subnet(set(), 41) == pick_subnet(set(), 41)
    assert pick_subnet(set(), 41) != pick_subnet(set(), 42)


def test_a_taken_network_is_passed_over_and_the_search_goes_round() -> None:
    assert pick_subnet({254}, 253) == 1
    assert pick_subnet(set(range(1, 255)) - {9}, 200) == 9


def test_all_taken() -> None:
    with pytest.raises(RackboxError, match="take down a rack"):
        pick_subnet(set(range(1, 255)), 5)


def test_networks_of_others_are_seen_in_routes_and_addresses() -> None:
    text = "default via 192.0.2.1\n10.77.3.0/24 dev x\n    inet 10.77.200.1/24 scope global y\n110.77.9.0/24 dev z"
    assert subnets_of(text) == {3, 200}
