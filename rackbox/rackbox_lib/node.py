"""One node of a rack: a Debian system booted by systemd-nspawn, and what can happen to it."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

from . import network
from .cgroup import NodeCgroup
from .commands import Options, run
from .errors import RackboxError
from .identity import MASTER, RackIdentity, node_address, node_number
from .inside import Inside
from .node_disk import NodeDisk
from .nspawn import Machine, clear_traces, start
from .processes import Process, memory_kib, send_signal, uptime_s
from .registry import require

# systemd's signals to its PID 1; see systemd(1).
_POWER_OFF = signal.SIGRTMIN + 4


@dataclass(frozen=True)
class NodeStatus:
    """What `status` shows of a node. `state` is running, crashed, cut, frozen or off."""

    name: str
    state: str
    address: str
    uptime_s: float | None
    memory_mib: int | None


def find_node(rack: RackIdentity, name: str) -> Node:
    """The node of that name. Raises RackboxError when the rack is not up or has none."""
    node_number(name)
    subnet = require(rack).subnet
    if not (rack.state_dir / "nodes" / name).exists():
        raise RackboxError(f"rack {rack.name} has no node {name}; `rackbox up --hosts N` makes it")
    return Node(rack, name, subnet)


class Node:
    """A node by name. Holds no state of its own: everything is read from the machine when asked."""

    def __init__(self, rack: RackIdentity, name: str, subnet: int) -> None:
        self.name = name
        self.address = node_address(subnet, name)
        self._rack = rack
        self._subnet = subnet
        self._folder = rack.state_dir / "nodes" / name
        self._disk = NodeDisk(self._folder)
        self._cgroup = NodeCgroup(f"{rack.cgroup}/{name}")
        self._inside = Inside(name, self._cgroup, self._disk.root, self.leader)

    def __repr__(self) -> str:
        return f"<Node {self.name} {self.address}>"

    def leader(self) -> Process | None:
        """The node's own PID 1 as seen from outside, or None when it does not run."""
        return next((process for process in self._cgroup.processes() if process.is_namespace_init), None)

    def state(self) -> str:
        """running, crashed, cut, frozen or off."""
        if self._cgroup.is_frozen:
            return "frozen"
        if self._supervisor() or self.leader():
            return "cut" if self._cut_mark.exists() else "running"
        if not self._booted_mark.exists():
            return "off"
        return "off" if self._exit_code() == "0" else "crashed"

    def status(self) -> NodeStatus:
        """State, address, seconds since boot, memory of all its processes."""
        leader = self.leader()
        return NodeStatus(
            name=self.name,
            state=self.state(),
            address=self.address,
            uptime_s=round(uptime_s(leader), 1) if leader else None,
            memory_mib=memory_kib(self._cgroup.pids()) // 1024 if leader else None,
        )

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        input: str | None = None,
        check: bool = True,
    ) -> CompletedProcess[str]:
        """Run a program in the node as root; text in and out.

        Raises CommandError on an exit code other than 0 (unless `check=False`), CommandTimeoutError after `timeout_s`,
        RackboxError when the node does not run.
        """
        options = Options(shown=[f"{self.name}:", *argv])
        return run(self._inside.argv(argv), timeout_s=timeout_s, input=input, check=check, options=options)

    def exec_argv(self, argv: Sequence[str]) -> list[str]:
        """The outer command line that runs `argv` in the node."""
        return self._inside.argv(argv)

    def read(self, path: str) -> str:
        """A file of the node; also of one that does not run, as far as it is on its disk."""
        return self._inside.read(path)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file of the node in one step, with missing folders."""
        self._inside.write(path, text, mode)

    def push(self, local_dir: Path, path: str) -> None:
        """Copy what is in a local folder into a folder of the node, made if need be."""
        self._inside.push(local_dir, path)

    def boot(self, base: Path | None = None) -> None:
        """Start the node from its disk; nothing happens when it runs. Returns once its PID 1 is there.

        A node without a disk gets a blank one on `base`.
        """
        if self._supervisor() or self.leader():
            return
        self._end()
        network.remove_port(self._rack, self.name)
        self._make_disk_ready(base)
        self._exit_file.unlink(missing_ok=True)
        self._booted_mark.touch()
        start(self._machine())
        self._until(lambda: self.leader() is not None, "started", timeout_s=20)
        if self._cut_mark.exists():
            network.unplug(self._rack, self.name)

    def wait_ready(self, timeout_s: float = 90) -> None:
        """Wait until systemd has booted without failed units and, on a host, libvirtd answers."""
        deadline = time.monotonic() + timeout_s
        state = self._wait_systemd(deadline)
        if state != "running":
            failed = self.run(["systemctl", "--failed", "--plain", "--no-legend"], timeout_s=10).stdout
            raise RackboxError(f"{self.name}: systemd says {state or 'nothing'}: {failed.strip()[:400]}")
        if self.name != MASTER:
            asking = ["virsh", "--quiet", "--connect", "qemu:///system", "version"]
            self.run(asking, timeout_s=max(1.0, deadline - time.monotonic()))

    def stop(self, *, timeout_s: float = 40) -> None:
        """Power off in good order; a node that does not make it in time is ended the hard way."""
        if self._cgroup.is_frozen:
            self.thaw()
        leader = self.leader()
        if leader and send_signal(leader, _POWER_OFF):
            with contextlib.suppress(RackboxError):
                self._until(lambda: not self._cgroup.pids(), "stopped", timeout_s=timeout_s)
        self._end()

    def crash(self) -> None:
        """End it as a power cut would: every process at once, the disk as it is."""
        if not self.leader():
            raise RackboxError(f"{self.name}: does not run ({self.state()}), so it cannot crash; boot it first")
        self._end()

    def restart(self) -> None:
        """An orderly power-off and a boot from the same disk."""
        self.stop()
        self.boot()

    def cut(self) -> None:
        """Pull its network cable; open connections stall. Stays so through crash and boot until healed."""
        self._cut_mark.touch()
        if network.has_port(self._rack, self.name):
            network.unplug(self._rack, self.name)

    def heal(self) -> None:
        """Put the cable back."""
        self._cut_mark.unlink(missing_ok=True)
        if network.has_port(self._rack, self.name):
            network.plug(self._rack, self.name)

    def freeze(self) -> None:
        """Stop all its processes where they are; the kernel still answers for its address."""
        if not self.leader():
            raise RackboxError(f"{self.name}: does not run ({self.state()}), so it cannot be frozen; boot it first")
        self._cgroup.freeze()

    def thaw(self) -> None:
        """Let its processes go on."""
        self._cgroup.thaw()

    def rebuild(self, base: Path | None = None) -> None:
        """Replace it by a blank node of the same name, cable in, and boot that."""
        base = base or self._disk.base(self._subnet)
        self.remove()
        self.boot(base)

    def remove(self) -> None:
        """End it and delete all that is its own."""
        self._end()
        network.remove_port(self._rack, self.name)
        clear_traces(self._rack, self.name)
        self._disk.remove()
        self._cgroup.remove()

    @property
    def _cut_mark(self) -> Path:
        return self._folder / "cut"

    @property
    def _booted_mark(self) -> Path:
        return self._folder / "booted"

    @property
    def _exit_file(self) -> Path:
        return self._folder / "exit-code"

    def _exit_code(self) -> str | None:
        with contextlib.suppress(FileNotFoundError):
            return self._exit_file.read_text().strip()
        return None

    def _machine(self) -> Machine:
        return Machine(self._rack, self.name, self._folder, self._cgroup)

    def _make_disk_ready(self, base: Path | None) -> None:
        made_on = self._disk.base(self._subnet)
        if made_on:
            self._disk.mount(made_on)
            return
        if base is None:
            raise RackboxError(f"{self.name}: has no whole disk; `rackbox up` makes it")
        self._disk.remove()
        self._disk.make(self._rack, self.name, base, self._subnet)

    def _supervisor(self) -> Process | None:
        machine = f"--machine={self._rack.machine(self.name)}"
        return next((process for process in self._cgroup.processes() if machine in process.argv), None)

    def _wait_systemd(self, deadline: float) -> str:
        def answering() -> bool:
            asked = self.run(["systemctl", "is-system-running"], timeout_s=10, check=False).stdout.strip()
            return asked in ("starting", "running", "degraded")

        self._until(answering, "answering", timeout_s=deadline - time.monotonic(), pause_s=0.2)
        left_s = max(1.0, deadline - time.monotonic())
        return self.run(["systemctl", "is-system-running", "--wait"], timeout_s=left_s, check=False).stdout.strip()

    def _end(self) -> None:
        # With its PID 1 the kernel ends all that runs in the node; nspawn then tidies up after itself and ends too.
        leader = self.leader()
        if leader:
            send_signal(leader, signal.SIGKILL)
        if self._cgroup.is_frozen:
            self.thaw()
        if leader:
            with contextlib.suppress(RackboxError):
                self._until(lambda: not self._cgroup.pids(), "ended", timeout_s=5)
        for process in self._cgroup.processes():
            send_signal(process, signal.SIGKILL)
        self._until(lambda: not self._cgroup.pids(), "ended", timeout_s=20)

    def _until(self, reached: Callable[[], bool], what: str, *, timeout_s: float, pause_s: float = 0.02) -> None:
        deadline = time.monotonic() + timeout_s
        while not reached():
            if time.monotonic() > deadline:
                console = self._folder / "console.log"
                raise RackboxError(f"{self.name}: not {what} within {timeout_s:.0f} s; see {console}")
            time.sleep(pause_s)
