"""A cloud-init seed as the image of a small disc; no program is started for it."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO

from pycdlib import PyCdlib

#: What NoCloud looks for.
LABEL = "cidata"


def image(files: Mapping[str, str]) -> bytes:
    """An ISO 9660 with Joliet and Rock Ridge, so that every system sees the names as they are."""
    disc, made = PyCdlib(), BytesIO()
    disc.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=LABEL)
    for number, (name, text) in enumerate(files.items()):
        content = text.encode()
        disc.add_fp(BytesIO(content), len(content), f"/{number}.;1", rr_name=name, joliet_path=f"/{name}")
    disc.write_fp(made)
    disc.close()
    return made.getvalue()
