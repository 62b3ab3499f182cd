"""The one seam to outside programs: no shell, always a time limit, and an error that shows what the program said."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class GuestError(Exception):
    """A guest image could not be built or checked; the message names the step, what was found and the remedy."""


def run(
    arguments: Sequence[str | Path],
    *,
    timeout_s: float = 120,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a program to its end and return what it printed.

    Raises GuestError if it is missing, fails, or takes longer than `timeout_s`.
    """
    shown = " ".join(str(argument) for argument in arguments)
    try:
        done = subprocess.run(
            [str(argument) for argument in arguments],
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError as error:
        raise GuestError(f"{arguments[0]} is not installed (wanted for: {shown})") from error
    except subprocess.TimeoutExpired as error:
        raise GuestError(f"took longer than {timeout_s:.0f} s: {shown}") from error
    if done.returncode != 0:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-20:])
        raise GuestError(f"failed with status {done.returncode}: {shown}\n{said}")
    return done.stdout
