"""What went wrong on a host, as its logs have it: all of it counted, the newest told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from racksalt.names import Count
from racksalt.shape import Holds, Items

_Text = Annotated[str, Holds(lambda text: len(text) <= 1000, "at most 1000 characters")]


@dataclass(frozen=True, slots=True)
class Line:
    """One error."""

    time: _Text
    unit: _Text
    text: _Text


@dataclass(frozen=True, slots=True)
class Errors:
    """The errors of a while."""

    count: Count = 0
    lines: Annotated[tuple[Line, ...], Items(100)] = ()
