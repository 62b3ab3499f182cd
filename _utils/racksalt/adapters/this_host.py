"""The parts of this host put together, for the execution modules, and the form of their answers."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from racksalt import errors, host_answers, shape
from racksalt.adapters import audit_head_file
from racksalt.adapters.minion_keys import OwnKey
from racksalt.adapters.system import FileLock, SystemClock
from racksalt.adapters.volume_files import VolumeFiles
from racksalt.errors import RacksaltError, Unavailable
from racksalt.host_answers import Call
from racksalt.host_requests import FromBus
from racksalt.host_vms import HostVms
from racksalt.model import HostReport

if TYPE_CHECKING:
    from racksalt.adapters.libvirt_host import LibvirtHost

log = logging.getLogger(__name__)

LOCK = Path("/run/racksalt/host.lock")

#: What is asked of this host's VMs.
Asked = Callable[[HostVms], Any]


@dataclass(frozen=True, slots=True)
class Minion:
    """What Salt gives its execution modules."""

    opts: Mapping[str, Any]
    context: dict[str, Any]


@contextmanager
def hypervisor() -> Iterator[LibvirtHost]:
    """This host's libvirt, on a connection of its own."""
    if importlib.util.find_spec("libvirt") is None:
        raise Unavailable("libvirt_missing", "python3-libvirt is not installed here; apply the highstate")
    from racksalt.adapters import libvirt_host

    with libvirt_host.connected(disk_gib=VolumeFiles().total_gib()) as connection:
        yield connection


@contextmanager
def vms(minion: Minion) -> Iterator[HostVms]:
    """This host's VMs."""
    key = OwnKey(minion.opts["pki_dir"])
    with hypervisor() as connection:
        yield HostVms(minion.opts["id"], connection, VolumeFiles(), FileLock(LOCK), SystemClock(), key)


def report(own: HostVms) -> HostReport:
    """The whole host, with what it remembers of its masters' audits."""
    return replace(own.report(), audit_heads=audit_head_file.read())


def answer(asked: Asked, minion: Minion) -> Any:
    """The answer, or the error, as plain data: for who calls this host itself."""
    try:
        with vms(minion) as own:
            return shape.plain(asked(own))
    except RacksaltError as error:
        minion.context["retcode"] = 1
        return errors.as_result(error)


def answer_bus(asked: Asked, minion: Minion, *, function: str, bus: Any, changes: bool = False) -> Any:
    """As :func:`answer`; a call over the bus (``FromBus``) is answered signed, under the loader's ``function``.

    Without a key to sign with, nothing is done. Each call brings the audit's newest line with it, a look too: refusals
    change nothing on hosts, and are to be missed all the same when they are cut off.
    """
    if bus is None:
        return answer(asked, minion)
    key = OwnKey(minion.opts["pki_dir"])
    try:
        sent = shape.parse(FromBus, bus)
        key.require()
    except RacksaltError as error:
        minion.context["retcode"] = 1
        return errors.as_result(error)
    if sent.audit is not None:
        audit_head_file.keep(sent.audit)
    told = _told(asked, minion)
    return host_answers.signed(told, Call(sent.job, function), host=minion.opts["id"], sign=key.sign)


def _told(asked: Asked, minion: Minion) -> Any:
    """What is signed: an unforeseen failure too, as a claim ends by this host's word only."""
    try:
        return answer(asked, minion)
    except Exception as error:
        log.exception("an unforeseen failure")
        minion.context["retcode"] = 1
        name = type(error).__name__
        return errors.as_result(Unavailable("host_failed", f"host {minion.opts['id']}: {name}: {str(error)[:300]}"))
