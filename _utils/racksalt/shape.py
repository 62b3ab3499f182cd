"""Plain data (from YAML, JSON or the bus) into frozen dataclasses, once, at the edge.

The dataclass is the schema: its field types say what is allowed. Supported are ``str``, ``int``, ``float``,
``bool``, ``Literal``, ``X | None``, unions of scalars, ``tuple[X, ...]``, ``Mapping[K, X]`` and other dataclasses,
each with rules in ``Annotated``. In a mapping to a dataclass with a ``name`` field, the key is the name.

Standard library only, as the hosts use it too.
"""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import cache, partial
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from racksalt.errors import BadInput

T = TypeVar("T")
Path = tuple[str | int, ...]
#: Reads data at a path; what is wrong is appended to the problems and ``None`` returned.
Reader = Callable[[Any, Path, "list[Problem]"], Any]


#: No message repeats what was given here: it ends up in logs and in job caches.
SECRETS = frozenset({"user_data", "ssh_keys"})


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong: where, what was found, what is allowed."""

    path: Path
    found: str
    allowed: str

    def __post_init__(self) -> None:
        if SECRETS.intersection(self.path):
            object.__setattr__(self, "found", "what is not repeated here")

    def __str__(self) -> str:
        return f"{dotted(self.path)}: found {self.found}, allowed: {self.allowed}"

    def as_dict(self) -> dict[str, str]:
        return {"field": dotted(self.path), "found": self.found, "allowed": self.allowed}


@dataclasses.dataclass(frozen=True, slots=True)
class Matches:
    """The whole text matches this pattern."""

    pattern: str
    says: str

    def broken_by(self, value: Any) -> bool:
        return re.fullmatch(self.pattern, value) is None


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """The number is at least ``low`` and at most ``high``."""

    low: float
    high: float

    @property
    def says(self) -> str:
        return f"{self.low} to {self.high}"

    def broken_by(self, value: Any) -> bool:
        return not self.low <= value <= self.high


@dataclasses.dataclass(frozen=True, slots=True)
class Holds:
    """A named predicate holds."""

    test: Callable[[Any], bool]
    says: str

    def broken_by(self, value: Any) -> bool:
        return not self.test(value)


@dataclasses.dataclass(frozen=True, slots=True)
class Items:
    """The list or mapping has at most ``most`` items; with ``once``, none of a list twice."""

    most: int
    once: bool = False

    @property
    def says(self) -> str:
        return f"at most {self.most}" + (", each once" if self.once else "")

    def broken_by(self, value: Any) -> bool:
        return len(value) > self.most or bool(self.once and self._repeated(value))

    def found(self, value: Any) -> str:
        """What breaks the rule."""
        if len(value) > self.most:
            return f"{len(value)} of them"
        return f"{shown(self._repeated(value)[0])} twice"

    def _repeated(self, value: Any) -> list[Any]:
        return [item for index, item in enumerate(value) if item in value[:index]]


def dotted(path: Path) -> str:
    """A path as people write it: ``tenants.acme.quota.vms``."""
    return ".".join(map(_part, path)) or "(whole)"


def shown(value: Any) -> str:
    """A found value, short enough for a message and without control characters."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _part(part: Any) -> str:
    text = str(part)
    return text if text.isprintable() and len(text) <= 80 else shown(part)


def parse(kind: type[T], data: Any, *, path: Path = ()) -> T:
    """``data`` as a ``kind``, or :class:`BadInput` with every problem in ``problems``."""
    problems: list[Problem] = []
    value = read(kind, data, path, problems)
    refuse(problems)
    return value  # type: ignore[no-any-return]  # read() is typed by a run-time value


def refuse(problems: list[Problem]) -> None:
    """Raise one :class:`BadInput` for all problems, if there are any."""
    if problems:
        raise BadInput("; ".join(map(str, problems)), problems=[problem.as_dict() for problem in problems])


def read(kind: Any, data: Any, path: Path, problems: list[Problem]) -> Any:
    """``data`` as a ``kind``; what is wrong is appended to ``problems`` and ``None`` returned."""
    return _reader(kind)(data, path, problems)


def _reader(kind: Any) -> Reader:
    """How a kind is read. It is worked out once for each field: a rack has 20,000 records with 30 of them."""
    origin = get_origin(kind)
    if origin is Annotated:
        inner, *rules = get_args(kind)
        return partial(_read_ruled, _reader(inner), rules)
    if origin in (Union, types.UnionType):
        return _union_reader(kind)
    if origin is Literal:
        return partial(_read_choice, get_args(kind))
    if origin is tuple:
        return partial(_read_list, _reader(get_args(kind)[0]))
    if origin is not None and issubclass(origin, Mapping):
        key_kind, inner = get_args(kind)
        return partial(_read_mapping, _reader(key_kind), _reader(inner), _is_named(inner))
    if dataclasses.is_dataclass(kind):
        return partial(_read_dataclass, kind)
    return partial(_read_scalar, kind, *_SCALARS[kind])


def plain_set(value: Any) -> dict[str, Any]:
    """As :func:`plain`, without the fields that are ``None``: a reader of before does not know the newest of them."""
    return {key: field for key, field in plain(value).items() if field is not None}


def plain(value: Any) -> Any:
    """The reverse of :func:`parse`: dataclasses, tuples and mappings as dicts and lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    return value


def _read_ruled(inner: Reader, rules: list[Any], data: Any, path: Path, problems: list[Problem]) -> Any:
    before = len(problems)
    value = inner(data, path, problems)
    if len(problems) > before:
        return None
    for rule in rules:
        if rule.broken_by(value):
            found = rule.found(value) if isinstance(rule, Items) else shown(data)
            problems.append(Problem(path, found, rule.says))
            return None
    return value


def _union_reader(kind: Any) -> Reader:
    """``X | None``, one of several scalars, or several dataclasses told apart by their ``kind``."""
    parts = [part for part in get_args(kind) if part is not type(None)]
    optional = len(parts) < len(get_args(kind))
    if len(parts) == 1:
        return partial(_read_optional, _reader(parts[0])) if optional else _reader(parts[0])
    if all(_is_scalar(part) for part in parts):
        either: Reader = partial(_read_either, [_reader(part) for part in parts])
    else:
        by_kind = {get_args(_fields(part)["kind"][1])[0]: _reader(part) for part in parts}
        either = partial(_read_by_kind, by_kind)
    return partial(_read_optional, either) if optional else either


def _read_optional(inner: Reader, data: Any, path: Path, problems: list[Problem]) -> Any:
    return None if data is None else inner(data, path, problems)


def _read_by_kind(by_kind: Mapping[str, Reader], data: Any, path: Path, problems: list[Problem]) -> Any:
    found = data.get("kind") if isinstance(data, Mapping) else data
    if not isinstance(found, str) or found not in by_kind:
        problems.append(Problem((*path, "kind"), shown(found), " | ".join(by_kind)))
        return None
    return by_kind[found](data, path, problems)


def _is_scalar(kind: Any) -> bool:
    return (get_args(kind)[0] if get_origin(kind) is Annotated else kind) in _SCALARS


def _read_either(readers: list[Reader], data: Any, path: Path, problems: list[Problem]) -> Any:
    """The first kind that fits: a shell makes a number of what looks like one."""
    refused: list[Problem] = []
    for reader in readers:
        found: list[Problem] = []
        value = reader(data, path, found)
        if not found:
            return value
        refused += found
    problems.append(Problem(path, shown(data), " | ".join(problem.allowed for problem in refused)))
    return None


def _read_choice(choices: tuple[Any, ...], data: Any, path: Path, problems: list[Problem]) -> Any:
    for choice in choices:
        if data == choice and isinstance(data, type(choice)):
            return choice
    problems.append(Problem(path, shown(data), " | ".join(map(str, choices))))
    return None


def _read_list(inner: Reader, data: Any, path: Path, problems: list[Problem]) -> Any:
    if not isinstance(data, (list, tuple)):
        problems.append(Problem(path, shown(data), "a list"))
        return None
    return tuple(inner(item, (*path, index), problems) for index, item in enumerate(data))


def _read_mapping(
    key_reader: Reader, inner: Reader, named: bool, data: Any, path: Path, problems: list[Problem]
) -> Any:
    if not isinstance(data, Mapping):
        problems.append(Problem(path, shown(data), "a mapping"))
        return None
    result = {}
    for key, item in data.items():
        before = len(problems)
        name = key_reader(key, (*path, key), problems)
        if len(problems) > before:
            continue
        if named and (item is None or isinstance(item, Mapping)):
            item = {"name": name, **(item or {})}
            if item["name"] != name:
                problems.append(Problem((*path, key, "name"), shown(item["name"]), str(name)))
                continue
        result[name] = inner(item, (*path, key), problems)
    return result


def _is_named(kind: Any) -> bool:
    parts = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    return all(dataclasses.is_dataclass(part) and "name" in _fields(cast(Hashable, part)) for part in parts)


def _read_dataclass(kind: Any, data: Any, path: Path, problems: list[Problem]) -> Any:
    if isinstance(data, kind):
        return data
    if not isinstance(data, Mapping):
        problems.append(Problem(path, shown(data), "a mapping"))
        return None
    before = len(problems)
    readers = _readers(kind)
    if not data.keys() <= readers.keys():
        problems.extend(_unknown_keys(readers, data, path))
    values = {}
    for name, (required, reader) in readers.items():
        if name in data:
            values[name] = reader(data[name], (*path, name), problems)
        elif required:
            problems.append(Problem((*path, name), "nothing", "a value; it is required"))
    return None if len(problems) > before else kind(**values)


def _unknown_keys(fields: Mapping[str, Any], data: Mapping[Any, Any], path: Path) -> Iterator[Problem]:
    for key in data:
        if key not in fields:
            yield Problem((*path, key), "an unknown key", " | ".join(fields))


#: YAML, and so Salt's command line, makes numbers of ``123`` and of ``52:54:00:12:34:56``, and a truth of ``no``.
_QUOTED = "text, in quotes of its own"
_SCALARS: dict[type, tuple[str, tuple[type, ...]]] = {
    str: ("text", (str,)),
    int: ("a whole number", (int,)),
    float: ("a number", (int, float)),
    bool: ("true | false", (bool,)),
}


def _read_scalar(
    kind: Any, says: str, accepted: tuple[type, ...], data: Any, path: Path, problems: list[Problem]
) -> Any:
    if type(data) is kind:
        return data
    if not isinstance(data, accepted) or (isinstance(data, bool) and kind is not bool):
        unquoted = kind is str and isinstance(data, (bool, int, float))
        problems.append(Problem(path, shown(data), _QUOTED if unquoted else says))
        return None
    try:
        return kind(data)
    except OverflowError:
        problems.append(Problem(path, shown(data), says))
        return None


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


@cache
def _fields(kind: Any) -> dict[str, tuple[dataclasses.Field[Any], Any]]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: (field, hints[field.name]) for field in dataclasses.fields(kind)}


@cache
def _readers(kind: Any) -> dict[str, tuple[bool, Reader]]:
    """For each field of a dataclass, whether it is required, and how it is read."""
    return {name: (_is_required(field), _reader(field_kind)) for name, (field, field_kind) in _fields(kind).items()}
