"""A snapshot of the inventory, as the writer gives it to three hosts against its own loss: pure.

It is made of pieces: one for each host's report, one for the claims, and a root that names them all. A piece is
canonical JSON, compressed and sealed, and called by the SHA-256 of its text. The same content has the same name, so
after a change only the pieces that changed travel: a job on Salt's bus goes to every minion. Hosts can neither read
nor make one up; all that they can do is to show an old one.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from racksalt import shape
from racksalt.errors import BadInput, Refused
from racksalt.inventory import Inventory
from racksalt.inventory_json import canonical
from racksalt.model import Claim, Domain, HostReport, SnapshotHead
from racksalt.names import Name, Sha256, When
from racksalt.shape import Range

#: Seals what is under a label, and opens it: ``Refused`` where it is not what was sealed.
Seal = Callable[[bytes, str], str]
Unseal = Callable[[str, str], bytes]
#: The text of a piece by its name; ``None`` where there is none.
Read = Callable[[str], str | None]

#: How many hosts keep it.
COPIES = 3
#: So much of pieces goes into one call: Salt's bus takes a megabyte at most.
_CALL_BYTES = 384 * 1024
_MOST_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the rack holds, as one master knew it; ``unread`` are hosts of which it knew nothing."""

    rack: Name
    head: SnapshotHead
    at: When
    hosts: Mapping[Name, HostReport]
    claims: tuple[Claim, ...]
    unread: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class HostPiece:
    """What of a host's report lasts, with the piece that it makes."""

    report: HostReport
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Pieces:
    """A snapshot as it is kept: its head, and the texts of all its pieces; ``hosts`` spare work for the next one."""

    head: SnapshotHead
    texts: Mapping[str, str]
    hosts: Mapping[str, HostPiece]


@dataclass(frozen=True, slots=True)
class _Root:
    """What names the other pieces."""

    rack: Name
    master: str
    version: Annotated[int, Range(1, 10**15)]
    at: When
    hosts: Mapping[Name, Sha256]
    claims: Sha256
    unread: tuple[Name, ...] = ()


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes snapshots of one master under one key; ``before`` are the hosts' pieces of the last one."""

    master: str
    seal: Seal
    before: Mapping[str, HostPiece] = field(default_factory=dict)

    def pieces(self, seen: Inventory, *, version: int, at: float) -> Pieces:
        """The inventory of now, sealed. What changes by itself is left out: it would make every piece another one."""
        hosts = {name: self._host(name, report) for name, report in lasting(seen).items()}
        claims = _named(self.seal(_packed([shape.plain_set(claim) for claim in _lasting_claims(seen)]), "claims"))
        names = {host: piece.name for host, piece in hosts.items()}
        root = _Root(seen.rack, self.master, version, int(at), names, claims[0], tuple(seen.unread))
        name, text = _named(self.seal(_packed(shape.plain(root)), "root"))
        texts = {piece.name: piece.text for piece in hosts.values()}
        head = SnapshotHead(self.master, version, name)
        head = replace(head, proof=self.seal(_statement(head), "head"))
        return Pieces(head, {**texts, **dict([claims, (name, text)])}, hosts)

    def _host(self, host: str, report: HostReport) -> HostPiece:
        known = self.before.get(host)
        if known is not None and known.report == report:
            return known
        return HostPiece(report, *_named(self.seal(_packed(shape.plain(report)), f"host {host}")))


def lasting(seen: Inventory) -> dict[str, HostReport]:
    """What of each host's report stays as it is until somebody changes something there."""
    return {name: _lasting(view.report) for name, view in sorted(seen.hosts.items()) if view.report is not None}


def root_names(text: str, unseal: Unseal) -> tuple[str, ...]:
    """The names of the pieces that a root names."""
    root = _root(text, unseal)
    return (*root.hosts.values(), root.claims)


def whole(head: SnapshotHead, read: Read, unseal: Unseal) -> Snapshot:
    """The snapshot under this head; ``Refused`` where a piece is missing, or is not what the rack sealed."""
    root = _root(_text(head.root, read), unseal)
    if (root.master, root.version) != (head.master, head.version):
        raise Refused("snapshot_unreadable", f"it says version {root.version}, its keeper said {head.version}")
    hosts = {
        name: _parsed(HostReport, _unpacked(_text(digest, read), unseal, f"host {name}"))
        for name, digest in root.hosts.items()
    }
    claims = _parsed(tuple[Claim, ...], _unpacked(_text(root.claims, read), unseal, "claims"))
    return Snapshot(root.rack, head, root.at, hosts, claims, root.unread)


def is_proved(head: SnapshotHead, unseal: Unseal) -> bool:
    """Whether a master of the rack has made it: nobody is sent to look for what a host made up."""
    try:
        return unseal(head.proof, "head") == _statement(head)
    except Refused:
        return False


def known_hosts(head: SnapshotHead, read: Read, unseal: Unseal) -> tuple[frozenset[str], frozenset[str]]:
    """The hosts that a snapshot has, and those that it says are unread."""
    root = _root(_text(head.root, read), unseal)
    return frozenset(root.hosts), frozenset(root.unread)


def keepers(rack: str, master: str, hosts: Iterable[str]) -> list[str]:
    """Hosts in the order in which they are to keep the snapshots of a master: the same as long as they are there."""

    def weight(host: str) -> str:
        return hashlib.sha256(f"{rack}\n{master}\n{host}".encode()).hexdigest()

    return sorted(hosts, key=weight)


def parcels(texts: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The texts in parts that the bus can take; at least one, if only an empty one."""
    parcel: dict[str, str] = {}
    size = 0
    for name, text in texts.items():
        if parcel and size + len(text) > _CALL_BYTES:
            yield parcel
            parcel, size = {}, 0
        parcel[name] = text
        size += len(text)
    yield parcel


def _lasting(report: HostReport) -> HostReport:
    return HostReport(
        report.host,
        report.total,
        tuple(_lasting_domain(domain) for domain in sorted(report.domains, key=lambda domain: domain.uuid)),
        report.hypervisor,
        cpu=report.cpu,
        numa=report.numa,
    )


def _lasting_domain(domain: Domain) -> Domain:
    return replace(domain, state="unknown", record=domain.record or domain.unproven, unproven=None)


def _lasting_claims(seen: Inventory) -> list[Claim]:
    """The claims that hold something, or have still to be looked up; the others are in the reports."""
    counting = {record.uuid for record in seen.in_flight()}
    kept = [claim for claim in seen.claims if claim.settled_at is None or claim.record.uuid in counting]
    return sorted(kept, key=lambda claim: claim.record.uuid)


def _statement(head: SnapshotHead) -> bytes:
    told = {"master": head.master, "version": head.version, "root": head.root}
    return hashlib.sha256(canonical(told)).digest()


def _named(text: str) -> tuple[str, str]:
    return hashlib.sha256(text.encode()).hexdigest(), text


def _packed(plain: Any) -> bytes:
    return zlib.compress(canonical(plain), 6)


def _root(text: str, unseal: Unseal) -> _Root:
    root: _Root = _parsed(_Root, _unpacked(text, unseal, "root"))
    return root


def _unpacked(text: str, unseal: Unseal, label: str) -> Any:
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(unseal(text, label), _MOST_BYTES)
    return json.loads(data)


def _parsed(kind: Any, plain: Any) -> Any:
    """A master of another version may have written it."""
    try:
        return shape.parse(kind, plain)
    except BadInput as error:
        raise Refused("snapshot_unreadable", f"its form is not today's: {error.detail[:200]}") from error


def _text(name: str, read: Read) -> str:
    text = read(name)
    if text is None or _named(text)[0] != name:
        raise Refused("snapshot_unreadable", f"piece {name[:12]}… is missing or damaged")
    return text
