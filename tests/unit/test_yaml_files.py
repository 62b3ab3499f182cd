"""Changing the rack's files: comments stay, a refused change leaves the old file, and files are whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from racksalt.adapters import whole_files
from racksalt.adapters.yaml_files import YamlFolder
from racksalt.errors import BadInput
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
    with pytest.raises(OSError, match="No space"):
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
