"""The HTTPS server: each connection takes its own time, and none takes a worker's; refusals are JSON."""

from __future__ import annotations

import json
import logging
import socket
import ssl
import time
from contextlib import suppress
from enum import Enum, auto
from http import HTTPStatus
from io import BytesIO
from typing import Any

import cheroot.errors
import cheroot.server
from cheroot.ssl.builtin import BuiltinSSLAdapter
from cherrypy._cpwsgi_server import CPWSGIHTTPRequest, CPWSGIServer

from racksalt.api.arrivals import Arrivals, Most, Wish, origin_of
from racksalt.api.framing import Headers, Incoming, Limits, State

log = logging.getLogger(__name__)

SSL_MODULE = "racksalt"
#: An answer may be large and a line slow, but something has to move.
_ANSWER_TAKEN_IN_S = 120
_DRAINED_BYTES = 4 * 1024 * 1024
_DRAINED_S = 2
_READ_BYTES = 16 * 1024
#: One connection's share before the others have their turn.
_WRITTEN_AT_ONCE = 256 * 1024


class Adapter(BuiltinSSLAdapter):
    """TLS 1.2 or newer; the handshake comes later, in `Connection`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.options |= ssl.OP_NO_RENEGOTIATION

    def wrap(self, sock: Any) -> tuple[ssl.SSLSocket, dict[str, str]]:
        """The socket before its handshake; what a handshake would tell is not in the environment."""
        wrapped = self.context.wrap_socket(sock, do_handshake_on_connect=False, server_side=True)
        return wrapped, {"wsgi.url_scheme": "https", "HTTPS": "on"}


class _WorkersHeaders(Headers):
    """The body is there already: nobody is told to go on once more."""

    def _allow_header(self, key_name: bytes) -> bool:
        return key_name != b"Expect"


class HttpRequest(CPWSGIHTTPRequest):  # type: ignore[misc]  # CherryPy is untyped
    """One request; what cheroot refuses by itself is told in JSON."""

    header_reader = _WorkersHeaders()

    def __init__(self, server: Any, conn: Any) -> None:
        super().__init__(server, conn)
        self.close_connection = not conn.is_whole

    def parse_request(self) -> None:
        """Read the request's line and headers."""
        try:
            super().parse_request()
        except ValueError:
            self.simple_response(HTTPStatus.BAD_REQUEST)

    def read_request_headers(self) -> bool:
        """Read the headers; cheroot takes a length below 0 for none."""
        if not super().read_request_headers():
            return False
        if int(self.inheaders.get(b"Content-Length", 0)) < 0:
            self.simple_response(HTTPStatus.BAD_REQUEST)
            return False
        return True

    def simple_response(self, status: Any, msg: str = "") -> None:
        """A refusal before, or instead of, the application; the connection ends with it."""
        self.close_connection = True
        self.conn.wfile.write(refusal(status if isinstance(status, int) else int(str(status).split()[0])))


def refusal(number: int) -> bytes:
    """A whole answer with this status."""
    phrase = HTTPStatus(number).phrase
    code = phrase.lower().replace(" ", "_").replace("-", "_")
    body = json.dumps({"code": code, "status": number, "detail": f"{number} {phrase}"}).encode()
    head = (
        f"HTTP/1.1 {number} {phrase}\r\nContent-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


class _Doing(Enum):
    SHAKING_HANDS = auto()
    READING = auto()
    WRITING = auto()
    #: All is said; a client that is still sending would get a reset instead of the answer.
    DRAINING = auto()


class Connection(cheroot.server.HTTPConnection):
    """A connection whose socket never blocks. A worker reads a request from memory and writes its answer there."""

    RequestHandlerClass = HttpRequest

    def __init__(self, server: Any, sock: ssl.SSLSocket, *, peer: Any) -> None:
        super().__init__(server, sock, lambda *_: BytesIO())
        self.remote_addr, self.remote_port = peer[:2]
        self.origin = origin_of(peer)
        #: Whether the server can tell where the request ends; otherwise nothing can follow it.
        self.is_whole = True
        self._incoming = Incoming(Limits(server.max_request_header_size, server.max_request_body_size))
        self._answer = memoryview(b"")
        self._ends = False
        self._doing = _Doing.SHAKING_HANDS
        self._has_answered = False
        self._drained = 0
        self._timeout_s = float(server.timeout)
        self._deadline = self._stalled_at = time.monotonic() + self._timeout_s

    def fileno(self) -> int:
        """For a selector."""
        return int(self.socket.fileno())

    @property
    def shakes_hands(self) -> bool:
        """Whether what comes next is costly."""
        return self._doing is _Doing.SHAKING_HANDS

    @property
    def kept_bytes(self) -> int:
        """What it holds in memory."""
        return len(self._incoming) + len(self._answer)

    def advance(self) -> Wish:
        """Shake hands, read and write, as far as it goes without waiting."""
        steps = {
            _Doing.SHAKING_HANDS: self._shake_hands,
            _Doing.READING: self._read,
            _Doing.WRITING: self._write,
            _Doing.DRAINING: self._drain,
        }
        try:
            while (wish := steps[self._doing]()) is None:
                pass
        except (ssl.SSLWantReadError, BlockingIOError):
            return Wish.READ
        except ssl.SSLWantWriteError:
            return Wish.WRITE
        except (OSError, ValueError) as error:
            log.info("%s hung up: %s", self.remote_addr, error)
            return Wish.END
        return wish

    def is_late(self) -> bool:
        """Whether its time is up."""
        return time.monotonic() >= min(self._deadline, self._stalled_at)

    def give_up(self) -> Wish:
        """Who has begun a request is told that it took too long."""
        if self._doing is not _Doing.READING or not self._incoming.begun:
            return Wish.END
        self._say(refusal(HTTPStatus.REQUEST_TIMEOUT), ends=True)
        return self.advance()

    def communicate(self) -> bool:
        """In a worker: one request, and as much of its answer as the client takes at once; the rest is `Arrivals`'."""
        self.is_whole = self._incoming.state is State.WHOLE
        self.rfile = BytesIO(self._incoming.take())
        self.wfile = BytesIO()
        stays = bool(super().communicate())  # type: ignore[no-untyped-call]  # cheroot's types have gaps
        self._say(self.wfile.getvalue(), ends=not stays)
        return True

    def close(self) -> None:
        """Let go of the socket, in whatever state it is."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            self.socket.close()

    def _shake_hands(self) -> None:
        self.socket.do_handshake()
        self._doing = _Doing.READING

    def _read(self) -> Wish | None:
        if self._incoming.state is not State.COMING:
            return Wish.WORKER
        data = self.socket.recv(_READ_BYTES)
        if not data:
            return Wish.END
        begun, waited = self._incoming.begun, self._incoming.wants_continue
        if self._incoming.feed(data) is State.COMING and self._incoming.wants_continue and not waited:
            self.socket.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._incoming.begun and not begun and self._has_answered:
            self._deadline = self._stalled_at = time.monotonic() + self._timeout_s
        return None

    def _say(self, answer: bytes, *, ends: bool) -> None:
        self._answer = memoryview(answer)
        self._ends = ends
        self._has_answered = True
        self._doing = _Doing.WRITING
        self._deadline = time.monotonic() + _ANSWER_TAKEN_IN_S
        self._stalled_at = time.monotonic() + self._timeout_s

    def _write(self) -> Wish | None:
        stop = len(self._answer) - _WRITTEN_AT_ONCE
        while self._answer:
            if len(self._answer) <= stop:
                return Wish.WRITE
            self._answer = self._answer[self.socket.send(self._answer) :]
            self._stalled_at = time.monotonic() + self._timeout_s
        if self._ends:
            self._deadline = self._stalled_at = time.monotonic() + _DRAINED_S
            self.socket.shutdown(socket.SHUT_WR)
            self._doing = _Doing.DRAINING
        else:
            self._deadline = self._stalled_at = time.monotonic() + self._timeout_s
            self._doing = _Doing.READING
        return None

    def _drain(self) -> Wish | None:
        read = len(self.socket.recv(_READ_BYTES))
        self._drained += read
        return None if read and self._drained < _DRAINED_BYTES else Wish.END


class Server(CPWSGIServer):  # type: ignore[misc]  # CherryPy is untyped
    """CherryPy's server with these connections."""

    ConnectionClass = Connection

    def __init__(self, settings: Any, most: Most | None = None) -> None:
        cheroot.server.ssl_adapters[SSL_MODULE] = Adapter  # type: ignore[attr-defined]  # cheroot's types have gaps
        super().__init__(settings)
        self._most = most or Most()
        # CherryPy's constructor puts its own here.
        self.ConnectionClass.RequestHandlerClass = HttpRequest

    def prepare(self) -> None:
        """Listen, with `Arrivals` in the place of what cheroot waits with."""
        super().prepare()
        # Nothing but the listening socket waits there yet.
        vars(self)["_connections"]._selector.close()
        self._connections = Arrivals(self, self._most)

    def connection_of(self, accepted: socket.socket, peer: Any) -> Connection:
        """The connection of a socket that was just accepted."""
        wrapped, environment = self.ssl_adapter.wrap(accepted)
        connection = Connection(self, wrapped, peer=peer)
        connection.ssl_env = environment
        return connection
