"""The rack's certificates as files: made once, made anew in time, whole after any crash, and good for OpenSSL."""

from __future__ import annotations

import ssl
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from racksalt.adapters import tls_files
from racksalt.adapters.tls_files import TlsFiles
from racksalt.errors import Unavailable
from racksalt.model import HostConfig
from racksalt.tls_certificates import AUTHORITY_S, HOST_S, TlsPair
from tests.fakes import FakeClock

H1, H2 = HostConfig("h1"), HostConfig("h2", address="192.0.2.2")
NOW = 1_800_000_000.0


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    return TlsFiles(tmp_path / "tls", FakeClock(NOW))


def pair(files: TlsFiles, host: HostConfig = H1, purpose: str = "libvirt") -> TlsPair:
    return files.pairs_of(host)[purpose]


def parsed(told: TlsPair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(told.certificate.encode())


def pass_time(files: TlsFiles, seconds: float) -> None:
    files.clock.sleep(seconds)


def verifies(told: TlsPair, authority: str, tmp_path: Path, *, use: str = "sslserver") -> bool:
    """What OpenSSL says at that time."""
    (tmp_path / "one.pem").write_text(told.certificate)
    (tmp_path / "ca.pem").write_text(authority)
    words = ["openssl", "verify", "-purpose", use, "-attime", str(int(NOW)), "-x509_strict", "-no-CApath"]
    words += ["-CAfile", str(tmp_path / "ca.pem"), str(tmp_path / "one.pem")]
    return subprocess.run(words, capture_output=True, timeout=30, check=False).returncode == 0


def test_what_was_made_stays(files: TlsFiles) -> None:
    first = files.pairs_of(H1)
    assert files.pairs_of(H1) == first
    pass_time(files, HOST_S / 2)
    assert TlsFiles(files.root, files.clock).pairs_of(H1) == first


def test_nobody_but_its_owner_reads_them(files: TlsFiles) -> None:
    files.pairs_of(H1)
    found = list(files.root.rglob("*.pem"))
    assert len(found) == 4 and {path.stat().st_mode & 0o777 for path in found} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (files.root, *files.root.rglob("*")) if path.is_dir()} == {0o700}


def test_a_certificate_says_under_what_its_host_is_reached(files: TlsFiles) -> None:
    told = parsed(pair(files, H2))
    names = told.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["h2"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.2"]
    uses = told.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(uses) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


@pytest.mark.parametrize("use", ["sslserver", "sslclient"])
def test_openssl_takes_it_from_its_own_authority_only(files: TlsFiles, tmp_path: Path, use: str) -> None:
    """A guest that broke out of QEMU holds QEMU's key; libvirt must not take it."""
    libvirt, qemu = pair(files, H1), pair(files, H1, "qemu")
    assert verifies(libvirt, libvirt.authority, tmp_path, use=use)
    assert verifies(qemu, qemu.authority, tmp_path, use=use)
    assert not verifies(qemu, libvirt.authority, tmp_path, use=use)
    assert not verifies(libvirt, qemu.authority, tmp_path, use=use)


def test_a_host_can_sign_no_other_ones(files: TlsFiles) -> None:
    limits = parsed(pair(files)).extensions.get_extension_for_class(x509.BasicConstraints).value
    assert not limits.ca


def test_key_and_certificate_belong_together(files: TlsFiles, tmp_path: Path) -> None:
    told = pair(files)
    (tmp_path / "cert").write_text(told.certificate)
    (tmp_path / "key").write_text(told.key)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tmp_path / "cert", tmp_path / "key")


def test_a_host_gets_the_next_one_with_a_third_of_its_life_left(files: TlsFiles) -> None:
    first = pair(files)
    pass_time(files, HOST_S * 0.7)
    second = pair(files)
    assert second.certificate != first.certificate and second.key != first.key
    assert second.authority == first.authority


def test_an_address_that_changes_makes_a_new_one(files: TlsFiles) -> None:
    first = pair(files, HostConfig("h2"))
    assert pair(files, H2).certificate != first.certificate
    assert pair(files, H2) == pair(files, H2)


def test_an_authority_that_is_due_keeps_its_key(files: TlsFiles, tmp_path: Path) -> None:
    """So the certificates of before are good with the new one, and the new ones with the old."""
    first = pair(files)
    pass_time(files, AUTHORITY_S * 0.7)
    second = pair(files)
    assert second.authority != first.authority
    assert x509.load_pem_x509_certificate(second.authority.encode()).public_key() == (
        x509.load_pem_x509_certificate(first.authority.encode()).public_key()
    )
    assert verifies(first, second.authority, tmp_path) is False, "it is of a later time"
    parsed(first).verify_directly_issued_by(x509.load_pem_x509_certificate(second.authority.encode()))


@pytest.mark.parametrize("damage", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\n"])
def test_a_damaged_pair_is_made_anew(files: TlsFiles, damage: bytes) -> None:
    first = pair(files)
    (files.root / "libvirt/hosts/h1.pem").write_bytes(damage)
    assert pair(files).authority == first.authority and pair(files).key != first.key


def test_a_pair_of_two_ages_is_made_anew(files: TlsFiles) -> None:
    """A certificate with the key of another one."""
    first, other = pair(files), pair(files, H2)
    (files.root / "libvirt/hosts/h1.pem").write_text(other.key + first.certificate)
    assert pair(files).key not in (first.key, other.key)


def test_one_of_a_former_authority_is_made_anew(files: TlsFiles) -> None:
    first = pair(files)
    (files.root / "libvirt/ca.pem").unlink()
    again = pair(files)
    assert again.authority != first.authority and again.certificate != first.certificate


def test_a_damaged_authority_is_told_and_left_alone(files: TlsFiles) -> None:
    files.pairs_of(H1)
    path = files.root / "qemu/ca.pem"
    path.write_bytes(b"garbage")
    with pytest.raises(Unavailable) as told:
        files.pairs_of(H1)
    assert told.value.code == "tls_unreadable" and str(path) in told.value.detail
    assert path.read_bytes() == b"garbage"


def test_a_host_of_any_name_has_a_file_of_its_own(files: TlsFiles) -> None:
    told = pair(files, HostConfig("ca"))
    assert pair(files, HostConfig("ca")) == told and parsed(told).subject != parsed(pair(files)).subject


def test_many_that_ask_at_once_get_the_same(files: TlsFiles) -> None:
    start = threading.Barrier(8)

    def ask(_: int) -> TlsPair:
        start.wait()
        return pair(TlsFiles(files.root, FakeClock(NOW)))

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1


def test_an_authority_that_another_one_makes_at_this_moment_is_not_damaged(
    files: TlsFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, made = list[Path](), list[TlsPair]()
    read = tls_files._read

    def while_it_is_made(path: Path) -> Any:
        found = read(path)
        reads.append(path)
        if len(reads) == 1:
            made.append(pair(TlsFiles(files.root, FakeClock(NOW))))
        return found

    monkeypatch.setattr(tls_files, "_read", while_it_is_made)
    assert pair(files) == made[0]
