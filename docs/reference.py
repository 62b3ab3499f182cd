"""Writes what of the documentation comes from the code: ``python3 docs/reference.py``.

``docs/reference.md`` is made of the docstrings of ``_runners`` and ``_modules``; a runner's arguments are those of its
request (``racksalt.rack_calls``). In ``docs/files.md`` the tables of keys get today's types, limits and defaults;
what a key means is written by hand, and stays.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "_utils")] if str(ROOT / "_utils") not in sys.path else []

from racksalt import names, rack_calls, settings, shape  # noqa: E402  # found through the line above

_HEAD = """\
# Reference: every function

Generated from the docstrings by `make docs`; do not edit.

Runners act on the whole rack: `salt-run NAME …` on the master's shell, and the same names over the API.
Execution modules act on one host: `salt HOST NAME …`, or `salt-call --local NAME …` on the host itself.
A refused or failed call returns an `error` with a stable code (see [errors.md](errors.md)) and exits non-zero.

A name is like `web-1`: small letters, digits and dashes, at most 63, and no UUID.
"""
_PARTS = (("_runners", "Runners: the rack"), ("_modules", "Execution modules: one host"))
_SCALARS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def text() -> str:
    """The file's content."""
    sections = [_HEAD]
    for folder, title in _PARTS:
        sections.append(f"## {title}\n")
        for path in sorted((ROOT / folder).glob("rack*.py")):
            sections.extend(_module(path, folder))
    return "\n".join(sections)


def files_text(current: str) -> str:
    """``files.md`` with the keys that the rack's files have today; a new one still lacks its meaning."""
    for file, (kind, _) in settings.FILES.items():
        head = f"## `{file}`\n"
        before, _, rest = current.partition(head)
        section, mark, after = rest.partition("\n## ")
        text, first, rows = section.partition("\n| `")
        table = "\n".join(_table(kind, f"{first}{rows}".strip().splitlines()))
        current = f"{before}{head}{text}\n{table}\n{mark}{after}"
    return current


def _table(kind: Any, rows: list[str]) -> Iterator[str]:
    """The rows of defaults as they are, then one for each key, with the meaning that it has."""
    yield from (row for row in rows if row.startswith("| `defaults."))
    meanings = {cells[1].strip(): cells[2].strip() for cells in (row.split("|") for row in rows)}
    told = set()
    for key, takes, given in leaves(kind):
        if key not in told:
            yield f"| `{key}` | {meanings.get(f'`{key}`', '')} | {takes} | {given} |"
        told.add(key)


def leaves(kind: Any, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Each key of a file: its name, what it takes, its default. Names of entries and kinds of images are prose."""
    hints = get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        inner = hints[field.name]
        if field.name == "name" or (field.name == "kind" and default(field) == "required"):
            continue
        key = f"{path}.{field.name}" if path else field.name
        parts = _entries(inner)
        single = dataclasses.is_dataclass(inner) or type(None) in get_args(inner)
        for part in parts:
            yield from leaves(part, key if single else f"{key}.NAME")
        if not parts:
            yield key, allowed(inner), default(field)


def _entries(kind: Any) -> list[Any]:
    """The dataclasses that a section of a file holds, directly or under names."""
    origin = get_origin(kind)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        kind = get_args(kind)[1]
    parts = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    return [part for part in parts if dataclasses.is_dataclass(part)]


def allowed(kind: Any) -> str:
    """What a field of this type takes, in words."""
    origin, parts = get_origin(kind), get_args(kind)
    if kind == names.Name:
        return "a name"
    if origin is Annotated:
        return ", ".join(dict.fromkeys(_rule(parts[0], rule.says) for rule in parts[1:]))
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(allowed(part) for part in parts if part is not type(None)))
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in parts)
    if origin is tuple:
        return f"a list of: {allowed(parts[0])}"
    if origin is not None and issubclass(origin, Mapping):
        return f"a mapping of {allowed(parts[0])} to {allowed(parts[1])}"
    if dataclasses.is_dataclass(kind):
        return "a mapping of " + ", ".join(f"`{field.name}`" for field in dataclasses.fields(kind))
    return _SCALARS[kind]


def default(field: dataclasses.Field[Any]) -> str:
    """A field's default as people write it in YAML."""
    if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
        return "required"
    value = field.default if field.default is not dataclasses.MISSING else field.default_factory()  # type: ignore[misc]
    if value is None:
        return "none"
    if value == () or value == {} or value == "":
        return "empty"
    if dataclasses.is_dataclass(value):
        return "`{" + ", ".join(f"{key}: {item}" for key, item in shape.plain(value).items()) + "}`"
    if isinstance(value, tuple):
        return "`[" + ", ".join(f'"{item}"' if "*" in item else str(item) for item in value) + "]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _rule(kind: Any, says: str) -> str:
    """A pattern in a rule's words is code; numbers say that they are."""
    if get_origin(kind) is not None:
        return f"{allowed(kind)}, {says}"
    found = re.search(r"\[.*\S", says)
    if found:
        return f"{says[: found.start()]}`{found.group()}`"
    return f"{_SCALARS[kind]}, {says}" if kind in (int, float) else says


def _module(path: Path, folder: str) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    yield f"### `{path.stem}`{'' if folder == '_runners' else ' on a host'}\n"
    yield _markdown(ast.get_docstring(tree) or "") + "\n"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield from _function(path.stem, node, folder)


def _function(module: str, node: ast.FunctionDef, folder: str) -> Iterator[str]:
    yield f"#### `{module}.{node.name.rstrip('_')}`{'' if folder == '_runners' else ' on a host'}\n"
    said, _, example = (ast.get_docstring(node) or "").partition("CLI Example:")
    yield _markdown(said) + "\n"
    fun = f"{module}.{node.name.rstrip('_')}"
    arguments = list(_asked(node, rack_calls.CALLS[fun].request) if folder == "_runners" else _parameters(node))
    if arguments:
        yield "| argument | takes | default |\n|---|---|---|"
        yield "\n".join(f"| `{name}` | {takes} | {given} |" for name, takes, given in arguments) + "\n"
    command = example.partition(".. code-block:: bash")[2]
    yield f"```sh\n{inspect.cleandoc(command)}\n```\n"


def _asked(node: ast.FunctionDef, request: Any) -> Iterator[tuple[str, str, str]]:
    """A runner's arguments with what its request says of them."""
    names = [item.arg for item in node.args.args]
    hints = get_type_hints(request, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(request)}
    own = dict(zip(reversed(names), reversed(node.args.defaults), strict=False))
    for name in names:
        stated = ast.literal_eval(own[name]) if name in own else None
        given = default(fields[name]) if stated is None else _stated(stated)
        yield name, allowed(hints[name]), given


def _stated(value: Any) -> str:
    if value in ((), ""):
        return "empty"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _parameters(node: ast.FunctionDef) -> Iterator[tuple[str, str, str]]:
    """A module's parameters as its signature has them."""
    defaults = [None] * (len(node.args.args) - len(node.args.defaults)) + list(node.args.defaults)
    words = {"str": "text", "bool": "true or false", "float": "a number of seconds"}
    for item, stated in zip(node.args.args, defaults, strict=True):
        kind = ast.unparse(item.annotation) if item.annotation else ""
        takes = words.get(kind, "a list of text" if kind.startswith("list") else "a mapping")
        value = ast.literal_eval(stated) if stated is not None else None
        yield item.arg, takes, "required" if stated is None else "empty" if value is None else _stated(value)


def _markdown(said: str) -> str:
    """A docstring's few forms of reStructuredText as Markdown."""
    said = re.sub(r":(?:py:)?\w+:`([^`]+)`", r"`\1`", said.strip())
    said = said.replace("``", "`")
    lines: list[str] = []
    for line in said.splitlines():
        if line.startswith("    "):
            if lines and re.fullmatch(r"[a-z_]+(, [a-z_]+)*", lines[-1]):
                lines[-1] = f"- `{lines[-1]}`: {line.strip()}"
            else:
                lines.append(f"  {line.strip()}")
        else:
            lines.append(line)
    return re.sub(r"(?m)^(?<!- )([^-\s].*)\n(- `)", r"\1\n\n\2", "\n".join(lines))


if __name__ == "__main__":
    (ROOT / "docs/reference.md").write_text(text(), encoding="utf-8")
    _files = ROOT / "docs/files.md"
    _files.write_text(files_text(_files.read_text(encoding="utf-8")), encoding="utf-8")
