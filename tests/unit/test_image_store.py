"""The image store: files are what their names say, come over HTTPS, and appear whole or not at all."""

from __future__ import annotations

import datetime
import hashlib
import http.server
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from racksalt.adapters.image_store import ImageStore
from racksalt.errors import BadInput, RacksaltError, Refused, Unavailable

CONTENT = b"kernel" * 1000
SUM = hashlib.sha256(CONTENT).hexdigest()


class Images(http.server.BaseHTTPRequestHandler):
    """One image; the same cut short; and one that is not there."""

    def do_GET(self) -> None:
        if self.path == "/none":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:100] if self.path == "/cut" else CONTENT)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def certificate(folder: Path) -> Path:
    """A key and a certificate for localhost, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "localhost.pem"
    path.write_bytes(private + made.public_bytes(pem))
    return path


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of an HTTPS server, and the certificate to trust it by."""
    pem = certificate(tmp_path_factory.mktemp("tls"))
    server = http.server.ThreadingHTTPServer(("localhost", 0), Images)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"https://localhost:{server.server_port}", pem
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def address(trusted: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted[1]))
    return trusted[0]


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


def names(store: ImageStore) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir()) if store.folder.exists() else []


def put(store: ImageStore, content: bytes = CONTENT, name: str = SUM) -> Path:
    store.folder.mkdir(exist_ok=True)
    (store.folder / name).write_bytes(content)
    return store.folder / name


def test_a_fetched_image_is_there_read_only_with_its_manifest(store: ImageStore, address: str) -> None:
    assert not store.is_present(SUM)
    store.fetch(SUM, f"{address}/image")
    assert store.is_present(SUM) and names(store) == [SUM, f"{SUM}.json"]
    assert (store.folder / SUM).read_bytes() == CONTENT
    assert (store.folder / SUM).stat().st_mode & 0o777 == 0o444


def test_an_image_with_another_sum_does_not_appear(store: ImageStore, address: str) -> None:
    with pytest.raises(Refused) as told:
        store.fetch("0" * 64, f"{address}/image")
    assert told.value.code == "image_sum" and SUM in told.value.detail and names(store) == []


@pytest.mark.parametrize("path", ["/none", "/cut"])
def test_a_download_that_fails_leaves_nothing(store: ImageStore, address: str, path: str) -> None:
    with pytest.raises((Unavailable, Refused)):
        store.fetch(SUM, address + path)
    assert names(store) == []


def test_a_server_with_an_unknown_certificate_is_not_trusted(store: ImageStore, trusted: tuple[str, Path]) -> None:
    with pytest.raises(Unavailable) as told:
        store.fetch(SUM, f"{trusted[0]}/image")
    assert told.value.code == "image_unreachable" and names(store) == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://localhost/x",
        "file:///etc/passwd",
        "ftp://h/x",
        "salt://x",
        "/etc/passwd",
        "HTTPS://h/x",
        " https://h/x",
    ],
)
def test_only_https_is_fetched(store: ImageStore, url: str) -> None:
    with pytest.raises(BadInput) as told:
        store.fetch(SUM, url)
    assert told.value.code == "image_url" and names(store) == []


@pytest.mark.parametrize(
    "url", ["https://", "https://[", "https://h:port/x", "https://localhost:1/x", "https://h/\nx", "https://h/ü x"]
)
def test_an_address_that_leads_nowhere_is_told(store: ImageStore, url: str) -> None:
    with pytest.raises(RacksaltError):
        store.fetch(SUM, url)
    assert names(store) == []


def test_an_image_put_there_by_hand_is_checked_once(store: ImageStore) -> None:
    put(store)
    assert store.is_present(SUM) and names(store) == [SUM, f"{SUM}.json"]
    assert store.is_present(SUM)


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], CONTENT + b"x", b"x" * len(CONTENT)])
def test_a_file_that_is_not_what_its_name_says_is_not_there(store: ImageStore, content: bytes) -> None:
    put(store, content)
    assert not store.is_present(SUM) and names(store) == [SUM]


def test_a_file_that_was_cut_since_is_not_there_whatever_its_manifest_says(store: ImageStore) -> None:
    path = put(store)
    assert store.is_present(SUM)
    path.write_bytes(CONTENT[:100])
    assert not store.is_present(SUM)


@pytest.mark.parametrize("manifest", ["", "[]", "{", '{"sha256": "x"}', "5"])
def test_a_broken_manifest_is_as_good_as_none(store: ImageStore, manifest: str) -> None:
    path = put(store)
    path.with_name(f"{SUM}.json").write_text(manifest)
    assert store.is_present(SUM)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "..", "", "x/../../secret"])
def test_a_name_that_is_no_sum_reaches_no_other_file(store: ImageStore, address: str, name: str) -> None:
    store.folder.mkdir()
    (store.folder.parent / "secret").write_bytes(CONTENT)
    assert not store.is_present(name)
    with pytest.raises(RacksaltError):
        store.fetch(name, f"{address}/image")
    assert names(store) == [] and sorted(p.name for p in store.folder.parent.iterdir()) == ["images", "secret"]
