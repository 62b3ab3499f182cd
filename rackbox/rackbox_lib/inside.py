"""Running programs and moving files inside a node, from outside."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

from .cgroup import NodeCgroup
from .commands import Options, run
from .errors import RackboxError
from .identity import MASTER, MASTER_PATH
from .processes import Process

_ENTRANCE = Path(__file__).resolve().with_name("enter-node.sh")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# The file appears whole or not at all, and is never readable by more than it shall be.
_WRITE = 'umask 077; mkdir -p -m 755 "${1%/*}/" && cat > "$1.part" && chmod "$2" "$1.part" && mv "$1.part" "$1"'
_FILE_TIMEOUT_S = 60
_PUSH_TIMEOUT_S = 600


@dataclass(frozen=True)
class Inside:
    """The way into one node; `root` is its disk, for when it does not run."""

    node: str
    cgroup: NodeCgroup
    root: Path
    leader: Callable[[], Process | None]

    def argv(self, words: Sequence[str]) -> list[str]:
        """The outer command line that runs `words` in all of the node's namespaces, with an environment of its own."""
        leader = self.leader()
        if not leader:
            raise RackboxError(f"{self.node}: does not run; boot it first")
        if self.cgroup.is_frozen:
            raise RackboxError(f"{self.node}: is frozen and runs nothing; thaw it first")
        groups = [str(file) for file in self.cgroup.exec_files()]
        return ["/bin/sh", str(_ENTRANCE), *groups, "--", *_nsenter(leader.pid), *self._environment(), *words]

    def read(self, path: str) -> str:
        """The text of a file."""
        return self._run(["cat", "--", path]).stdout

    def write(self, path: str, text: str, mode: int) -> None:
        """Write a file in one step, with missing folders."""
        script = ["sh", "-c", _WRITE, "sh", path, f"{mode:o}"]
        self._run(script, text)

    def push(self, local_dir: Path, path: str) -> None:
        """Copy what is in `local_dir` into folder `path`, as root's."""
        self._run(["mkdir", "-p", "--", path])
        pack = ["tar", "-C", os.fspath(local_dir), "--exclude=__pycache__", "-cf", "-", "."]
        unpack = self._any_argv(["tar", "-C", path, "--no-same-owner", "-xf", "-"])
        with subprocess.Popen(pack, stdout=subprocess.PIPE) as packing:
            done = subprocess.run(
                unpack, stdin=packing.stdout, capture_output=True, text=True, timeout=_PUSH_TIMEOUT_S, check=False
            )
        if packing.returncode or done.returncode:
            raise RackboxError(f"{self.node}: could not copy {local_dir} to {path}: {done.stderr.strip()[-300:]}")

    def _run(self, words: list[str], input: str | None = None) -> CompletedProcess[str]:
        options = Options(shown=[f"{self.node}:", *words])
        return run(self._any_argv(words), timeout_s=_FILE_TIMEOUT_S, input=input, options=options)

    def _any_argv(self, words: Sequence[str]) -> list[str]:
        # On a node that does not run, chroot keeps its absolute links from leading to the outer machine's files.
        if self.leader():
            return self.argv(words)
        if not os.path.ismount(self.root):
            raise RackboxError(f"{self.node}: has no disk; `rackbox up` makes it")
        return ["/usr/sbin/chroot", str(self.root), *words]

    def _environment(self) -> list[str]:
        path = f"{_PATH}:{MASTER_PATH}/bin" if self.node == MASTER else _PATH
        words = ["HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/bash", "LANG=C.UTF-8", f"PATH={path}"]
        return ["/usr/bin/env", "-i", "--chdir=/root", *words, f"TERM={os.environ.get('TERM', 'dumb')}"]


def _nsenter(pid: int) -> list[str]:
    spaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
    return ["/usr/bin/nsenter", f"--target={pid}", *spaces, "--root", "--"]
