"""States for the images in a host's store."""

from __future__ import annotations

from typing import Any

from racksalt import state_result

__virtualname__ = "rack_image"

__salt__: dict[str, Any]
__opts__: dict[str, Any]


def __virtual__() -> str | tuple[bool, str]:
    if "rack_image.ensure" not in __salt__:
        return False, "rack_image needs the execution module rack_image"
    return __virtualname__


def present(name: str, url: str = "") -> dict[str, Any]:
    """The image file with the SHA-256 ``name`` is in the store and whole."""
    test = bool(__opts__["test"])
    told = __salt__["rack_image.ensure"](name, url=url, test=test)
    error = told["error"]["detail"] if "error" in told else None
    return state_result.of(
        name, told.get("changes", {}), test=test, done=f"image {name[:12]}… is in the store", error=error
    )
