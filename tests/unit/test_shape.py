"""Plain data into dataclasses: every kind, every rule, and all problems at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from racksalt import host_requests, model, rack_requests, settings
from racksalt.errors import BadInput
from racksalt.shape import Holds, Items, Matches, Range, dotted, parse, plain, shown
from tests.unit.allowed import values


@dataclass(frozen=True)
class Wheel:
    kind: Literal["wheel"]
    spokes: int = 0


@dataclass(frozen=True)
class Wing:
    kind: Literal["wing"]
    span_m: float = 1.0


@dataclass(frozen=True)
class Named:
    name: str
    size: int = 1


@dataclass(frozen=True)
class Thing:
    text: Annotated[str, Matches("[a-z]+", "lower case")]
    whole: Annotated[int, Range(1, 3)] = 1
    number: Annotated[float, Range(0, 10)] = 0.5
    on: bool = False
    choice: Literal["a", "b", 1] = "a"
    maybe: Annotated[int, Range(0, 9)] | None = None
    rows: tuple[Annotated[str, Holds(str.isupper, "upper case")], ...] = ()
    named: Mapping[Annotated[str, Matches("[a-z]+", "lower case")], Named] = field(default_factory=dict)
    part: Wheel | Wing | None = None
    either: Annotated[str, Matches("[a-z]+", "lower case")] | Annotated[int, Range(1, 3)] | None = None


def problems(data: Any, kind: type = Thing) -> list[dict[str, str]]:
    with pytest.raises(BadInput) as told:
        parse(kind, data)
    found: list[dict[str, str]] = told.value.facts["problems"]
    return found


def test_every_kind_of_field_is_read() -> None:
    data = {
        "text": "abc",
        "whole": 3,
        "number": 7,
        "on": True,
        "choice": 1,
        "maybe": None,
        "rows": ["A", "B"],
        "named": {"x": {"size": 2}, "y": None},
        "part": {"kind": "wing", "span_m": 2},
    }
    wanted = Thing("abc", 3, 7.0, True, 1, None, ("A", "B"), {"x": Named("x", 2), "y": Named("y")}, Wing("wing", 2.0))
    assert parse(Thing, data) == wanted


@pytest.mark.parametrize(
    ("changed", "where", "allowed"),
    [
        ({"text": 5}, "text", "text, in quotes of its own"),
        ({"text": False}, "text", "text, in quotes of its own"),
        ({"text": None}, "text", "text"),
        ({"text": b"abc"}, "text", "text"),
        ({"text": "Abc"}, "text", "lower case"),
        ({"text": "abc\n"}, "text", "lower case"),
        ({"whole": "3"}, "whole", "a whole number"),
        ({"whole": 2.0}, "whole", "a whole number"),
        ({"whole": True}, "whole", "a whole number"),
        ({"whole": 0}, "whole", "1 to 3"),
        ({"whole": 4}, "whole", "1 to 3"),
        ({"number": "0.5"}, "number", "a number"),
        ({"number": False}, "number", "a number"),
        ({"number": -0.1}, "number", "0 to 10"),
        ({"number": math.nan}, "number", "0 to 10"),
        ({"number": math.inf}, "number", "0 to 10"),
        ({"number": 10**400}, "number", "a number"),
        ({"on": 1}, "on", "true | false"),
        ({"on": "true"}, "on", "true | false"),
        ({"choice": "c"}, "choice", "a | b | 1"),
        ({"choice": ["a"]}, "choice", "a | b | 1"),
        ({"maybe": 10}, "maybe", "0 to 9"),
        ({"rows": "AB"}, "rows", "a list"),
        ({"rows": {"A": 1}}, "rows", "a list"),
        ({"rows": ["A", "b"]}, "rows.1", "upper case"),
        ({"named": []}, "named", "a mapping"),
        ({"named": {"X": {}}}, "named.X", "lower case"),
        ({"named": {5: {}}}, "named.5", "text, in quotes of its own"),
        ({"named": {"x": 5}}, "named.x", "a mapping"),
        ({"named": {"x": {"name": "y"}}}, "named.x.name", "x"),
        ({"part": {"kind": "leg"}}, "part.kind", "wheel | wing"),
        ({"part": {}}, "part.kind", "wheel | wing"),
        ({"part": {"kind": ["wheel"]}}, "part.kind", "wheel | wing"),
        ({"part": "wheel"}, "part", "a mapping"),
        ({"part": "leg"}, "part.kind", "wheel | wing"),
        ({"part": {"kind": "wheel", "span_m": 1}}, "part.span_m", "kind | spokes"),
        ({"more": 1}, "more", "text | whole | number | on | choice | maybe | rows | named | part | either"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_what_is_allowed(
    changed: dict[str, Any], where: str, allowed: str
) -> None:
    assert [(item["field"], item["allowed"]) for item in problems({"text": "abc", **changed})] == [(where, allowed)]


@pytest.mark.parametrize("data", [None, [], "text", 5, True])
def test_what_is_no_mapping_at_all_is_refused(data: Any) -> None:
    assert problems(data) == [{"field": "(whole)", "found": shown(data), "allowed": "a mapping"}]


def test_a_required_field_is_asked_for() -> None:
    assert problems({}) == [{"field": "text", "found": "nothing", "allowed": "a value; it is required"}]


def test_all_problems_are_told_at_once() -> None:
    found = problems({"whole": 9, "rows": [1, "A", "b"], "named": {"x": {"size": "big"}}, "more": 1})
    assert {item["field"] for item in found} == {"text", "whole", "rows.0", "rows.2", "named.x.size", "more"}


def test_a_long_value_is_shown_short_and_without_control_characters() -> None:
    assert shown("x" * 10240).endswith("...") and len(shown("x" * 10240)) == 80
    assert shown("a\n\x1b[0m") == r"'a\n\x1b[0m'"
    assert shown(None) == "nothing"
    assert len(problems({"text": "abc", "k" * 10240: 1})[0]["field"]) == 80


def test_a_path_is_written_with_dots() -> None:
    assert dotted(("tenants", "acme", 0)) == "tenants.acme.0"
    assert dotted(()) == "(whole)"


MODEL = [
    model.Claim,
    model.Flavor,
    model.HostConfig,
    model.HostReport,
    model.Profile,
    model.Tenant,
    model.User,
    host_requests.ActOnHost,
    host_requests.CreateOnHost,
    rack_requests.ActOnVm,
    rack_requests.CreateTenant,
    rack_requests.CreateVm,
    rack_requests.FindHosts,
    rack_requests.ListVms,
    rack_requests.SetQuota,
    settings.UserFile,
]


@pytest.mark.parametrize("kind", MODEL, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_plain_and_parse_are_each_others_reverse(kind: type, data: st.DataObject) -> None:
    value = data.draw(values(kind))
    if isinstance(value, settings.UserFile):
        value = settings.UserFile(
            value.shell_operators,
            {name: model.User(name, user.tenants, user.operator) for name, user in value.users.items()},
        )
    assert parse(kind, plain(value)) == value
    assert plain(parse(kind, plain(value))) == plain(value)


@pytest.mark.parametrize("either", ["abc", 3, None])
def test_one_of_several_scalars_is_the_first_that_fits(either: Any) -> None:
    assert parse(Thing, {"text": "a", "either": either}).either == either


@pytest.mark.parametrize("either", ["ABC", 4, True, 1.5, []])
def test_what_is_none_of_several_scalars_is_one_problem(either: Any) -> None:
    (problem,) = problems({"text": "a", "either": either})
    assert problem["field"] == "either" and " | " in problem["allowed"]


@dataclass(frozen=True)
class Bounded:
    few: Annotated[tuple[str, ...], Items(3)] = ()
    once: Annotated[tuple[str, ...], Items(3, once=True)] | None = None
    keys: Annotated[Mapping[str, str], Items(3)] = field(default_factory=dict)


def test_a_list_or_mapping_of_few_items_is_taken() -> None:
    told = {"few": ["a", "a", "a"], "once": ["a", "b", "c"], "keys": {"a": "a", "b": "a", "c": "a"}}
    assert parse(Bounded, told) == Bounded(("a", "a", "a"), ("a", "b", "c"), told["keys"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"few": ["a"] * 4}, "few: found 4 of them, allowed: at most 3"),
        ({"once": ["a", "b", "c", "d"]}, "once: found 4 of them, allowed: at most 3, each once"),
        ({"once": ["a", "b", "a"]}, "once: found 'a' twice, allowed: at most 3, each once"),
        ({"keys": dict.fromkeys("abcd", "x")}, "keys: found 4 of them, allowed: at most 3"),
    ],
)
def test_too_many_or_the_same_twice_is_told(told: Any, message: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse(Bounded, told)
    assert refused.value.detail == message and refused.value.code == "bad_input"


KEY = "ssh-ed25519 " + "A" * 60
RECORD = {"rack": "r", "uuid": "0b5f2f40-4a4e-4b0e-9d2c-0b8f9f1d2c3e", "tenant": "t", "name": "n", "host": "h"}
RECORD |= {"flavor": "f", "image": "i"}
SIZES = {"created_at": 1, "vcpus": 1, "memory_mib": 1, "disk_gib": 1}


BOUNDED: list[tuple[type, dict[str, Any], tuple[str, ...]]] = [
    (rack_requests.CreateVm, {"name": "web1"}, ("tags", "labels", "ssh_keys")),
    (rack_requests.ActOnVm, {"name": "web1", "verb": "tag"}, ("tags",)),
    (rack_requests.FindHosts, {"flavor": "f"}, ("labels",)),
    (host_requests.ActOnHost, {"uuid": RECORD["uuid"], "verb": "tag"}, ("tags",)),
    (host_requests.Secrets, {}, ("ssh_keys",)),
    (model.Record, {**RECORD, **SIZES}, ("tags",)),
]


def some(name: str, count: int) -> Any:
    if name == "labels":
        return {f"k{number}": "v" for number in range(count)}
    return [f"t{number}" for number in range(count)] if name == "tags" else [KEY] * count


@pytest.mark.parametrize(
    ("kind", "told", "name"), [(kind, told, name) for kind, told, names in BOUNDED for name in names]
)
def test_nothing_grows_without_a_bound(kind: type, told: dict[str, Any], name: str) -> None:
    assert parse(kind, {**told, name: some(name, 64)})
    with pytest.raises(BadInput) as refused:
        parse(kind, {**told, name: some(name, 65)})
    found = "what is not repeated here" if name == "ssh_keys" else "65 of them"
    assert refused.value.detail.startswith(f"{name}: found {found}, allowed: at most 64")


@pytest.mark.parametrize(("kind", "told"), [(kind, told) for kind, told, names in BOUNDED if "tags" in names])
def test_a_tag_is_there_once(kind: type, told: dict[str, Any]) -> None:
    with pytest.raises(BadInput) as refused:
        parse(kind, {**told, "tags": ["a", "b", "a"]})
    assert refused.value.detail == "tags: found 'a' twice, allowed: at most 64, each once"
