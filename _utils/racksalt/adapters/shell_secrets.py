"""Secret arguments on the master's shell: read from a file or standard input, as everybody sees a command line."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from racksalt.errors import BadInput

#: Arguments that may be said on a command line in this way only.
ARGUMENTS = ("user_data",)


def read(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The secrets that ``@FILE`` or ``-`` stand for; anything else is refused, as it has been seen already."""
    return {key: _read(key, arguments[key]) for key in ARGUMENTS if arguments.get(key) is not None}


def _read(key: str, said: Any) -> str:
    if said == "-":
        return sys.stdin.read()
    if not isinstance(said, str) or not said.startswith("@"):
        raise BadInput(
            f"{key}: a command line is seen by everybody on this machine and kept with the job; "
            f"say {key}=@FILE, or {key}=- for standard input",
            code="secret_on_command_line",
        )
    try:
        return Path(said[1:]).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise BadInput(f"{key}: {said[1:]} cannot be read: {error}") from error
