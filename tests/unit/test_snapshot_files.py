"""Snapshots as files: whole or not at all, and the seal on them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from racksalt.adapters import snapshot_seal
from racksalt.adapters.snapshot_files import SnapshotFiles
from racksalt.errors import Refused
from racksalt.host_requests import KeepSnapshot
from racksalt.model import SnapshotHead
from racksalt.record_proof import Ring

RING = Ring({1: b"1" * 32, 2: b"2" * 32})


def name_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def keep(files: SnapshotFiles, version: int, *texts: str, sent: tuple[str, ...] | None = None) -> list[str]:
    names = tuple(name_of(text) for text in texts)
    head = SnapshotHead("master", version, names[-1])
    return files.keep(KeepSnapshot(head, names, {name_of(text): text for text in (texts if sent is None else sent)}))


def test_it_is_the_newest_when_all_pieces_are_there(tmp_path: Path) -> None:
    files = SnapshotFiles(tmp_path)
    assert files.heads() == () and keep(files, 1, "1.a", "1.root") == []
    assert keep(files, 2, "1.a", "1.b", "1.root2", sent=("1.root2",)) == [name_of("1.b")]
    assert [head.version for head in files.heads()] == [1] and files.read("master", name_of("1.root")) == "1.root"
    assert keep(files, 2, "1.a", "1.b", "1.root2", sent=("1.b",)) == []
    assert [head.version for head in files.heads()] == [2] and files.read("master", name_of("1.root")) is None


def test_an_older_one_changes_nothing(tmp_path: Path) -> None:
    files = SnapshotFiles(tmp_path)
    keep(files, 2, "1.a", "1.root")
    assert keep(files, 1, "1.x", "1.other") == [] and files.read("master", name_of("1.x")) is None


def test_a_piece_is_what_its_name_says(tmp_path: Path) -> None:
    head = SnapshotHead("master", 1, "0" * 64)
    with pytest.raises(Refused) as told:
        SnapshotFiles(tmp_path).keep(KeepSnapshot(head, ("0" * 64,), {"0" * 64: "1.x"}))
    assert told.value.code == "snapshot_refused"


def test_only_so_many_masters_are_kept(tmp_path: Path) -> None:
    files = SnapshotFiles(tmp_path)
    for number in range(8):
        files.keep(
            KeepSnapshot(SnapshotHead(f"m{number}", 1, name_of("1.a")), (name_of("1.a"),), {name_of("1.a"): "1.a"})
        )
    with pytest.raises(Refused):
        files.keep(KeepSnapshot(SnapshotHead("m9", 1, name_of("1.a")), (name_of("1.a"),), {}))


def test_a_damaged_file_is_none(tmp_path: Path) -> None:
    files = SnapshotFiles(tmp_path)
    keep(files, 1, "1.a")
    (tmp_path / "master/newest.json").write_text("{")
    assert files.heads() == ()


def test_the_seal_opens_with_its_key_and_label_only() -> None:
    text = snapshot_seal.seal(b"secret", "host h1", RING)
    assert text == snapshot_seal.seal(b"secret", "host h1", RING) and "secret" not in text
    assert snapshot_seal.unseal(text, "host h1", RING) == b"secret"
    one = Ring({1: b"1" * 32})
    for wrong, label, ring in (
        (text, "host h2", RING),
        (text, "host h1", one),
        (text, "host h1", Ring({2: b"3" * 32})),
        (text[:-8] + "AAAAAAA=", "host h1", RING),
        ("2.x", "host h1", RING),
        ("", "host h1", RING),
    ):
        with pytest.raises(Refused) as told:
            snapshot_seal.unseal(wrong, label, ring)
        assert told.value.code == "snapshot_unreadable"
