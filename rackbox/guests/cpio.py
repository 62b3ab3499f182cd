"""Write an initramfs: a cpio archive in the "newc" format (Linux, Documentation/driver-api/early-userspace)."""

from __future__ import annotations

import stat
from pathlib import Path

TRAILER = "TRAILER!!!"


def pack(root: Path, archive: Path) -> None:
    """Pack every file, folder and link under `root` into `archive`, owned by root, without times: same in, same out."""
    with archive.open("wb") as out:
        for number, path in enumerate(sorted(root.rglob("*")), start=1):
            out.write(_entry(str(path.relative_to(root)), path.lstat().st_mode, _content(path), number))
        out.write(_entry(TRAILER, 0, b"", 0))


def _content(path: Path) -> bytes:
    if path.is_symlink():
        return str(path.readlink()).encode()
    return path.read_bytes() if path.is_file() else b""


def _entry(name: str, mode: int, content: bytes, number: int) -> bytes:
    encoded = name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    owner = group = time = device = check = 0
    fields = (
        number,
        mode,
        owner,
        group,
        links,
        time,
        len(content),
        device,
        device,
        device,
        device,
        len(encoded),
        check,
    )
    header = b"070701" + "".join(f"{field:08x}" for field in fields).encode()
    return _padded(header + encoded) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
