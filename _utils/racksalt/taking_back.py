"""What is taken back where making something fails in the middle."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack

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
