"""The command line's edge: the rack's name, exit codes, signals."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from . import commands
from .entering import enter
from .errors import RackboxError
from .identity import CHECKOUT, RackIdentity
from .node import find_node


def main(arguments: list[str]) -> int:
    """Run one verb; returns the exit code: 0, 1 for a failure, 2 for a machine that lacks something."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        _run(RackIdentity(os.environ.get("RACKBOX") or "demo", CHECKOUT), arguments)
    except RackboxError as error:
        print("\n".join(f"rackbox: {line}" for line in str(error).splitlines()), file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        return 1
    return 0


def _run(rack: RackIdentity, arguments: list[str]) -> None:
    if arguments[:1] == ["exec"] and len(arguments) > 1 and not arguments[1].startswith("-"):
        enter(find_node(rack, arguments[1]), arguments[2:])
    # Imported here, because `exec` is called in loops and shall not wait for what it does not use.
    from .verbs import run_verb

    run_verb(rack, arguments)


def _interrupt(number: int, frame: FrameType | None) -> None:
    # At once and without tidying up: whatever is left is what a kill would leave, and every verb copes with that.
    commands.end_all()
    print("rackbox: interrupted; `rackbox up` goes on, `rackbox down` cleans up", file=sys.stderr, flush=True)
    os._exit(128 + number)
