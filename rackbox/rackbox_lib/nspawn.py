"""The systemd-nspawn command line of a node, and starting it so that it outlives its starter."""

from __future__ import annotations

import contextlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .cgroup import NodeCgroup
from .identity import HOSTS_PATH, MASTER, MASTER_PATH, RackIdentity

IMAGES_PATH = "/var/lib/racksalt/images"
SHARED_PATH = "/srv/shared"
_LAUNCHER = Path(__file__).resolve().with_name("launch-node.sh")
_PROPAGATE = Path("/run/systemd/nspawn/propagate")
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    # Every node sees pure cgroup version 2, whatever the outer machine has.
    "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
    # Only the node's own network settings in /proc/sys and /sys are writable.
    "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",
    # A rack has a lock of its own; nspawn's would stay behind in /run after a kill.
    "SYSTEMD_NSPAWN_LOCK": "0",
}


@dataclass(frozen=True)
class Machine:
    """What nspawn needs to know of a node."""

    rack: RackIdentity
    node: str
    folder: Path
    cgroup: NodeCgroup


def start(machine: Machine) -> None:
    """Start nspawn in a session of its own, with the console in a file, and return at once."""
    groups = [str(file.parent) for file in machine.cgroup.make()]
    launch = ["/bin/sh", str(_LAUNCHER), str(machine.folder / "exit-code"), *groups, "--"]
    with (machine.folder / "console.log").open("ab") as console:
        subprocess.run(
            ["setsid", "--fork", *launch, *nspawn_argv(machine)],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            env=_ENVIRONMENT,
            cwd="/",
            timeout=10,
            check=True,
        )


def clear_traces(rack: RackIdentity, node: str) -> None:
    """Remove what a killed nspawn leaves outside of the rack's own folders."""
    with contextlib.suppress(FileNotFoundError):
        (_PROPAGATE / rack.machine(node)).rmdir()


def nspawn_argv(machine: Machine) -> list[str]:
    """The command line; no systemd is needed outside."""
    rack, node = machine.rack, machine.node
    return [
        "systemd-nspawn",
        "--quiet",
        "--boot",
        f"--directory={machine.folder / 'root'}",
        f"--machine={rack.machine(node)}",
        f"--hostname={node}",
        f"--network-bridge={rack.bridge}",
        "--capability=all",
        "--register=no",
        "--keep-unit",
        "--settings=no",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        "--bind=/dev/net/tun",
        *_binds(machine),
    ]


def _binds(machine: Machine) -> list[str]:
    state = machine.rack.state_dir
    on_master = machine.node == MASTER
    binds = [
        f"--bind-ro={(state / 'hosts-env').resolve()}:{HOSTS_PATH}",
        f"--bind={state / 'shared'}:{SHARED_PATH}",
        f"{'--bind' if on_master else '--bind-ro'}={state / 'images'}:{IMAGES_PATH}",
    ]
    if on_master:
        binds.append(f"--bind-ro={state / 'master-env'}:{MASTER_PATH}")
    return [os.fspath(bind) for bind in binds]
