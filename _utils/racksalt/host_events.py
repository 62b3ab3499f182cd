"""What a host tells by itself: the domains that changed, the digest of all, and its signature.

Salt's bus proves no event's sender, so the host signs, as it signs its answers (:mod:`racksalt.host_answers`), but in
a context of its own: an event never passes for an answer. ``boot`` and ``uptime_s`` put a host's words in order, so
that a replayed or late event is known as one; the digest shows whether anything was missed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from racksalt import shape
from racksalt.errors import BadInput
from racksalt.host_answers import Sign, Unproved, Verify
from racksalt.model import Boot, Domain, Uptime
from racksalt.names import Name, Sha256, Uuid

_TAG = re.compile(r"racksalt/host/([^/]{1,64})/changed")
#: Salt cuts what is larger than ``max_event_size``; without its changes an event still has the digest.
_LONGEST = 400_000


@dataclass(frozen=True, slots=True)
class Changes:
    """One event; ``whole`` where all domains were read for it, and not only those that libvirt named."""

    host: Name
    boot: Boot
    uptime_s: Uptime
    whole: bool
    digest: Sha256
    changed: tuple[Domain, ...] = ()
    gone: tuple[Uuid, ...] = ()


def tag(host: str) -> str:
    """The tag of a host's events."""
    return f"racksalt/host/{host}/changed"


def host_of(text: str) -> str | None:
    """The host that a tag names, if it is one of these."""
    found = _TAG.fullmatch(text)
    return found.group(1) if found else None


def mark(domain: Domain) -> str:
    """What tells two forms of a domain apart."""
    return hashlib.sha256(json.dumps(shape.plain(domain), sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def digest(marks: Mapping[str, str]) -> str:
    """What stands for all domains of a host, from their marks by UUID."""
    lines = (f"{uuid} {marks[uuid]}\n" for uuid in sorted(marks))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def marks(domains: Iterable[Domain]) -> dict[str, str]:
    """The marks of these domains by UUID."""
    return {domain.uuid: mark(domain) for domain in domains}


def signed(changes: Changes, sign: Sign) -> dict[str, Any]:
    """The event as it goes over the bus: the JSON text that was signed."""
    plain = shape.plain(changes)
    text = json.dumps(plain, separators=(",", ":"), allow_nan=False)
    if len(text) > _LONGEST:
        text = json.dumps({**plain, "changed": [], "gone": []}, separators=(",", ":"), allow_nan=False)
    return {"signed": {"changes": text, "signature": sign(_statement(text))}}


def judge(data: Any, *, host: str, verify: Verify) -> Changes | Unproved:
    """Whether ``data``, which came under the tag of ``host``, is an event of its own."""
    found = data.get("signed") if isinstance(data, Mapping) else None
    if not isinstance(found, Mapping):
        return Unproved("an event that nobody has signed")
    text, signature = found.get("changes"), found.get("signature")
    if not isinstance(text, str) or not isinstance(signature, str):
        return Unproved("an event that is signed, but not as text")
    if not verify(host, _statement(text), signature):
        return Unproved("an event whose signature is not one of the accepted key")
    try:
        changes = shape.parse(Changes, json.loads(text))
    except (BadInput, ValueError, RecursionError):
        return Unproved("an event that is signed, but cannot be read")
    return changes if changes.host == host else Unproved("an event that is signed for another host")


def _statement(text: str) -> bytes:
    """The bytes that are signed; the host is in the text."""
    return b"racksalt event\n" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest().encode()
