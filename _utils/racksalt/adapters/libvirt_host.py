"""This host's libvirt on one connection."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

import libvirt

from racksalt import record
from racksalt.adapters import libvirt_definitions, libvirt_domains, libvirt_hardware
from racksalt.adapters.lease_files import LeaseFiles
from racksalt.adapters.libvirt_errors import translated as _translated
from racksalt.adapters.libvirt_moves import LibvirtMoves
from racksalt.errors import NotFound, Unavailable
from racksalt.holdings import Definition
from racksalt.model import Domain, HostReport, Nic, Room, State

URI = "qemu:///system"

#: Linux key codes of left Ctrl, left Alt and Delete.
_CTRL_ALT_DEL = [29, 56, 111]

_UNDEFINE = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
)


class LibvirtHost:
    """The ``Hypervisor`` port on one open connection."""

    def __init__(self, connection: libvirt.virConnect, *, disk_gib: int, leases: LeaseFiles | None = None) -> None:
        self._connection = connection
        self._disk_gib = disk_gib
        self._leases = leases or LeaseFiles()

    def report(self, *, cpu: bool = True) -> HostReport:
        """Every domain, its state from one bulk call, and the host's size."""
        with _translated():
            _, memory_mib, vcpus, *_ = self._connection.getInfo()
            domains = self.domains()
            version = self._connection.getLibVersion()
            model = libvirt_hardware.cpu_of(self._connection) if cpu else None
            cells = libvirt_hardware.cells_of(self._connection)
        hypervisor = f"libvirt {version // 10**6}.{version // 1000 % 1000}.{version % 1000}"
        total = Room(vcpus, memory_mib, self._disk_gib)
        return HostReport("", total, domains, hypervisor, cpu=model, numa=cells)

    def domains(self, uuids: Collection[str] | None = None) -> tuple[Domain, ...]:
        """Those of these that there are, or all of them: one bulk call for each thing, and one a domain for its XML."""
        with _translated():
            if uuids is None:
                return libvirt_domains.read_all(self._connection)
            return libvirt_domains.read(self._connection, uuids)

    def define(self, xml: str) -> None:
        with _translated():
            self._connection.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)

    def undefine(self, uuid: str) -> None:
        self._on(uuid, lambda domain: domain.undefineFlags(_UNDEFINE))

    def start(self, uuid: str) -> None:
        self._on(uuid, lambda domain: domain.create())

    def state(self, uuid: str) -> State:
        found: State = self._on(uuid, libvirt_domains.state)
        return found

    def press_power(self, uuid: str) -> None:
        self._on(uuid, lambda domain: domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN))

    def press_ctrl_alt_del(self, uuid: str) -> None:
        codeset = libvirt.VIR_KEYCODE_SET_LINUX
        self._on(uuid, lambda domain: domain.sendKey(codeset, 100, _CTRL_ALT_DEL, len(_CTRL_ALT_DEL), 0))

    def ask_agent_to_halt(self, uuid: str) -> None:
        self._on(uuid, lambda domain: domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT))

    def destroy(self, uuid: str) -> None:
        self._on(uuid, lambda domain: domain.destroy())

    def suspend(self, uuid: str) -> None:
        self._on(uuid, lambda domain: domain.suspend())

    def resume(self, uuid: str) -> None:
        self._on(uuid, lambda domain: domain.resume())

    def save(self, uuid: str) -> None:
        self._on(uuid, lambda domain: domain.managedSave(libvirt.VIR_DOMAIN_SAVE_RUNNING))

    def discard_save(self, uuid: str) -> None:
        self._on(uuid, lambda domain: domain.managedSaveRemove())

    @property
    def moves(self) -> LibvirtMoves:
        """The ``MoveHypervisor`` port on the same connection."""
        return LibvirtMoves(self._connection)

    def is_moving(self, uuid: str) -> bool:
        return self.moves.is_moving(uuid)

    def write_record(self, uuid: str, xml: str) -> None:
        kind = libvirt.VIR_DOMAIN_METADATA_ELEMENT
        flags = libvirt.VIR_DOMAIN_AFFECT_CONFIG
        if self.state(uuid) in ("running", "paused"):
            flags |= libvirt.VIR_DOMAIN_AFFECT_LIVE
        bare = _without_namespace(xml)
        self._on(uuid, lambda domain: domain.setMetadata(kind, bare, record.PREFIX, record.NAMESPACE, flags))

    def reserve_address(self, nic: Nic) -> None:
        with _translated():
            if self._network(nic.network) is None:
                raise NotFound("network_missing", f"no network {nic.network} here; apply the highstate")
        self._leases.reserve(nic)

    def release_address(self, nic: Nic) -> None:
        with _translated():
            network = self._network(nic.network)
            self._leases.release(nic, network.bridgeName() if network else None)

    def reserved(self) -> tuple[Nic, ...]:
        return tuple(self._leases.all())

    def definition(self, uuid: str) -> str:
        return self._on(uuid, libvirt_definitions.whole)  # type: ignore[no-any-return]

    def definitions(self) -> tuple[Definition, ...]:
        with _translated():
            return tuple(libvirt_definitions.of_all(self._connection))

    def set_aside(self, uuid: str) -> str:
        return self._on(uuid, libvirt_definitions.set_aside)  # type: ignore[no-any-return]

    def network_xml(self, name: str) -> str | None:
        """A network's permanent definition."""
        with _translated():
            network = self._network(name)
            return network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE) if network and network.isPersistent() else None

    def network_runs(self, name: str) -> bool:
        """Whether it is active, and starts with the host."""
        with _translated():
            network = self._network(name)
            return network is not None and bool(network.isActive()) and bool(network.autostart())

    def define_network(self, xml: str) -> None:
        """Write a network's definition, new or changed; a running one takes it at its next start."""
        with _translated():
            self._connection.networkDefineXML(xml)

    def run_network(self, name: str) -> None:
        """Start a network now and with the host."""
        with _translated():
            network = self._connection.networkLookupByName(name)
            network.setAutostart(True)
            if not network.isActive():
                network.create()

    def _network(self, name: str) -> libvirt.virNetwork | None:
        return next((net for net in self._connection.listAllNetworks() if net.name() == name), None)

    def _on(self, uuid: str, act: Callable[[libvirt.virDomain], Any]) -> Any:
        with _translated():
            return act(self._connection.lookupByUUIDString(uuid))


@contextmanager
def connected(*, disk_gib: int, uri: str = URI) -> Iterator[LibvirtHost]:
    """This host's hypervisor, for one call."""
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    try:
        connection = libvirt.open(uri)
    except libvirt.libvirtError as error:
        raise Unavailable("libvirt_down", f"libvirt at {uri} does not answer: {error}") from error
    try:
        yield LibvirtHost(connection, disk_gib=disk_gib)
    finally:
        connection.close()


def _without_namespace(xml: str) -> str:
    """``virDomainSetMetadata`` adds the namespace itself, and refuses text that declares its prefix already."""
    root = ElementTree.fromstring(xml)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return ElementTree.tostring(root, encoding="unicode")
