"""One host's answer to a question that many are asked: what it told, or what was wrong with it."""

from __future__ import annotations

from typing import TypeVar

from racksalt import shape
from racksalt.errors import BadInput, RacksaltError
from racksalt.ports import Answer, Silent

T = TypeVar("T")


def read(kind: type[T], answer: Answer) -> T | str:
    """The answer as ``kind``, a dataclass; or one line for people where there is none that can be read."""
    if isinstance(answer, Silent):
        return answer.told
    if isinstance(answer, RacksaltError):
        return answer.detail
    try:
        return shape.parse(kind, answer)
    except BadInput as error:
        return f"answers what cannot be read: {error.detail[:200]}"
