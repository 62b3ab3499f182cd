"""The outer fence as the master has it: what its configuration lets a login call beyond the rack's own functions.

What decides is Salt's own code, behind the port :class:`racksalt.ports.SaltAcl`; here is what ought to come out.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from racksalt import acl
from racksalt.ports import SaltAcl

#: Settings of the master that have to be off or empty, and what they would give away.
OFF = {
    "auto_accept": "any machine becomes a host",
    "open_mode": "any machine becomes a host",
    "file_recv": "hosts write files on the master",
    "peer": "hosts command each other",
    "peer_run": "hosts run runners",
    "publisher_acl": "users of the master's shell command hosts past the rack",
    "client_acl": "users of the master's shell command hosts past the rack",
    "sudo_acl": "users of the master's shell are taken for others",
    "eauth_acl_module": "another module says what a login may call",
    "keep_acl_in_token": "a login keeps what it may no longer do",
    "rest_cherrypy": "stock salt-api serves the whole master's events, jobs and keys",
    "rest_tornado": "stock salt-api serves the whole master's events, jobs and keys",
    "rest_wsgi": "stock salt-api takes every client",
    "rack.acl": "the eauth module says what a login may call, for whatever user the caller names",
    "rack.process_acl": "the eauth module changes what a login may call",
}
CLIENTS = ("runner", "runner_async")
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Leak:
    """One way through a fence: for which login, with which function, argument and value, and what it gives."""

    login: str
    fun: str
    argument: str
    value: Any
    what: str


@dataclass(frozen=True, slots=True)
class Subject:
    """A login with its groups in the ACL, and what it may call; a group by itself is one too."""

    login: str
    groups: tuple[str, ...]
    allowed: frozenset[str]


def configured(salt: SaltAcl) -> Iterator[Leak]:
    """What the configuration holds beyond what the rack needs."""
    found = salt.settings()
    for key, gives in OFF.items():
        if found.get(key):
            yield Leak("*", "*", key, found[key], f"{gives}; take {key} out of {salt.file_of(key)}")
    clients = found.get("netapi_enable_clients") or []
    for client in clients if isinstance(clients, list) else [clients]:
        if client not in CLIENTS:
            where = salt.file_of("netapi_enable_clients")
            yield Leak("*", "*", "netapi_enable_clients", client, f"the API takes the client {client}; see {where}")
    yield from _beyond_generated(found.get("external_auth") or {}, salt.file_of("external_auth"))


def admitted(salt: SaltAcl, subject: Subject, functions: Mapping[str, Collection[str]]) -> Iterator[Leak]:
    """Every function of every kind that Salt itself would let this login call, and the rack does not."""
    entries = salt.entries(subject.login, subject.groups)
    where = salt.file_of("external_auth")
    for kind, names in functions.items():
        by_pattern: dict[str, list[str]] = {}
        for fun in names:
            if (kind != "runner" or fun not in subject.allowed) and salt.admits(entries, kind, fun):
                by_pattern.setdefault(_admitting(salt, entries, kind, fun), []).append(fun)
        for pattern, funs in by_pattern.items():
            more = f", which admits {len(funs)} such functions" if len(funs) > 1 else ""
            for fun in funs[:_SHOWN]:
                what = f"Salt's ACL lets it call the {kind} function {fun}, by {pattern}{more}; see {where}"
                yield Leak(subject.login, fun, "external_auth", pattern, what)


def near(allowed: Collection[str]) -> list[str]:
    """Names beside the allowed ones, which only a pattern that is not anchored admits."""
    return [name for fun in sorted(allowed) for name in (f"{fun}_all", f"x{fun}")]


def _beyond_generated(found: Any, where: str) -> Iterator[Leak]:
    """Whatever stands in ``external_auth`` and is not generated, whether a function is known that it admits or not."""
    expected = acl.external_auth()
    for backend, names in found.items() if isinstance(found, Mapping) else [("*", found)]:
        for name, entries in names.items() if isinstance(names, Mapping) else [("*", names)]:
            known = expected.get(backend, {}).get(name)
            what = f"external_auth: {backend}: {name} in {where}"
            if known is None:
                yield Leak(name, "*", "external_auth", _text(entries), f"{what} is not the rack's")
                continue
            for entry in entries if isinstance(entries, list) else [entries]:
                for pattern in _patterns(entry):
                    if pattern not in list(_patterns(known[0])):
                        anchored = "" if pattern.endswith("\\Z") else ", and is not anchored"
                        yield Leak(name, "*", "external_auth", pattern, f"{what} holds what is not generated{anchored}")


def _admitting(salt: SaltAcl, entries: Sequence[Any], kind: str, fun: str) -> str:
    """The pattern that admits it."""
    for entry in entries:
        parts = entry.items() if isinstance(entry, Mapping) else ()
        singles = [{key: [one]} for key, ones in parts for one in _listed(ones)]
        for single in singles or [entry]:
            if salt.admits([single], kind, fun):
                return next(_patterns(single))
    return _text(entries)


def _patterns(entry: Any) -> Iterator[str]:
    """Each pattern of an entry, as text: ``@runner: rack_vm\\.list\\Z``."""
    if not isinstance(entry, Mapping):
        yield _text(entry)
        return
    for key, ones in entry.items():
        for one in _listed(ones):
            yield f"{key}: {_text(one)}"


def _listed(ones: Any) -> list[Any]:
    return ones if isinstance(ones, list) else [ones]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
