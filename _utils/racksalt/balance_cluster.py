"""What a balance is computed from: hosts, the VMs on them, and which host may take which VM."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

from racksalt.model import Room


@dataclass(frozen=True, slots=True)
class Host:
    """What a host has, what is taken on it by others than the VMs of the cluster, and the most vCPUs it may promise.

    One that is not ``online`` gets nothing, and VMs that may leave it do. VMs of a group that has to be spread meet in
    no two hosts of one ``failure_domain``; without a name a host is one of its own.
    """

    name: str
    total: Room
    reserved: Room
    most_vcpus: int
    online: bool = True
    failure_domain: str | None = None
    spindles: int = 1


@dataclass(frozen=True, slots=True)
class Vm:
    """A VM with what it takes of its host; ``disk_gib`` is zero where its disk is not the host's own.

    ``hosts`` are the only ones that may take it, ``None`` is any. ``apart`` and ``spread`` are groups of which no two
    VMs are on one host, or in one failure domain.
    """

    uuid: str
    host: str
    room: Room
    movable: bool = True
    hosts: frozenset[str] | None = None
    apart: Hashable = None
    spread: Hashable = None


@dataclass(frozen=True, slots=True)
class Cluster:
    """Hosts, and the VMs on them; both in the order in which equal moves are taken."""

    hosts: tuple[Host, ...]
    vms: tuple[Vm, ...]

    def without(self, uuid: str) -> Cluster:
        """The same, with one VM that stays where it is."""
        return replace(self, vms=tuple(replace(vm, movable=vm.movable and vm.uuid != uuid) for vm in self.vms))
