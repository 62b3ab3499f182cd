"""Disks made by the real qemu-img, and seeds read by xorriso."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from racksalt import adapters
from racksalt.adapters.volume_files import VolumeFiles
from racksalt.errors import NotFound, Refused, Unavailable

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
    return volumes.begin(
        "acme", uuid, **{"size_bytes": 2 * 2**30, "backing": None, "format": "qcow2", **changed}
    ).keep()


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


def test_a_seed_over_what_was_left_there_is_nobody_elses_to_read(volumes: VolumeFiles, tmp_path: Path) -> None:
    path = Path(volumes.write_seed("acme", UUID, {"meta-data": "old"}))
    path.chmod(0o644)
    assert volumes.write_seed("acme", UUID, {"meta-data": "new"}) == str(path)
    assert path.stat().st_mode & 0o777 == 0o600
    path.unlink()
    (tmp_path / "other").write_text("not ours")
    path.symlink_to(tmp_path / "other")
    volumes.write_seed("acme", UUID, {"meta-data": "new"})
    assert (tmp_path / "other").read_text() == "not ours" and not path.is_symlink()


def test_a_host_without_the_maker_of_seeds_says_so(volumes: VolumeFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "racksalt.adapters.seed_iso", None)
    monkeypatch.delattr(adapters, "seed_iso", raising=False)
    with pytest.raises(Unavailable) as told:
        volumes.write_seed("acme", UUID, {"meta-data": ""})
    assert told.value.code == "pycdlib_missing" and "highstate" in told.value.detail


def test_a_disk_that_is_dropped_leaves_nothing_and_one_that_is_kept_stays(volumes: VolumeFiles) -> None:
    asked: dict[str, Any] = {"size_bytes": 2**30, "backing": None, "format": "qcow2"}
    disk = volumes.begin("acme", UUID, **asked)
    disk.drop()
    disk.drop()
    assert list((volumes.root / "volumes/acme").iterdir()) == [] and volumes.all() == ()
    kept = volumes.begin("acme", UUID, **asked)
    path = kept.keep()
    kept.drop()
    assert [str(file) for file in (volumes.root / "volumes/acme").iterdir()] == [path]


def test_what_a_killed_create_was_making_goes_with_its_vm(volumes: VolumeFiles) -> None:
    (volumes.root / "volumes/acme").mkdir(parents=True)
    left = volumes.root / f"volumes/acme/.{UUID}.qcow2"
    left.write_text("")
    assert volumes.remove("acme", UUID) == [str(left)] and not left.exists()


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


def test_a_disk_that_comes_from_another_host_has_its_exact_size(volumes: VolumeFiles) -> None:
    path = create(volumes, size_bytes=5 * 2**20 + 512)
    assert info(path)["virtual-size"] == 5 * 2**20 + 512 and volumes.exists(path)
    assert volumes.paths("acme", UUID)[0] == path


def test_a_seed_is_the_same_on_its_next_host(volumes: VolumeFiles, tmp_path: Path) -> None:
    made = volumes.write_seed("acme", UUID, {"meta-data": "a: 1\n"})
    other = VolumeFiles(tmp_path / "other")
    copied = other.copy_seed("acme", UUID, volumes.read_seed("acme", UUID))
    assert Path(copied).read_bytes() == Path(made).read_bytes() and Path(copied).stat().st_mode & 0o777 == 0o600
    assert copied == other.paths("acme", UUID)[1]


def test_a_seed_that_is_gone_is_said_to_be(volumes: VolumeFiles) -> None:
    with pytest.raises(NotFound) as told:
        volumes.read_seed("acme", UUID)
    assert told.value.code == "disk_missing"


def test_disks_stay_where_only_the_rest_is_removed(volumes: VolumeFiles, tmp_path: Path) -> None:
    volumes = VolumeFiles(tmp_path, logs=tmp_path / "logs")
    (tmp_path / "logs").mkdir()
    log = Path(volumes.console_log(UUID))
    path = create(volumes)
    log.write_text("boot\n", encoding="utf-8")
    assert volumes.remove("acme", UUID, disks=False) == [str(log)] and volumes.exists(path)


def test_every_file_of_the_tenants_is_told_and_nothing_else(volumes: VolumeFiles, tmp_path: Path) -> None:
    create(volumes)
    folder = tmp_path / "volumes/acme"
    (folder / ".seed-x").mkdir()
    (folder / ".half").write_text("x")
    (folder / "link").symlink_to("/etc/passwd")
    (tmp_path / "volumes/notes").write_text("x")
    (tmp_path / "volumes/Not A Tenant").mkdir()
    (tmp_path / "volumes/Not A Tenant/x").write_text("x")
    (told,) = volumes.all()
    assert (told.tenant, told.file, told.uuid) == ("acme", f"{UUID}.qcow2", UUID)


def test_what_is_set_aside_is_all_there_and_over_nothing(volumes: VolumeFiles, tmp_path: Path) -> None:
    moved = []
    for text in ("first", "second"):
        folder = tmp_path / "volumes/acme"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "x.qcow2").write_text(text)
        moved += volumes.set_aside("acme", ["x.qcow2"])
    assert [Path(path).read_text() for path in moved] == ["first", "second"]
    assert moved == [str(tmp_path / "lost/acme/x.qcow2"), str(tmp_path / "lost/acme/x.qcow2.2")]
    assert (tmp_path / "lost/acme").stat().st_mode & 0o777 == 0o700 and volumes.all() == ()


def test_what_cannot_be_moved_stays(volumes: VolumeFiles) -> None:
    with pytest.raises(Refused) as told:
        volumes.set_aside("acme", ["none.qcow2"])
    assert told.value.code == "not_set_aside"


def test_kept_texts_are_beside_each_other(volumes: VolumeFiles) -> None:
    paths = [volumes.keep("x.xml", text) for text in ("first", "second")]
    assert [Path(path).read_text() for path in paths] == ["first", "second"]
    assert Path(paths[0]).stat().st_mode & 0o777 == 0o600
