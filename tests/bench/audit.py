"""A line of the audit, beside the bare write and fsync of the same bytes; and how a long audit is checked."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from racksalt import audit, audit_check
from racksalt.adapters.audit_files import AuditFiles
from racksalt.adapters.system import SystemClock
from racksalt.audit import Act
from racksalt.audit_check import Raw
from racksalt.model import Head
from tests.bench.figures import Figure

_ROUNDS = 300
_LINES_BEFORE = 100_000
_GOAL_S = 0.001
_ACT = Act(
    "alice",
    "rack_vm.create",
    "192.0.2.7",
    "20261121070849123456",
    "acme",
    "acme/web1",
    {"name": "web1", "flavor": "m1.tiny", "image": "debian-12", "tags": ["role=web"], "user_data": "#cloud-config"},
)


def measure() -> list[Figure]:
    """Medians of interleaved rounds on a file that is long already, in the folder of temporary files."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        lines = _long_chain(_LINES_BEFORE)
        files = AuditFiles("master", SystemClock(), root)
        (root / f"audit-{time.strftime('%Y-%m', time.gmtime())}.jsonl").write_bytes(b"\n".join(lines) + b"\n")
        ours, bare = [], []
        with (root / "bare").open("ab", buffering=0) as file:
            for _ in range(_ROUNDS):
                ours.append(_timed(lambda: files.append(audit.intent(_ACT))))
                bare.append(_timed(lambda: _bare(file.fileno(), lines[0] + b"\n")))
    raws = (Raw("audit", row, text) for row, text in enumerate(lines, 1))
    check_s = _timed(lambda: audit_check.check(raws, {}))
    line, other = statistics.median(ours), statistics.median(bare)
    extra = line - other
    return [
        Figure("audit", "append a line, p50", line, other, "write + fsync", "s", "-", None),
        Figure("audit", "a line beyond its fsync, p50", extra, None, "", "s", "< 1 ms", extra < _GOAL_S),
        Figure("audit", "check a line of 100,000", check_s / len(lines), None, "", "s", "-", None),
    ]


def _long_chain(count: int) -> list[bytes]:
    lines: list[bytes] = []
    head: Head | None = None
    for number in range(count):
        entry = audit.outcome(_ACT) if number % 2 else audit.intent(_ACT)
        text, head = audit.line(entry, after=head, at=time.time(), master="master")
        lines.append(text)
    return lines


def _bare(descriptor: int, text: bytes) -> None:
    os.write(descriptor, text)
    os.fsync(descriptor)


def _timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began
