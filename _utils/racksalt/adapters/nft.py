"""Racksalt's tables in this host's kernel, by the program ``nft``, and the files that bring them back at boot."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from racksalt import host_firewall, migration_port
from racksalt.adapters.whole_files import replace
from racksalt.errors import Unavailable
from racksalt.ports import Clock

_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class NftTable:
    """The ``HostFirewall`` port: the file is what was loaded last."""

    path: Path = Path("/etc/racksalt/guests.nft")
    table: str = host_firewall.TABLE

    def text(self) -> str | None:
        """What was loaded last."""
        try:
            return self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def is_loaded(self) -> bool:
        """Whether the kernel has the table; without ``nft`` it has none."""
        try:
            return _nft(["list", "table", "inet", self.table]).returncode == 0
        except FileNotFoundError:
            return False

    def load(self, text: str) -> None:
        """The file is written last: a load that failed is tried again by the next run."""
        _load(text, f"the table {self.table}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        replace(self.path, text.encode(), mode=0o644)


#: The table of the migration ports.
MOVES = NftTable(Path("/etc/racksalt/moves.nft"), migration_port.TABLE)


@dataclass(frozen=True, slots=True)
class NftMigrationPort:
    """The ``MigrationPort`` port: members of the sets of :mod:`racksalt.migration_port`."""

    clock: Clock

    def open(self, source: str, until_s: float) -> None:
        """Under all addresses of its name, as it chooses itself from which it comes."""
        text = migration_port.opening(_addresses(source), until_s=until_s, now=self.clock.now())
        _load(text, "who may migrate to here")

    def close(self, source: str) -> None:
        """What it has open goes on."""
        _load(migration_port.closing(_addresses(source)), "who may migrate to here")


def _addresses(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        told = f"host {host} has no address that is known here: {error}; give it an address in hosts.yaml"
        raise Unavailable("host_failed", told, host=host) from error
    return [str(address[0]) for *_, address in found]


def _load(text: str, what: str) -> None:
    """In one step: all of it, or nothing."""
    try:
        done = _nft(["-f", "-"], stdin=text)
    except FileNotFoundError as error:
        raise Unavailable("host_failed", "nft is not installed here; apply the highstate") from error
    if done.returncode:
        raise Unavailable("host_failed", f"nft refused {what}: {done.stderr.strip()[:500]}; apply the highstate")


def _nft(words: Sequence[str], *, stdin: str = "") -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["nft", *words], input=stdin, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable("host_failed", f"nft did not end within {_TIMEOUT_S} s") from error
