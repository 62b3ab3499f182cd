"""Changing the rack's files: comments stay, a refused change leaves the old file, and files are whole."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from racksalt.adapters import whole_files, yaml_files
from racksalt.adapters.yaml_files import YamlFolder
from racksalt.errors import BadInput, Unavailable
from racksalt.ports import SourceFolder

TEXT = """\
# Tenants of the rack; ask Olivia first.
defaults:
  quota: {vms: 10}   # for everybody

tenants:
  acme:              # road runner traps
    description: "Road: runner"
  # the others
  beta: {quota: {vms: 3}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> YamlFolder:
    (tmp_path / "tenants.yaml").write_text(TEXT)
    (tmp_path / "tenants.yaml").chmod(0o640)
    return YamlFolder(tmp_path)


def add_gamma(data: Any) -> None:
    data["tenants"]["gamma"] = {"quota": {"vms": 5}}


def test_a_change_keeps_comments_order_quotes_and_mode(folder: YamlFolder) -> None:
    with folder.locked():
        folder.change("tenants.yaml", add_gamma, lambda changed: None)
    path = folder.path / "tenants.yaml"
    after = path.read_text()
    assert after.startswith(TEXT.rstrip()) and "gamma" in after.removeprefix(TEXT.rstrip())
    assert path.stat().st_mode & 0o777 == 0o640
    assert folder.read("tenants.yaml").data["tenants"]["gamma"]["quota"]["vms"] == 5


def test_a_refused_change_leaves_the_old_file_byte_for_byte(folder: YamlFolder) -> None:
    seen: list[Any] = []

    def refuse(changed: SourceFolder) -> None:
        seen.append(changed.read("tenants.yaml").data["tenants"]["gamma"])
        assert (folder.path / "tenants.yaml").read_text() == TEXT
        raise BadInput("no")

    with pytest.raises(BadInput), folder.locked():
        folder.change("tenants.yaml", add_gamma, refuse)
    assert seen and (folder.path / "tenants.yaml").read_text() == TEXT


def test_a_refused_first_file_is_gone_again(folder: YamlFolder) -> None:
    def refuse(changed: SourceFolder) -> None:
        raise BadInput("no")

    with pytest.raises(BadInput):
        folder.change("users.yaml", lambda data: data.update({"users": {}}), refuse)
    assert sorted(path.name for path in folder.path.iterdir()) == ["tenants.yaml"]


def test_a_file_that_is_no_yaml_is_not_written_over(folder: YamlFolder) -> None:
    (folder.path / "tenants.yaml").write_text("tenants: [\n")
    with pytest.raises(BadInput) as told:
        folder.change("tenants.yaml", lambda data: data.update({"tenants": {}}), lambda changed: None)
    assert told.value.code == "bad_rack_files"
    assert (folder.path / "tenants.yaml").read_text() == "tenants: [\n"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    folder: YamlFolder, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (Path, "replace")), full)
    with pytest.raises(Unavailable, match="No space"):
        whole_files.replace(folder.path / "tenants.yaml", b"tenants: {}\n")
    assert [path.name for path in folder.path.iterdir()] == ["tenants.yaml"]
    assert (folder.path / "tenants.yaml").read_text() == TEXT


def test_a_reader_sees_the_old_or_the_new_file(folder: YamlFolder) -> None:
    path = folder.path / "tenants.yaml"
    with path.open() as reader:
        whole_files.replace(path, b"tenants: {}\n")
        assert reader.read() == TEXT
    assert path.read_text() == "tenants: {}\n"


def test_each_key_has_its_line(folder: YamlFolder) -> None:
    file = folder.read("tenants.yaml")
    assert file.line_of(()) == 1
    assert file.line_of(("tenants",)) == 5
    assert file.line_of(("tenants", "acme", "description")) == 7
    assert file.line_of(("tenants", "beta", "quota", "vms")) == 9
    assert file.line_of(("tenants", "acme", "none", "deeper")) == 6
    assert file.line_of(("none",)) == 1


def test_a_missing_file_is_empty(tmp_path: Path) -> None:
    file = YamlFolder(tmp_path).read("none.yaml")
    assert file.data == {} and file.problem is None and file.line_of(("x", 1)) == 1


def test_an_empty_file_is_an_empty_mapping(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("# nothing yet\n")
    assert YamlFolder(tmp_path).read("x.yaml").data == {}


NAMES = ("tenants.yaml", "users.yaml")


@dataclass(eq=False)
class Parser:
    """Counts how often it is asked."""

    runs: int = 0

    def __call__(self, folder: SourceFolder) -> Any:
        self.runs += 1
        return {name: folder.read(name).data for name in NAMES}


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files written a moment ago count as old: for tests that change them in other ways than in place."""
    monkeypatch.setattr(yaml_files, "_SETTLED_NS", -(10**9))


@pytest.mark.usefixtures("settled")
def test_files_that_did_not_change_are_parsed_once_for_all_of_the_process(folder: YamlFolder) -> None:
    parser = Parser()
    first = folder.once(NAMES, parser)
    assert YamlFolder(folder.path).once(NAMES, parser) is first
    assert parser.runs == 1 and set(first["tenants.yaml"]["tenants"]) == {"acme", "beta"}
    assert folder.once(NAMES, Parser()) == first, "another parser is asked itself"


def _replace_within_a_tick(path: Path) -> None:
    """Another file of the same name, size and times."""
    old, other = path.stat(), path.with_name("other")
    other.write_text(TEXT.replace("vms: 3", "vms: 4"))
    os.utime(other, ns=(old.st_atime_ns, old.st_mtime_ns))
    other.replace(path)


def _write_within_a_tick(path: Path) -> None:
    """The same file with another text of the same size, and its time set back."""
    old = path.stat()
    path.write_text(TEXT.replace("vms: 3", "vms: 4"))
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(
    "change",
    [
        _replace_within_a_tick,
        _write_within_a_tick,
        lambda path: path.write_text("tenants: {}\n"),
        lambda path: path.unlink(),
        lambda path: path.with_name("users.yaml").write_text("users: {}\n"),
    ],
    ids=["replaced", "written", "shorter", "gone", "new file"],
)
def test_a_change_is_seen_at_once(folder: YamlFolder, change: Callable[[Path], object]) -> None:
    parser = Parser()
    before = folder.once(NAMES, parser)
    time.sleep(0.02)
    change(folder.path / "tenants.yaml")
    assert folder.once(NAMES, parser) != before and parser.runs == 2


def test_a_file_that_was_written_a_moment_ago_is_read_again(folder: YamlFolder) -> None:
    """A second write within the clock's tick has the same time, and may have the same size."""
    parser = Parser()
    folder.once(NAMES, parser)
    folder.once(NAMES, parser)
    assert parser.runs == 2


@pytest.mark.usefixtures("settled")
def test_what_is_refused_is_not_kept_and_is_told_with_its_lines(folder: YamlFolder) -> None:
    lines: list[int] = []

    def refuse(folder: SourceFolder) -> None:
        lines.append(folder.read("tenants.yaml").line_of(("tenants", "beta")))
        raise BadInput("no")

    for _ in range(2):
        with pytest.raises(BadInput):
            folder.once(NAMES, refuse)
    assert lines == [1, 9] * 2, "fast first, then with lines"


@pytest.mark.usefixtures("settled")
def test_a_right_folder_needs_the_slow_reader_for_no_plain_file(
    folder: YamlFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*_: Any) -> None:
        raise AssertionError("the slow reader was asked")

    monkeypatch.setattr(yaml_files, "_parsed", slow)
    assert folder.once(("tenants.yaml",), lambda source: source.read("tenants.yaml").data)["tenants"]["acme"]
    (folder.path / "users.yaml").write_text("users: {x: &y 1}\n")
    with pytest.raises(AssertionError):
        folder.once(NAMES, Parser())


def test_another_stamp_stands_for_files_after_each_change(folder: YamlFolder) -> None:
    names = sorted(path.name for path in folder.path.glob("*.yaml"))
    stamps = [folder.stamp([*names, "not-there.yaml"])]
    assert folder.stamp([*names, "not-there.yaml"]) == stamps[0]
    first = folder.path / names[0]
    first.write_text(first.read_text() + "# more\n")
    stamps.append(folder.stamp([*names, "not-there.yaml"]))
    (folder.path / "not-there.yaml").write_text("")
    stamps.append(folder.stamp([*names, "not-there.yaml"]))
    assert len(set(stamps)) == 3
