"""A VM's libvirt domain, built from elements.

Q35 with virtio devices; a serial console with a log; a channel for the guest agent; every disk's format is
written down, as a probed one could be changed by the guest.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from racksalt import record as record_xml
from racksalt.model import CpuModel, Network, Nic, Record

AGENT_CHANNEL = "org.qemu.guest_agent.0"
#: What the name of every bridge of the rack begins with, and of no other interface: the guests' firewall goes by it.
BRIDGE_PREFIX = "rs-"


@dataclass(frozen=True, slots=True)
class DiskFile:
    """A file that the VM sees as a disk."""

    path: str
    format: Literal["qcow2", "raw"]
    readonly: bool = False
    backing: DiskFile | None = None


@dataclass(frozen=True, slots=True)
class KernelBoot:
    """A kernel that QEMU starts directly."""

    kernel: str
    initrd: str
    cmdline: str


@dataclass(frozen=True, slots=True)
class DomainPlan:
    """All that the domain's XML says."""

    record: Record
    disks: tuple[DiskFile, ...]
    accelerator: Literal["kvm", "qemu"]
    console_log: str
    boot: KernelBoot | None = None
    cpu: CpuModel | None = None


def build(plan: DomainPlan) -> str:
    """The domain as XML text."""
    domain = Element("domain", {"type": plan.accelerator})
    _text(domain, "name", plan.record.domain)
    _text(domain, "uuid", plan.record.uuid)
    SubElement(domain, "metadata").append(record_xml.to_element(plan.record))
    _text(domain, "memory", str(plan.record.memory_mib), unit="MiB")
    if plan.record.huge_pages:
        SubElement(SubElement(domain, "memoryBacking"), "hugepages")
    _text(domain, "vcpu", str(plan.record.vcpus))
    _boot(domain, plan.boot)
    SubElement(SubElement(domain, "features"), "acpi")
    _cpu(domain, plan.accelerator, plan.cpu)
    _text(domain, "on_poweroff", "destroy")
    _text(domain, "on_reboot", "restart")
    _text(domain, "on_crash", "destroy")
    _devices(SubElement(domain, "devices"), plan)
    return ElementTree.tostring(domain, encoding="unicode")


def bridge_name(network: Network) -> str:
    """The network's bridge on each host; interface names hold at most 15 characters, so long ones end in a sum."""
    name = f"{BRIDGE_PREFIX}{network.name}"
    return name if len(name) <= 15 else f"{name[:9]}{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def _boot(domain: Element, boot: KernelBoot | None) -> None:
    os = SubElement(domain, "os")
    _text(os, "type", "hvm", arch="x86_64", machine="q35")
    if boot is None:
        SubElement(os, "boot", {"dev": "hd"})
        return
    _text(os, "kernel", boot.kernel)
    _text(os, "initrd", boot.initrd)
    _text(os, "cmdline", boot.cmdline)


def _cpu(domain: Element, accelerator: str, shared: CpuModel | None) -> None:
    """Emulated guests get a plain CPU; the others the one that all hosts of the rack share, or what their host has."""
    if accelerator == "qemu":
        cpu = SubElement(domain, "cpu", {"mode": "custom", "match": "exact", "check": "none"})
        _text(cpu, "model", "qemu64", fallback="forbid")
    elif shared is None:
        SubElement(domain, "cpu", {"mode": "host-model"})
    else:
        cpu = SubElement(domain, "cpu", {"mode": "custom", "match": "exact", "check": "full"})
        _text(cpu, "model", shared.model, fallback="forbid")
        for name in shared.features:
            SubElement(cpu, "feature", {"policy": "require", "name": name})


def _devices(devices: Element, plan: DomainPlan) -> None:
    for index, disk in enumerate(plan.disks):
        _disk(devices, disk, f"vd{'abcdefgh'[index]}")
    for nic in plan.record.nics:
        add_interface(devices, nic)
    _console(devices, plan.console_log)
    channel = SubElement(devices, "channel", {"type": "unix"})
    SubElement(channel, "target", {"type": "virtio", "name": AGENT_CHANNEL})
    SubElement(devices, "memballoon", {"model": "virtio"})
    rng = SubElement(devices, "rng", {"model": "virtio"})
    _text(rng, "backend", "/dev/urandom", model="random")


def _disk(devices: Element, disk: DiskFile, device: str) -> None:
    element = SubElement(devices, "disk", {"type": "file", "device": "disk"})
    SubElement(element, "driver", {"name": "qemu", "type": disk.format, "discard": "unmap"})
    SubElement(element, "source", {"file": disk.path})
    SubElement(element, "target", {"dev": device, "bus": "virtio"})
    _backing(element, disk.backing)
    if disk.readonly:
        SubElement(element, "readonly")


def _backing(parent: Element, disk: DiskFile | None) -> None:
    """The whole chain is said and ends with an empty element: libvirt then probes no file's header.

    AppArmor's helper may not open the images to find the chain by itself. The images keep their owner: many
    VMs read them.
    """
    if disk is None:
        SubElement(parent, "backingStore")
        return
    store = SubElement(parent, "backingStore", {"type": "file"})
    SubElement(store, "format", {"type": disk.format})
    source = SubElement(store, "source", {"file": disk.path})
    SubElement(source, "seclabel", {"model": "dac", "relabel": "no"})
    _backing(store, disk.backing)


def add_interface(devices: Element, nic: Nic) -> None:
    """A network card. ``isolated``: the tenants share this bridge, and its ports do not see each other."""
    element = SubElement(devices, "interface", {"type": "network"})
    SubElement(element, "mac", {"address": nic.mac})
    SubElement(element, "source", {"network": nic.network})
    SubElement(element, "model", {"type": "virtio"})
    SubElement(element, "port", {"isolated": "yes"})


def _console(devices: Element, log: str) -> None:
    serial = SubElement(devices, "serial", {"type": "pty"})
    SubElement(serial, "log", {"file": log, "append": "off"})
    SubElement(serial, "target", {"port": "0"})


def _text(parent: Element, tag: str, text: str, **attributes: str) -> None:
    SubElement(parent, tag, attributes).text = text
