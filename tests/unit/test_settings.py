"""The rack's files: every mistake is told with file, line, key, what was found and what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from racksalt import settings
from racksalt.adapters.yaml_files import YamlFolder
from racksalt.errors import BadInput
from racksalt.settings import FILES, Settings, current, is_reserved_user, load, network_of

EXAMPLE = Path(__file__).resolve().parents[2] / "pillar/rack"


def folder(path: Path, **files: str) -> YamlFolder:
    """A small right rack, with some files written anew."""
    right = {
        "hosts": "rack: r\nwriter: master\nhosts:\n  h1:\n  h2: {labels: {zone: b}}\n",
        "tenants": "tenants:\n  acme:\n  beta:\n",
        "users": "users:\n  alice: {tenants: {acme: member}}\n",
        "flavors": "flavors:\n  m1.tiny: {vcpus: 1, memory_mib: 128, disk_gib: 1}\n",
        "images": f"images:\n  tiny: {{kind: kernel, kernel: '{'1' * 64}', initrd: '{'2' * 64}'}}\n",
        "networks": "networks:\n  nat:\n    subnet: 10.0.0.0/24\n    gateway: 10.0.0.1\n"
        "    pool_first: 10.0.0.9\n    pool_last: 10.0.0.99\n",
        "profiles": "profiles:\n  web: {flavor: m1.tiny, image: tiny}\n",
    }
    for name, text in {**right, **files}.items():
        (path / f"{name}.yaml").write_text(text, encoding="utf-8")
    return YamlFolder(path)


def mistakes(path: Path, **files: str) -> list[tuple[str, int, str]]:
    """File, line and key of each mistake."""
    with pytest.raises(BadInput) as told:
        load(folder(path, **files))
    assert told.value.code == "bad_rack_files"
    found: list[dict[str, Any]] = told.value.facts["mistakes"]
    for item in found:
        assert item["found"] and item["allowed"], item
        assert f"{item['file']}:{item['line']}: {item['field']}: found {item['found']}" in told.value.detail
    return [(Path(item["file"]).stem, item["line"], item["field"]) for item in found]


def test_the_example_in_the_repository_is_right() -> None:
    loaded = load(YamlFolder(EXAMPLE))
    assert isinstance(loaded, Settings)
    assert loaded.tenants["beta"].quota.vms == 3 and loaded.tenants["beta"].quota.vcpus == 20
    assert loaded.hosts["h3"].labels == {"zone": "b", "disk": "hdd"}


def test_a_folder_without_files_says_what_is_required(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as told:
        load(YamlFolder(tmp_path))
    assert {item["field"] for item in told.value.facts["mistakes"]} == {"rack", "writer"}


@pytest.mark.parametrize(
    ("file", "text", "line", "key"),
    [
        ("hosts", "rack: r\nwriter: master\n\nhosts:\n  h1: {}\n  H2: {}\n", 6, "hosts.H2"),
        ("hosts", "rack: r\nwriter: master\nhosts:\n  h1:\n    labels:\n      zone: [a]\n", 6, "hosts.h1.labels.zone"),
        ("hosts", "rack: r\nwriter: master\nhosts:\n  h1:\n    enabled: 'no'\n", 5, "hosts.h1.enabled"),
        ("hosts", "rack: r\nwriter: master\nhosts: [h1]\n", 3, "hosts"),
        ("hosts", "rack: r\nhosts: {}\n", 1, "writer"),
        ("hosts", "rack: R!\nwriter: master\n", 1, "rack"),
        ("hosts", "rack: r\nwriter: m\nhosts:\n  h1:\n    room:\n      cap: {ram: 1}\n", 6, "hosts.h1.room.cap.ram"),
        ("hosts", "rack: r\nwriter: m\nhosts:\n  h1:\n    name: h2\n", 5, "hosts.h1.name"),
        ("hosts", "rack: r\nwriter: m\ndefaults:\n  accelerator: xen\nhosts: {}\n", 4, "defaults.accelerator"),
        ("hosts", "rack: r\nwriter: m\ndefaults:\n  labels: {a: b}\nhosts: {}\n", 4, "defaults.labels"),
        ("tenants", "tenants:\n  acme: {quota: {vms: many}}\n  beta:\n", 2, "tenants.acme.quota.vms"),
        ("tenants", "tenants:\n  acme:\n    quota:\n      vms: -2\n  beta:\n", 4, "tenants.acme.quota.vms"),
        ("tenants", "defaults: [1]\ntenants:\n  acme:\n  beta:\n", 1, "defaults"),
        ("tenants", "defaults:\n  quota: {cars: 1}\ntenants: {}\n", 2, "defaults.quota.cars"),
        ("tenants", "tenants:\n  acme:\n  ../beta:\n", 3, "tenants.../beta"),
        ("tenants", "tenants:\n  acme:\n  1: {}\n", 3, "tenants.1"),
        ("users", "users:\n  alice:\n    tenants: {acme: owner}\n", 3, "users.alice.tenants.acme"),
        ("users", "users:\n  alice:\n    tenants:\n      zeta: reader\n", 4, "users.alice.tenants.zeta"),
        ("users", "users:\n  alice:\n    password: secret\n", 3, "users.alice.password"),
        ("users", "shell_operators: root\n", 1, "shell_operators"),
        ("users", "shell_operators:\n  - root\n  - '*'\n", 3, "shell_operators.1"),
        ("users", "users:\n  alice:\n  root:\n", 3, "users.root"),
        ("users", "users:\n  sudo_bob:\n", 2, "users.sudo_bob"),
        ("users", "users:\n  h2:\n", 2, "users.h2"),
        ("users", "users:\n  master:\n", 2, "users.master"),
        ("users", "users:\n  salt:\n", 2, "users.salt"),
        ("users", "users:\n  reactor:\n", 2, "users.reactor"),
        ("flavors", "flavors:\n  m1.tiny: {vcpus: 0, memory_mib: 128, disk_gib: 1}\n", 2, "flavors.m1.tiny.vcpus"),
        ("flavors", "flavors:\n  m1.tiny:\n    vcpus: 1\n    memory_mib: 128\n", 2, "flavors.m1.tiny.disk_gib"),
        ("images", "images:\n  tiny:\n    kind: iso\n", 3, "images.tiny.kind"),
        ("images", "images:\n  tiny:\n    kind: disk\n    format: vmdk\n    sha256: x\n", 4, "images.tiny.format"),
        ("images", "images:\n  tiny:\n    kind: disk\n    format: vmdk\n    sha256: x\n", 5, "images.tiny.sha256"),
        ("networks", "networks:\n  nat: {subnet: 10.0.0.0/24}\n", 2, "networks.nat.gateway"),
        ("profiles", "profiles:\n  web:\n    flavor: none\n    image: tiny\n", 3, "profiles.web.flavor"),
        ("profiles", "profiles:\n  web:\n    flavor: m1.tiny\n    image: none\n", 4, "profiles.web.image"),
        ("profiles", "profiles:\n  web: {flavor: m1.tiny, image: tiny, network: none}\n", 2, "profiles.web.network"),
        ("profiles", "- web\n", 1, "(whole)"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(tmp_path: Path, file: str, text: str, line: int, key: str) -> None:
    assert (file, line, key) in mistakes(tmp_path, **{file: text})


@pytest.mark.parametrize(
    ("changed", "line", "key"),
    [
        ("gateway: 10.0.1.1", 4, "networks.nat.gateway"),
        ("gateway: 10.0.0.0", 4, "networks.nat.gateway"),
        ("gateway: 10.0.0.255", 4, "networks.nat.gateway"),
        ("pool_first: 10.0.9.9", 5, "networks.nat.pool_first"),
        ("pool_last: 10.0.0.255", 6, "networks.nat.pool_last"),
        ("pool_last: 10.0.0.8", 6, "networks.nat.pool_last"),
    ],
)
def test_a_network_has_to_agree_with_itself(tmp_path: Path, changed: str, line: int, key: str) -> None:
    lines = ["networks:", "  nat:", "    subnet: 10.0.0.0/24", "    gateway: 10.0.0.1"]
    lines += ["    pool_first: 10.0.0.9", "    pool_last: 10.0.0.99"]
    lines[line - 1] = f"    {changed}"
    assert ("networks", line, key) in mistakes(tmp_path, networks="\n".join(lines) + "\n")


def test_two_networks_may_not_overlap(tmp_path: Path) -> None:
    one = "{subnet: 10.0.0.0/24, gateway: 10.0.0.1, pool_first: 10.0.0.9, pool_last: 10.0.0.99}"
    two = "{subnet: 10.0.0.0/20, gateway: 10.0.1.1, pool_first: 10.0.1.9, pool_last: 10.0.1.99}"
    found = mistakes(tmp_path, networks=f"networks:\n  a: {one}\n  b: {two}\n")
    assert found == [("networks", 3, "networks.b.subnet")]


def test_the_mistakes_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    found = mistakes(tmp_path, hosts="rack: r\n", flavors="flavors: 5\n", tenants="tenants:\n  acme: [\n")
    assert [file for file, _, _ in found] == ["hosts", "tenants", "flavors"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("tenants:\n  acme:\n  beta: [\n", 4),
        ("tenants:\n  acme:\n  acme:\n", 3),
        ("tenants:\n\tacme:\n", 2),
        ("tenants: {}\n---\ntenants: {}\n", 2),
        ("tenants: *gone\n", 1),
        ("tenants:\n  acme: {description: 'a\x01b'}\n", 1),
        ("tenants:\n  acme: {description: 2024-99-99}\n", 1),
        ("[" * 500, 1),
    ],
    ids=["open list", "duplicate key", "tab", "two documents", "alias", "control character", "no date", "deep"],
)
def test_what_is_no_yaml_is_told_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    assert mistakes(tmp_path, tenants=text) == [("tenants", line, "(whole)")]


def test_what_is_no_text_is_told(tmp_path: Path) -> None:
    rack = folder(tmp_path)
    (tmp_path / "tenants.yaml").write_bytes(b"tenants: \xff\xfe\n")
    with pytest.raises(BadInput) as told:
        load(rack)
    assert told.value.facts["mistakes"][0]["file"].endswith("tenants.yaml")


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    rack = folder(tmp_path)
    (tmp_path / "tenants.yaml").unlink()
    (tmp_path / "tenants.yaml").mkdir()
    with pytest.raises(BadInput) as told:
        load(rack)
    assert told.value.facts["mistakes"][0]["file"].endswith("tenants.yaml")


def test_nothing_is_rendered(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    text = f"# {{{{ salt['cmd.run']('touch {mark}') }}}}\n{{# x #}}"
    assert mistakes(tmp_path, tenants=text + "\ntenants: {}\n")
    folder(
        tmp_path,
        tenants=f"# {{{{ salt['cmd.run']('touch {mark}') }}}}\ntenants:\n  acme:\n    description: '{{{{ 1 + 1 }}}}'\n",
    )
    assert load(YamlFolder(tmp_path)).tenants["acme"].description == "{{ 1 + 1 }}"
    assert not mark.exists()


def test_a_tag_makes_nothing(tmp_path: Path) -> None:
    assert ("tenants", 1, "tenants") in mistakes(tmp_path, tenants="tenants: !!python/object/apply:os.getcwd []\n")
    folder(tmp_path, tenants="tenants:\n  acme: !anything {quota: {vms: 1}}\n")
    assert load(YamlFolder(tmp_path)).tenants["acme"].quota.vms == 1


def test_defaults_hold_for_every_entry_that_does_not_say_otherwise(tmp_path: Path) -> None:
    loaded = load(
        folder(
            tmp_path,
            tenants="defaults:\n  quota: {vms: 5, vcpus: 6}\ntenants:\n  acme:\n  beta: {quota: {vms: 7}}\n",
            hosts="rack: r\nwriter: m\ndefaults:\n  accelerator: qemu\n"
            "  room: {reserve: {memory_mib: 9}, vm_overhead_mib: 1}\n"
            "hosts:\n  h1:\n  h2: {accelerator: kvm, room: {reserve: {disk_gib: 3}}}\n",
        )
    )
    assert [(t.quota.vms, t.quota.vcpus) for t in loaded.tenants.values()] == [(5, 6), (7, 6)]
    assert loaded.tenants["acme"].quota.memory_mib == 10240
    h1, h2 = loaded.hosts.values()
    assert (h1.accelerator, h1.room.reserve.memory_mib, h1.room.vm_overhead_mib) == ("qemu", 9, 1)
    assert (h2.accelerator, h2.room.reserve.memory_mib, h2.room.reserve.disk_gib) == ("kvm", 9, 3)


def test_anchors_and_merged_keys_are_plain_yaml(tmp_path: Path) -> None:
    text = "flavors:\n  a: &a {vcpus: 1, memory_mib: 128, disk_gib: 1}\n  m1.tiny:\n    <<: *a\n    vcpus: 2\n"
    assert load(folder(tmp_path, flavors=text)).flavors["m1.tiny"].room.vcpus == 2
    wrong = text.replace("memory_mib: 128", "memory_mib: 1")
    assert ("flavors", 3, "flavors.m1.tiny.memory_mib") in mistakes(tmp_path, flavors=wrong)


def test_the_first_network_is_the_default_one(tmp_path: Path) -> None:
    loaded = load(folder(tmp_path))
    assert network_of(loaded, None) == network_of(loaded, "nat") == loaded.networks["nat"]
    with pytest.raises(BadInput) as told:
        network_of(loaded, "none")
    assert told.value.code == "network_unknown" and "nat" in told.value.detail


@pytest.mark.parametrize("name", ["root", "ROOT", "sudo_x", "salt", "UNKNOWN", "Reactor", "x_master", "master", "h1"])
def test_what_the_shell_salt_or_a_host_is_called_is_no_login(name: str) -> None:
    assert is_reserved_user(name, {"h1": None})


def test_every_file_has_its_shape() -> None:
    written_by_runners = {"pending.yaml"}
    assert {path.name for path in EXAMPLE.glob("*.yaml")} == set(FILES) - written_by_runners
    assert settings.RESERVED_USERS


def test_the_settings_are_those_of_the_files_as_they_are_now(tmp_path: Path) -> None:
    files = folder(tmp_path)
    assert current(files) == load(files)
    folder(tmp_path, tenants="tenants:\n  acme:\n  beta: {quota: {vms: 5}}\n")
    assert current(files) == load(files) and current(files).tenants["beta"].quota.vms == 5
    folder(tmp_path, tenants="tenants:\n  acme:\n  beta: {quota: {vms: many}}\n")
    with pytest.raises(BadInput) as told:
        current(files)
    assert [(item["line"], item["field"]) for item in told.value.facts["mistakes"]] == [(3, "tenants.beta.quota.vms")]


def test_the_example_is_the_same_by_both_readers() -> None:
    files = YamlFolder(EXAMPLE)
    assert current(files) == load(files) and repr(current(files)) == repr(load(files))
