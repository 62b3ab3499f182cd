"""The key of :mod:`racksalt.envelopes`: AES-GCM by a file of root's on the master."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from racksalt import envelopes
from racksalt.adapters import key_file
from racksalt.adapters.system import SystemClock
from racksalt.envelopes import Envelope

KEY = "/etc/racksalt/envelope.key"
_NONCE_BYTES = 12
_MADE_FOR = b"racksalt envelope 1"


@dataclass(frozen=True, slots=True)
class AesGcm:
    """The ``Cipher`` protocol: a random nonce, then what it sealed."""

    key: bytes = field(repr=False)

    def seal(self, plain: bytes) -> bytes:
        """Readable by this key only, and by no change of a byte."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + AESGCM(self.key).encrypt(nonce, plain, _MADE_FOR)

    def open(self, sealed: bytes) -> bytes:
        """What :meth:`seal` got; ``ValueError`` for anything else."""
        try:
            return AESGCM(self.key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _MADE_FOR)
        except InvalidTag as error:
            raise ValueError("not sealed by this key") from error


def key_path(opts: Mapping[str, Any]) -> Path:
    """Where the key is: ``racksalt: {envelope_key: …}`` in the master's configuration; made at its first use."""
    config = opts.get("racksalt")
    return Path(config.get("envelope_key", KEY) if isinstance(config, Mapping) else KEY)


def make_envelope(
    opts: Mapping[str, Any], *, user: str, fun: str, address: str, secret_arguments: Mapping[str, Any]
) -> str:
    """The API's side: the argument ``envelope`` of one call."""
    envelope = Envelope(user, fun, address, SystemClock().now(), secret_arguments)
    return envelopes.seal(_cipher(opts), envelope)


def open_envelope(
    opts: Mapping[str, Any], text: object, *, user: str, fun: str, now: float
) -> tuple[str, dict[str, Any]]:
    """The runner's side: the caller's address, and its secret arguments; ``envelope_refused`` where it is not ours."""
    envelope = envelopes.unseal(_cipher(opts), text, user=user, fun=fun, now=now)
    return envelope.address, dict(envelope.secrets)


def prove(opts: Mapping[str, Any], text: str, *, job: str, answer: Any) -> dict[str, Any]:
    """The runner's answer to the call that came with this envelope."""
    return envelopes.prove(key_file.read_or_make(key_path(opts)), text, job=job, answer=answer)


def proved(opts: Mapping[str, Any], text: str, told: object) -> tuple[str, Any]:
    """The job and the answer to the call of this envelope; ``ValueError`` where nothing proves it."""
    return envelopes.proved(key_file.read_or_make(key_path(opts)), text, told)


def whose(opts: Mapping[str, Any], text: object) -> tuple[str, str] | None:
    """The user and the function of an envelope of any age; ``None`` for what is none of ours."""
    return envelopes.whose(_cipher(opts), text)


def _cipher(opts: Mapping[str, Any]) -> AesGcm:
    return AesGcm(key_file.read_or_make(key_path(opts)))
