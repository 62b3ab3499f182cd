"""A saved rack is the rack that was saved; its mistakes have lines and keys, and nothing of the file is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from racksalt import inventory_json
from racksalt.adapters.saved_racks import SavedRacks
from racksalt.errors import BadInput, NotFound
from racksalt.inventory_file import line_of, parse
from racksalt.model import Domain, HostCpu, NumaCell
from racksalt.rack_hosts import RackHosts
from tests.fakes import FakeRack, fake_rack
from tests.unit.test_vm_create import create

UUID = "1b5f2f40-4a4e-4b0e-9d2c-0b8f9f1d2c3e"


def rack() -> FakeRack:
    made = fake_rack()
    made.hosts["h1"].hypervisor.cpu = HostCpu("Haswell", "Intel", "aes", "Haswell")
    made.hosts["h1"].hypervisor.numa = (NumaCell(8, 4096, 1024),)
    made.hosts["h2"].hypervisor.foreign.append(Domain(UUID, "by-hand", "running", 1, 128, 1))
    for number in range(4):
        create(made, "root", f"acme/web{number}", spread="web" if number < 2 else None, labels={"zone": "b"})
    return made


def saved(made: FakeRack) -> dict[str, Any]:
    return RackHosts(made.rack).inventory(made.rack.settings())


def test_it_is_the_rack_that_was_saved() -> None:
    made = rack()
    told, settings = saved(made), made.rack.settings()
    for text in (json.dumps(told), json.dumps(told["inventory"]), json.dumps({"master": told}, indent=4)):
        seen = parse(text, settings, path="/x")
        assert inventory_json.value(seen) == told["inventory"]
        assert seen.loads() == made.rack.inventory(settings).loads()


def test_a_host_that_was_never_read_takes_nothing() -> None:
    told = saved(rack())["inventory"]
    told["hosts"][2]["total"] = None
    told["vms"] = [vm for vm in told["vms"] if vm["host"] != "h3"]
    seen = parse(json.dumps(told), fake_rack().rack.settings(), path="/x")
    assert not seen.hosts["h3"].answers and seen.hosts["h1"].answers


def mistakes(text: str) -> list[dict[str, Any]]:
    with pytest.raises(BadInput) as told:
        parse(text, fake_rack().rack.settings(), path="/x")
    assert told.value.code == "bad_inventory_file"
    found: list[dict[str, Any]] = told.value.facts["mistakes"]
    return found


def test_each_mistake_has_its_line_and_its_key() -> None:
    told = saved(rack())["inventory"]
    told["vms"][1]["vcpus"] = "secret"
    told["hosts"][0]["config"]["enabled"] = "secret"
    text = json.dumps(told, indent=2)
    found = mistakes(text)
    assert [one["field"] for one in found] == ["hosts.0.config.enabled", "vms.1.vcpus"]
    assert all('"secret"' in text.splitlines()[one["line"] - 1] for one in found)
    assert "secret" not in str(found)


def test_of_a_file_that_is_wrong_all_over_the_first_mistakes_are_told() -> None:
    """The line of each is looked for in the whole file."""
    told = saved(rack())["inventory"]
    told["vms"] = [{"uuid": "x"} for _ in range(3000)]
    found = mistakes(json.dumps(told))
    assert len(found) == 20 and {one["field"].split(".")[1] for one in found} <= {"0", "1", "2"}


def test_what_is_missing_or_left_over_is_named() -> None:
    told = saved(rack())["inventory"]
    del told["vms"][0]["uuid"]
    told["more"] = 1
    assert [one["field"] for one in mistakes(json.dumps(told))] == ["more", "vms.0.uuid"]


def test_what_contradicts_itself_is_refused() -> None:
    told = saved(rack())["inventory"]
    told["hosts"].append(told["hosts"][0])
    told["foreign"][0]["host"] = "h9"
    assert [one["field"] for one in mistakes(json.dumps(told))] == ["hosts.3.name", "foreign.0.host"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("root:x:0:0", 1),
        ('{\n"hosts": [}', 2),
        ("[" * 100_000, 1),
        ("[]", 1),
        ("5", 1),
        ('{"a": {"b": 1}}', 1),
    ],
)
def test_what_is_no_rack_is_refused(text: str, line: int) -> None:
    assert mistakes(text)[0]["line"] == line


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_the_line_of_each_value_is_the_one_it_is_on(value: Any) -> None:
    marked = [(path, f"here {number}") for number, path in enumerate(_leaves(value, ()))]
    for path, mark in marked:
        value = _with(value, path, mark)
    lines = json.dumps(value, indent=1).splitlines()
    for path, mark in marked:
        assert f'"{mark}"' in lines[line_of("\n".join(lines), path) - 1]


def _leaves(value: Any, path: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in _leaves(inner, (*path, key))]
    if isinstance(value, list):
        return [leaf for key, inner in enumerate(value) for leaf in _leaves(inner, (*path, key))]
    return [path]


def _with(value: Any, path: tuple[Any, ...], leaf: Any) -> Any:
    if not path:
        return leaf
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _with(value[path[0]], path[1:], leaf)
    return copy


def test_only_plain_files_of_a_sane_size_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "rack.json"
    file.write_text("{}")
    assert SavedRacks().read(str(file)) == "{}"
    with pytest.raises(NotFound) as missing:
        SavedRacks().read(str(tmp_path / "none"))
    assert missing.value.code == "inventory_not_found"
    (tmp_path / "latin").write_bytes(b"\xff")
    for path in ("/dev/zero", str(tmp_path), str(tmp_path / "latin")):
        with pytest.raises((BadInput, NotFound)):
            SavedRacks().read(path)
    monkeypatch.setattr("racksalt.adapters.saved_racks._MOST_BYTES", 1)
    with pytest.raises(BadInput):
        SavedRacks().read(str(file))
