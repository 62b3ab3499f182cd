"""The rack's certificate authorities and its hosts' certificates, as files beside the master's own keys.

``ROOT/PURPOSE/ca.pem`` and ``ROOT/PURPOSE/hosts/HOST.pem``: a key and its certificate in one file each, so that they
are of one age after any crash. All keys are on the curve P-256.
"""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from racksalt.adapters.system import FileLock
from racksalt.adapters.whole_files import replace
from racksalt.errors import Unavailable
from racksalt.model import HostConfig
from racksalt.ports import Clock
from racksalt.tls_certificates import AUTHORITY_S, HOST_S, PURPOSES, Life, Subject, TlsPair, is_due, life, subject_of

_USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


@dataclass(frozen=True, slots=True)
class _Pair:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def life(self) -> Life:
        told = self.certificate
        return Life(told.not_valid_before_utc.timestamp(), told.not_valid_after_utc.timestamp())


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The ``TlsAuthority`` port: what is there is read, and what is missing or due is made under a lock."""

    root: Path
    clock: Clock

    def pairs_of(self, host: HostConfig) -> dict[str, TlsPair]:
        """By purpose."""
        return {purpose: self._pair(purpose, subject_of(host)) for purpose in PURPOSES}

    def _pair(self, purpose: str, subject: Subject) -> TlsPair:
        folder = self.root / purpose
        authority, own = self._found(folder, subject) or self._made(folder, subject)
        return TlsPair(_text(authority.certificate), _text(own.certificate), _key_text(own.key))

    def _found(self, folder: Path, subject: Subject) -> tuple[_Pair, _Pair] | None:
        """The authority and the host's own pair, where nothing has to be made."""
        authority, own = self._authority(folder), _read(_path(folder, subject))
        if authority is None or own is None or is_due(authority.life, self.clock.now()):
            return None
        return (authority, own) if self._is_good(own, authority, subject) else None

    def _made(self, folder: Path, subject: Subject) -> tuple[_Pair, _Pair]:
        for made in (self.root, folder, _path(folder, subject).parent):
            made.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(self.root / ".lock")():
            # Another process may have made both since.
            if found := self._found(folder, subject):
                return found
            authority = self._current_authority(folder)
            own = _issue(authority, subject, life(self.clock.now(), HOST_S))
            _write(_path(folder, subject), own)
        return authority, own

    def _current_authority(self, folder: Path) -> _Pair:
        """One that is due keeps its key: certificates of before and after are good with either of its own."""
        found, now = self._authority(folder), self.clock.now()
        if found is not None and not is_due(found.life, now):
            return found
        key = found.key if found is not None else ec.generate_private_key(ec.SECP256R1())
        made = _Pair(key, _authority_of(key, f"Racksalt {folder.name}", life(now, AUTHORITY_S)))
        _write(folder / "ca.pem", made)
        return made

    def _authority(self, folder: Path) -> _Pair | None:
        """``None`` where there is none yet; a damaged one is never replaced unasked, as no host would know it."""
        path = folder / "ca.pem"
        # In this order: one that somebody makes in between is not damaged.
        there, found = path.exists(), _read(path)
        if found is None and there:
            raise Unavailable(
                "tls_unreadable",
                f"{path} is damaged; restore it from the master's backup, or remove {folder} and apply the highstate "
                "to all hosts",
                path=str(path),
            )
        return found

    def _is_good(self, own: _Pair, authority: _Pair, subject: Subject) -> bool:
        return (
            not is_due(own.life, self.clock.now())
            and _names(own.certificate) == _names_of(subject)
            and _is_of(own.certificate, authority.certificate)
        )


def _path(folder: Path, subject: Subject) -> Path:
    return folder / "hosts" / f"{subject.name}.pem"


def _read(path: Path) -> _Pair | None:
    """``None`` for what is not there, and for what is damaged."""
    try:
        data = path.read_bytes()
        key = serialization.load_pem_private_key(data, None)
        certificate = x509.load_pem_x509_certificate(data)
    except (FileNotFoundError, ValueError, TypeError, UnsupportedAlgorithm):
        return None
    except OSError as error:
        raise Unavailable("tls_unreadable", f"{path} cannot be read: {error.strerror}", path=str(path)) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        return None
    return _Pair(key, certificate)


def _write(path: Path, pair: _Pair) -> None:
    replace(path, (_key_text(pair.key) + _text(pair.certificate)).encode(), mode=0o600)


def _authority_of(key: ec.EllipticCurvePrivateKey, name: str, holds: Life) -> x509.Certificate:
    own = _named(name)
    usage = x509.KeyUsage(**{use: use in ("key_cert_sign", "crl_sign") for use in _USAGES})
    built = _dated(x509.CertificateBuilder().subject_name(own).issuer_name(own), key.public_key(), holds)
    built = built.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return built.add_extension(usage, critical=True).sign(key, hashes.SHA256())


def _issue(authority: _Pair, subject: Subject, holds: Life) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate.subject
    built = x509.CertificateBuilder().subject_name(_named(subject.name)).issuer_name(issuer)
    built = _dated(built, key.public_key(), holds)
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    # No key usage: libvirt asks for one that keys on curves must not have, and warns at each connection.
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (both, False),
        (x509.SubjectAlternativeName(_names_of(subject)), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), False),
    ]
    for extension, critical in extensions:
        built = built.add_extension(extension, critical=critical)
    return _Pair(key, built.sign(authority.key, hashes.SHA256()))


def _dated(built: x509.CertificateBuilder, key: ec.EllipticCurvePublicKey, holds: Life) -> x509.CertificateBuilder:
    since, until = (datetime.datetime.fromtimestamp(when, datetime.UTC) for when in (holds.since, holds.until))
    built = built.public_key(key).serial_number(x509.random_serial_number())
    built = built.not_valid_before(since).not_valid_after(until)
    return built.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _names_of(subject: Subject) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.DNSName(subject.name)]
    return [*names, x509.IPAddress(ipaddress.ip_address(subject.address))] if subject.address else names


def _names(certificate: x509.Certificate) -> list[x509.GeneralName]:
    try:
        return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except (x509.ExtensionNotFound, ValueError):
        return []


def _is_of(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _text(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_text(key: ec.EllipticCurvePrivateKey) -> str:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode()
