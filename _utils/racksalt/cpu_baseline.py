"""The CPU that all hosts share, so that any VM can move to any host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from racksalt.model import CpuModel, HostCpu


@dataclass(frozen=True, slots=True)
class Shared:
    """``held_back_by`` has for each host the features that all others have; ``cpu`` is missing where none is shared."""

    cpu: CpuModel | None
    vendors: tuple[str, ...]
    held_back_by: Mapping[str, tuple[str, ...]]


def shared(cpus: Mapping[str, HostCpu]) -> Shared:
    """The intersection of the hosts' features, on a model that each of them can run.

    The model is one that libvirt found nearest to some host's own CPU, the one of most hosts first. Where no such model
    runs everywhere, as with CPUs of two vendors, none is told.
    """
    features = {host: frozenset(cpu.features.split()) for host, cpu in cpus.items()}
    models = [frozenset(cpu.models.split()) for cpu in cpus.values()]
    everywhere = frozenset.intersection(*models) if models else frozenset()
    own = Counter(cpu.model for cpu in cpus.values() if cpu.model in everywhere)
    common = frozenset.intersection(*features.values()) if features else frozenset()
    model = min(own, key=lambda name: (-own[name], name), default=None)
    return Shared(
        CpuModel(model, tuple(sorted(common))) if model else None,
        tuple(sorted({cpu.vendor for cpu in cpus.values()})),
        _held_back(features),
    )


def _held_back(features: Mapping[str, frozenset[str]]) -> dict[str, tuple[str, ...]]:
    """By host, the features that it alone lacks."""
    hosts = Counter(feature for found in features.values() for feature in found)
    nearly = {feature for feature, count in hosts.items() if count == len(features) - 1} if len(features) > 1 else set()
    lacks = {host: tuple(sorted(nearly - found)) for host, found in features.items()}
    return {host: missing for host, missing in lacks.items() if missing}
