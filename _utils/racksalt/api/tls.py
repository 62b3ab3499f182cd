"""The HTTPS server: TLS handshakes that hold up nobody else, and refusals in JSON.

cheroot shakes hands in the loop that accepts connections, where one silent client stalls all others. Here a
connection waits in cheroot's selector until its client says something.
"""

from __future__ import annotations

import json
import logging
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any

import cheroot.errors
import cheroot.server
from cheroot.ssl.builtin import BuiltinSSLAdapter
from cherrypy._cpwsgi_server import CPWSGIHTTPRequest, CPWSGIServer

log = logging.getLogger(__name__)

SSL_MODULE = "racksalt"
_DRAINED_BYTES = 4 * 1024 * 1024
_DRAINED_S = 2


class Adapter(BuiltinSSLAdapter):
    """TLS 1.2 or newer; the handshake comes later, in `Connection`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2

    def wrap(self, sock: Any) -> tuple[ssl.SSLSocket, dict[str, str]]:
        """The socket before its handshake; what a handshake would tell is not in the environment."""
        try:
            wrapped = self.context.wrap_socket(sock, do_handshake_on_connect=False, server_side=True)
        except OSError as error:
            raise cheroot.errors.FatalSSLAlert(*error.args) from error
        return wrapped, {"wsgi.url_scheme": "https", "HTTPS": "on"}


class HttpRequest(CPWSGIHTTPRequest):  # type: ignore[misc]  # CherryPy is untyped
    """One request; what cheroot refuses by itself is told in JSON."""

    def simple_response(self, status: Any, msg: str = "") -> None:
        """A refusal before, or instead of, the application; the connection ends with it."""
        number = int(str(status).split()[0])
        if number < HTTPStatus.BAD_REQUEST:
            super().simple_response(status, msg)
            return
        self.close_connection = self.conn.refused = True
        phrase = HTTPStatus(number).phrase
        code = phrase.lower().replace(" ", "_").replace("-", "_")
        body = json.dumps({"code": code, "status": number, "detail": f"{number} {phrase}"}).encode()
        head = (
            f"{self.server.protocol} {number} {phrase}\r\nContent-Type: application/problem+json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        try:
            self.conn.wfile.write(head.encode() + body)
        except OSError as error:
            log.info("%s hung up: %s", self.conn.remote_addr, error)

    def parse_request(self) -> None:
        """Read the request's line and headers."""
        with _quiet():
            super().parse_request()

    def respond(self) -> None:
        """Answer, unless the client is gone."""
        with _quiet():
            super().respond()

    def send_headers(self) -> None:
        """What is left of a body that broke off does not come, or would be taken for the next request."""
        left_of_chunks = self.chunked_read and not self.rfile.closed
        if left_of_chunks or int(self.status[:3]) in (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_TIMEOUT):
            self.close_connection = self.conn.refused = True
        super().send_headers()


@contextmanager
def _quiet() -> Iterator[None]:
    """cheroot logs a traceback for every error of TLS but this one."""
    try:
        yield
    except ssl.SSLError as error:
        raise cheroot.errors.FatalSSLAlert(*error.args) from error


class Connection(cheroot.server.HTTPConnection):
    """A connection that shakes hands in a worker, and gives the worker back while the client is silent."""

    RequestHandlerClass = HttpRequest

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: Whether the client may still be sending what nobody reads.
        self.refused = False
        self._shaken = False
        self._give_up_at = time.monotonic() + self.server.timeout

    def communicate(self) -> bool:
        """Whether the connection stays open; without a whole handshake it waits for more, up to the timeout."""
        if self._shaken:
            stays = bool(super().communicate())  # type: ignore[no-untyped-call]  # cheroot's types have gaps
            if self.refused:
                self._drain()
            return stays
        self.socket.settimeout(0)
        try:
            self.socket.do_handshake()
        except ssl.SSLWantReadError:
            return bool(time.monotonic() < self._give_up_at)
        except OSError as error:
            log.info("%s did not finish the TLS handshake: %s", self.remote_addr, error)
            return False
        self.socket.settimeout(self.server.timeout)
        self._shaken = True
        return True

    def _drain(self) -> None:
        """A client that is still sending would get a reset instead of the answer; this is bounded, in time and size."""
        stop_at, left = time.monotonic() + _DRAINED_S, _DRAINED_BYTES
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
            self.socket.settimeout(_DRAINED_S)
            while left > 0 and time.monotonic() < stop_at:
                read = len(self.socket.recv(65536))
                left -= read or left


class Server(CPWSGIServer):  # type: ignore[misc]  # CherryPy is untyped
    """CherryPy's server with these connections."""

    ConnectionClass = Connection

    def __init__(self, settings: Any) -> None:
        cheroot.server.ssl_adapters[SSL_MODULE] = Adapter  # type: ignore[attr-defined]  # cheroot's types have gaps
        super().__init__(settings)
        # CherryPy's constructor puts its own here.
        self.ConnectionClass.RequestHandlerClass = HttpRequest
