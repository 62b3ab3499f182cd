"""The signature on a record: what it covers, what it does not, and which records count."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from racksalt import record, record_proof
from racksalt.model import Domain, HostReport, Nic, Record, Room
from racksalt.record_proof import Ring
from tests.unit.allowed import values
from tests.unit.test_record import RECORD

OLD, BOTH, NEW = Ring({1: b"1" * 32}), Ring({1: b"1" * 32, 2: b"2" * 32}), Ring({2: b"2" * 32})
#: What a host may change by itself, and the signature.
UNSIGNED = {"tags": ("x",), "note": "x", "protected": False, "wanted": "running"}
OTHER: dict[str, Any] = {
    "rack": "other",
    "uuid": "2b5f2f40-4a4e-4b0e-9d2c-0b8f9f1d2c3e",
    "tenant": "beta",
    "name": "web2",
    "host": "h2",
    "flavor": "m1.large",
    "image": "debian-13",
    "created_at": 1_700_000_001,
    "vcpus": 2,
    "memory_mib": 256,
    "disk_gib": 2,
    "nics": (),
    "anti_affinity": None,
    "generation": 4,
    "request_id": None,
    "labels": {"disk": "hdd"},
    "affinity": "db",
    "spread": None,
    "numa": True,
    "huge_pages": True,
}


@given(values(Record))
def test_a_signed_record_is_valid_as_it_is_and_as_it_comes_back_from_xml(vm: Record) -> None:
    signed = record_proof.sign(vm, BOTH)
    assert record_proof.is_valid(signed, BOTH) and record_proof.key_of(signed) == 2
    back = record.from_element(ElementTree.fromstring(record.to_xml(signed)))
    assert back == signed and record_proof.is_valid(back, BOTH)


@given(values(Record), values(Record))
def test_only_what_is_signed_alike_has_the_same_bytes(one: Record, other: Record) -> None:
    described = {name: getattr(one, name) for name in (*UNSIGNED, "signature")}
    assert (record_proof.signed_bytes(one) == record_proof.signed_bytes(other)) == (replace(other, **described) == one)


def test_every_field_is_signed_or_is_the_hosts_own() -> None:
    assert {field.name for field in fields(Record)} == {*OTHER, *UNSIGNED, "signature"}


@pytest.mark.parametrize("field", sorted(OTHER))
def test_a_change_of_a_signed_field_ends_the_signature(field: str) -> None:
    signed = record_proof.sign(RECORD, OLD)
    changed = replace(signed, **{field: OTHER[field]})
    assert changed != signed and not record_proof.is_valid(changed, OLD)
    assert record_proof.digest(changed) != record_proof.digest(signed)


@pytest.mark.parametrize("field", sorted(UNSIGNED))
def test_what_a_host_changes_by_itself_keeps_the_signature(field: str) -> None:
    changed = replace(record_proof.sign(RECORD, OLD), **{field: UNSIGNED[field]})
    assert changed != RECORD and record_proof.is_valid(changed, OLD)


def test_each_card_is_signed_whole() -> None:
    signed = record_proof.sign(RECORD, OLD)
    for nic in (Nic("dmz", *_rest(RECORD)), Nic("nat", "52:54:0a:50:00:11", "10.80.0.16")):
        assert not record_proof.is_valid(replace(signed, nics=(nic,)), OLD)


def _rest(vm: Record) -> tuple[str, str]:
    return vm.nics[0].mac, vm.nics[0].address


def test_the_newest_key_signs_and_every_key_of_the_ring_verifies() -> None:
    old, new = record_proof.sign(RECORD, OLD), record_proof.sign(RECORD, BOTH)
    assert record_proof.is_valid(old, BOTH) and record_proof.is_valid(new, BOTH)
    assert not record_proof.is_valid(old, NEW) and not record_proof.is_valid(new, OLD)
    assert (OLD | NEW) == BOTH


@given(st.integers(0, 63), st.sampled_from("0123456789abcdef"))
def test_another_signature_is_none(at: int, digit: str) -> None:
    signed = record_proof.sign(RECORD, OLD)
    assert signed.signature is not None
    number, _, mac = signed.signature.partition(":")
    other = f"{number}:{mac[:at]}{digit}{mac[at + 1 :]}"
    assert record_proof.is_valid(replace(signed, signature=other), OLD) == (other == signed.signature)


def test_a_signature_under_the_number_of_another_key_is_none() -> None:
    signature = record_proof.sign(RECORD, OLD).signature or ""
    assert not record_proof.is_valid(replace(RECORD, signature="2" + signature[1:]), BOTH)
    assert not record_proof.is_valid(RECORD, BOTH)


def test_the_signed_bytes_are_canonical_json() -> None:
    said = record_proof.signed_bytes(RECORD)
    assert said == json.dumps(json.loads(said), sort_keys=True, separators=(",", ":")).encode("ascii")


# Which records of a report count.


def _report(*domains: Domain) -> HostReport:
    return HostReport("h1", Room(8, 1024, 10), domains)


def _domain(vm: Record | None, **changed: Any) -> Domain:
    return replace(Domain(RECORD.uuid, RECORD.domain, "running", 1, 128, 1, vm), **changed)


def _proven(domain: Domain, host: str = "h1") -> Domain:
    (found,) = record_proof.proven(_report(domain), host, rack="r", ring=OLD).domains
    return found


def test_a_signed_record_counts_where_it_belongs() -> None:
    signed = record_proof.sign(RECORD, OLD)
    assert _proven(_domain(signed)) == _domain(signed)


@pytest.mark.parametrize(
    "domain",
    [
        _domain(RECORD),
        _domain(record_proof.sign(RECORD, NEW)),
        _domain(replace(record_proof.sign(RECORD, OLD), name="web2")),
        _domain(record_proof.sign(replace(RECORD, rack="other"), OLD)),
        _domain(record_proof.sign(replace(RECORD, host="h2"), OLD)),
        _domain(record_proof.sign(RECORD, OLD), uuid="2b5f2f40-4a4e-4b0e-9d2c-0b8f9f1d2c3e"),
    ],
    ids=["unsigned", "another-key", "changed", "rack", "host", "domain"],
)
def test_another_record_is_kept_apart(domain: Domain) -> None:
    assert _proven(domain) == replace(domain, record=None, unproven=domain.record)


def test_a_copied_record_does_not_count_on_another_host() -> None:
    signed = record_proof.sign(RECORD, OLD)
    assert _proven(_domain(signed), host="h2").record is None


def test_what_the_host_itself_calls_unproven_is_not_believed() -> None:
    signed = record_proof.sign(RECORD, OLD)
    assert _proven(_domain(None, unproven=signed)) == _domain(None)
    assert _proven(_domain(signed, unproven=RECORD)) == _domain(signed)
