"""The rack on one page: hosts and VMs by state, what went wrong lately, what took long."""

from __future__ import annotations

from typing import Any

import pytest

from racksalt import audit
from racksalt.audit import Act
from racksalt.errors import RacksaltError
from racksalt.rack_answer import Came, carry_out
from racksalt.rack_status import slow_calls
from tests.fakes import FakeRack, fake_rack
from tests.unit.test_vm_create import create

ERROR = {"time": "2026-01-01T00:00:01.000Z", "unit": "libvirtd.service", "text": "internal error: no space"}
LATER = {**ERROR, "time": "2026-01-01T00:00:02.000Z", "text": "another"}


def status(rack: FakeRack, user: str = "root", **asked: Any) -> Any:
    return carry_out(rack.rack, Came("rack_host.status", user, asked))


def test_each_host_is_shown_with_its_vms_by_state_silent_and_disabled_ones_too() -> None:
    rack = fake_rack()
    create(rack, "root", "acme/web1", host="h1")
    create(rack, "root", "acme/web2", host="h1", start=False)
    create(rack, "root", "acme/web3", host="h2")
    status(rack)
    rack.hosts["h2"].silent = True
    rack.files.data["hosts.yaml"]["hosts"]["h3"] |= {"enabled": False, "reason": "new disks"}
    rack.clock.sleep(60)
    told = status(rack)
    h1, h2, h3 = told["by_host"]
    assert h1["vms"] == {"running": 1, "stopped": 1} and h1["age_s"] < 1 and h1["errors"] == 0
    assert not h2["answers"] and h2["vms"] == {"unknown": 1} and 60 <= h2["age_s"] < 61 and h2["errors"] is None
    assert (h3["enabled"], h3["reason"], h3["vms"]) == (False, "new disks", {})
    assert told["hosts"] == 3 and told["vms_by_state"] == {"running": 1, "stopped": 1, "unknown": 1}


def test_errors_in_the_hosts_logs_are_counted_and_the_newest_told() -> None:
    rack = fake_rack()
    rack.hosts["h1"].journal, rack.hosts["h2"].journal = (ERROR,), (ERROR, LATER)
    told = status(rack, limit=2)
    assert [host["errors"] for host in told["by_host"]] == [1, 2, 0]
    assert told["errors"][0] == {"host": "h2", **LATER} and len(told["errors"]) == 2
    asked = next(request for request in rack.fleet.published if "request" in request)
    assert asked == {"request": {"since_s": 3600, "limit": 2}}


def test_a_host_whose_logs_cannot_be_read_is_named() -> None:
    rack = fake_rack()

    def cut(host: str, function: str) -> None:
        rack.hosts["h1"].silent = function == "rack_host.errors"

    rack.fleet.before = cut
    told = status(rack)
    assert list(told["errors_unread"]) == ["h1"] and told["by_host"][0]["errors"] is None


def test_nonsense_from_a_host_is_not_passed_on() -> None:
    rack = fake_rack()
    rack.hosts["h1"].journal = ({**ERROR, "text": "x" * 5000},)
    assert "cannot be read" in status(rack)["errors_unread"]["h1"]


def test_jobs_that_failed_lately_are_told() -> None:
    rack = fake_rack()
    at = audit.moment(rack.clock.time)
    job = at.replace("-", "").replace(":", "").replace("T", "").replace("Z", "").replace(".", "") + "000"
    with pytest.raises(RacksaltError):
        carry_out(rack.rack, Came("rack_vm.start", "root", {"name": "acme/none"}, job))
    assert [one["job"] for one in status(rack)["failed_jobs"]] == [job]
    rack.clock.sleep(7200)
    assert status(rack)["failed_jobs"] == []


def test_changes_that_took_long_are_told() -> None:
    rack = fake_rack()
    began = audit.seconds("2026-01-01T00:00:00.000Z")
    texts, head = [], None
    for job, took_s in (("20260101000000000000", 3.0), ("20260101000000000001", 42.0)):
        for at, entry in ((began, audit.intent), (began + took_s, audit.outcome)):
            act = Act("alice", "rack_vm.stop", None, job, "acme", "acme/web1")
            text, head = audit.line(entry(act), after=head, at=at, master="m")
            texts.append(text)
    (slow,) = slow_calls(reversed(texts), since=began - 1)
    assert (slow["job"], slow["took_s"], slow["object"]) == ("20260101000000000001", 42.0, "acme/web1")
    assert list(slow_calls(reversed(texts), since=began + 100)) == []
    assert status(rack)["slow_calls"] == []


def test_the_audits_last_line_is_told_without_what_was_asked() -> None:
    rack = fake_rack()
    assert status(rack)["audit"] is None
    carry_out(rack.rack, Came("rack_host.disable", "root", {"name": "h1"}))
    last = status(rack)["audit"]
    assert (last["kind"], last["fun"], last["result"]) == ("outcome", "rack_host.disable", "done")
    assert set(last) == {"n", "time", "kind", "user", "fun", "object", "result"}


def test_a_tenant_sees_no_status() -> None:
    with pytest.raises(RacksaltError) as told:
        status(fake_rack(), "alice")
    assert told.value.code == "operator_only"
