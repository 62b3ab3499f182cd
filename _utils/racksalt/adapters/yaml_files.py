"""The rack's YAML files: read with line numbers, changed with comments kept, whole or not at all."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Collection, Hashable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from racksalt.adapters import plain_yaml
from racksalt.adapters.system import FileLock
from racksalt.adapters.whole_files import replace
from racksalt.errors import BadInput
from racksalt.ports import SourceFolder
from racksalt.shape import Path

T = TypeVar("T")
#: Which file it is, and its size and times.
_Stamp = tuple[int, int, int, int, int]

#: A file that was written so lately may be written again without another time, so nothing is kept of it.
_SETTLED_NS = 2 * 10**9
#: What was parsed in this process, by folder and parser.
_parsed_before: dict[tuple[FilePath, Callable[[Any], Any]], tuple[list[_Stamp | None], Any]] = {}


@dataclass(frozen=True, slots=True)
class YamlFile:
    """One file's data; ``problem`` is set instead where it is not YAML at all."""

    path: str
    data: Any
    problem: dict[str, Any] | None = None

    def line_of(self, path: Path) -> int:
        """The line (from 1) of the deepest key of ``path`` that the file has."""
        node, line = self.data, 1
        for part in path:
            line = _line_of_key(node, part) or line
            node = _child(node, part)
        return line


class YamlFolder:
    """The folder that holds the rack's files."""

    def __init__(self, path: str | FilePath) -> None:
        self.path = FilePath(path)

    def read(self, name: str) -> YamlFile:
        """The file, or an empty mapping where there is none."""
        path = self.path / name
        try:
            return _parsed(path, path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return YamlFile(str(path), CommentedMap())
        except (OSError, ValueError) as error:
            return YamlFile(str(path), CommentedMap(), _unreadable(path, 1, _first_line(error)))

    def once(self, names: Collection[str], parse: Callable[[SourceFolder], T]) -> T:
        """What ``parse`` makes of these files; its value of before, where none of them has changed since.

        They are parsed fast first. Where anything is wrong, the slow parser decides and tells the lines.
        """
        key, now_ns = (self.path, parse), time.time_ns()
        stamps = [_stamp(self.path / name) for name in names]
        before = _parsed_before.get(key)
        if before and before[0] == stamps:
            return before[1]  # type: ignore[no-any-return]  # the key names its parser
        try:
            value = parse(_Plain(self))
        except BadInput:
            value = parse(self)
        if all(stamp is None or stamp[-1] < now_ns - _SETTLED_NS for stamp in stamps):
            _parsed_before[key] = (stamps, value)
        return value

    def stamp(self, names: Collection[str]) -> Hashable:
        """What the file system says of these files; nothing is read."""
        return tuple(_stamp(self.path / name) for name in names)

    def locked(self) -> AbstractContextManager[None]:
        """Only one process changes the files at a time."""
        return FileLock(self.path / ".lock")()

    def change(self, name: str, edit: Callable[[CommentedMap], None], check: Callable[[SourceFolder], Any]) -> None:
        """Edit one file in place, comments kept; nothing is written unless ``check`` passes the result.

        The caller holds :meth:`locked`.
        """
        path = self.path / name
        file = self.read(name)
        if file.problem:
            raise BadInput(f"{path}: found {file.problem['found']}, allowed: YAML", code="bad_rack_files")
        edit(file.data)
        text = io.StringIO()
        _yaml().dump(file.data, text)
        check(_Changed(self, name, _parsed(path, text.getvalue())))
        replace(path, text.getvalue().encode())


@dataclass(frozen=True, slots=True)
class _Plain:
    """A folder whose files are read fast, without lines, where they are plain."""

    folder: YamlFolder

    def read(self, name: str) -> YamlFile:
        path = self.folder.path / name
        try:
            data = plain_yaml.read(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, plain_yaml.NotPlain):
            return self.folder.read(name)
        return YamlFile(str(path), {} if data is None else data)


@dataclass(frozen=True, slots=True)
class _Changed:
    """A folder as it would be with one file changed; it can be read."""

    folder: YamlFolder
    name: str
    file: YamlFile

    def read(self, name: str) -> YamlFile:
        return self.file if name == self.name else self.folder.read(name)


def _parsed(path: FilePath, text: str) -> YamlFile:
    """The text as data; what holds nothing at all is an empty mapping."""
    try:
        data = _yaml().load(text)
        return YamlFile(str(path), CommentedMap() if data is None else data)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        return YamlFile(
            str(path), CommentedMap(), _unreadable(path, line, (error.problem or "no YAML").removeprefix("found "))
        )
    except (YAMLError, ValueError, RecursionError) as error:
        return YamlFile(str(path), CommentedMap(), _unreadable(path, 1, _first_line(error)))


def _yaml() -> YAML:
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _stamp(path: FilePath) -> _Stamp | None:
    """Another one after each change: one that is written anew within a tick of the clock is another file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def _unreadable(path: FilePath, line: int, problem: str) -> dict[str, Any]:
    return {"file": str(path), "line": line, "field": "(whole)", "found": problem, "allowed": "YAML"}


def _line_of_key(node: Any, part: str | int) -> int | None:
    if isinstance(node, CommentedMap) and part in (node.lc.data or ()):
        return int(node.lc.key(part)[0]) + 1
    if isinstance(node, CommentedSeq) and isinstance(part, int) and part < len(node):
        return int(node.lc.item(part)[0]) + 1
    return None


def _child(node: Any, part: str | int) -> Any:
    try:
        return node[part]
    except (KeyError, IndexError, TypeError):
        return None
