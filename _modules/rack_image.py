"""The images in this host's store."""

from __future__ import annotations

from typing import Any

from racksalt import errors, shape
from racksalt.adapters.image_store import ImageStore
from racksalt.names import Sha256

__virtualname__ = "rack_image"

__context__: dict[str, Any]


def __virtual__() -> str:
    return __virtualname__


def ensure(sha256: str, url: str = "", test: bool = False) -> Any:
    """Have an image file in the store: checked if it is there, fetched over HTTPS if not.

    CLI Example:

    .. code-block:: bash

        salt h1 rack_image.ensure 9f86d0…0f00a08 url=https://images.example.org/debian-12.qcow2
    """
    store = ImageStore()
    try:
        shape.parse(Sha256, sha256, path=("sha256",))
        if store.is_present(sha256):
            return {"changes": {}}
        if not test:
            store.fetch(sha256, url)
        return {"changes": {"fetched": {"old": None, "new": sha256}}}
    except errors.RacksaltError as error:
        __context__["retcode"] = 1
        return errors.as_result(error)
