"""The certificates by which hosts of a rack know each other: for what, for how long, and when they are made anew.

libvirt and QEMU have an authority each. QEMU's key is readable by the user that all guests of a host run as: who
breaks out of a guest must not pass for its host at another one's libvirt, which is root there.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from racksalt.model import HostConfig

PURPOSES = ("libvirt", "qemu")

_DAY_S = 86400.0
#: A host gets its next certificate by a highstate within the last third, nine months.
HOST_S = 825 * _DAY_S
AUTHORITY_S = 20 * 365 * _DAY_S
#: Hosts' clocks may be behind the master's.
SKEW_S = _DAY_S


@dataclass(frozen=True, slots=True)
class Life:
    """From when until when a certificate holds."""

    since: float
    until: float


@dataclass(frozen=True, slots=True)
class TlsPair:
    """What a host needs for one purpose, as PEM: the authority to trust, its own certificate, and the key to that."""

    authority: str
    certificate: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Subject:
    """Under what others reach a host, and so what its certificate has to say."""

    name: str
    address: str | None = None


def subject_of(host: HostConfig) -> Subject:
    """What the rack's files say of a host."""
    return Subject(host.name, host.address)


def life(now: float, seconds: float) -> Life:
    """The life of a certificate that is made now."""
    return Life(now - SKEW_S, now + seconds)


def is_due(found: Life, now: float) -> bool:
    """Whether the next one has to be made: a third of the life is left, or it is of a time to come."""
    return now < found.since or found.until - now < (found.until - found.since) / 3
