"""Planned addresses as files that the DHCP server reads: one line each, written whole, taken back."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from racksalt.adapters.lease_files import LeaseFiles
from racksalt.model import Nic
from tests.unit.allowed import values

NIC = Nic("nat", "52:54:0a:50:00:10", "10.80.0.16")


@given(values(Nic))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_lease_is_one_line_and_goes_again(tmp_path: Path, nic: Nic) -> None:
    leases = LeaseFiles(tmp_path / "leases", tmp_path / "pids")
    leases.reserve(nic)
    path = tmp_path / "leases" / nic.network / nic.mac
    assert path.read_text() == f"{nic.mac},{nic.address}\n"
    leases.release(nic, None)
    assert not path.exists()


def test_a_lease_is_reserved_again_and_released_twice_without_an_error(tmp_path: Path) -> None:
    leases = LeaseFiles(tmp_path, tmp_path)
    leases.reserve(NIC)
    leases.reserve(NIC)
    assert [path.name for path in (tmp_path / "nat").iterdir()] == [NIC.mac]
    leases.release(NIC, None)
    leases.release(NIC, None)


def test_the_dhcp_server_is_told_to_read_again(tmp_path: Path) -> None:
    told = threading.Event()
    before = signal.signal(signal.SIGHUP, lambda *_: told.set())
    try:
        (tmp_path / "nat.pid").write_text(f"{os.getpid()}\n")
        LeaseFiles(tmp_path / "leases", tmp_path).reserve(NIC)
        assert told.wait(1)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("pid", ["", "x", "4194399", None])
def test_a_dhcp_server_that_is_off_is_no_error(tmp_path: Path, pid: str | None) -> None:
    if pid is not None:
        (tmp_path / "nat.pid").write_text(pid)
    LeaseFiles(tmp_path / "leases", tmp_path).reserve(NIC)
    assert (tmp_path / "leases/nat" / NIC.mac).exists()


def test_a_lease_is_released_where_the_tool_that_tells_the_server_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    leases = LeaseFiles(tmp_path / "leases", tmp_path)
    leases.reserve(NIC)
    leases.release(NIC, "rs-nat")
    assert list((tmp_path / "leases/nat").iterdir()) == []


def test_every_lease_is_told_and_what_is_none_is_left_out(tmp_path: Path) -> None:
    leases = LeaseFiles(tmp_path / "leases", tmp_path / "pids")
    leases.reserve(NIC)
    folder = tmp_path / "leases/nat"
    (folder / "52:54:0a:50:00:11").write_text("52:54:0a:50:00:12,10.80.0.17")
    (folder / ".half").write_bytes(b"\xff")
    (folder / "note").write_text("nothing")
    assert list(leases.all()) == [NIC]
