"""The parts of this host put together, for the execution modules."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from racksalt.adapters.system import FileLock, SystemClock
from racksalt.adapters.volume_files import VolumeFiles
from racksalt.host_vms import HostVms

if TYPE_CHECKING:
    from racksalt.adapters.libvirt_host import LibvirtHost

LOCK = Path("/run/lock/racksalt-host")


def has_libvirt() -> bool:
    """Whether libvirt's Python module is installed."""
    return importlib.util.find_spec("libvirt") is not None


@contextmanager
def hypervisor() -> Iterator[LibvirtHost]:
    """This host's libvirt, on a connection of its own."""
    from racksalt.adapters import libvirt_host

    with libvirt_host.connected(disk_gib=VolumeFiles().total_gib()) as connection:
        yield connection


@contextmanager
def vms(host: str) -> Iterator[HostVms]:
    """This host's VMs."""
    with hypervisor() as connection:
        yield HostVms(host, connection, VolumeFiles(), FileLock(LOCK), SystemClock())
