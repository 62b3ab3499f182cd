"""Hypothesis strategies for whatever a dataclass of the core allows, read from its own field types."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from racksalt import model, names, rack_requests
from racksalt.shape import Items, Range

#: What people write where text is free: markup, quotes, templates, other alphabets.
NASTY_TEXT = "<>&;:'\"#{}[]|*!%@`\\,?=- $/añü語😀-_.0aZ"

_BYTES = st.integers(0, 255)
_WORDS = st.text("az09", min_size=1, max_size=6)


def _joined(separators: str) -> st.SearchStrategy[str]:
    """Words with separators between them: what every pattern of a name allows."""
    return st.builds(lambda first, sep, last: first + sep + last, _WORDS, st.sampled_from(separators), _WORDS)


_HEX = st.integers(0, 2**256 - 1)
_FREE = {
    names.Name: _joined("-"),
    names.DottedName: _joined("-."),
    names.UserName: _joined("._-"),
    names.ShellUser: _joined("_-").map(lambda name: f"a{name}*"),
    names.Tag: _joined("_.:=-"),
    names.LabelKey: _joined("_./-"),
    names.LabelValue: _joined("_.-Z"),
    names.CpuName: _joined("_.+-"),
    names.CpuNames: st.lists(_joined("_.+-"), max_size=3).map(" ".join),
    model.MasterId: _joined("._-"),
    model.SnapshotProof: st.one_of(st.just(""), _HEX.map(lambda number: f"{number:064x}==")),
    rack_requests.SavedPath: _joined("/. -").map(lambda path: f"/{path}"),
    names.Sha256: _HEX.map(lambda number: f"{number:064x}"),
    names.Signature: st.builds("{}:{:064x}".format, st.integers(1, 999999), _HEX),
    names.Sealed: _HEX.map(lambda number: ".".join([f"{number:064x}=="] * 3)),
    names.Uuid: st.uuids().map(str),
    names.SshKey: st.builds("ssh-ed25519 {:064x}== {}@{}".format, _HEX, _WORDS, _WORDS),
    rack_requests.VmReference: _joined("-/"),
    names.UserData: st.text(NASTY_TEXT + "\n", max_size=60).map(lambda text: "#cloud-config\n" + text),
    names.ImageUrl: st.just("https://images.example.org/a.qcow2"),
    names.Note: st.text(NASTY_TEXT + "\n", max_size=60),
    names.Mac: st.builds(
        lambda first, rest: ":".join(f"{byte:02x}" for byte in (first & 0xFC | 2, *rest)),
        _BYTES,
        st.tuples(*[_BYTES] * 5),
    ),
    names.Ipv4: st.builds(lambda *parts: ".".join(map(str, parts)), *[_BYTES] * 4),
    names.Subnet: st.builds(lambda second, third: f"10.{second}.{third}.0/24", _BYTES, _BYTES),
}


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Any value that ``kind`` allows."""
    if kind in _FREE:
        return _FREE[kind]
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _ruled(parts[0], parts[1:])
    if origin in (Union, types.UnionType):
        return st.one_of(*map(values, parts))
    if origin is Literal:
        return st.sampled_from(parts)
    if origin is tuple:
        return st.lists(values(parts[0]), max_size=3).map(tuple)
    if origin is not None and issubclass(origin, Mapping):
        return st.dictionaries(values(parts[0]), values(parts[1]), max_size=3)
    if dataclasses.is_dataclass(kind):
        return st.builds(kind, **fields(kind))
    return _SCALARS[kind]


@cache
def fields(kind: Any) -> dict[str, st.SearchStrategy[Any]]:
    """Each field of a dataclass with what it allows."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: values(hints[field.name]) for field in dataclasses.fields(kind)}


_SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(NASTY_TEXT, max_size=30),
    int: st.integers(-(10**6), 10**6),
    float: st.floats(0, 1e9),
    bool: st.booleans(),
    type(None): st.none(),
}


def _ruled(inner: Any, rules: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    for rule in rules:
        if isinstance(rule, Items) and rule.once:
            return st.lists(values(get_args(inner)[0]), max_size=3, unique=True).map(tuple)
        if isinstance(rule, Range) and inner is int:
            return st.integers(int(rule.low), int(rule.high))
        if isinstance(rule, Range):
            return st.floats(rule.low, rule.high)
    return values(inner)
