"""What the writer asks of one host about what is not as its records say: checked again where it arrives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from racksalt.holdings import FileName
from racksalt.model import Nic, Record
from racksalt.names import Name, Sha256, Uuid
from racksalt.shape import Items, Range


@dataclass(frozen=True, slots=True)
class EnrollOnHost:
    """Write this whole record into the domain of its UUID, which nothing else of it is changed by.

    ``replaces`` is the digest of the record that is there, or nothing where there is none. Its tags, its note and its
    protection stay.
    """

    record: Record
    replaces: Sha256 | None = None


@dataclass(frozen=True, slots=True)
class RestoreOnHost:
    """Make a domain's definition and its planned addresses what its record, of the digest ``sha256``, says."""

    uuid: Uuid
    sha256: Sha256


@dataclass(frozen=True, slots=True)
class LostFiles:
    """Files of ``volumes/TENANT/`` that belong to nothing."""

    tenant: Name
    files: Annotated[tuple[FileName, ...], Items(64)]


@dataclass(frozen=True, slots=True)
class SetAsideOnHost:
    """Take out of the way what belongs to nothing, so that it can be brought back: nothing is removed.

    ``domain`` is the UUID of a definition, ``address`` a planned one.
    """

    domain: Uuid | None = None
    files: LostFiles | None = None
    address: Nic | None = None


@dataclass(frozen=True, slots=True)
class ReadErrors:
    """What went wrong on this host in the last ``since_s`` seconds: all counted, the newest ``limit`` told."""

    since_s: Annotated[int, Range(1, 31 * 86400)] = 3600
    limit: Annotated[int, Range(0, 100)] = 10
