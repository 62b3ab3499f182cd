"""Racks that operators have saved as files on the master."""

from __future__ import annotations

import os
import stat

from racksalt.errors import BadInput, NotFound

#: 20,000 VMs are 20 MiB.
_MOST_BYTES = 256 * 2**20


class SavedRacks:
    """Reads what ``rack_host.inventory`` wrote; only plain files, as a pipe or a device could hold the caller up."""

    def read(self, path: str) -> str:
        """The file's text."""
        try:
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY), "rb") as file:
                about = os.fstat(file.fileno())
                if not stat.S_ISREG(about.st_mode) or about.st_size > _MOST_BYTES:
                    raise _bad(path, f"a plain file of at most {_MOST_BYTES // 2**20} MiB")
                return file.read(_MOST_BYTES).decode()
        except UnicodeDecodeError:
            raise _bad(path, "text in UTF-8") from None
        except OSError as error:
            raise NotFound("inventory_not_found", f"{path}: {error.strerror}; say where on the master it is") from None


def _bad(path: str, allowed: str) -> BadInput:
    mistake = {"line": 1, "field": "(whole)", "allowed": allowed}
    return BadInput(f"{path}: allowed: {allowed}", code="bad_inventory_file", mistakes=[mistake])
