"""The RSA keys that Salt's minions have anyway: a host signs and unseals, its master verifies and seals.

A signature is RSA-PSS with SHA-256. A sealed text is AES-256-GCM under a random key, which RSA-OAEP with SHA-256
wraps for one host; it opens in the context that it was made for only, so that it cannot be moved to another VM.
"""

from __future__ import annotations

import base64
import secrets
from functools import cached_property
from pathlib import Path

from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from racksalt.errors import Refused, Unavailable

_PSS = padding.PSS(padding.MGF1(hashes.SHA256()), hashes.SHA256.digest_size)
_OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
_NONCE_BYTES = 12


class OwnKey:
    """The ``HostKey`` port: this host's own minion key, read at its first use; ``pki_dir`` is the minion's."""

    def __init__(self, pki_dir: str) -> None:
        self._path = Path(pki_dir) / "minion.pem"

    @cached_property
    def _key(self) -> rsa.RSAPrivateKey:
        try:
            # The check of a private key takes 40 ms and more; the file is root's, and Salt has checked it.
            key = serialization.load_pem_private_key(self._path.read_bytes(), None, unsafe_skip_rsa_key_validation=True)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise Unavailable("host_key", f"the minion's key {self._path} cannot be read: {error}") from error
        if not isinstance(key, rsa.RSAPrivateKey):
            raise Unavailable("host_key", f"the minion's key {self._path} is not an RSA key")
        return key

    def require(self) -> None:
        """Raises ``Unavailable`` where there is no key: nothing should be done then that must be answered."""
        _ = self._key

    def sign(self, data: bytes) -> str:
        """The signature of these bytes."""
        return _text(self._key.sign(data, _PSS, hashes.SHA256()))

    def seal_with(self, key: str, text: str, *, context: str) -> str:
        """A text that only the host with this public key can read, and only in this context."""
        try:
            public = serialization.load_pem_public_key(key.encode())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise Unavailable("host_key", "the other host's key cannot be read") from error
        if not isinstance(public, rsa.RSAPublicKey):
            raise Unavailable("host_key", "the other host's key is not an RSA key")
        return _sealed(public, text, context)

    def unseal(self, sealed: str, *, context: str) -> str:
        """What was sealed for this host in this context; anything else is refused."""
        try:
            wrapped, nonce, locked = (_bytes(part) for part in sealed.split("."))
            key = self._key.decrypt(wrapped, _OAEP)
            return AESGCM(key).decrypt(nonce, locked, context.encode()).decode()
        except (ValueError, InvalidTag) as error:
            raise Refused(
                "not_unsealed",
                "the secrets of this VM do not open here: they were sealed with another key than this host's, or for "
                "another VM; see which key the master has accepted",
            ) from error


class AcceptedKeys:
    """The hosts' public keys that the master has accepted; ``pki_dir`` is the master's.

    They are read at each use: a key that was removed or is not accepted proves nothing from then on.
    """

    def __init__(self, pki_dir: str) -> None:
        self._folder = Path(pki_dir) / "minions"

    def verify(self, host: str, data: bytes, signature: str) -> bool:
        """Whether the accepted key of ``host`` made this signature."""
        key = self._read(host)
        try:
            if key is not None:
                key.verify(_bytes(signature), data, _PSS, hashes.SHA256())
        except (ValueError, InvalidSignature):
            return False
        return key is not None

    def seal(self, host: str, text: str, *, context: str) -> str:
        """A text that only ``host`` can read, and only in this context."""
        key = self._read(host)
        if key is None:
            raise Unavailable("host_key", f"the master has no accepted RSA key of host {host}", host=host)
        return _sealed(key, text, context)

    def public_key(self, host: str) -> str:
        """The accepted key of ``host`` in PEM."""
        key = self._read(host)
        if key is None:
            raise Unavailable("host_key", f"the master has no accepted RSA key of host {host}", host=host)
        form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        return key.public_bytes(*form).decode()

    def _read(self, host: str) -> rsa.RSAPublicKey | None:
        if host in ("", ".", "..") or "/" in host or "\0" in host:
            return None
        try:
            key = serialization.load_pem_public_key((self._folder / host).read_bytes())
        except (OSError, ValueError, UnsupportedAlgorithm):
            return None
        return key if isinstance(key, rsa.RSAPublicKey) else None


def _sealed(key: rsa.RSAPublicKey, text: str, context: str) -> str:
    inner, nonce = AESGCM.generate_key(256), secrets.token_bytes(_NONCE_BYTES)
    locked = AESGCM(inner).encrypt(nonce, text.encode(), context.encode())
    return ".".join(_text(part) for part in (key.encrypt(inner, _OAEP), nonce, locked))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
