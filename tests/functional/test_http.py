"""The API as an HTTPS server: silent, broken and oversized requests hold up nobody and are refused in JSON."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import bcrypt
import pytest

from tests import promises

ROOT = Path(__file__).resolve().parents[2]
#: Salt's loader would put ``__opts__`` there.
SERVE = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("rack_api", sys.argv[1])
rack_api = importlib.util.module_from_spec(spec)
spec.loader.exec_module(rack_api)
rack_api.__opts__ = json.loads(sys.argv[2])
rack_api.start()
"""
SOON_S = 3
TIMEOUT_S = 3
HOME, AWAY = "127.0.0.1", "127.0.0.2"
POST = b"POST /login HTTP/1.1\r\nHost: rack\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: rack\r\n\r\n"
TOO_LARGE = 256 * 1024 + 1
TRUSTING = ssl.create_default_context()
TRUSTING.check_hostname = False
TRUSTING.verify_mode = ssl.CERT_NONE


class Api(NamedTuple):
    port: int
    log: Path

    def connect(self, address: str = HOME) -> socket.socket:
        """A connection from one of this machine's own addresses."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=SOON_S, source_address=(address, 0))

    def shake(self, address: str = HOME) -> ssl.SSLSocket:
        return TRUSTING.wrap_socket(self.connect(address))

    def send(self, *parts: bytes, address: str = HOME) -> http.client.HTTPResponse:
        """The answer to a request that is written as it is."""
        with self.shake(address) as tls:
            for part in parts:
                tls.sendall(part)
            return answer_of(tls)

    def get(self, address: str = HOME) -> int:
        return self.send(b"GET / HTTP/1.1\r\nHost: rack\r\nConnection: close\r\n\r\n", address=address).status

    def log_in(self, user: str, address: str = HOME) -> int:
        """The status of a login with a wrong password."""
        body = json.dumps({"username": user, "password": "wrong", "eauth": "rack"}).encode()
        return self.send(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body, address=address).status


def answer_of(tls: ssl.SSLSocket) -> http.client.HTTPResponse:
    answer = http.client.HTTPResponse(tls)
    answer.begin()
    answer.body = answer.read()  # type: ignore[attr-defined]
    return answer


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("api")
    crt, key, log = folder / "api.crt", folder / "api.key", folder / "log"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=rack", "-days", "2"]
    subprocess.run([*made, "-keyout", str(key), "-out", str(crt)], check=True, capture_output=True)
    port = free_port()
    settings = {"host": "127.0.0.1", "port": port, "ssl_crt": str(crt), "ssl_key": str(key), "thread_pool": 3}
    settings |= {"log_error_file": str(log), "request_timeout_s": TIMEOUT_S}
    stored = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
    (folder / "htpasswd").write_text(f"alice:{stored}\nbob:{stored}\n")
    files = {"rack_files": str(ROOT / "pillar/rack"), "htpasswd": str(folder / "htpasswd")}
    opts = {"rack_api": settings, "racksalt": files}
    program = [sys.executable, "-c", SERVE, str(ROOT / "_netapi/rack_api.py"), json.dumps(opts)]
    with (folder / "output").open("wb") as output, subprocess.Popen(program, stdout=output, stderr=output) as server:
        served = Api(port, log)
        try:
            wait_for(served, server, folder / "output")
            yield served
        finally:
            server.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(10)
            server.kill()
    assert "Traceback" not in log.read_text() + (folder / "output").read_text()


def wait_for(api: Api, server: subprocess.Popen[bytes], output: Path) -> None:
    deadline = time.monotonic() + 30
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            api.connect().close()
            return
        time.sleep(0.1)
    pytest.fail(output.read_text())


def problem(answer: Any, status: int) -> dict[str, Any]:
    """The refusal, which tells nothing of the inside."""
    text = answer.body.decode()
    assert answer.status == status, text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert not any(word in text for word in ("Traceback", ".py", "site-packages", "<html", "CherryPy"))
    told: dict[str, Any] = json.loads(text)
    assert told["status"] == status and told["code"] and told["detail"]
    return told


@pytest.mark.parametrize("idle", [1, 3, 20])
@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01"], ids=["silent", "half a word"])
def test_idle_connections_delay_nobody(api: Api, idle: int, said: bytes) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(idle):
            stack.enter_context(api.connect()).sendall(said)
        time.sleep(0.2)
        started = time.monotonic()
        assert api.get() == 200
        assert time.monotonic() - started < SOON_S


def test_clients_that_shook_hands_and_are_silent_delay_nobody(api: Api) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(TRUSTING.wrap_socket(stack.enter_context(api.connect())))
        assert api.get() == 200


def test_a_connection_without_a_handshake_ends(api: Api) -> None:
    with api.connect() as silent:
        silent.settimeout(15)
        assert silent.recv(1) == b""


def test_plain_http_gets_nothing_and_disturbs_nobody(api: Api) -> None:
    with api.connect() as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: rack\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert b"return" not in plain.recv(4096)
    assert api.get() == 200


def test_old_tls_is_refused(api: Api) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with api.connect() as tcp, pytest.raises((ssl.SSLError, ConnectionError)):
        old.wrap_socket(tcp)


@pytest.mark.parametrize(
    "value",
    ["=?bogus?q?abc?=", "=?utf-8?b?a?=", "=?utf-8?q?=ff?=", "=?rot13?q?abc?=", "=?undefined?q?a?=", "=?idna?q?=ff?="],
)
@pytest.mark.parametrize("header", ["X-Auth-Token", "Host", "Cookie"])
def test_headers_that_cannot_be_decoded(api: Api, header: str, value: str) -> None:
    host = "" if header == "Host" else "Host: rack\r\n"
    problem(api.send(f"GET / HTTP/1.1\r\n{host}{header}: {value}\r\n\r\n".encode()), 400)


def test_no_host(api: Api) -> None:
    problem(api.send(b"GET / HTTP/1.1\r\n\r\n"), 400)


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /", 400),
        (b"GET / HTTP/x.y", 400),
        (b"GET / HTTP/2.0", 505),
        (b"get / HTTP/1.1", 400),
        (b"GET /%ff HTTP/1.1", 404),
        (b"GET /../etc/passwd HTTP/1.1", 404),
        (b"GET /?%ff HTTP/1.1", 404),
        (b"GET /nothing HTTP/1.1", 404),
        (b"GET /favicon.ico HTTP/1.1", 404),
        (b"DELETE / HTTP/1.1", 405),
        (b"GET /?a=1 HTTP/1.1", 404),
        (b"GET /" + b"a" * 60000 + b" HTTP/1.1", 404),
        (b"GET /" + b"a" * 70000 + b" HTTP/1.1", 414),
        (b"GET //[ HTTP/1.1", 400),
        (b"GET / HTTP/1.1\r\n continued: x", 400),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 70000, 413),
        (b"GET / HTTP/1.1\nHost: rack", 400),
        (b"\r\n\r\nGET / HTTP/1.1", 400),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_request_lines(api: Api, request_line: bytes, status: int) -> None:
    problem(api.send(request_line + b"\r\nHost: rack\r\n\r\n"), status)


def test_a_large_content_length(api: Api) -> None:
    problem(api.send(POST + b"Content-Length: %d\r\n\r\n" % TOO_LARGE), 413)


@pytest.mark.parametrize("size", [TOO_LARGE, 2 * TOO_LARGE])
def test_a_large_body_that_is_sent_whole_is_told_why(api: Api, size: int) -> None:
    problem(api.send(POST + b"Content-Length: %d\r\n\r\n" % size, b" " * size), 413)


@pytest.mark.parametrize(
    "chunks",
    [
        b"%x\r\n" % TOO_LARGE,
        b"7fffffffffff\r\n",
        (b"8000\r\n" + b" " * 0x8000 + b"\r\n") * 7 + b"8000\r\n" + b" " * 0x7F00 + b"\r\n" * 128 + b"\r\n1\r\n",
    ],
    ids=["one", "huge", "many"],
)
def test_a_large_chunked_body(api: Api, chunks: bytes) -> None:
    problem(api.send(CHUNKED + chunks), 413)


@pytest.mark.parametrize("chunks", [b"x\r\n", b"2\r\n{}x\r\n", b"\r\n"])
def test_a_broken_chunked_body(api: Api, chunks: bytes) -> None:
    answer = api.send(CHUNKED + chunks)
    problem(answer, 400)
    assert answer.headers["Connection"] == "close"


@pytest.mark.parametrize("length", [b"x", b"-1", b"1, 2"])
def test_a_length_that_is_none(api: Api, length: bytes) -> None:
    problem(api.send(POST + b"Content-Length: " + length + b"\r\n\r\n"), 400)


@pytest.mark.parametrize("sent", [POST + b"Content-Length: 10\r\n\r\n{", CHUNKED + b"a\r\n{"])
def test_a_client_that_is_gone_leaves_no_traceback(api: Api, sent: bytes) -> None:
    with TRUSTING.wrap_socket(api.connect()) as tls:
        tls.sendall(sent)
    assert api.get() == 200
    time.sleep(0.3)
    assert "Traceback" not in api.log.read_text()


def test_garbage_after_the_handshake_leaves_no_traceback(api: Api) -> None:
    tls = TRUSTING.wrap_socket(api.connect())
    with socket.socket(fileno=tls.detach()) as tcp:
        tcp.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)
    assert api.get() == 200
    time.sleep(0.3)
    assert "Traceback" not in api.log.read_text()


@pytest.mark.parametrize("sent", [POST + b"Content-Length: 10\r\n\r\n{", CHUNKED + b"a\r\n{", b"GET / HT"])
def test_half_a_request_is_a_timeout(api: Api, sent: bytes) -> None:
    with api.shake() as tls:
        tls.settimeout(15)
        tls.sendall(sent)
        problem(answer_of(tls), 408)


def test_a_request_has_its_time_in_all_and_not_for_each_byte(api: Api) -> None:
    with api.shake() as tls:
        started = time.monotonic()
        tls.sendall(POST + b"Content-Length: 1000\r\n\r\n")
        tls.settimeout(0.5)
        answer = b""
        while not answer and time.monotonic() < started + 10:
            tls.sendall(b" ")
            with contextlib.suppress(TimeoutError):
                answer = tls.recv(4096)
        assert b" 408 " in answer and time.monotonic() < started + TIMEOUT_S + 4


def test_a_connection_is_used_again_and_answers_stand_in_order(api: Api) -> None:
    with api.shake() as tls:
        for _ in range(5):
            tls.sendall(GET)
            assert answer_of(tls).status == 200
        tls.sendall(GET + b"GET /nothing HTTP/1.1\r\nHost: rack\r\n\r\n" + GET + b"DELETE / HTTP/1.1\r\n")
        tls.sendall(b"Host: rack\r\n\r\n")
        with tls.makefile("rb") as told:
            statuses = [_next_answer(told) for _ in range(4)]
        assert statuses == [200, 404, 200, 405]


def _next_answer(told: Any) -> int:
    status = int(told.readline().split()[1])
    headers = http.client.parse_headers(told)
    told.read(int(headers["Content-Length"]))
    return status


def test_a_used_connection_has_its_time_too(api: Api) -> None:
    with api.shake() as tls, api.shake() as idle:
        for each in (tls, idle):
            each.sendall(GET)
            assert answer_of(each).status == 200
            each.settimeout(15)
        tls.sendall(GET[:9])
        problem(answer_of(tls), 408)
        assert idle.recv(1) == b"", "who is silent between requests is told nothing"


def test_a_body_that_waits_to_be_asked_for(api: Api) -> None:
    with api.shake() as tls:
        tls.sendall(POST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert tls.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        tls.sendall(b"{}")
        problem(answer_of(tls), 400)
    problem(api.send(POST + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % TOO_LARGE), 413)


def latencies_s(*calls: Callable[[], int]) -> list[float]:
    """How long each call took; all are answered with 200."""
    taken = []
    for call in calls:
        started = time.monotonic()
        assert call() == 200
        taken.append(time.monotonic() - started)
    return taken


@pytest.mark.promise("S18")
@pytest.mark.parametrize("begun", [b"", b"G", POST + b"Content-Length: 1000\r\n\r\n{", CHUNKED + b"ff\r\n{"], ids=len)
def test_hundreds_of_slow_clients_delay_nobody(api: Api, begun: bytes) -> None:
    """There are three workers; each slow client dribbles all the time."""
    with contextlib.ExitStack() as stack:
        slow = []
        for number in range(200):
            tls = stack.enter_context(api.shake(AWAY if number % 4 else f"127.0.1.{number % 100}"))
            tls.sendall(begun)
            slow.append(tls)
        stop = threading.Event()
        dribbling = threading.Thread(target=dribble, args=(slow, stop))
        dribbling.start()
        try:
            taken = latencies_s(*[lambda at=at: api.get(at) for at in (HOME, AWAY) * 20])
        finally:
            stop.set()
            dribbling.join()
    assert max(taken) < SOON_S and statistics.median(taken) < SOON_S / 3


def dribble(slow: list[ssl.SSLSocket], stop: threading.Event) -> None:
    """A byte from each client, round and round; the server hangs up on some."""
    while not stop.wait(0.02):
        for tls in slow:
            with contextlib.suppress(OSError):
                tls.send(b" ")


@pytest.mark.promise("S18")
def test_clients_that_do_not_read_their_answers_delay_nobody(api: Api) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(6):
            tcp = socket.socket()
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            tcp.settimeout(SOON_S)
            tcp.connect(("127.0.0.1", api.port))
            tls = stack.enter_context(TRUSTING.wrap_socket(tcp))
            tls.settimeout(0.3)
            with contextlib.suppress(OSError):
                for _ in range(200):
                    tls.sendall(GET * 100)
        taken = latencies_s(*[api.get] * 20)
    assert max(taken) < SOON_S


def test_of_too_many_connections_the_oldest_of_that_address_goes(api: Api) -> None:
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(api.shake("127.0.0.4"))
        held = [stack.enter_context(api.shake("127.0.0.3")) for _ in range(60)]
        held[0].settimeout(SOON_S)
        with contextlib.suppress(ConnectionError):
            assert held[0].recv(1) == b""
        for tls in (held[-1], other):
            tls.sendall(GET)
            assert answer_of(tls).status == 200


def test_a_client_that_hangs_up_in_any_state_disturbs_nobody(api: Api) -> None:
    whole = POST + b"Content-Length: 2\r\n\r\n{}"
    for cut in range(0, len(whole) + 1, 7):
        tls = api.shake()
        tls.sendall(whole[:cut])
        if cut % 2:
            tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        elif cut % 3:
            with contextlib.suppress(OSError):
                tls.settimeout(0.01)
                tls.unwrap()
        tls.close()
    assert api.get() == 200


@pytest.mark.promise("S14")
def test_a_thousand_guesses_from_one_address_harm_no_other(api: Api) -> None:
    statuses = [api.log_in("alice", "127.0.0.9") for _ in range(100)]
    statuses += [api.log_in(f"user{number}", "127.0.0.9") for number in range(900 if promises.full() else 100)]
    assert statuses.count(401) <= 30 and set(statuses) == {401, 429}
    started = time.monotonic()
    assert api.log_in("bob", "127.0.0.10") == api.log_in("alice", "127.0.0.10") == 401
    assert time.monotonic() - started < SOON_S
