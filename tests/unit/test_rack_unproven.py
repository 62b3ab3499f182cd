"""Records that do not count, as the audit hears of them: once, when a host first shows them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from racksalt import record as records
from racksalt import record_proof
from racksalt.model import Record
from racksalt.record_proof import Ring
from tests.fakes import FakeRack, fake_rack
from tests.unit.test_host_vms import vm
from tests.unit.test_rack import look, make, own

#: A key that the rack does not have.
STRANGE = Ring({1: b"made up" * 5})


def put(rack: FakeRack, host: str, record: Record, **shown: str) -> None:
    """A domain with this record, made past Racksalt."""
    uuid = shown.get("uuid", record.uuid)
    name = shown.get("name", record.domain)
    metadata = f"<metadata>{records.to_xml(record)}</metadata>"
    rack.hosts[host].hypervisor.define(
        f"<domain><name>{name}</name><uuid>{uuid}</uuid><vcpu>1</vcpu><memory>64</memory>{metadata}</domain>"
    )


def told(rack: FakeRack) -> list[tuple[str, str]]:
    texts = rack.rack.audit.texts  # type: ignore[attr-defined]
    lines: list[dict[str, Any]] = [json.loads(text) for text in texts]
    assert {(line["kind"], line["fun"], line["job"]) for line in lines} <= {("dropped", "rack_host.report", "")}
    return [(line["host"], line["reason"]) for line in lines]


def forgeries() -> dict[str, Record]:
    """What a host may show on h3."""
    mine = replace(vm(), rack="test", host="h3", signature=None)
    return {
        "unsigned": mine,
        "signed with a made-up key": record_proof.sign(mine, STRANGE),
        "a copy of another host's": own(replace(mine, host="h1")),
        "another host's, made ours": replace(own(replace(mine, host="h1")), host="h3"),
        "its own from before, raised": replace(own(mine), generation=9),
        "of another rack": record_proof.sign(replace(mine, rack="other"), Ring({1: bytes([1]) * 32})),
    }


@pytest.mark.promise("S15")
@pytest.mark.parametrize("what", forgeries())
def test_a_record_that_the_rack_did_not_sign_is_told_once(what: str) -> None:
    rack = fake_rack()
    put(rack, "h3", forgeries()[what])
    seen = look(rack)
    assert seen.vms() == [] and not seen.holder("acme", "web1") and seen.usage("acme").vms == 0
    reason = f"the record of {vm().title} is not one that the rack signed for it"
    assert told(rack) == [("h3", reason)]
    look(rack)
    assert len(told(rack)) == 1


def test_a_true_record_under_another_domain_is_told() -> None:
    rack = fake_rack()
    record = make(rack)
    put(rack, "h1", record, uuid="99999999-9999-4999-8999-999999999999", name="acme.twin")
    assert [one.record.uuid for one in look(rack).vms()] == [record.uuid]
    assert [host for host, _ in told(rack)] == ["h1"]


def test_what_counts_or_is_not_racksalts_is_not_told() -> None:
    rack = fake_rack()
    make(rack)
    rack.hosts["h2"].hypervisor.define("<domain><name>foreign</name><uuid>x</uuid></domain>")
    rack.hosts["h3"].silent = True
    look(rack)
    assert told(rack) == []


def test_a_changed_forgery_is_told_again_and_a_host_that_was_silent_brings_no_news() -> None:
    rack = fake_rack()
    forged = forgeries()["unsigned"]
    put(rack, "h3", forged)
    look(rack)
    rack.hosts["h3"].silent = True
    look(rack)
    rack.hosts["h3"].silent = False
    look(rack)
    assert len(told(rack)) == 1
    put(rack, "h3", replace(forged, name="other"))
    look(rack)
    assert len(told(rack)) == 2 and "acme/other" in told(rack)[1][1]


def test_keys_that_change_during_a_look_make_no_forgery() -> None:
    rack = fake_rack()
    make(rack)

    def rotate(host: str, function: str) -> None:
        rack.rack.ring.add()
        rack.rack.ring.keep_only(max(rack.rack.ring.read().keys))

    rack.fleet.after = rotate
    assert len(look(rack).vms()) == 1 and told(rack) == []


def test_one_look_tells_so_many_and_the_look_stands_without_an_audit() -> None:
    rack = fake_rack()
    for number in range(1, 31):
        put(rack, "h3", replace(vm(number), rack="test", host="h3", signature=None))
    assert look(rack).hosts["h3"].answers and len(told(rack)) == 20
    rack = fake_rack()
    put(rack, "h3", forgeries()["unsigned"])
    rack.rack.audit.full = True  # type: ignore[attr-defined]
    assert look(rack).hosts["h3"].answers and told(rack) == []
