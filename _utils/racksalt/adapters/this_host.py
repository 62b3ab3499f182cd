"""The parts of this host put together, for the execution modules."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from racksalt.adapters.system import FileLock, SystemClock
from racksalt.adapters.volume_files import VolumeFiles
from racksalt.errors import Unavailable
from racksalt.host_vms import HostVms

if TYPE_CHECKING:
    from racksalt.adapters.libvirt_host import LibvirtHost

LOCK = Path("/run/racksalt/host.lock")


@contextmanager
def hypervisor() -> Iterator[LibvirtHost]:
    """This host's libvirt, on a connection of its own."""
    if importlib.util.find_spec("libvirt") is None:
        raise Unavailable("libvirt_missing", "python3-libvirt is not installed here; apply the highstate")
    from racksalt.adapters import libvirt_host

    with libvirt_host.connected(disk_gib=VolumeFiles().total_gib()) as connection:
        yield connection


@contextmanager
def vms(host: str) -> Iterator[HostVms]:
    """This host's VMs."""
    with hypervisor() as connection:
        yield HostVms(host, connection, VolumeFiles(), FileLock(LOCK), SystemClock())
