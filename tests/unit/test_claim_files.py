"""Claims in flight as files: durable, private, and decided by one process at a time."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from racksalt.adapters.claim_files import ClaimFiles
from racksalt.errors import Unavailable
from racksalt.model import Claim
from tests.unit.allowed import values
from tests.unit.test_host_vms import vm

FORK = multiprocessing.get_context("fork")


def claim(number: int = 1) -> Claim:
    return Claim(vm(number), 1000.5)


@given(values(Claim))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_claim_comes_back(tmp_path: Path, one: Claim) -> None:
    claims = ClaimFiles(tmp_path / "claims")
    claims.write(one)
    assert claims.all() == [one]
    claims.remove(one.record.uuid)
    assert claims.all() == []


def test_before_the_first_claim_there_is_nothing(tmp_path: Path) -> None:
    claims = ClaimFiles(tmp_path / "var/claims")
    assert claims.all() == []
    claims.remove(vm().uuid)
    assert not claims.root.exists()


def test_a_claim_written_again_is_the_new_one(tmp_path: Path) -> None:
    claims = ClaimFiles(tmp_path)
    claims.write(claim())
    claims.write(replace(claim(), settled_at=5.0))
    assert claims.all() == [replace(claim(), settled_at=5.0)]


def test_claims_are_for_their_owner_only(tmp_path: Path) -> None:
    claims = ClaimFiles(tmp_path / "claims")
    with claims.locked():
        claims.write(claim())
    assert claims.root.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in claims.root.glob("*.json")} == {0o600}


def test_a_claim_is_on_the_disk_when_the_write_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    claims = ClaimFiles(tmp_path)
    claims.write(claim())
    assert len(synced) == 2 and vm().uuid in synced[0] and synced[1] == str(tmp_path)
    synced.clear()
    claims.remove(vm().uuid)
    assert synced == [str(tmp_path)]


def test_a_claim_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable, match="No space"):
        ClaimFiles(tmp_path).write(claim())
    assert list(tmp_path.iterdir()) == []


def take_one_of_three(root: Path, number: int, start: Any) -> None:
    """A process that claims a place where there is one."""
    claims = ClaimFiles(root)
    start.wait()
    with claims.locked():
        if len(claims.all()) < 3:
            claims.write(claim(number))


def test_processes_that_decide_at_once_never_claim_more_than_there_is(tmp_path: Path) -> None:
    start = FORK.Barrier(8)
    processes = [FORK.Process(target=take_one_of_three, args=(tmp_path, n, start)) for n in range(1, 9)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(20)
    assert [process.exitcode for process in processes] == [0] * 8
    assert len(ClaimFiles(tmp_path).all()) == 3


def write_and_remove(root: Path, number: int) -> None:
    claims = ClaimFiles(root)
    for _ in range(40):
        claims.write(claim(number))
        claims.remove(vm(number).uuid)


def test_a_reader_never_meets_half_a_claim(tmp_path: Path) -> None:
    claims = ClaimFiles(tmp_path)
    claims.write(claim(9))
    processes = [FORK.Process(target=write_and_remove, args=(tmp_path, n)) for n in (1, 2)]
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        found = claims.all()
        assert claim(9) in found and all(one == claim(int(one.record.name[-1])) for one in found)
    assert claims.all() == [claim(9)]


def test_what_another_process_wrote_or_ended_is_seen(tmp_path: Path) -> None:
    mine, other = ClaimFiles(tmp_path), ClaimFiles(tmp_path)
    for number in (1, 2):
        mine.write(claim(number))
    assert len(mine.certain()) == 2
    other.write(replace(claim(1), settled_at=7.0))
    other.remove(claim(2).record.uuid)
    other.write(claim(3))
    assert sorted(mine.certain(), key=lambda one: one.record.uuid) == [replace(claim(1), settled_at=7.0), claim(3)]


def test_a_claim_that_did_not_change_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = ClaimFiles(tmp_path)
    for number in (1, 2):
        claims.write(claim(number))
    claims.all()
    claims.write(replace(claim(2), settled_at=7.0))
    read: list[str] = []
    real = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path, **more: read.append(path.stem) or real(path, **more))
    assert len(claims.certain()) == 2 and read == [claim(2).record.uuid]
