"""Racks as values, for whoever plans moves: hosts of a few GiB, and VMs of memory alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from racksalt.inventory import HostView, Inventory
from racksalt.model import Domain, HostConfig, HostReport, Overcommit, Record, Room, RoomPolicy, State
from racksalt.settings import Settings, load
from tests.fakes import FakeFiles, rack_files

UUID = "0b5f2f40-4a4e-4b0e-9d2c-{:012x}"
#: A VM takes what it says, and nothing besides.
PLAIN = RoomPolicy(overcommit=Overcommit(1.0, 1.0, 1.0), vm_overhead_mib=0)


def host(name: str, **config: Any) -> HostConfig:
    """A host of the rack's files."""
    return HostConfig(name, **{"room": PLAIN, "accelerator": "qemu", **config})


def vm(number: int, on: str, memory_mib: int, **record: Any) -> Record:
    """A VM of acme's."""
    given = {"tenant": "acme", "name": f"vm{number}", **record}
    return Record(
        rack="test",
        uuid=UUID.format(number),
        host=on,
        flavor="f",
        image="i",
        created_at=1,
        vcpus=1,
        memory_mib=memory_mib,
        disk_gib=1,
        **given,
    )


def settings_of(hosts: Iterable[HostConfig]) -> Settings:
    """The rack's files with these hosts."""
    return replace(load(FakeFiles(rack_files(1))), hosts={config.name: config for config in hosts})


def seen_of(
    hosts: Sequence[tuple[HostConfig, int]],
    vms: Sequence[Record],
    *,
    states: Mapping[str, State] | None = None,
    silent: Iterable[str] = (),
) -> Inventory:
    """The rack of these hosts, each with its memory in MiB, and these VMs; all run that are not in ``states``."""
    reports: dict[str, HostView] = {}
    for config, memory_mib in hosts:
        domains = tuple(domain(one, (states or {}).get(one.name, "running")) for one in vms if one.host == config.name)
        report = HostReport(config.name, Room(1000, memory_mib, 1000), domains)
        reports[config.name] = HostView(config, report, config.name not in silent)
    return Inventory("test", reports)


def domain(record: Record, state: State = "running") -> Domain:
    """A VM as its host shows it."""
    return Domain(record.uuid, record.domain, state, record.vcpus, record.memory_mib, record.disk_gib, record)
