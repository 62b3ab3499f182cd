"""Every call that a login could make with what belongs to others, from the requests of the runners' own table.

A new function is in it by itself, and so is a new argument. One whose type is not known here stops everything, so
that somebody decides what it may name.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Literal, Protocol, Union, get_args, get_origin, get_type_hints

from racksalt import names, rack_requests

#: The types of text that arguments have. Whatever stands here is tried with all that belongs to others.
TEXTS: tuple[Any, ...] = (
    rack_requests.VmReference,
    rack_requests.NamePart,
    rack_requests.DriftId,
    rack_requests.SavedPath,
    names.Name,
    names.DottedName,
    names.UserName,
    names.Uuid,
    names.Mac,
    names.Ipv4,
    names.Tag,
    names.LabelKey,
    names.LabelValue,
    names.Note,
    names.SshKey,
    names.UserData,
    names.Moment,
    names.Sha256,
    *get_args(names.JobId),
)

#: Every way to claim another identity, target or way in, beside an argument or as one.
FORGED: Mapping[str, Any] = {
    "user": "root",
    "username": "root",
    "password": "x",
    "eauth": "pam",
    "token": "0" * 64,
    "envelope": "e30=",
    "__user__": "root",
    "__pub_user": "root",
    "__pub_tgt": "*",
    "__pub_fun": "rack_host.list",
    "__opts__": {"user": "root"},
    "__current_eauth_user": "root",
    "__kwarg__": True,
    "key": "root key",
    "sudo_user": "root",
    "auth_list": [".*"],
    "perms": ["@runner"],
    "groups": ["operator"],
    "tgt": "*",
    "arg": ["tenant=beta"],
    "args": ["tenant=beta"],
    "kwarg": {"tenant": "beta"},
    "kwargs": {"tenant": "beta"},
    "tenant=beta": "",
    "full_return": True,
    "print_event": True,
    "jid": "20200101000000000000",
    "client": "local",
    "unknown": 5,
    "caller": {"operator": True},
    "operator": True,
    "role": "member",
    "rack": "x",
    "settings": {},
    "verb": "delete",
}


class UnknownArgument(Exception):
    """An argument that cannot be tried until somebody says in this file what it may be."""


class Function(Protocol):
    """One row of the table of runner functions."""

    @property
    def request(self) -> type: ...

    @property
    def changes(self) -> bool: ...

    @property
    def preset(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Own:
    """What a good call names: a VM as ``tenant/name``, and what the rack has for everybody."""

    tenant: str
    vm: str
    host: str
    flavor: str
    image: str
    job: str


@dataclass(frozen=True, slots=True)
class Case:
    """One call: ``argument`` is the one that says ``value``; ``kwarg`` are all of them."""

    fun: str
    argument: str
    says: str
    value: Any
    kwarg: Mapping[str, Any] = field(repr=False)

    def __str__(self) -> str:
        return f"{self.fun} {self.argument}={self.value!r} ({self.says})"


def cases(functions: Mapping[str, Function], own: Own, foreign: Mapping[str, Any]) -> Iterator[Case]:
    """Every function × argument × value of ``foreign``, and every forged identity; each function once as it should be.

    A foreign VM is also named together with the caller's own tenant.
    """
    for fun, function in functions.items():
        good, kinds = good_call(fun, function, own), arguments(function)
        yield Case(fun, "", "a good call", None, good)
        for argument, kind in kinds.items():
            for says, value in foreign.items():
                for filled in fillings(kind, value):
                    yield Case(fun, argument, says, value, {**good, argument: filled})
                if argument == "name" and "tenant" in kinds:
                    yield Case(
                        fun, argument, f"{says}, own tenant", value, {**good, "name": value, "tenant": own.tenant}
                    )
        yield from _forged(fun, kinds, good, foreign)


def _forged(fun: str, kinds: Mapping[str, Any], good: Mapping[str, Any], foreign: Mapping[str, Any]) -> Iterator[Case]:
    """With the caller's own things, and with a VM of somebody else."""
    for key, value in FORGED.items():
        if key in kinds:
            continue
        yield Case(fun, key, "forged", value, {**good, key: value})
        if "name" in kinds:
            yield Case(
                fun, key, "forged, for a foreign VM", value, {**good, "name": foreign["tenant/name"], key: value}
            )


def arguments(function: Function) -> dict[str, Any]:
    """The arguments of a function with their types."""
    return {name: kind for name, kind in _fields(function.request).items() if name not in function.preset}


def good_call(fun: str, function: Function, own: Own) -> dict[str, Any]:
    """Arguments with which a member of ``own.tenant`` may call it, if it may be called at all."""
    kinds = arguments(function)
    new = fun.endswith(".create") or fun == "rack_vm.why_not"
    own_tenant = fun.startswith("rack_tenant.")
    given = {"flavor": own.flavor, "image": own.image, "job": own.job}
    given["name"] = {
        "rack_vm": f"{own.tenant}/new-vm" if new else own.vm,
        "rack_tenant": "new-tenant" if new else own.tenant,
    }.get(fun.partition(".")[0], own.host)
    required = [
        part.name
        for part in dataclasses.fields(function.request)
        if part.default is dataclasses.MISSING and part.default_factory is dataclasses.MISSING
    ]
    unknown = [name for name in required if name in kinds and name not in given]
    if unknown:
        raise UnknownArgument(f"{fun} cannot do without {unknown[0]}; say in isolation.good_call what is a good one")
    wanted = {*required, *(("flavor", "image") if "image" in kinds else ()), *(("name",) if own_tenant else ())}
    return {name: value for name, value in given.items() if name in wanted and name in kinds}


def fillings(kind: Any, value: Any) -> list[Any]:
    """The ways to say ``value`` in an argument of this type; numbers and choices get it as it is."""
    origin, parts = get_origin(kind), get_args(kind)
    if kind in TEXTS or kind in (int, float, bool) or origin is Literal:
        return [value]
    if origin is Annotated and parts[0] is not str:
        return fillings(parts[0], value)
    if origin in (Union, types.UnionType):
        return _without_twins(one for part in parts if part is not type(None) for one in fillings(part, value))
    if origin is tuple:
        return [value, *([one] for one in fillings(parts[0], value))]
    if origin is not None and issubclass(origin, Mapping):
        keys = [{one: "x"} for one in fillings(parts[0], value) if isinstance(one, str)]
        return [value, *keys, *({"zone": one} for one in fillings(parts[1], value))]
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return [value, *({name: one} for name, part in _fields(kind).items() for one in fillings(part, value))]
    raise UnknownArgument(f"an argument has the type {kind}; say in isolation.TEXTS what it may name")


def _without_twins(values: Iterator[Any]) -> list[Any]:
    return list({repr(value): value for value in values}.values())


@cache
def _fields(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {part.name: hints[part.name] for part in dataclasses.fields(kind)}
