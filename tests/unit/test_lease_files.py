"""Planned addresses as files that the DHCP server reads: one line each, written whole, taken back."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
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
    leases = leases_in(tmp_path)
    leases.reserve(nic)
    path = tmp_path / "leases" / nic.network / nic.mac
    assert path.read_text() == f"{nic.mac},{nic.address}\n"
    leases.release(nic, None)
    assert not path.exists()


def test_a_lease_is_reserved_again_and_released_twice_without_an_error(tmp_path: Path) -> None:
    leases = leases_in(tmp_path)
    leases.reserve(NIC)
    leases.reserve(NIC)
    assert [path.name for path in (tmp_path / "leases/nat").iterdir()] == [NIC.mac]
    leases.release(NIC, None)
    leases.release(NIC, None)


@pytest.fixture
def told(tmp_path: Path) -> Iterator[list[int]]:
    """How often the DHCP server, which this process is, was told to read again."""
    signals: list[int] = []
    before = signal.signal(signal.SIGHUP, lambda number, _: signals.append(number))
    (tmp_path / "nat.pid").write_text(f"{os.getpid()}\n")
    yield signals
    signal.signal(signal.SIGHUP, before)


def leases_in(folder: Path) -> LeaseFiles:
    return LeaseFiles(folder / "leases", folder, folder / "released")


def test_the_dhcp_server_follows_new_addresses_and_old_ones_again_by_itself(tmp_path: Path, told: list[int]) -> None:
    leases = leases_in(tmp_path)
    for _ in range(3):
        leases.reserve(NIC)
        leases.reserve(NIC)
        leases.release(NIC, None)
    assert told == []


@pytest.mark.parametrize("released", [True, False])
def test_the_dhcp_server_is_told_where_it_remembers_another_address(
    tmp_path: Path, told: list[int], released: bool
) -> None:
    leases, moved = leases_in(tmp_path), replace(NIC, address="10.80.0.99")
    leases.reserve(NIC)
    if released:
        leases.release(NIC, None)
    leases.reserve(moved)
    assert len(told) == 1 and list(leases.all()) == [moved]
    leases.reserve(moved)
    assert len(told) == 1


def test_the_dhcp_server_is_told_where_it_remembers_an_address_for_another_card(
    tmp_path: Path, told: list[int]
) -> None:
    leases, other = leases_in(tmp_path), replace(NIC, mac="02:aa:00:00:00:07")
    leases.reserve(other)
    leases.release(other, None)
    leases.reserve(NIC)
    assert len(told) == 1
    leases.release(NIC, None)
    leases.reserve(NIC)
    assert len(told) == 1


def test_a_lease_that_was_torn_is_released_and_made_again(tmp_path: Path, told: list[int]) -> None:
    leases = leases_in(tmp_path)
    leases.reserve(NIC)
    (tmp_path / "leases/nat" / NIC.mac).write_bytes(b"\xff\xfe")
    leases.reserve(NIC)
    (tmp_path / "leases/nat" / NIC.mac).write_bytes(b"\xff\xfe")
    leases.release(NIC, None)
    assert list(leases.all()) == [] and told == []


def test_what_the_dhcp_server_remembers_in_vain_is_bounded(tmp_path: Path, told: list[int]) -> None:
    leases = leases_in(tmp_path)
    for number in range(250):
        nic = replace(NIC, mac=f"52:54:0a:50:01:{number:02x}", address=f"10.80.1.{number}")
        leases.reserve(nic)
        leases.release(nic, None)
    assert len(told) == 1 and len(list((tmp_path / "released/nat").iterdir())) < 100


@pytest.mark.parametrize("pid", ["", "x", "4194399", None])
def test_a_dhcp_server_that_is_off_is_no_error(tmp_path: Path, pid: str | None) -> None:
    if pid is not None:
        (tmp_path / "nat.pid").write_text(pid)
    leases_in(tmp_path).reserve(NIC)
    assert (tmp_path / "leases/nat" / NIC.mac).exists()


def test_a_lease_is_released_where_the_tool_that_tells_the_server_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    leases = leases_in(tmp_path)
    leases.reserve(NIC)
    leases.release(NIC, "rs-nat")
    assert list((tmp_path / "leases/nat").iterdir()) == []


def test_every_lease_is_told_and_what_is_none_is_left_out(tmp_path: Path) -> None:
    leases = leases_in(tmp_path)
    leases.reserve(NIC)
    folder = tmp_path / "leases/nat"
    (folder / "52:54:0a:50:00:11").write_text("52:54:0a:50:00:12,10.80.0.17")
    (folder / ".half").write_bytes(b"\xff")
    (folder / "note").write_text("nothing")
    assert list(leases.all()) == [NIC]
