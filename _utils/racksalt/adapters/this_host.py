"""The parts of this host put together, for the execution modules, and the form of their answers."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from racksalt import errors, host_answers, host_events, shape
from racksalt.adapters import audit_head_file
from racksalt.adapters.boot_files import BootFiles
from racksalt.adapters.journal import Journal
from racksalt.adapters.minion_keys import OwnKey
from racksalt.adapters.move_doors import DoorFiles
from racksalt.adapters.nft import NftMigrationPort
from racksalt.adapters.snapshot_files import SnapshotFiles
from racksalt.adapters.system import FileLock, SystemClock, moment
from racksalt.adapters.volume_files import VolumeFiles
from racksalt.drift_requests import ReadErrors
from racksalt.errors import RacksaltError, Unavailable
from racksalt.host_answers import Call
from racksalt.host_away import HostAway
from racksalt.host_errors import Errors
from racksalt.host_feed import HostFeed
from racksalt.host_moves import HostMoves
from racksalt.host_requests import FromBus
from racksalt.host_vms import HostVms
from racksalt.model import HostReport
from racksalt.ports import MoveHypervisor

if TYPE_CHECKING:
    from racksalt.adapters.libvirt_events import DomainEvents
    from racksalt.adapters.libvirt_host import LibvirtHost
    from racksalt.host_departures import HostDepartures
    from racksalt.host_turns import HostTurns

log = logging.getLogger(__name__)

LOCK = Path("/run/racksalt/host.lock")
#: Who only asks whether a VM is sent holds its lock for a moment.
_GLANCE_S = 0.05
#: libvirt is connected to again so soon.
_RECONNECT_S = 1.0

#: What is asked of this host's VMs.
Asked = Callable[[HostVms], Any]


@dataclass(frozen=True, slots=True)
class Minion:
    """What Salt gives its execution modules."""

    opts: Mapping[str, Any]
    context: dict[str, Any]


def load_all() -> None:
    """What calls of the rack's writer need, loaded at once; what is not installed yet comes later."""
    logic = ("host_arrivals", "host_creates", "host_departures", "host_drift", "host_turns", "host_update")
    names = [f"racksalt.{name}" for name in logic]
    if importlib.util.find_spec("libvirt") is not None:
        names.append("racksalt.adapters.libvirt_host")
    if importlib.util.find_spec("pycdlib") is not None:
        names.append("racksalt.adapters.seed_iso")
    for name in names:
        importlib.import_module(name)


@contextmanager
def hypervisor() -> Iterator[LibvirtHost]:
    """This host's libvirt, on a connection of its own."""
    _require_libvirt()
    from racksalt.adapters import libvirt_host

    with libvirt_host.connected(disk_gib=VolumeFiles().total_gib()) as connection:
        yield connection


@contextmanager
def vms(minion: Minion) -> Iterator[HostVms]:
    """This host's VMs."""
    key = OwnKey(minion.opts["pki_dir"])
    with hypervisor() as connection:
        yield HostVms(minion.opts["id"], connection, VolumeFiles(), FileLock(LOCK), SystemClock(), key, _is_sent)


def moves(own: HostVms) -> HostMoves:
    """This host as one end of a move."""
    libvirt_moves: MoveHypervisor = own.hypervisor.moves  # type: ignore[attr-defined]  # of the one adapter, see above
    return HostMoves(own, libvirt_moves, DoorFiles(NftMigrationPort(own.clock), own.clock), _sending)


def away(own: HostVms) -> HostAway:
    """This host as one that comes back, and that keeps what its master needs to come back."""
    return HostAway(own, BootFiles(), SnapshotFiles())


def turns(minion: Minion) -> HostTurns:
    """VMs that leave this host by one call."""
    from racksalt.host_departures import HostDepartures
    from racksalt.host_turns import HostTurns

    @contextmanager
    def connected() -> Iterator[HostDepartures]:
        with vms(minion) as own:
            yield HostDepartures(moves(own))

    return HostTurns(_sending, SystemClock(), connected)


def _sending(uuid: str, *, wait_s: float) -> AbstractContextManager[None]:
    return FileLock(_moving_lock(uuid), max(wait_s, _GLANCE_S))()


def _is_sent(uuid: str) -> bool:
    return FileLock(_moving_lock(uuid)).is_held()


def _moving_lock(uuid: str) -> Path:
    return LOCK.parent / f"moving-{uuid}.lock"


def report(own: HostVms) -> HostReport:
    """The whole host, with what it remembers of its masters' audits."""
    began = moment()
    return replace(away(own).report(), audit_heads=audit_head_file.read(), boot=began.boot, uptime_s=began.uptime_s)


def errors_since(asked: ReadErrors) -> Errors:
    """What this host's journal has."""
    return Journal().errors(since_s=asked.since_s, limit=asked.limit)


def tell_changes(opts: Mapping[str, Any], send: Callable[[str, dict[str, Any]], object]) -> None:
    """Tell the masters of each change to this host's domains, signed, until the minion stops.

    A libvirt that goes away is connected to again; what it did meanwhile is in the first whole read after that.
    """
    feed, key = HostFeed(opts["id"], moment), OwnKey(opts["pki_dir"])
    while True:
        try:
            key.require()
            with _events() as (hypervisor, events):
                feed.look_again()
                while True:
                    changes = feed.turn(hypervisor, events.wait(feed.pause_s()))
                    if changes is not None:
                        send(host_events.tag(feed.host), host_events.signed(changes, key.sign))
        except RacksaltError as error:
            log.info("no changes are told for a while: %s: %s", error.code, error.detail)
            time.sleep(_RECONNECT_S)


@contextmanager
def _events() -> Iterator[tuple[LibvirtHost, DomainEvents]]:
    _require_libvirt()
    from racksalt.adapters import libvirt_events

    with libvirt_events.connected(disk_gib=VolumeFiles().total_gib()) as both:
        yield both


def _require_libvirt() -> None:
    if importlib.util.find_spec("libvirt") is None:
        raise Unavailable("libvirt_missing", "python3-libvirt is not installed here; apply the highstate")


def answer(asked: Asked, minion: Minion) -> Any:
    """The answer, or the error, as plain data: for who calls this host itself."""
    try:
        with vms(minion) as own:
            return shape.plain(asked(own))
    except RacksaltError as error:
        minion.context["retcode"] = 1
        return errors.as_result(error)


def answer_bus(asked: Asked, minion: Minion, *, function: str, bus: Any) -> Any:
    """As :func:`answer`; a call over the bus (``FromBus``) is answered signed, under the loader's ``function``.

    Without a key to sign with, nothing is done. Each call brings the audit's newest line with it, a look too: refusals
    change nothing on hosts, and are to be missed all the same when they are cut off.
    """
    return _over_bus(lambda: answer(asked, minion), minion, function=function, bus=bus)


def answer_alone(work: Callable[[], Any], minion: Minion, *, function: str, bus: Any) -> Any:
    """As :func:`answer_bus`, for what needs no libvirt: it may be missing, or be restarted meanwhile."""

    def done() -> Any:
        try:
            return shape.plain(work())
        except RacksaltError as error:
            minion.context["retcode"] = 1
            return errors.as_result(error)

    return _over_bus(done, minion, function=function, bus=bus)


def _over_bus(told: Callable[[], Any], minion: Minion, *, function: str, bus: Any) -> Any:
    if bus is None:
        return told()
    key = OwnKey(minion.opts["pki_dir"])
    try:
        sent = shape.parse(FromBus, bus)
        key.require()
    except RacksaltError as error:
        minion.context["retcode"] = 1
        return errors.as_result(error)
    if sent.audit is not None:
        audit_head_file.keep(sent.audit)
    answered = _told(told, minion)
    return host_answers.signed(answered, Call(sent.job, function), host=minion.opts["id"], sign=key.sign)


def _told(told: Callable[[], Any], minion: Minion) -> Any:
    """What is signed: an unforeseen failure too, as a claim ends by this host's word only."""
    try:
        return told()
    except Exception as error:
        log.exception("an unforeseen failure")
        minion.context["retcode"] = 1
        return errors.as_result(errors.unforeseen(minion.opts["id"], error))
