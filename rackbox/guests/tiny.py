"""The guest `tiny`: Debian's cloud kernel and a busybox initramfs, answering HTTP a few seconds after its start."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from rackbox.guests.cache import Image, built_once
from rackbox.guests.command import run
from rackbox.guests.cpio import pack
from rackbox.guests.kernel_modules import ModuleTree
from rackbox.guests.overlay import copy_overlay
from rackbox.guests.packages import kernel_package, unpack

KERNEL = "linux-image-cloud-amd64"
INPUTS = ("tiny.py", "cpio.py", "kernel_modules.py", "overlay.py", "tiny_root")
# In the order in which the guest's boot script loads them: before it looks for its seed, only if it found none, and
# once it is ready. What an earlier list holds is left out of the later ones.
MODULES = {
    "early": ("virtio_pci", "virtio_blk", "virtio_net", "isofs", "evdev", "button"),
    "media": ("vfat", "nls_cp437", "nls_ascii", "nls_utf8", "sr_mod", "virtio_scsi", "ata_piix"),
    "late": ("virtio_console", "virtio_balloon", "virtio_rng"),
}
FOLDERS = ("bin", "sbin", "dev", "proc", "sys", "run", "tmp", "root", "data", "lib/modules", "var/run", "var/log")
#: A guest that waits for its processor at the wrong moment would take its timer for broken, and boot again and again.
COMMAND_LINE = (
    "console=tty0 console=ttyS0 quiet loglevel=3 mitigations=off cryptomgr.notests lsm=capability "
    "panic=5 no_timer_check"
)


def build_tiny(cache: Path) -> Image:
    """Return the kernel, initramfs and kernel command line of `tiny`, building them once into `cache`."""
    return built_once(cache, "tiny", INPUTS, _build)


def _build(folder: Path) -> Image:
    with tempfile.TemporaryDirectory(dir=folder) as work_name:
        work = Path(work_name)
        package = kernel_package(KERNEL)
        versions = unpack([package, "busybox-static"], work)
        debian = work / "root"
        (kernel,) = (debian / "boot").glob("vmlinuz-*")
        shutil.copyfile(kernel, folder / "vmlinuz")
        root = work / "initramfs"
        copy_overlay("tiny_root", root)
        _add_busybox(debian / "bin/busybox", root)
        _add_modules(debian / "lib/modules", root)
        pack(root, folder / "initrd.img")
    return {
        "kind": "kernel",
        "kernel": "vmlinuz",
        "initrd": "initrd.img",
        "cmdline": COMMAND_LINE,
        "packages": versions,
    }


def _add_busybox(busybox: Path, root: Path) -> None:
    for name in FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    shutil.copy2(busybox, root / "bin/busybox")
    for applet in run([busybox, "--list"]).split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    (root / "init").symlink_to("bin/busybox")


def _add_modules(modules: Path, root: Path) -> None:
    tree = ModuleTree(modules)
    loaded: set[Path] = set()
    for stage, names in MODULES.items():
        files = [path for path in tree.in_load_order(names) if path not in loaded]
        loaded.update(files)
        for path in files:
            shutil.copyfile(path, root / "lib/modules" / path.name)
        (root / f"etc/modules.{stage}").write_text("".join(f"{path.name}\n" for path in files), encoding="utf-8")
