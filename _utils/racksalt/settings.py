"""The rack's YAML files as one value, valid as a whole or not at all.

Every mistake is reported with file, line, key, what was found and what is allowed. Files are plain YAML and
never rendered: a comment holding ``{{ … }}`` must not run on the master.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Annotated, Any, TypeVar, get_type_hints

from racksalt.errors import BadInput
from racksalt.model import (
    ADOPTED,
    CpuModel,
    Flavor,
    HostConfig,
    Image,
    Migrations,
    Network,
    Profile,
    Quota,
    RoomPolicy,
    Tenant,
    User,
)
from racksalt.names import DottedName, Name, ShellUser, UserName, Uuid
from racksalt.pending import Deletion, Forgotten, PendingFile
from racksalt.ports import RackFiles, SourceFile, SourceFolder
from racksalt.shape import Path, Problem, Range, read, shown

T = TypeVar("T")

#: salt-api and the shell deliver the same kind of ``__user__``: these must never be logins.
RESERVED_USERS = ("root", "sudo_*", "salt", "unknown", "reactor", "*_master", "master")


@dataclass(frozen=True, slots=True)
class RackFile:
    """``hosts.yaml``: the rack itself and its hosts."""

    rack: Name
    writer: Name
    hosts: Mapping[Name, HostConfig] = field(default_factory=dict)
    migrations: Migrations = field(default_factory=Migrations)
    survive: Annotated[int, Range(0, 1)] = 0
    cpu: CpuModel | None = None


@dataclass(frozen=True, slots=True)
class TenantFile:
    """``tenants.yaml``."""

    tenants: Mapping[Name, Tenant] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UserFile:
    """``users.yaml``."""

    shell_operators: tuple[ShellUser, ...] = ("root", "sudo_*")
    users: Mapping[UserName, User] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FlavorFile:
    """``flavors.yaml``."""

    flavors: Mapping[DottedName, Flavor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImageFile:
    """``images.yaml``."""

    images: Mapping[DottedName, Image] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NetworkFile:
    """``networks.yaml``; the first network is the default one."""

    networks: Mapping[Name, Network] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProfileFile:
    """``profiles.yaml``."""

    profiles: Mapping[DottedName, Profile] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Settings:
    """All of the rack's files."""

    rack: Name
    writer: Name
    hosts: Mapping[str, HostConfig]
    tenants: Mapping[str, Tenant]
    shell_operators: tuple[str, ...]
    users: Mapping[str, User]
    flavors: Mapping[str, Flavor]
    images: Mapping[str, Image]
    networks: Mapping[str, Network]
    profiles: Mapping[str, Profile]
    #: What waits for hosts that are away, by UUID, and hosts that were given up; written by runners.
    deletions: Mapping[Uuid, Deletion] = field(default_factory=dict)
    forgotten: Mapping[str, Forgotten] = field(default_factory=dict)
    migrations: Migrations = field(default_factory=Migrations)
    #: So many hosts may be lost, and every VM still has a place.
    survive: int = 0
    #: The CPU of guests; where there is none, each gets what its host has.
    cpu: CpuModel | None = None
    #: What stood for the files before they were read.
    stamp: Hashable = field(default=None, compare=False, repr=False)

    def share_volumes(self, one: str, other: str) -> bool:
        """Whether both hosts have the same volumes, so that none is copied between them."""
        storages = {self.hosts[host].storage if host in self.hosts else None for host in (one, other)}
        return len(storages) == 1 and None not in storages


#: Each file, its shape, and the place of its defaults with what they are defaults of.
FILES: dict[str, tuple[type, str | None]] = {
    "hosts.yaml": (RackFile, "hosts"),
    "tenants.yaml": (TenantFile, "tenants"),
    "users.yaml": (UserFile, None),
    "flavors.yaml": (FlavorFile, None),
    "images.yaml": (ImageFile, None),
    "networks.yaml": (NetworkFile, None),
    "profiles.yaml": (ProfileFile, None),
    "pending.yaml": (PendingFile, None),
}


def load(folder: SourceFolder) -> Settings:
    """The settings in ``folder``, or :class:`BadInput` ``bad_rack_files`` that lists every mistake."""
    mistakes: list[dict[str, Any]] = []
    parts: dict[str, Any] = {}
    files = {name: folder.read(name) for name in FILES}
    for name, (kind, with_defaults) in FILES.items():
        problems: list[Problem] = []
        data = files[name].data
        if with_defaults and isinstance(data, Mapping):
            data = _with_defaults(data, with_defaults, problems)
        parts[name] = read(kind, data, (), problems) if not files[name].problem else None
        mistakes.extend(_located(files[name], problems))
    _refuse(mistakes)
    settings = Settings(**{key: value for part in parts.values() for key, value in _fields_of(part)})
    for name, problems in _contradictions(settings).items():
        mistakes.extend(_located(files[name], problems))
    _refuse(mistakes)
    return settings


def current(files: RackFiles) -> Settings:
    """The settings of the files as they are now, parsed only where a file has changed since; as :func:`load`."""
    stamp = files.stamp(tuple(FILES))
    return replace(files.once(tuple(FILES), load), stamp=stamp)


def is_current(known: Settings, files: RackFiles) -> bool:
    """Whether these settings still hold; what waits to be deleted may have changed, as it only holds what it did.

    Where no file has changed this is much less work than to read them again.
    """
    if known.stamp == files.stamp(tuple(FILES)):
        return True
    return replace(current(files), deletions=known.deletions) == known


def network_of(settings: Settings, name: str | None) -> Network:
    """The named network, or the first one of the rack."""
    chosen = name or next(iter(settings.networks), "")
    if chosen not in settings.networks:
        raise BadInput(
            f"network {chosen!r} is unknown; allowed: {', '.join(settings.networks) or 'none is defined'}",
            code="network_unknown",
            network=chosen,
        )
    return settings.networks[chosen]


def is_reserved_user(name: str, hosts: Mapping[str, Any]) -> bool:
    """Whether a login of this name could be mistaken for the shell, for Salt itself, or for a host."""
    return name in hosts or any(fnmatchcase(name.lower(), pattern) for pattern in RESERVED_USERS)


def _fields_of(part: Any) -> Iterator[tuple[str, Any]]:
    for name in part.__dataclass_fields__:
        yield name, getattr(part, name)


def _with_defaults(data: Mapping[str, Any], section: str, problems: list[Problem]) -> dict[str, Any]:
    """``data`` with its ``defaults`` merged below each entry of ``section``."""
    merged = {key: value for key, value in data.items() if key != "defaults"}
    defaults = data.get("defaults")
    if defaults is None:
        return merged
    if not isinstance(defaults, Mapping):
        problems.append(Problem(("defaults",), shown(defaults), "a mapping"))
        return merged
    _check_defaults(defaults, section, problems)
    entries = merged.get(section)
    if isinstance(entries, Mapping):
        merged[section] = {name: _merged(defaults, {} if entry is None else entry) for name, entry in entries.items()}
    return merged


def _check_defaults(defaults: Mapping[str, Any], section: str, problems: list[Problem]) -> None:
    """Defaults are wrong by themselves too, even where no entry uses them yet."""
    allowed: dict[str, Any] = {"quota": Quota} if section == "tenants" else {"room": RoomPolicy}
    if section == "hosts":
        allowed["accelerator"] = get_type_hints(HostConfig)["accelerator"]
    for key, value in defaults.items():
        if key not in allowed:
            problems.append(Problem(("defaults", key), "an unknown key", " | ".join(allowed)))
        else:
            read(allowed[key], value, ("defaults", key), problems)


def _merged(below: Any, above: Any) -> Any:
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        return {**below, **{key: _merged(below.get(key), value) for key, value in above.items()}}
    return above


def _located(file: SourceFile, problems: list[Problem]) -> Iterator[dict[str, Any]]:
    if file.problem:
        yield file.problem
    for problem in problems:
        yield {"file": file.path, "line": file.line_of(problem.path), **problem.as_dict()}


def _refuse(mistakes: list[dict[str, Any]]) -> None:
    if mistakes:
        lines = [
            f"{m['file']}:{m['line']}: {m['field']}: found {m['found']}, allowed: {m['allowed']}" for m in mistakes
        ]
        raise BadInput("\n".join(lines), code="bad_rack_files", mistakes=mistakes)


def _contradictions(settings: Settings) -> dict[str, list[Problem]]:
    """What each file says that another one, or the file itself, does not bear out."""
    return {
        "hosts.yaml": list(_host_problems(settings)),
        "users.yaml": list(_user_problems(settings)),
        "profiles.yaml": list(_profile_problems(settings)),
        "networks.yaml": list(_network_problems(settings)),
        **{f"{kind}.yaml": list(_adopted_problems(settings, kind)) for kind in ("flavors", "images")},
    }


def _adopted_problems(settings: Settings, kind: str) -> Iterator[Problem]:
    """What the records of adopted VMs say is no flavor, and no image."""
    if ADOPTED in getattr(settings, kind):
        yield Problem((kind, ADOPTED), repr(ADOPTED), "another name: adopted VMs have this one")


def _host_problems(settings: Settings) -> Iterator[Problem]:
    for host in settings.hosts.values():
        for number, tenant in enumerate(host.tenants):
            if tenant not in settings.tenants:
                yield Problem(("hosts", host.name, "tenants", number), repr(tenant), _names(settings.tenants))


def _user_problems(settings: Settings) -> Iterator[Problem]:
    for user in settings.users.values():
        path: Path = ("users", user.name)
        if is_reserved_user(user.name, settings.hosts) or user.name == settings.writer:
            yield Problem(path, repr(user.name), "a name that is not the shell's, Salt's, or a host's")
        for tenant in user.tenants:
            if tenant not in settings.tenants:
                yield Problem((*path, "tenants", tenant), "an unknown tenant", _names(settings.tenants))


def _profile_problems(settings: Settings) -> Iterator[Problem]:
    for profile in settings.profiles.values():
        path: Path = ("profiles", profile.name)
        if profile.flavor not in settings.flavors:
            yield Problem((*path, "flavor"), repr(profile.flavor), _names(settings.flavors))
        if profile.image not in settings.images:
            yield Problem((*path, "image"), repr(profile.image), _names(settings.images))
        elif profile.flavor in settings.flavors:
            disk_gib, least = settings.flavors[profile.flavor].disk_gib, settings.images[profile.image].min_disk_gib
            if disk_gib < least:
                yield Problem((*path, "flavor"), f"a disk of {disk_gib} GiB", f"a flavor of {least} GiB or more")
        if profile.network is not None and profile.network not in settings.networks:
            yield Problem((*path, "network"), repr(profile.network), _names(settings.networks))


def _network_problems(settings: Settings) -> Iterator[Problem]:
    seen: list[tuple[str, ipaddress.IPv4Network]] = []
    for network in settings.networks.values():
        path: Path = ("networks", network.name)
        subnet = ipaddress.IPv4Network(network.subnet)
        for key in ("gateway", "pool_first", "pool_last"):
            address = ipaddress.IPv4Address(getattr(network, key))
            if address not in subnet or address in (subnet.network_address, subnet.broadcast_address):
                yield Problem((*path, key), str(address), f"a host address in {subnet}")
        if ipaddress.IPv4Address(network.pool_first) > ipaddress.IPv4Address(network.pool_last):
            yield Problem((*path, "pool_last"), network.pool_last, f"{network.pool_first} or later")
        for other, taken in seen:
            if subnet.overlaps(taken):
                yield Problem((*path, "subnet"), str(subnet), f"a network apart from {other}'s {taken}")
        seen.append((network.name, subnet))


def _names(known: Mapping[str, Any]) -> str:
    return " | ".join(known) or "none is defined"
