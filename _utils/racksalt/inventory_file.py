"""A rack out of a file that ``rack_host.inventory`` wrote: for what-if questions, without any host.

Every host answers, and nothing is in flight. A mistake is named with its line and key, but never with what stands
there: the file may be any file of the master.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from racksalt import shape
from racksalt.errors import BadInput
from racksalt.inventory import HostView, Inventory
from racksalt.model import Domain, HostConfig, HostCpu, HostReport, NumaCell, Record, Room
from racksalt.names import Name, Uuid
from racksalt.settings import Settings
from racksalt.shape import Path, Problem

_DECODER = json.JSONDecoder()
#: So many mistakes are told: to find the line of each is to read the file again.
_MOST_MISTAKES = 20


@dataclass(frozen=True, slots=True)
class SavedHost:
    """A host as the file has it; ``total`` is missing where nobody ever read it."""

    name: Name
    total: Room | None = None
    config: HostConfig | None = None
    cpu: HostCpu | None = None
    numa: tuple[NumaCell, ...] = ()


@dataclass(frozen=True, slots=True)
class SavedDomain:
    """A domain without a record that counts: it takes room."""

    host: Name
    uuid: Uuid
    name: str
    room: Room


@dataclass(frozen=True, slots=True)
class SavedRack:
    """What :func:`racksalt.inventory_json.value` writes."""

    rack: Name
    hosts: tuple[SavedHost, ...]
    vms: tuple[Record, ...] = ()
    unknown: tuple[SavedDomain, ...] = ()
    foreign: tuple[SavedDomain, ...] = ()


def parse(text: str, settings: Settings, *, path: str) -> Inventory:
    """The rack in the file, with the policies of today's files; ``bad_inventory_file`` lists the first mistakes."""
    data, top = _value(text, path)
    problems: list[Problem] = []
    saved = shape.read(SavedRack, data, top, problems)
    if not problems:
        problems.extend(_contradictions(saved, top))
    if problems:
        raise _mistakes(text, path, problems)
    return Inventory(saved.rack, _views(saved), settings=settings)


def _value(text: str, path: str) -> tuple[Any, Path]:
    """The inventory, and where in the file it is: alone, in the whole answer, or in that under the master's name."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise _bad(path, [{"line": line, "field": "(whole)", "allowed": "JSON"}]) from None
    found: Path = ()
    for _ in range(2):
        if isinstance(data, Mapping) and "hosts" in data and "inventory" not in data:
            break
        key = "inventory" if isinstance(data, Mapping) and "inventory" in data else None
        if key is None and isinstance(data, Mapping) and len(data) == 1:
            key = next(iter(data))
        if key is None:
            break
        data, found = data[key], (*found, key)
    return data, found


def _contradictions(saved: SavedRack, top: Path) -> Iterator[Problem]:
    hosts: set[str] = set()
    for row, host in enumerate(saved.hosts):
        if host.name in hosts:
            yield Problem((*top, "hosts", row, "name"), "", "each host once")
        hosts.add(host.name)
    for part in ("vms", "unknown", "foreign"):
        for row, one in enumerate(getattr(saved, part)):
            if one.host not in hosts:
                yield Problem((*top, part, row, "host"), "", "a host that is in hosts")


def _views(saved: SavedRack) -> dict[str, HostView]:
    domains: dict[str, list[Domain]] = {host.name: [] for host in saved.hosts}
    for vm in saved.vms:
        domains[vm.host].append(Domain(vm.uuid, vm.domain, "unknown", vm.vcpus, vm.memory_mib, vm.disk_gib, vm))
    for other in (*saved.unknown, *saved.foreign):
        room = other.room
        sizes = room.vcpus, room.memory_mib, room.disk_gib
        domains[other.host].append(Domain(other.uuid, other.name, "unknown", *sizes))
    return {host.name: _view(host, domains[host.name]) for host in saved.hosts}


def _view(host: SavedHost, domains: list[Domain]) -> HostView:
    config = host.config or HostConfig(host.name)
    if host.total is None:
        return HostView(config, None, False, "was never read")
    return HostView(config, HostReport(host.name, host.total, tuple(domains), cpu=host.cpu, numa=host.numa), True)


def _mistakes(text: str, path: str, problems: list[Problem]) -> BadInput:
    told = [{"line": line_of(text, one.path), **one.as_dict()} for one in problems[:_MOST_MISTAKES]]
    return _bad(path, [{key: one[key] for key in ("line", "field", "allowed")} for one in told])


def _bad(path: str, mistakes: list[dict[str, Any]]) -> BadInput:
    lines = [f"{path}:{one['line']}: {one['field']}: allowed: {one['allowed']}" for one in mistakes]
    return BadInput("\n".join(lines), code="bad_inventory_file", mistakes=mistakes)


def line_of(text: str, path: Path) -> int:
    """The line on which the value at ``path`` begins; of what is missing, the one of what should have it."""
    at = _skip(text, 0)
    for key in path:
        inner = next((begin for name, begin in _items(text, at) if name == key), None)
        if inner is None:
            break
        at = inner
    return text.count("\n", 0, at) + 1


def _items(text: str, at: int) -> Iterator[tuple[str | int, int]]:
    """Each key or index of the object or list at ``at``, and where its value begins; the text is good JSON."""
    opened, number = text[at], 0
    at = _skip(text, at + 1)
    while opened in "{[" and text[at] not in "}]":
        key: str | int = number
        if opened == "{":
            key, at = _DECODER.raw_decode(text, at)
            at = _skip(text, _skip(text, at) + 1)
        yield key, at
        _, at = _DECODER.raw_decode(text, at)
        at = _skip(text, at)
        at = _skip(text, at + 1) if text[at] == "," else at
        number += 1


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at
