"""Domains as libvirt tells of them; of all of them by one bulk call for each thing, and one a domain for its XML."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar
from xml.etree import ElementTree

import libvirt

from racksalt import record
from racksalt.adapters.libvirt_moves import is_incoming
from racksalt.model import Domain, Record, State

T = TypeVar("T")

_STATES: dict[int, State] = {
    libvirt.VIR_DOMAIN_RUNNING: "running",
    libvirt.VIR_DOMAIN_BLOCKED: "running",
    libvirt.VIR_DOMAIN_SHUTDOWN: "running",
    libvirt.VIR_DOMAIN_PAUSED: "paused",
    libvirt.VIR_DOMAIN_PMSUSPENDED: "paused",
    libvirt.VIR_DOMAIN_SHUTOFF: "stopped",
    libvirt.VIR_DOMAIN_CRASHED: "crashed",
}


def read_all(connection: libvirt.virConnect) -> tuple[Domain, ...]:
    """Every domain. Raises ``libvirt.libvirtError``, as all here do."""
    states = connection.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE, 0)
    seen = _present(_seen(handle, stats.get("state.state", -1)) for handle, stats in states)
    kinds = _Kinds(
        _uuids(connection, libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT),
        _uuids(connection, libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE),
    )
    return _domains(seen, kinds)


def read(connection: libvirt.virConnect, uuids: Collection[str]) -> tuple[Domain, ...]:
    """Those of these that there are."""
    found = [_unless_gone(connection.lookupByUUIDString, uuid) for uuid in uuids]
    seen = _present(_seen(handle) for handle in _present(found))
    return _domains(seen, _kinds_of(seen))


def state(handle: libvirt.virDomain) -> State:
    """The state of one."""
    code = handle.state()[0]
    return _state(code, saved=code == libvirt.VIR_DOMAIN_SHUTOFF and bool(handle.hasManagedSaveImage(0)))


@dataclass(frozen=True, slots=True)
class _Seen:
    """A domain at one look: its permanent definition, and its state."""

    handle: libvirt.virDomain
    root: ElementTree.Element
    record: Record | None
    code: int

    @property
    def uuid(self) -> str:
        return str(self.handle.UUIDString())


@dataclass(frozen=True, slots=True)
class _Kinds:
    """Which domains have a permanent definition, and which have saved memory; looked at after the definitions."""

    persistent: frozenset[str]
    saved: frozenset[str]


def _uuids(connection: libvirt.virConnect, kind: int) -> frozenset[str]:
    return frozenset(handle.UUIDString() for handle in connection.listAllDomains(kind))


def _kinds_of(seen: Iterable[_Seen]) -> _Kinds:
    """The same of a few, asked one by one where it matters."""
    persistent = {one.uuid for one in seen if one.record and _unless_gone(one.handle.isPersistent)}
    off = [one for one in seen if one.code == libvirt.VIR_DOMAIN_SHUTOFF]
    saved = {one.uuid for one in off if _unless_gone(one.handle.hasManagedSaveImage, 0)}
    return _Kinds(frozenset(persistent), frozenset(saved))


def _seen(handle: libvirt.virDomain, code: int | None = None) -> _Seen | None:
    """``None`` for a domain that has gone away since the list.

    The permanent definition counts: a saved VM that goes on brings the definition of its save along as the
    live one, without what was written down since.
    """
    now = code if code is not None else (_unless_gone(handle.state) or [None])[0]
    xml = _unless_gone(handle.XMLDesc, libvirt.VIR_DOMAIN_XML_INACTIVE)
    if xml is None or now is None:
        return None
    root = ElementTree.fromstring(xml)
    return _Seen(handle, root, record.from_domain(root), now)


def _domains(seen: Iterable[_Seen], kinds: _Kinds) -> tuple[Domain, ...]:
    return tuple(_present(_domain(one, kinds) for one in seen))


def _present(found: Iterable[T | None]) -> list[T]:
    """Without those that have gone away."""
    return [one for one in found if one is not None]


def _domain(seen: _Seen, kinds: _Kinds) -> Domain | None:
    """``None`` for one that came from another host, and has gone away since."""
    handle, root, known, uuid = seen.handle, seen.root, seen.record, seen.uuid
    incoming = False if known is None or uuid in kinds.persistent else _unless_gone(is_incoming, handle)
    if incoming is None:
        return None
    return Domain(
        uuid,
        handle.name(),
        _state(seen.code, saved=uuid in kinds.saved),
        int(root.findtext("vcpu") or "0"),
        _mebibytes(root.find("memory")),
        known.disk_gib if known else _disks_gib(handle, root),
        known,
        incoming=incoming,
    )


def _unless_gone(look: Callable[..., Any], *arguments: Any) -> Any:
    """What is seen, or ``None`` where the domain is not there any more."""
    try:
        return look(*arguments)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def _state(code: int, *, saved: bool) -> State:
    """The reason that libvirt keeps for a shut-off domain is lost with its daemon: the saved memory is not."""
    return "suspended" if saved and code == libvirt.VIR_DOMAIN_SHUTOFF else _STATES.get(code, "unknown")


def _mebibytes(memory: ElementTree.Element | None) -> int:
    """libvirt always prints KiB."""
    return int(memory.text or "0") // 1024 if memory is not None else 0


def _disks_gib(handle: libvirt.virDomain, root: ElementTree.Element) -> int:
    """The virtual size of a foreign domain's writable disks; those that cannot be read count nothing."""
    total = 0
    for disk in root.findall("./devices/disk[@device='disk']"):
        target = disk.find("target")
        if target is None or disk.find("readonly") is not None:
            continue
        try:
            total += handle.blockInfo(target.get("dev", ""))[0]
        except libvirt.libvirtError:
            continue
    return -(-total // 2**30)
