"""What libvirt tells by itself: which domains changed, on a connection that notices when libvirt is gone."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import libvirt

from racksalt.adapters.libvirt_host import URI, LibvirtHost
from racksalt.errors import Unavailable

#: What may change what a report shows. What changes only a guest's inside, like its clock, is not heard.
_KINDS = (
    libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE,
    libvirt.VIR_DOMAIN_EVENT_ID_REBOOT,
    libvirt.VIR_DOMAIN_EVENT_ID_TUNABLE,
    libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED,
    libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED,
    libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE,
    libvirt.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED,
)
#: One act makes several events: so long it is waited for the others, and not longer than the second.
_QUIET_S, _LONGEST_S = 0.005, 0.05
#: A libvirt that answers no question for so long, so many times, is gone.
_ALIVE_S, _ALIVE_TIMES = 5, 3


class DomainEvents:
    """The events of one connection."""

    def __init__(self, connection: libvirt.virConnect) -> None:
        #: ``None`` says that the connection was closed.
        self._heard: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        connection.registerCloseCallback(lambda _connection, _reason, _opaque: self._heard.put(None), None)
        for kind in _KINDS:
            connection.domainEventRegisterAny(None, kind, self._hear, None)

    def wait(self, timeout_s: float) -> set[str]:
        """The UUIDs of the domains that changed, as soon as there are any; raises where libvirt is gone."""
        found: set[str] = set()
        with contextlib.suppress(queue.Empty):
            found.add(self._next(timeout_s))
            until = time.monotonic() + _LONGEST_S
            while (left_s := until - time.monotonic()) > 0:
                found.add(self._next(min(_QUIET_S, left_s)))
        return found

    def _next(self, timeout_s: float) -> str:
        uuid = self._heard.get(timeout=timeout_s)
        if uuid is None:
            raise Unavailable("libvirt_down", "the connection to libvirt was closed")
        return uuid

    def _hear(self, _connection: libvirt.virConnect, domain: libvirt.virDomain, *_details: object) -> None:
        self._heard.put(domain.UUIDString())


@contextmanager
def connected(*, disk_gib: int, uri: str = URI) -> Iterator[tuple[LibvirtHost, DomainEvents]]:
    """This host's hypervisor and its events, on one connection of their own."""
    _run_event_loop()
    try:
        connection = libvirt.open(uri)
    except libvirt.libvirtError as error:
        raise Unavailable("libvirt_down", f"libvirt at {uri} does not answer: {error}") from error
    try:
        with contextlib.suppress(libvirt.libvirtError):  # the test driver has nothing that could go away
            connection.setKeepAlive(_ALIVE_S, _ALIVE_TIMES)
        yield LibvirtHost(connection, disk_gib=disk_gib), DomainEvents(connection)
    finally:
        with contextlib.suppress(libvirt.libvirtError):
            connection.close()


@cache
def _run_event_loop() -> None:
    """One loop for the whole process; it has to be there before the first connection is."""
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=_loop, name="libvirt events", daemon=True).start()


def _loop() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()
