"""Plain YAML, fast: what every reader of YAML understands alike, parsed by libyaml.

The reader that keeps lines and comments takes half a second for a large rack. Anything that is not surely plain is
left to it: an anchor, a tag, a word that some take for a number, text of several lines, a mistake.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

#: What readers take differently: old line breaks, tabs, marks of byte order, the end of a document, a value right after
#: a key in quotes; and what no YAML may hold.
_ODD = re.compile(
    "[^\n -~\u00a0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]|^[.]{3}|[\"']:[^ \n]",
    re.MULTILINE,
)
_CONSTANTS = {"": None, "~": None, "null": None, "true": True, "false": False}
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,8})\.[0-9]{1,9}")
#: Words that begin with a letter, IPv4 addresses and networks, and sums that are no number.
_TEXT = re.compile(
    r"[A-Za-z_]([A-Za-z0-9_./=+*() ;-]|:(?=/))*|[0-9]{1,3}(\.[0-9]{1,3}){3}(/[0-9]{1,2})?|(?=[0-9e]*[a-df])[0-9a-f]{64}"
)
#: Constants for some readers, and text for others.
_UNSURE = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")


class NotPlain(Exception):
    """It may be right or wrong; the full reader knows."""


def read(text: str) -> Any:
    """The data of one document; ``None`` for an empty one."""
    if not yaml.__with_libyaml__ or _ODD.search(text):
        raise NotPlain
    try:
        events = yaml.parse(text, Loader=yaml.CSafeLoader)
        data = [_document(event, events) for event in events if isinstance(event, yaml.DocumentStartEvent)]
    except (yaml.YAMLError, RecursionError) as error:
        raise NotPlain from error
    if len(data) > 1:
        raise NotPlain
    return data[0] if data else None


def _document(start: yaml.DocumentStartEvent, events: Iterator[yaml.Event]) -> Any:
    if start.version or start.tags:
        raise NotPlain
    return _value(next(events), events)


def _value(event: yaml.Event, events: Iterator[yaml.Event]) -> Any:
    if not isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)) or event.anchor or event.tag:
        raise NotPlain
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(event)
    if isinstance(event, yaml.SequenceStartEvent):
        return list(_items(events, yaml.SequenceEndEvent))
    return _mapping(events)


def _items(events: Iterator[yaml.Event], end: type[yaml.Event]) -> Iterator[Any]:
    for event in events:
        if isinstance(event, end):
            return
        yield _value(event, events)


def _mapping(events: Iterator[yaml.Event]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    items = _items(events, yaml.MappingEndEvent)
    for key in items:
        if not isinstance(key, str) or key in data:
            raise NotPlain
        data[key] = next(items)
    return data


def _scalar(event: yaml.ScalarEvent) -> Any:
    text: str = event.value
    begin, end = event.start_mark, event.end_mark
    if event.style in ("|", ">") or begin is None or end is None or begin.line != end.line:
        raise NotPlain
    return text if event.style else _plain(text)


def _plain(text: str) -> Any:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text):
        return float(text)
    if _TEXT.fullmatch(text) and text.lower() not in _UNSURE:
        return text
    raise NotPlain
