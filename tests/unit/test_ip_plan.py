"""Addresses and MACs: unique, within the pool, and never the gateway's."""

from __future__ import annotations

import uuid as uuids
from dataclasses import replace
from ipaddress import IPv4Address
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from racksalt import ip_plan
from racksalt.errors import BadInput, Conflict, Refused
from racksalt.ip_plan import Taken
from racksalt.model import Network, Nic
from racksalt.shape import parse, plain

NETWORK = Network("nat", "10.0.0.0/24", "10.0.0.3", "10.0.0.1", "10.0.0.10")
OTHER = Network("dmz", "10.0.1.0/24", "10.0.1.1", "10.0.1.2", "10.0.1.9")
UUIDS = st.uuids().map(str)


@given(st.lists(UUIDS, min_size=9, max_size=9, unique=True))
def test_every_address_of_the_pool_is_given_once_and_then_it_is_exhausted(wanted: list[str]) -> None:
    taken: list[Nic] = []
    for uuid in wanted:
        taken.append(ip_plan.plan_nic(NETWORK, uuid, mac=None, taken=Taken.of(taken)))
    pool = {f"10.0.0.{last}" for last in range(1, 11)} - {NETWORK.gateway}
    assert {nic.address for nic in taken} == pool
    assert len({nic.mac for nic in taken}) == 9
    with pytest.raises(Refused) as told:
        ip_plan.plan_nic(NETWORK, wanted[0], mac=None, taken=Taken.of(taken))
    assert told.value.code == "addresses_exhausted" and "10.0.0.10" in told.value.detail


@given(UUIDS)
def test_a_planned_card_is_one_that_the_model_allows(uuid: str) -> None:
    nic = ip_plan.plan_nic(NETWORK, uuid, mac=None, taken=Taken())
    assert parse(Nic, plain(nic)) == nic
    assert nic.mac == ip_plan.mac_of(nic.address) and nic.network == "nat"


@given(UUIDS)
def test_the_same_vm_gets_the_same_address_and_an_address_the_same_mac(uuid: str) -> None:
    first = ip_plan.plan_nic(NETWORK, uuid, mac=None, taken=Taken())
    assert ip_plan.plan_nic(NETWORK, uuid, mac=None, taken=Taken()) == first
    second = ip_plan.plan_nic(NETWORK, uuid, mac=None, taken=Taken.of([first]))
    assert second.address != first.address and second.mac != first.mac


def test_the_next_address_does_not_tell_how_many_there_are() -> None:
    wide = Network("wide", "10.8.0.0/16", "10.8.0.1", "10.8.0.2", "10.8.255.254")
    planned = [
        ip_plan.plan_nic(wide, str(uuids.UUID(int=n << 90)), mac=None, taken=Taken()).address for n in range(1, 50)
    ]
    steps = {int(IPv4Address(b)) - int(IPv4Address(a)) for a, b in pairwise(planned)}
    assert len(set(planned)) == 49 and steps != {1}


def test_the_addresses_of_another_network_are_free_here() -> None:
    taken = [ip_plan.plan_nic(OTHER, str(uuids.UUID(int=1)), mac=None, taken=Taken())]
    assert ip_plan.plan_nic(NETWORK, str(uuids.UUID(int=1)), mac=None, taken=Taken.of(taken)).network == "nat"


def test_an_address_that_has_a_fixed_mac_is_in_use_too() -> None:
    first = ip_plan.plan_nic(NETWORK, str(uuids.UUID(int=1)), mac="02:00:00:00:00:01", taken=Taken())
    for mac in (None, "02:00:00:00:00:02"):
        assert (
            ip_plan.plan_nic(NETWORK, str(uuids.UUID(int=1)), mac=mac, taken=Taken.of([first])).address != first.address
        )


def test_a_fixed_mac_is_taken_as_it_is() -> None:
    nic = ip_plan.plan_nic(NETWORK, str(uuids.UUID(int=1)), mac="02:00:00:00:00:01", taken=Taken())
    assert nic.mac == "02:00:00:00:00:01"


def test_a_fixed_mac_in_use_anywhere_is_a_conflict() -> None:
    taken = [Nic("dmz", "02:00:00:00:00:01", "10.0.1.5")]
    with pytest.raises(Conflict) as told:
        ip_plan.plan_nic(NETWORK, str(uuids.UUID(int=1)), mac="02:00:00:00:00:01", taken=Taken.of(taken))
    assert told.value.code == "mac_in_use"


@pytest.mark.parametrize("mac", ["52:54:0a:00:00:05", ip_plan.gateway_mac(NETWORK)])
def test_the_racks_own_macs_cannot_be_asked_for(mac: str) -> None:
    with pytest.raises(BadInput):
        ip_plan.plan_nic(NETWORK, str(uuids.UUID(int=1)), mac=mac, taken=Taken())


def test_a_gateways_mac_is_local_fixed_and_another_one_for_each_network() -> None:
    macs = [ip_plan.gateway_mac(network) for network in (NETWORK, OTHER, replace(NETWORK, subnet="10.0.0.0/25"))]
    assert len(set(macs)) == 3 and macs[0] == ip_plan.gateway_mac(NETWORK)
    for mac in macs:
        assert parse(Nic, {"network": "x", "mac": mac, "address": "10.0.0.1"})
        assert not mac.startswith(ip_plan.OWN_PREFIX)
