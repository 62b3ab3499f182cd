"""What the API hands to a runner besides the arguments: who asks from where, and the secrets of the call, sealed.

Salt writes a job's arguments into its job cache and tells them to whoever listens to the master's events. So
user-data and keys are never arguments: the API takes them out, and puts one envelope in, which only the holder of
the master's key can make and open. The caller's address travels with them, as nobody else may claim one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from racksalt import shape
from racksalt.errors import BadInput, Denied

#: The argument that carries an envelope; nobody but the API gives one.
ARGUMENT = "envelope"
#: Arguments that never travel as such.
SECRET_ARGUMENTS = ("user_data", "ssh_keys")
#: A call that nobody waits for starts at once, too.
LIFETIME_S = 300


class Cipher(Protocol):
    """Seals bytes so that only the same key opens them, unchanged."""

    def seal(self, plain: bytes) -> bytes: ...

    def open(self, sealed: bytes) -> bytes:
        """Raises ``ValueError`` for what this key did not seal."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """One call: its user and function, the caller's address, when it was made (seconds since the epoch)."""

    user: str
    fun: str
    address: str
    at: float
    #: By the argument's name, as the caller gave it.
    secrets: Mapping[str, Any] = field(default_factory=dict, repr=False)


def without_secrets(
    arguments: Mapping[str, Any], *, known: Collection[str] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A call's arguments, parted: what may be seen, and what may not.

    With ``known``, the names that the call has, others may not either: a secret under a misspelt name is still one.
    """
    secrets = {
        key: value
        for key, value in arguments.items()
        if key in SECRET_ARGUMENTS or (known is not None and key not in known)
    }
    return {key: value for key, value in arguments.items() if key not in secrets}, secrets


def seal(cipher: Cipher, envelope: Envelope) -> str:
    """The text that goes into the argument ``envelope``."""
    plain = {key: getattr(envelope, key) for key in ("user", "fun", "address", "at", "secrets")}
    return base64.b64encode(cipher.seal(json.dumps(plain).encode())).decode()


def unseal(cipher: Cipher, text: object, *, user: str, fun: str, now: float) -> Envelope:
    """The envelope of this very call; one that is not ours, not this user's, of another function or old is refused."""
    envelope = _read(cipher, text)
    if envelope is None or (envelope.user, envelope.fun) != (user, fun) or abs(now - envelope.at) > LIFETIME_S:
        raise Denied("envelope_refused", "the argument `envelope` is the API's own; leave it out")
    return envelope


def whose(cipher: Cipher, text: object) -> tuple[str, str] | None:
    """The user and the function of an envelope of any age; ``None`` for what is none of ours."""
    envelope = _read(cipher, text)
    return (envelope.user, envelope.fun) if envelope else None


def prove(key: bytes, text: str, *, job: str, answer: Any) -> dict[str, Any]:
    """An answer to the call of this envelope, in the form that only the holder of the key can make.

    Any host with an accepted key may put an answer of its own into Salt's job cache, or on the master's bus.
    """
    plain = json.dumps(answer)
    return {"job": job, "answer": plain, "proof": _proof(key, text, job, plain)}


def proved(key: bytes, text: str, told: object) -> tuple[str, Any]:
    """The job and the answer that :func:`prove` was given for this envelope; ``ValueError`` for anything else."""
    if not isinstance(told, Mapping):
        raise ValueError("no proved answer")
    job, plain, proof = (str(told.get(part, "")) for part in ("job", "answer", "proof"))
    if not hmac.compare_digest(_proof(key, text, job, plain).encode(), proof.encode("utf-8", "replace")):
        raise ValueError("the proof is wrong")
    return job, json.loads(plain)


def _proof(key: bytes, text: str, job: str, plain: str) -> str:
    said = json.dumps(["racksalt answer 1", hashlib.sha256(text.encode()).hexdigest(), job, plain])
    return hmac.new(key, said.encode(), hashlib.sha256).hexdigest()


def _read(cipher: Cipher, text: object) -> Envelope | None:
    if not isinstance(text, str):
        return None
    try:
        plain = json.loads(cipher.open(base64.b64decode(text.encode(), validate=True)))
        return _parsed(plain)
    except (BadInput, ValueError, binascii.Error):
        return None


def _parsed(plain: Any) -> Envelope | None:
    """``shape`` has no type for the secrets: they are anything until the call's own request is parsed."""
    if not isinstance(plain, dict) or not isinstance(plain.get("secrets"), dict):
        return None
    head = shape.parse(_Head, {key: value for key, value in plain.items() if key != "secrets"})
    return Envelope(head.user, head.fun, head.address, head.at, plain["secrets"])


@dataclass(frozen=True, slots=True)
class _Head:
    user: str
    fun: str
    address: str
    at: float
