"""The master's own copy of the newest snapshot, and the seal on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from racksalt.adapters import snapshot_seal
from racksalt.adapters.snapshot_files import SnapshotFiles
from racksalt.record_proof import Ring

#: Beside the hosts' folder of the same kind: a master may be a host too.
ROOT = Path("/var/lib/racksalt/own-snapshots")


@dataclass(frozen=True, slots=True)
class MasterSnapshots(SnapshotFiles):
    """The ``Snapshots`` port."""

    root: Path = ROOT

    def seal(self, data: bytes, label: str, ring: Ring) -> str:
        """The same text for the same content, label and key."""
        return snapshot_seal.seal(data, label, ring)

    def unseal(self, text: str, label: str, ring: Ring) -> bytes:
        """What was sealed; anything else is refused."""
        return snapshot_seal.unseal(text, label, ring)
