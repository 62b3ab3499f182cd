"""A control group of its own for each node: what belongs to the node is what is in there.

Nodes stand for machines with processors of their own: where all want the ones that there are, each node gets as much as
any other, however many of its guests run. Without that, a rack's master would stand in line behind all guests.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from .errors import RackboxError
from .processes import Process, read_processes

#: A program that is run in a node from outside counts like some of the node's own, and not like one guest.
_EXEC_SHARE = {"cpu.shares": "8192", "cpu.weight": "800"}


def mounts(text: str | None = None) -> list[Path]:
    """The cgroup mounts that a node has its own group in: version 2, and version 1's trees of systemd and processors.

    A machine has version 2 at /sys/fs/cgroup, or version 1 with version 2 at /sys/fs/cgroup/unified. Nodes see pure
    version 2 in both cases. systemd-nspawn takes the path from the version 1 tree when there is one. Processors are
    shared out by a version 1 tree of their own, if version 2 does not do it.
    """
    lines = (text if text is not None else Path("/proc/mounts").read_text()).splitlines()
    fields = [line.split() for line in lines]
    unified = [Path(field[1]) for field in fields if field[2] == "cgroup2"]
    named = [Path(f[1]) for f in fields if f[2] == "cgroup" and "name=systemd" in f[3].split(",")]
    shared = [Path(f[1]) for f in fields if f[2] == "cgroup" and "cpu" in f[3].split(",")]
    return unified[:1] + named[:1] + shared[:1]


class NodeCgroup:
    """The groups of one node, below `path` in each mount."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._dirs = [mount / path for mount in mounts()]

    @property
    def _unified(self) -> Path:
        return self._dirs[0]

    def make(self) -> list[Path]:
        """Make them, and return the files that a process joins by writing 0: `launch`, then `exec`."""
        for folder in self._dirs:
            for leaf in ("launch", "exec"):
                (folder / leaf).mkdir(parents=True, exist_ok=True)
        self._share_processors()
        return [folder / "cgroup.procs" for folder in self._dirs]

    def _share_processors(self) -> None:
        """Between nodes, as far as this machine does it: in version 2 it is asked for below its topmost group."""
        for folder in reversed(self._unified.parents[: len(Path(self._path).parts) - 1]):
            with contextlib.suppress(OSError):
                (folder / "cgroup.subtree_control").write_text("+cpu")
        for folder in self._dirs:
            for name, value in _EXEC_SHARE.items():
                with contextlib.suppress(OSError):
                    if (folder / "exec" / name).exists():
                        (folder / "exec" / name).write_text(value)

    def exec_files(self) -> list[Path]:
        """What a program run in the node from outside joins, so that freezing the node freezes it too."""
        return [folder / "exec" / "cgroup.procs" for folder in self._dirs]

    def pids(self) -> list[int]:
        """Every process in the node, its nspawn included."""
        found: set[int] = set()
        for folder in self._dirs:
            for group, _, _ in os.walk(folder):
                with contextlib.suppress(OSError):
                    found.update(int(word) for word in (Path(group) / "cgroup.procs").read_text().split())
        return sorted(found - {0})

    def processes(self) -> list[Process]:
        return read_processes(self.pids())

    @property
    def is_frozen(self) -> bool:
        with contextlib.suppress(OSError):
            return (self._unified / "cgroup.freeze").read_text().strip() == "1"
        return False

    def freeze(self, *, timeout_s: float = 10) -> None:
        """Stop every process of the node, and return when all have stopped."""
        self._set_frozen("1", timeout_s)

    def thaw(self, *, timeout_s: float = 10) -> None:
        """Let them go on."""
        self._set_frozen("0", timeout_s)

    def remove(self) -> None:
        """Remove the groups; no process may be left in them."""
        for folder in self._dirs:
            for group, _, _ in os.walk(folder, topdown=False):
                with contextlib.suppress(FileNotFoundError):
                    _remove_group(Path(group))

    def _set_frozen(self, value: str, timeout_s: float) -> None:
        (self._unified / "cgroup.freeze").write_text(value)
        deadline = time.monotonic() + timeout_s
        while f"frozen {value}" not in (self._unified / "cgroup.events").read_text():
            if time.monotonic() > deadline:
                raise RackboxError(f"cgroup {self._path}: not all processes stopped within {timeout_s:g} s")
            time.sleep(0.005)


def remove_if_empty(path: str) -> None:
    """Remove a group above the nodes when nothing is left below it."""
    for mount in mounts():
        with contextlib.suppress(OSError):
            (mount / path).rmdir()


def _remove_group(folder: Path) -> None:
    # A group stays busy for a moment after its last process was reaped.
    for attempt in range(100):
        try:
            folder.rmdir()
        except FileNotFoundError:
            raise
        except OSError:
            if attempt == 99:
                raise
            time.sleep(0.02)
        else:
            return
