"""libvirt's errors as Racksalt's, once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import libvirt

from racksalt.errors import Conflict, NotFound, RacksaltError, Refused

_MISSING = (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_NO_NETWORK)
_STATE_CONFLICTS = (
    libvirt.VIR_ERR_OPERATION_INVALID,
    libvirt.VIR_ERR_AGENT_UNRESPONSIVE,
    libvirt.VIR_ERR_AGENT_UNSYNCED,
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,
)


@contextmanager
def translated() -> Iterator[None]:
    """What libvirt raises in here comes out as one of ours."""
    try:
        yield
    except libvirt.libvirtError as error:
        raise _translation(error) from error


def _translation(error: libvirt.libvirtError) -> RacksaltError:
    code = error.get_error_code()
    text = error.get_error_message() or str(error)
    if code in _MISSING:
        return NotFound("vm_not_found" if code == libvirt.VIR_ERR_NO_DOMAIN else "network_missing", text)
    if code in _STATE_CONFLICTS:
        return Conflict("vm_state", text)
    return Refused("libvirt_refused", f"libvirt: {text}")
