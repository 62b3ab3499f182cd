"""The base system that all nodes share as their lower layer: Debian with systemd, libvirt, QEMU and sshd."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

from . import cache
from .commands import run
from .packages import debian_sources
from .progress import Progress

TREE = Path(__file__).resolve().parent.parent / "base"

PACKAGES = (
    "bridge-utils",
    "ca-certificates",
    "conntrack",
    "curl",
    "dbus",
    "dnsmasq-base",
    "dnsmasq-utils",
    "e2fsprogs",
    "ethtool",
    "iproute2",
    "iptables",
    "iputils-arping",
    "iputils-ping",
    "kmod",
    "less",
    "libvirt-clients",
    "libvirt-daemon-system",
    "netcat-openbsd",
    "nftables",
    "openssh-client",
    "openssh-server",
    "openssl",
    "procps",
    "python3",
    "python3-apt",
    "python3-libvirt",
    "python3-pycdlib",
    "python3-venv",
    "qemu-system-x86",
    "qemu-utils",
    "systemd",
    "systemd-sysv",
    "tcpdump",
    "xorriso",
)
_ENABLED = ("rackbox-keys.service", "rackbox-sysfs.service", "salt-minion.service", "systemd-networkd.service")
# What a container cannot do, or what only costs memory and time in a rack without a way out.
_MASKED = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "console-getty.service",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    "systemd-networkd-wait-online.service",
    "systemd-timesyncd.service",
    "systemd-udevd.service",
)
_LEFT_OUT = ("/usr/share/man/*", "/usr/share/locale/*", "/usr/share/doc/*", "/usr/share/info/*")


def base_tree(progress: Progress) -> Path:
    """The base's folder in the cache, built if need be. It is never changed afterwards."""
    sources = debian_sources()
    key = cache.digest([_release(), sources, *PACKAGES, cache.tree_digest(TREE), Path(__file__).read_bytes()])

    def build(job: cache.Build) -> None:
        progress.say("base: building (Debian with libvirt and QEMU; about a minute)")
        _bootstrap(job, sources)
        _furnish(job.folder)
        progress.say("base: built")

    return cache.entry("base", key, build, progress)


def _bootstrap(job: cache.Build, sources: str) -> None:
    excludes = [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT]
    source_list = job.log.with_suffix(".list")
    source_list.write_text(sources)
    try:
        run(
            [
                "mmdebstrap",
                "--variant=minbase",
                "--mode=root",
                "--format=directory",
                f"--include={','.join(PACKAGES)}",
                '--aptopt=Apt::Install-Recommends "false"',
                *excludes,
                _release(),
                job.folder,
                source_list,
            ],
            timeout_s=1200,
            options=replace(job.options, env={**os.environ, "LC_ALL": "C.UTF-8"}),
        )
    finally:
        source_list.unlink()


def _furnish(root: Path) -> None:
    shutil.copytree(TREE, root, dirs_exist_ok=True, symlinks=True)
    run(["systemctl", f"--root={root}", "enable", *_ENABLED], timeout_s=30)
    run(["systemctl", f"--root={root}", "mask", *_MASKED], timeout_s=30)
    # Nodes have no way out: without sources, apt and Salt's pkg states are content with what is there, at once.
    for path in (root / "etc/apt/sources.list.d").glob("*"):
        path.unlink()
    (root / "etc/apt/sources.list").write_text("")
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    for name in ("salt-call", "salt-minion"):
        (root / "usr/local/bin" / name).symlink_to(f"/opt/racksalt/bin/{name}")
    for folder in ("opt/racksalt", "srv/shared", "var/lib/racksalt/images", "etc/salt/minion.d"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    (root / "etc/resolv.conf").write_text("")
    (root / "etc/machine-id").write_text("")


def _release() -> str:
    lines = Path("/etc/os-release").read_text().splitlines()
    return next(line.partition("=")[2].strip('"') for line in lines if line.startswith("VERSION_CODENAME="))
