"""Becoming a program inside a node."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from .node import Node


def enter(node: Node, command: list[str]) -> NoReturn:
    """Replace this process by `command` (default: a shell) in the node: its input, output and exit code are ours."""
    words = command[1:] if command[:1] == ["--"] else command
    argv = node.exec_argv(words or ["/bin/bash", "--login"])
    sys.stdout.flush()
    os.execv(argv[0], argv)
