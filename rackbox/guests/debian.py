"""The guest `debian-12`: a small but real Debian cloud image with systemd, cloud-init, sshd and the guest agent.

It holds no password, no host key and no machine-id: cloud-init and systemd make them for each instance.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from rackbox.guests.cache import Image, built_once
from rackbox.guests.command import run
from rackbox.guests.disk_image import Grub, write_disk
from rackbox.guests.overlay import copy_overlay
from rackbox.guests.packages import debian_sources, ensure_tools, unpack

RELEASE = "bookworm"
SIZE_GIB = 2
LABEL = "racksalt-root"
INPUTS = ("debian.py", "disk_image.py", "overlay.py", "debian_root")
TOOLS = {"mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs", "qemu-img": "qemu-utils"}
GRUB_PACKAGES = ("grub-common", "grub-pc-bin", "libdevmapper1.02.1")
PACKAGES = (
    "systemd-sysv",
    "systemd-resolved",
    "dbus",
    "udev",
    "linux-image-cloud-amd64",
    "initramfs-tools",
    "zstd",
    "cloud-init",
    "cloud-guest-utils",
    "openssh-server",
    "qemu-guest-agent",
    "sudo",
    "iproute2",
    "iputils-ping",
    "curl",
    "ca-certificates",
    "less",
)
UNWANTED_FILES = (
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/info/*",
)
# Neither a demo nor a test guest needs these, and under emulation each costs a noticeable part of a second.
MASKED_UNITS = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "cloud-config.service",
    "cloud-init-hotplugd.socket",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "modprobe@.service",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-binfmt.service",
    "systemd-pcrphase-sysinit.service",
    "systemd-pcrphase.service",
    "systemd-pstore.service",
    "systemd-repart.service",
)
MASKED_GENERATORS = ("cryptsetup", "gpt-auto", "hibernate-resume", "integritysetup", "rc-local", "sysv", "veritysetup")
ENABLED_UNITS = ("systemd-networkd.service", "systemd-resolved.service")


def build_debian(cache: Path) -> Image:
    """Return the qcow2 image of `debian-12`, building it once into `cache`."""
    return built_once(cache, "debian-12", INPUTS, _build)


def _build(folder: Path) -> Image:
    ensure_tools(TOOLS)
    with tempfile.TemporaryDirectory(dir=folder) as work_name:
        work = Path(work_name)
        tree = work / "tree"
        copy_overlay("debian_root", work / "overlay")
        _bootstrap(tree, overlay=work / "overlay")
        versions = _versions(tree)
        _clean(tree)
        unpack(GRUB_PACKAGES, work / "grub")
        raw = work / "disk.raw"
        write_disk(raw, tree, grub=Grub(work / "grub/root"), label=LABEL, size_gib=SIZE_GIB)
        run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, folder / "disk.qcow2"], timeout_s=300)
    return {
        "kind": "disk",
        "format": "qcow2",
        "file": "disk.qcow2",
        "virtual_size_gib": SIZE_GIB,
        "packages": versions,
    }


def _bootstrap(tree: Path, *, overlay: Path) -> None:
    """Make the root file system; our own files go in before the kernel's scripts pack the initramfs.

    Namespaces of its own end every process and mount of mmdebstrap with it, even if it is killed.
    """
    run(
        [
            *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={','.join(PACKAGES)}"),
            *(f"--dpkgopt={line}" for line in UNWANTED_FILES),
            *(f"--aptopt={line}" for line in _proxies()),
            f"--essential-hook=copy-in {quote(str(overlay / 'etc'))} /",
            f"--customize-hook=copy-in {quote(str(overlay / 'boot'))} /",
            f'--customize-hook=chroot "$1" systemctl --quiet mask {" ".join(MASKED_UNITS)}',
            f'--customize-hook=chroot "$1" systemctl --quiet enable {" ".join(ENABLED_UNITS)}',
            RELEASE,
            tree,
            *debian_sources(RELEASE),
        ],
        timeout_s=1200,
    )


def _proxies() -> Sequence[str]:
    """Return the machine's own apt proxy settings, which mmdebstrap would not use by itself."""
    found = run(["apt-config", "dump"]).splitlines()
    return [line for line in found if re.match(r'Acquire::https?::Proxy\S* "[^"]', line)]


def _clean(tree: Path) -> None:
    """Take out what must be each instance's own, and what only the build needed."""
    for pattern in (
        "etc/ssh/ssh_host_*",
        "var/lib/dbus/machine-id",
        "etc/hostname",
        "var/log/*.log",
        "etc/apt/apt.conf.d/99mmdebstrap",
    ):
        for path in tree.glob(pattern):
            path.unlink()
    # Empty rather than missing: systemd then makes one at boot without taking the boot for an installation's first.
    (tree / "etc/machine-id").write_text("", encoding="utf-8")
    (tree / "etc/resolv.conf").unlink(missing_ok=True)
    (tree / "etc/resolv.conf").symlink_to("/run/systemd/resolve/stub-resolv.conf")
    generators = tree / "etc/systemd/system-generators"
    generators.mkdir()
    for name in MASKED_GENERATORS:
        (generators / f"systemd-{name}-generator").symlink_to("/dev/null")


def _versions(tree: Path) -> dict[str, str]:
    shown = run(["dpkg-query", f"--admindir={tree / 'var/lib/dpkg'}", "-W", "-f", "${Package} ${Version}\\n"])
    return dict(line.split() for line in shown.splitlines())
