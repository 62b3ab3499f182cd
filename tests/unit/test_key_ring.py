"""The signing keys as files: made, read, rotated, and never made by a reader."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from racksalt.adapters.key_ring import KeyFiles
from racksalt.errors import Unavailable


def test_keys_are_numbered_random_and_roots_own(tmp_path: Path) -> None:
    ring = KeyFiles(tmp_path / "racksalt")
    assert list(ring.add().keys) == [1] and sorted(ring.add().keys) == [1, 2]
    keys = ring.read()
    assert keys.newest == 2 and len({*keys.keys.values()}) == 2 and all(len(key) == 32 for key in keys.keys.values())
    assert (tmp_path / "racksalt").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "racksalt").glob("*.key")} == {0o600}


def test_a_reader_makes_no_key(tmp_path: Path) -> None:
    root = tmp_path / "racksalt"
    for _ in range(2):
        with pytest.raises(Unavailable) as told:
            KeyFiles(root).read()
        assert told.value.code == "rack_key_missing" and str(root) in told.value.detail and not root.exists()


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33])
def test_a_damaged_key_is_told_and_never_used(tmp_path: Path, content: bytes) -> None:
    ring = KeyFiles(tmp_path)
    ring.add()
    (tmp_path / "rack-2.key").write_bytes(content)
    with pytest.raises(Unavailable) as told:
        ring.read()
    assert told.value.code == "rack_key_missing" and "rack-2.key" in told.value.detail


def test_other_files_are_no_keys(tmp_path: Path) -> None:
    ring = KeyFiles(tmp_path)
    ring.add()
    for name in ("rack-0.key", "rack-x.key", "rack-01.key", "rack-3.key.bak", ".rack-4.new"):
        (tmp_path / name).write_bytes(b"x" * 32)
    assert list(ring.read().keys) == [1]


def test_only_older_keys_are_removed(tmp_path: Path) -> None:
    ring = KeyFiles(tmp_path)
    for _ in range(3):
        ring.add()
    assert ring.keep_only(2) == [1] and sorted(ring.read().keys) == [2, 3]
    assert ring.keep_only(2) == []


def test_keys_made_at_once_have_numbers_of_their_own(tmp_path: Path) -> None:
    ring = KeyFiles(tmp_path)
    threads = [threading.Thread(target=ring.add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ring.read().keys) == list(range(1, 9))
