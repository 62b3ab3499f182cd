"""The seal on snapshots: AES-SIV under a key made from the rack's newest signing key.

The same content under the same label has the same text, without a nonce to keep: pieces that did not change are known
by their names. That two texts are equal is all that it tells.
"""

from __future__ import annotations

import base64
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from racksalt.errors import Refused
from racksalt.record_proof import Ring

_PURPOSE = b"racksalt snapshot 1"


def seal(data: bytes, label: str, ring: Ring) -> str:
    """``KEY.BASE64``."""
    return f"{ring.newest}.{base64.b64encode(_cipher(ring, ring.newest).encrypt(data, [label.encode()])).decode()}"


def unseal(text: str, label: str, ring: Ring) -> bytes:
    """What was sealed under this label; anything else is ``Refused``."""
    number, _, sealed = text.partition(".")
    try:
        if not number.isdecimal() or int(number) not in ring.keys:
            raise Refused("snapshot_unreadable", "it was sealed with a key that the rack has no more")
        return _cipher(ring, int(number)).decrypt(base64.b64decode(sealed, validate=True), [label.encode()])
    except (ValueError, InvalidTag) as error:
        raise Refused("snapshot_unreadable", "it is not what the rack sealed") from error


def _cipher(ring: Ring, number: int) -> AESSIV:
    """Another key than the one that signs: what opens a snapshot signs no record."""
    return AESSIV(hmac.digest(ring.keys[number], _PURPOSE, "sha512"))
