"""``rack-lint``: what it prints, and its exit codes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from racksalt import lint

EXAMPLE = Path(__file__).resolve().parents[2] / "pillar/rack"


@pytest.fixture
def rack(tmp_path: Path) -> Path:
    """A copy of the example rack."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "rack"))


def test_right_files_are_counted(rack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lint.main([str(rack)]) == 0
    assert capsys.readouterr().out == f"{rack}: no mistake; 3 hosts, 2 tenants, 4 users\n"


def test_each_mistake_is_a_line_with_file_line_key_found_and_allowed(
    rack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (rack / "flavors.yaml").write_text("flavors:\n  m1.small:\n    vcpus: two\n    memory_mib: 512\n    disk_gib: 5\n")
    (rack / "tenants.yaml").write_text("tenants:\n  acme: {quota: {vms: -2}}\n  beta:\n")
    assert lint.main([str(rack)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{rack}/tenants.yaml:2: tenants.acme.quota.vms: found -2, allowed: -1 to 1000000000",
        f"{rack}/flavors.yaml:3: flavors.m1.small.vcpus: found 'two', allowed: a whole number",
    ]


def test_a_file_that_is_no_yaml_is_a_mistake_too(rack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (rack / "users.yaml").write_text("users:\n  alice: {tenants: {acme: member}\n")
    assert lint.main([str(rack)]) == 1
    line = capsys.readouterr().out
    assert line.startswith(f"{rack}/users.yaml:") and line.endswith("allowed: YAML\n") and "Traceback" not in line


def test_contradictions_between_files_are_found(rack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (rack / "profiles.yaml").write_text("profiles:\n  web: {flavor: m9.huge, image: debian-12}\n")
    assert lint.main([str(rack)]) == 1
    assert f"{rack}/profiles.yaml:2: profiles.web.flavor: found 'm9.huge'" in capsys.readouterr().out


def test_a_folder_that_is_not_there_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lint.main([str(tmp_path / "none")]) == 2
    told = capsys.readouterr()
    assert told.out == "" and "no such folder" in told.err


def test_a_file_in_its_place_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert lint.main([str(tmp_path / "file")]) == 2


def test_two_folders_are_wrong_usage(rack: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        lint.main([str(rack), str(rack)])
    assert ended.value.code == 2


def test_the_folder_of_the_master_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Path] = []
    monkeypatch.setattr(Path, "is_dir", lambda path: bool(looked.append(path)))
    assert lint.main([]) == 2
    assert looked == [Path("/etc/racksalt/rack")]
