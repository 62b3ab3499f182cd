"""Moving domains by libvirt: the ``MoveHypervisor`` port.

The source's libvirt does all of it, over TLS (``PEER2PEER``): it goes on when its caller dies, and ends by itself when
the other end does. The domain is written down at the target (``PERSIST_DEST``) before the source forgets it
(``UNDEFINE_SOURCE``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import libvirt

from racksalt import move_xml
from racksalt.adapters.libvirt_errors import translated
from racksalt.errors import Unavailable
from racksalt.host_requests import MoveProgress, MoveStats, Way
from racksalt.model import Record

_FLAGS = (
    libvirt.VIR_MIGRATE_LIVE
    | libvirt.VIR_MIGRATE_PEER2PEER
    | libvirt.VIR_MIGRATE_PERSIST_DEST
    | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
    | libvirt.VIR_MIGRATE_TLS
    | libvirt.VIR_MIGRATE_ABORT_ON_ERROR
)
#: libvirt forgets what it has counted when it is read, unless it is told not to; who asks again is to know it too.
_COUNTED = libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED | libvirt.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED
_MOVES = (libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN, libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT)
#: How often a move that may take too long is looked at.
_LOOK_S = 0.25


class LibvirtMoves:
    """On one open connection."""

    def __init__(self, connection: libvirt.virConnect) -> None:
        self._connection = connection

    def disk_bytes(self, uuid: str, device: str) -> tuple[int, int]:
        """A disk's virtual size, and what of it is written."""
        capacity, allocation, _ = self._on(uuid, lambda domain: domain.blockInfo(device))
        return capacity, allocation

    def snapshots(self, uuid: str) -> list[str]:
        """The names of its snapshots and checkpoints."""
        return list(self._on(uuid, _kept))

    def start_paused(self, uuid: str) -> None:
        """Start it, and let its guest run no instruction."""
        self._on(uuid, lambda domain: domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED))

    def is_moving(self, uuid: str) -> bool:
        """Whether it is on its way to another host, or from one."""
        return bool(self._on(uuid, lambda domain: _job(domain).get("operation") in _MOVES))

    def move(self, record: Record, target: str, way: Way, *, shared: bool) -> None:
        """Move it, and return when it is there for good and not here."""
        with translated():
            domain = self._connection.lookupByUUIDString(record.uuid)
            try:
                with _watched(domain, way):
                    domain.migrateToURI3(
                        f"qemu+tls://{target}/system",
                        _parameters(domain, record, target, way),
                        _flags(way, shared=shared),
                    )
            except libvirt.libvirtError as error:
                told = error.get_error_message() or str(error)
                raise Unavailable("migration_failed", f"{record.title}: libvirt: {told}", vm=record.title) from error

    def abort_move(self, uuid: str) -> None:
        """End its move; where there is none, nothing is done."""
        if self.is_moving(uuid):
            self._on(uuid, lambda domain: domain.abortJob())

    def move_stats(self, uuid: str) -> MoveStats | None:
        """What the move that brought it here counted."""
        found = self._on(uuid, lambda domain: domain.jobStats(_COUNTED))
        if found.get("operation") not in _MOVES:
            return None
        copied = found.get("memory_processed", 0) + found.get("disk_processed", 0)
        return MoveStats(copied, found.get("time_elapsed", 0), found.get("downtime", 0))

    def move_progress(self, uuid: str) -> MoveProgress | None:
        """How far its move to another host has come; ``None`` where there is none."""
        job, info = self._on(uuid, lambda domain: (_job(domain), domain.info()))
        if job.get("operation") != libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT:
            return None
        copied = job.get("memory_processed", 0) + job.get("disk_processed", 0)
        # Disks go first; of the memory nothing is counted until then.
        memory_left = job.get("memory_remaining", 0) if job.get("memory_total") else info[2] * 1024
        return MoveProgress(copied, memory_left + job.get("disk_remaining", 0), job.get("memory_iteration", 0))

    def _on(self, uuid: str, act: Callable[[libvirt.virDomain], Any]) -> Any:
        with translated():
            return act(self._connection.lookupByUUIDString(uuid))


def _parameters(domain: libvirt.virDomain, record: Record, target: str, way: Way) -> dict[str, Any]:
    """The record of afterwards goes along in both definitions, so that it is there at the moment the domain is."""
    live = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_SECURE)
    kept = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE)
    limit = {libvirt.VIR_MIGRATE_PARAM_BANDWIDTH: way.bandwidth_mib_s} if way.bandwidth_mib_s else {}
    return {
        libvirt.VIR_MIGRATE_PARAM_URI: f"tcp:{target}",
        libvirt.VIR_MIGRATE_PARAM_DEST_XML: move_xml.with_record(live, record),
        libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: move_xml.with_record(kept, record),
        **limit,
    }


def _flags(way: Way, *, shared: bool) -> int:
    """``UNSAFE``: libvirt knows a shared folder by its kind of file system alone; the rack's files say it."""
    flags = _FLAGS | (libvirt.VIR_MIGRATE_UNSAFE if shared else libvirt.VIR_MIGRATE_NON_SHARED_INC)
    if way.auto_converge:
        flags |= libvirt.VIR_MIGRATE_AUTO_CONVERGE
    return int(flags | (libvirt.VIR_MIGRATE_POSTCOPY if way.post_copy else 0))


@contextmanager
def _watched(domain: libvirt.virDomain, way: Way) -> Iterator[None]:
    """End it when its time is over; let the guest go ahead of its memory where that is asked for."""
    done = threading.Event()
    watch = threading.Thread(target=_watch, args=(domain, way, done), daemon=True)
    watch.start()
    try:
        yield
    finally:
        done.set()
        watch.join()


def _watch(domain: libvirt.virDomain, way: Way, done: threading.Event) -> None:
    until, switched = time.monotonic() + way.timeout_s, not way.post_copy
    while not done.wait(_LOOK_S):
        try:
            if not switched and domain.jobStats().get("memory_iteration", 0) > 1:
                domain.migrateStartPostCopy()
                switched = True
            if time.monotonic() > until:
                domain.abortJob()
        except libvirt.libvirtError:
            # The move has just ended, or is at a step that cannot be ended: the next look tells.
            continue


def is_incoming(domain: libvirt.virDomain) -> bool:
    """Whether it is being moved to this host; one whose definition was taken away while it runs is something else."""
    arrives = libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN
    return not domain.isPersistent() and _job(domain).get("operation") == arrives


def _job(domain: libvirt.virDomain) -> dict[str, Any]:
    """The job that is being done to it; a driver that knows none has none."""
    try:
        found = domain.jobStats()
    except libvirt.libvirtError as error:
        # Of a move to this host QEMU's driver tells no more than that: its numbers are at the source.
        if error.get_error_code() == libvirt.VIR_ERR_OPERATION_UNSUPPORTED:
            return {"operation": libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN}
        if error.get_error_code() in (libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_OPERATION_INVALID):
            return {}
        raise
    return found if found.get("type", 0) != libvirt.VIR_DOMAIN_JOB_NONE else {}


def _kept(domain: libvirt.virDomain) -> list[str]:
    checkpoints = domain.listAllCheckpoints() if hasattr(domain, "listAllCheckpoints") else []
    return [one.getName() for one in (*domain.listAllSnapshots(), *checkpoints)]
