"""What the machine must have before anything is started. Each shortfall is one line."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from . import cgroup
from .cache import cache_dir
from .commands import run
from .errors import CommandError, PreconditionError
from .identity import RackIdentity

MEMORY_PER_NODE_MIB = 200
MEMORY_SPARE_MIB = 512
DISK_GIB = 5
# Five for an idle node, and each dnsmasq takes one more.
INOTIFY_PER_NODE = 6


def check_machine() -> None:
    """Raise PreconditionError unless this is Debian, run by root, with apt. Needs no package of its own."""
    if os.geteuid() != 0:
        raise PreconditionError(f"user: needs root, found uid {os.geteuid()}; run it with sudo")
    _raise_all([_not_debian(Path("/etc/os-release").read_text()), _no_apt()])


def check_room(rack: RackIdentity, nodes_to_start: int) -> None:
    """Raise PreconditionError unless memory, disk and kernel suffice for that many more nodes."""
    if nodes_to_start:
        rack.state_dir.mkdir(parents=True, exist_ok=True)
        checks = [
            too_little_memory(Path("/proc/meminfo").read_text(), nodes_to_start),
            *_too_little_disk([rack.state_dir]),
            _no_cgroup2(),
            too_few_inotify(_inotify_limit(), _inotify_used(), nodes_to_start),
            _no_device("/dev/net/tun", "load the kernel module tun"),
            _fails("network namespaces", _try_namespace, "use a kernel with CONFIG_NET_NS, outside of a container"),
            _fails("bridges", lambda: _try_bridge(rack), "use a kernel with CONFIG_BRIDGE"),
            _fails(
                f"overlayfs in {rack.state_dir}",
                lambda: _try_overlay(rack.state_dir),
                "put the checkout on ext4, xfs or tmpfs",
            ),
        ]
        _raise_all(checks)


def check_build_room() -> None:
    """Raise PreconditionError unless the cache has room for the base and the environments."""
    cache_dir().mkdir(parents=True, exist_ok=True)
    _raise_all(_too_little_disk([cache_dir()]))


def too_little_memory(meminfo: str, nodes: int) -> str | None:
    """A line if `nodes` more nodes do not fit in the memory available now."""
    available = next(int(line.split()[1]) for line in meminfo.splitlines() if line.startswith("MemAvailable:"))
    needed_mib = MEMORY_SPARE_MIB + nodes * MEMORY_PER_NODE_MIB
    if available // 1024 >= needed_mib:
        return None
    return f"memory: {nodes} nodes need {needed_mib} MiB, found {available // 1024} MiB available; use fewer --hosts"


def _raise_all(checks: Iterable[str | None]) -> None:
    lines = [line for line in checks if line]
    if lines:
        raise PreconditionError("\n".join(lines))


def _not_debian(os_release: str) -> str | None:
    words = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    found = words.get("ID", "unknown").strip('"')
    if found == "debian" and "VERSION_CODENAME" in words:
        return None
    return f"system: needs a Debian release, found {found}; use a Debian 12 machine or virtual machine"


def _no_apt() -> str | None:
    return None if shutil.which("apt-get") else "apt-get: needed, not found; install apt"


def _too_little_disk(folders: Iterable[Path]) -> list[str | None]:
    lines: list[str | None] = []
    for folder in folders:
        free_gib = shutil.disk_usage(folder).free / 2**30
        if free_gib < DISK_GIB:
            lines.append(f"disk: {folder} needs {DISK_GIB} GiB free, found {free_gib:.1f} GiB; make room")
    return lines


def _no_cgroup2() -> str | None:
    if cgroup.mounts():
        return None
    return "cgroups: need a cgroup2 mount, found none; mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified"


def too_few_inotify(limit: int, used: int, nodes: int) -> str | None:
    """A line if root's inotify instances would not suffice; systemd in the last nodes would fail for want of them."""
    needed = used + nodes * INOTIFY_PER_NODE
    if limit >= needed:
        return None
    remedy = f"sysctl fs.inotify.max_user_instances={max(512, 2 * needed)}"
    return f"inotify: {nodes} nodes need {needed} instances a user, found a limit of {limit}; {remedy}"


def _inotify_limit() -> int:
    return int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())


def _inotify_used() -> int:
    used = 0
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            used += str(link.readlink()) == "anon_inode:inotify"
    return used


def _no_device(path: str, remedy: str) -> str | None:
    return None if Path(path).exists() else f"{path}: needed, not found; {remedy}"


def _fails(what: str, attempt: Callable[[], None], remedy: str) -> str | None:
    try:
        attempt()
    except (CommandError, OSError) as error:
        reason = str(error).strip().splitlines()[-1]
        return f"{what}: needed, a try failed ({reason[-160:]}); {remedy}"
    return None


def _try_namespace() -> None:
    run(["unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "true"], timeout_s=10)


def _try_bridge(rack: RackIdentity) -> None:
    # In a network namespace of its own, so that a killed try leaves nothing.
    run(["unshare", "--net", "ip", "link", "add", rack.bridge, "type", "bridge"], timeout_s=10)


def _try_overlay(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".overlay-try-", dir=folder) as name:
        layers = {part: Path(name) / part for part in ("lower", "upper", "work", "root")}
        for layer in layers.values():
            layer.mkdir()
        options = f"lowerdir={layers['lower']},upperdir={layers['upper']},workdir={layers['work']}"
        mount = ["mount", "-t", "overlay", "overlay", "-o", options, str(layers["root"])]
        run(["unshare", "--mount", *mount], timeout_s=10)
