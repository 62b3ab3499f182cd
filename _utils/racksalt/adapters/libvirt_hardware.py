"""The CPU that libvirt can give to guests here, and the host's NUMA cells.

libvirt has both in memory: together some 5 ms, whatever runs here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import libvirt

from racksalt.model import HostCpu, NumaCell

#: What no CPU of a guest can be asked for by name is left out.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")
_SMALL_PAGE_KIB = "4"


def cpu_of(connection: libvirt.virConnect) -> HostCpu | None:
    """What ``host-model`` means here, with its features spelt out; ``None`` where libvirt cannot say."""
    try:
        told = ElementTree.fromstring(connection.getDomainCapabilities()).find("cpu")
        host_model = told.find("mode[@name='host-model']") if told is not None else None
        if told is None or host_model is None or host_model.findtext("model") is None:
            return None
        cpu = Element("cpu")
        cpu.extend(host_model)
        flags = libvirt.VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES
        text = ElementTree.tostring(cpu, encoding="unicode")
        whole = ElementTree.fromstring(connection.baselineHypervisorCPU(None, None, None, None, [text], flags))
    except libvirt.libvirtError:
        return None
    models = (one.text or "" for one in told.iterfind("mode[@name='custom']/model[@usable='yes']"))
    features = (one.get("name", "") for one in whole.iterfind("feature") if one.get("policy") != "disable")
    return HostCpu(whole.findtext("model") or "", whole.findtext("vendor") or "none", _words(features), _words(models))


def cells_of(connection: libvirt.virConnect) -> tuple[NumaCell, ...]:
    """The NUMA cells of the host; one that has no memory is none."""
    root = ElementTree.fromstring(connection.getCapabilities())
    return tuple(_cells(root.iterfind("host/topology/cells/cell")))


def _cells(cells: Iterable[Element]) -> Iterator[NumaCell]:
    for cell in cells:
        memory_mib = int(cell.findtext("memory") or "0") // 1024
        huge_kib = sum(
            int(pages.get("size", "0")) * int(pages.text or "0")
            for pages in cell.iterfind("pages")
            if pages.get("size") != _SMALL_PAGE_KIB
        )
        if memory_mib:
            yield NumaCell(len(cell.findall("cpus/cpu")), memory_mib, huge_kib // 1024)


def _words(names: Iterable[str]) -> str:
    return " ".join(sorted(name for name in names if _NAME.fullmatch(name)))
