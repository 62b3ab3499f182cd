"""Names are names: what could break out of a file, an XML text or a command is refused in every field."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import pytest

from racksalt import host_requests, names, rack_requests
from racksalt.api import lowstate
from racksalt.errors import BadInput
from racksalt.model import Domain, Flavor, HostReport, Network, Nic, Record, Room, RoomPolicy
from racksalt.shape import Holds, Matches, Path, parse, plain

UUID = "0b5f2f40-4a4e-4b0e-9d2c-0b8f9f1d2c3e"

#: No field that names something may hold one of these.
NO_NAME = {
    "parent folder": "../x",
    "dots": "..",
    "absolute path": "/etc/passwd",
    "NUL": "x\x00y",
    "trailing newline": "x\n",
    "newline": "x\ny",
    "carriage return": "x\r",
    "tab": "x\ty",
    "leading colon": ":x",
    "tag": "<x>",
    "semicolon": "x;y",
    "entity": "&ENT;",
    "space": "x y",
    "single quote": "x'y",
    "double quote": 'x"y',
    "backslash": "x\\y",
    "shell": "$(id)",
    "template": "{{ x }}",
    "per cent": "x%00y",
    "option": "-x",
    "empty": "",
    "full width": "ｗeb",
    "Cyrillic": "wеb",
    "right to left": "x\u202ey",
    "zero width": "web\u200b",
    "superscript": "x²",
    "lone surrogate": "x\ud800y",
    "10 kB": "a" * 10240,
}
#: Free text may hold markup, but none of these.
NO_TEXT = {
    "NUL": "x\x00y",
    "escape": "x\x1b[2Jy",
    "carriage return": "x\ry",
    "right to left": "x\u202ey",
    "lone surrogate": "x\ud800y",
    "non-character": "x\uffffy",
    "10 kB": "a" * 10240,
}

#: What may hold control characters has limits too.
TOO_MUCH = {"user_data": {"65 kB": "#!" + "a" * 65536, "lone surrogate": "#!\ud800"}}

RECORD = Record(
    "r", UUID, "acme", "web1", "h1", "m1.tiny", "tiny", 1, 1, 128, 1, (Nic("nat", "52:54:00:00:00:01", "10.0.0.9"),)
)
NETWORK = Network("nat", "10.0.0.0/24", "10.0.0.1", "10.0.0.9", "10.0.0.99", dns=("10.0.0.2",))
IMAGE = {"name": "d", "kind": "disk", "sha256": "0" * 64, "format": "raw"}
POLICY = RoomPolicy()

#: A right request of each kind; what is wrong is put into it.
RIGHT: dict[type, dict[str, Any]] = {
    rack_requests.CreateVm: {"name": "web1", "labels": {"zone": "a"}, "tags": ["x"], "ssh_keys": []},
    rack_requests.ActOnVm: {"name": "web1", "verb": "stop"},
    rack_requests.ShowVm: {"name": "web1"},
    rack_requests.ListVms: {},
    rack_requests.NamedHost: {"name": "h1"},
    rack_requests.SwitchHost: {"name": "h1"},
    rack_requests.FindHosts: {"flavor": "m1.tiny"},
    rack_requests.MigrateVm: {"name": "web1"},
    rack_requests.DrainHost: {"name": "h1"},
    rack_requests.UpdateHosts: {},
    rack_requests.AdoptVm: {},
    rack_requests.Drift: {},
    rack_requests.OneTenant: {"name": "acme"},
    rack_requests.CreateTenant: {"name": "acme"},
    rack_requests.SetQuota: {"name": "acme"},
    host_requests.CreateOnHost: {
        "record": plain(RECORD),
        "image": IMAGE,
        "network": plain(NETWORK),
        "room": plain(POLICY),
        "accelerator": "kvm",
        "deadline": 1.0,
    },
    host_requests.ActOnHost: {"uuid": UUID, "verb": "start"},
    host_requests.PurgeOnHost: {"record": plain(RECORD)},
    HostReport: {
        "host": "h1",
        "total": {},
        "domains": [plain(Domain(UUID, "acme.web1", "running", 1, 128, 1, RECORD))],
    },
    Flavor: {"name": "m1.tiny", "vcpus": 1, "memory_mib": 128, "disk_gib": 1},
    lowstate.Credentials: {"username": "alice", "password": "secret"},
}


def ruled_fields(kind: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every text field with rules, at any depth; in a list or mapping as its first item or key."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        if parts[0] is str:
            yield path, kind
        else:
            yield from ruled_fields(parts[0], path)
    elif origin in (Union, types.UnionType):
        for part in parts:
            yield from ruled_fields(part, path)
    elif origin is tuple:
        yield from ruled_fields(parts[0], (*path, 0))
    elif origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        yield from ruled_fields(parts[0], (*path, "KEY"))
        yield from ruled_fields(parts[1], (*path, "VALUE"))
    elif dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        for field in dataclasses.fields(kind):
            yield from ruled_fields(hints[field.name], (*path, field.name))


def put(data: Any, path: Path, value: str) -> Any:
    """``data`` with ``value`` at ``path``."""
    if not path:
        return value
    part, rest = path[0], path[1:]
    if part == "KEY":
        return {value: "x"}
    if part == "VALUE":
        return {"x": value}
    if part == 0:
        items = list(data or [None])
        return [put(items[0], rest, value), *items[1:]]
    return {**(data or {}), part: put((data or {}).get(part), rest, value)}


def is_name(kind: Any) -> bool:
    """Told by one pattern, or an address; anything else is free text. A path is one too: for operators, read only."""
    if kind is rack_requests.SavedPath:
        return False
    return isinstance(get_args(kind)[1], Matches) or kind in (names.Mac, names.Ipv4, names.Subnet)


NAME_FIELDS = [(kind, path) for kind in RIGHT for path, rule in dict(ruled_fields(kind)).items() if is_name(rule)]
TEXT_FIELDS = [(kind, path) for kind in RIGHT for path, rule in dict(ruled_fields(kind)).items() if not is_name(rule)]


def written(value: Any) -> str:
    return value.__name__ if isinstance(value, type) else ".".join(map(str, value))


def refused(kind: type, path: Path, value: str) -> None:
    with pytest.raises(BadInput) as told:
        parse(kind, put(RIGHT[kind], path, value))
    assert told.value.status == 400
    assert len(told.value.detail) < 2000 and told.value.detail.isprintable()


def test_the_right_requests_are_right() -> None:
    for kind, data in RIGHT.items():
        assert parse(kind, data)


def test_the_fields_are_found() -> None:
    assert (rack_requests.CreateVm, ("tags", 0)) in NAME_FIELDS
    assert (rack_requests.CreateVm, ("labels", "KEY")) in NAME_FIELDS
    assert (host_requests.CreateOnHost, ("record", "nics", 0, "mac")) in NAME_FIELDS
    assert (rack_requests.CreateVm, ("note",)) in TEXT_FIELDS
    assert len(NAME_FIELDS) > 60


@pytest.mark.parametrize(("kind", "path"), NAME_FIELDS, ids=written)
def test_a_name_holds_nothing_but_a_name(kind: type, path: Path) -> None:
    for value in NO_NAME.values():
        refused(kind, path, value)


@pytest.mark.parametrize(("kind", "path"), TEXT_FIELDS, ids=written)
def test_free_text_holds_nothing_that_a_terminal_or_xml_cannot_show(kind: type, path: Path) -> None:
    for value in TOO_MUCH.get(path[-1], NO_TEXT).values():
        refused(kind, path, value)


@pytest.mark.parametrize("name", ["a:b", "a/b", "a.b", "a_b", "A", "a" * 64, "-a", "a-", "0b\u0660"])
def test_a_plain_name_is_one_dns_label(name: str) -> None:
    with pytest.raises(BadInput):
        parse(rack_requests.NamedHost, {"name": name})


@pytest.mark.parametrize("name", ["a", "0", "a" * 63, "web-1", "a--b"])
def test_dns_labels_are_names(name: str) -> None:
    assert parse(rack_requests.NamedHost, {"name": name}).name == name


@pytest.mark.parametrize(
    "mac",
    [
        "52:54:00:00:00:0",
        "52:54:00:00:00:0g",
        "52-54-00-00-00-01",
        "53:54:00:00:00:01",
        "50:54:00:00:00:01",
        "FE:54:00:00:00:01",
    ],
)
def test_a_mac_is_local_unicast_and_lower_case(mac: str) -> None:
    with pytest.raises(BadInput):
        parse(rack_requests.CreateVm, {"name": "web1", "mac": mac})


@pytest.mark.parametrize("address", ["256.0.0.1", "1.2.3", "01.2.3.4", "1.2.3.4/32", "١.2.3.4", "::1", "1.2.3.4 "])
def test_an_address_is_a_plain_ipv4_address(address: str) -> None:
    with pytest.raises(BadInput):
        parse(Nic, {"network": "nat", "mac": "52:54:00:00:00:01", "address": address})


@pytest.mark.parametrize(
    "subnet",
    ["10.0.0.0", "10.0.0.1/24", "10.0.0.0/7", "10.0.0.0/31", "10.0.0.0/024", "10.0.0.0/²⁴", "10.0.0.0/255.255.255.0"],
)
def test_a_subnet_is_a_network_of_usable_size(subnet: str) -> None:
    with pytest.raises(BadInput):
        parse(Network, {**plain(NETWORK), "subnet": subnet})


KEY = "ssh-ed25519 " + "A" * 68


@pytest.mark.parametrize(
    "key",
    [
        f'command="id" {KEY}',
        f"no-pty {KEY}",
        f"{KEY}\n{KEY}",
        f"{KEY} a b",
        "ssh-dss " + "A" * 68,
        f"{KEY} <x>",
        "ssh-ed25519",
    ],
)
def test_a_key_is_one_line_without_options(key: str) -> None:
    with pytest.raises(BadInput):
        parse(rack_requests.CreateVm, {"name": "web1", "ssh_keys": [key]})


@pytest.mark.parametrize("key", [KEY, f"{KEY} alice@laptop", "ecdsa-sha2-nistp256 " + "A" * 138 + "=="])
def test_keys_as_ssh_keygen_writes_them_are_taken(key: str) -> None:
    assert parse(rack_requests.CreateVm, {"name": "web1", "ssh_keys": [key]}).ssh_keys == (key,)


def test_a_new_uuid_is_one_as_libvirt_prints_it() -> None:
    assert names.is_uuid(names.new_uuid())
    assert not names.is_uuid(names.new_uuid().upper())


def test_every_rule_says_what_it_allows() -> None:
    for kind in RIGHT:
        for path, rule in ruled_fields(kind):
            for said in get_args(rule)[1:]:
                assert isinstance(said, (Matches, Holds)) and said.says, path


def test_room_can_be_compared_with_what_is_left() -> None:
    left = Room(4, 100, 10) - Room(1, 200, 10)
    assert (left.vcpus, left.memory_mib, left.disk_gib) == (3, -100, 0)
