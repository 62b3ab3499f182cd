"""The guests' table in this host's kernel, by the program ``nft``, and the file that brings it back at boot."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from racksalt.adapters.whole_files import replace
from racksalt.errors import Unavailable
from racksalt.host_firewall import TABLE

_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class NftTable:
    """The ``HostFirewall`` port: the file is what was loaded last."""

    path: Path = Path("/etc/racksalt/guests.nft")

    def text(self) -> str | None:
        """What was loaded last."""
        try:
            return self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def is_loaded(self) -> bool:
        """Whether the kernel has the table; without ``nft`` it has none."""
        try:
            return _nft(["list", "table", "inet", TABLE]).returncode == 0
        except FileNotFoundError:
            return False

    def load(self, text: str) -> None:
        """The file is written last: a load that failed is tried again by the next run."""
        try:
            done = _nft(["-f", "-"], stdin=text)
        except FileNotFoundError as error:
            raise Unavailable("host_failed", "nft is not installed here; apply the highstate") from error
        if done.returncode:
            raise Unavailable("host_failed", f"nft refused the guests' rules: {done.stderr.strip()[:500]}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        replace(self.path, text.encode(), mode=0o644)


def _nft(words: Sequence[str], *, stdin: str = "") -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["nft", *words], input=stdin, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable("host_failed", f"nft did not end within {_TIMEOUT_S} s") from error
