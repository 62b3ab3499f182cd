"""Disks and seeds, made by the real qemu-img and xorriso."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from racksalt.adapters.volume_files import VolumeFiles
from racksalt.errors import NotFound, Refused

UUID = "0b5f2f40-4a4e-4b0e-9d2c-0b8f9f1d2c3e"
OTHER = "1b5f2f40-4a4e-4b0e-9d2c-0b8f9f1d2c3e"
SUM = "1" * 64


@pytest.fixture
def volumes(tmp_path: Path) -> VolumeFiles:
    (tmp_path / "images").mkdir()
    return VolumeFiles(tmp_path)


def info(path: str) -> dict[str, Any]:
    command = ["qemu-img", "info", "--output=json", path]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=30).stdout)
    return found


def create(volumes: VolumeFiles, uuid: str = UUID, **changed: Any) -> str:
    return volumes.create("acme", uuid, **{"size_gib": 2, "backing": None, "format": "qcow2", **changed})


def test_an_empty_disk_is_thin_of_its_size_and_nobody_elses(volumes: VolumeFiles) -> None:
    path = create(volumes)
    found = info(path)
    assert path == str(volumes.root / f"volumes/acme/{UUID}.qcow2")
    assert (found["format"], found["virtual-size"]) == ("qcow2", 2 * 2**30)
    assert "backing-filename" not in found and found["actual-size"] < 2**20
    assert Path(path).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_a_disk_lies_over_its_image_in_the_stated_format(volumes: VolumeFiles, kind: str) -> None:
    image = volumes.root / "images" / SUM
    subprocess.run(["qemu-img", "create", "-q", "-f", kind, image, "1M"], check=True, timeout=30)
    found = info(create(volumes, backing=volumes.image_path(SUM), format=kind))
    assert (found["backing-filename"], found["backing-filename-format"]) == (str(image), kind)
    assert found["virtual-size"] == 2 * 2**30


def test_a_raw_image_with_a_header_of_its_own_stays_raw(volumes: VolumeFiles) -> None:
    image = volumes.root / "images" / SUM
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "1G"], check=True, timeout=30)
    found = info(create(volumes, backing=str(image), format="raw"))
    assert found["backing-filename-format"] == "raw"


def test_a_disk_that_cannot_be_made_is_refused_with_the_tools_words(volumes: VolumeFiles) -> None:
    with pytest.raises(Refused) as told:
        create(volumes, backing="/nonexistent/image")
    assert told.value.code == "disk_failed" and "/nonexistent/image" in told.value.detail
    volumes.remove("acme", UUID)
    assert list((volumes.root / "volumes/acme").iterdir()) == []


def test_an_image_that_is_not_there_is_not_found(volumes: VolumeFiles) -> None:
    with pytest.raises(NotFound) as told:
        volumes.image_path(SUM)
    assert told.value.code == "image_missing" and "highstate" in told.value.detail


def test_a_seed_holds_its_files_as_they_are(volumes: VolumeFiles, tmp_path: Path) -> None:
    files = {"meta-data": "a: ü\n", "user-data": "#!/bin/sh\necho '\x00\t\\'\r\n", "network-config": ""}
    path = volumes.write_seed("acme", UUID, files)
    out = tmp_path / "out"
    command = ["xorriso", "-osirrox", "on", "-indev", path, "-extract", "/", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert "cidata" in done.stderr
    assert {file.name: file.read_bytes().decode() for file in out.iterdir()} == files
    assert Path(path).stat().st_mode & 0o777 == 0o600
    assert [file.name for file in Path(path).parent.iterdir()] == [f"{UUID}-seed.iso"]


def test_what_belongs_to_one_vm_is_removed_and_nothing_else(volumes: VolumeFiles) -> None:
    mine = [create(volumes), volumes.write_seed("acme", UUID, {"meta-data": ""})]
    other = create(volumes, OTHER)
    assert sorted(volumes.remove("acme", UUID)) == sorted(mine)
    assert Path(other).exists() and volumes.remove("acme", UUID) == [] and volumes.remove("beta", UUID) == []
    volumes.remove("acme", OTHER)
    assert list((volumes.root / "volumes/acme").iterdir()) == []


def test_a_hosts_disk_room_is_its_file_systems(tmp_path: Path) -> None:
    total = VolumeFiles(tmp_path / "new").total_gib()
    statistics = tmp_path.stat()
    assert total >= 0 and statistics.st_dev == (tmp_path / "new/volumes").stat().st_dev
