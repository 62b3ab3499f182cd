"""What is taken back where making something fails in the middle."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import NoReturn

from racksalt.errors import RacksaltError

log = logging.getLogger(__name__)


def take_back(undo: ExitStack, step: Callable[..., object], *arguments: object) -> None:
    """Have ``step`` done if what is being made fails. One that fails itself neither stops the others nor hides the
    reason, whose fact ``left`` tells of it."""

    def leave(_kind: object, reason: BaseException | None, _trace: object) -> bool:
        try:
            step(*arguments)
        except (RacksaltError, OSError) as error:
            log.error("what failed leaves something behind: %s", error)
            if isinstance(reason, RacksaltError):
                reason.facts.setdefault("left", []).append(str(error))
        return False

    undo.push(leave)


def take_back_all(
    undo: ExitStack, lock: Callable[[], AbstractContextManager[object]], reason: BaseException
) -> NoReturn:
    """Take all of it back under the lock, and raise the reason; where the lock is not to be had, it stays, and that is
    told."""
    try:
        with lock(), undo:
            raise reason
    except RacksaltError as error:
        if error is not reason:
            undo.pop_all()
            if isinstance(reason, RacksaltError):
                reason.facts.setdefault("left", []).append(error.detail)
    raise reason
