"""A bootable disk from a folder: MBR, GRUB, and one ext4 partition, without mounting, loop devices or grub-install."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rackbox.guests.command import GuestError, run

SECTOR_BYTES = 512
PARTITION_START = 2048
LINUX_PARTITION = 0x83
CORE_MODULES = ("biosdisk", "part_msdos", "ext2", "normal", "configfile", "linux", "minicmd", "test")
EMBEDDED_CONFIG = "set root=(hd0,msdos1)\nconfigfile /boot/grub/grub.cfg\n"


@dataclass(frozen=True)
class Grub:
    """Where the unpacked packages grub-common, grub-pc-bin and libdevmapper are."""

    root: Path

    def boot_sector(self) -> bytes:
        """Return the MBR's code. It loads the core image from sector 1 as shipped, with no address to patch in."""
        return (self.root / "usr/lib/grub/i386-pc/boot.img").read_bytes()

    def core(self, work: Path) -> bytes:
        """Return the core image: with all its modules inside, the disk holds nothing of GRUB but grub.cfg."""
        config, core = work / "embedded.cfg", work / "core.img"
        config.write_text(EMBEDDED_CONFIG, encoding="utf-8")
        run(
            [
                self.root / "usr/bin/grub-mkimage",
                *("--directory", self.root / "usr/lib/grub/i386-pc", "--format", "i386-pc", "--output", core),
                *("--prefix", "(hd0,msdos1)/boot/grub", "--config", config, *CORE_MODULES),
            ],
            environment={"LD_LIBRARY_PATH": ":".join(map(str, self._libraries()))},
        )
        return core.read_bytes()

    def _libraries(self) -> Sequence[Path]:
        return [self.root / "lib/x86_64-linux-gnu", self.root / "usr/lib/x86_64-linux-gnu"]


def write_disk(disk: Path, tree: Path, *, grub: Grub, label: str, size_gib: int) -> None:
    """Write `tree` as the ext4 root of a new raw, sparse `disk` of `size_gib` GiB that boots by BIOS."""
    sectors = size_gib * 2**30 // SECTOR_BYTES
    core = grub.core(disk.parent)
    if len(core) > (PARTITION_START - 1) * SECTOR_BYTES:
        raise GuestError(f"GRUB's core image of {len(core)} bytes does not fit before the first partition")
    with disk.open("wb") as out:
        out.write(_mbr(grub.boot_sector(), sectors - PARTITION_START))
        out.write(core)
        out.truncate(sectors * SECTOR_BYTES)
    offset = PARTITION_START * SECTOR_BYTES
    blocks_kib = f"{(sectors - PARTITION_START) // 2}k"
    options = f"offset={offset},lazy_itable_init=0,nodiscard"
    run(
        ["mke2fs", "-q", "-F", "-t", "ext4", "-m", "1", "-L", label, "-E", options, "-d", tree, disk, blocks_kib],
        timeout_s=300,
    )


def _mbr(boot_sector: bytes, sectors: int) -> bytes:
    """Return an MBR with one active Linux partition; a CHS address of all ones says that only the LBA one counts."""
    no_chs = b"\xfe\xff\xff"
    disk_id = struct.pack("<IH", 0x52534C54, 0)
    entry = struct.pack("<B3sB3sII", 0x80, no_chs, LINUX_PARTITION, no_chs, PARTITION_START, sectors)
    return boot_sector[:440] + disk_id + entry + b"\0" * 48 + b"\x55\xaa"
