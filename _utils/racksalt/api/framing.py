"""Where a request ends in the bytes of a connection, found as they come, a byte at a time if need be.

It answers one question: is there anything left to wait for? Requests are parsed and refused by the server as ever,
so what is surely refused (a broken line, too large) is as little to wait for as what is whole. Each byte is looked
at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from io import BytesIO
from typing import Any

from cheroot.server import HeaderReader

_LINE_END = b"\r\n"
#: No size of a chunk, with all that may stand behind it, takes more.
_LONGEST_CHUNK_LINE = 4096


class Headers(HeaderReader):
    """cheroot's reader of headers; what it cannot read is a ``ValueError``."""

    def __call__(self, rfile: Any, hdict: dict[bytes, bytes] | None = None) -> dict[bytes, bytes]:
        """The headers that stand in a file."""
        try:
            read: dict[bytes, bytes] = super().__call__(rfile, hdict)
        except UnboundLocalError as error:
            raise ValueError("the first header continues none") from error
        return read


class State(Enum):
    """What is known of the request that is coming in."""

    COMING = auto()
    WHOLE = auto()
    #: It is going to be refused, whatever comes after.
    BROKEN = auto()


@dataclass(frozen=True, slots=True)
class Limits:
    """In bytes; larger ones are refused."""

    head: int
    body: int


class Incoming:
    """The bytes of one connection that no request has taken yet."""

    def __init__(self, limits: Limits) -> None:
        self.state = State.COMING
        #: The client sends its body only when it is told to go on.
        self.wants_continue = False
        self._limits = limits
        self._bytes = bytearray()
        self._begin_again()

    def __len__(self) -> int:
        return len(self._bytes)

    @property
    def begun(self) -> bool:
        """Whether a request has begun; the end of the line after the one before has not."""
        return bool(self._bytes) and self._bytes != _LINE_END

    def feed(self, data: bytes) -> State:
        """More bytes came."""
        self._bytes += data
        return self._look()

    def take(self) -> bytes:
        """The request; what came after it stays, for the next one."""
        end = self._at if self.state is State.WHOLE else len(self._bytes)
        taken = bytes(self._bytes[:end])
        del self._bytes[:end]
        self._begin_again()
        self._look()
        return taken

    def _begin_again(self) -> None:
        self.state = State.COMING
        self.wants_continue = False
        self._in_head = True
        self._chunked = False
        #: Up to here it is known; and how far ahead there is no line's end.
        self._at = self._searched = 0
        self._body_at = self._body_size = 0
        self._in_trailers = False
        #: Of a chunked body, as the server counts it.
        self._counted = 0

    def _look(self) -> State:
        if self.state is State.COMING and self._in_head:
            self._look_at_head()
        if self.state is State.COMING and not self._in_head:
            self._look_at_chunks() if self._chunked else self._look_at_body()
        return self.state

    def _line(self) -> bytes | None:
        """The next line with its end, if it is there; an empty first one is skipped by the server."""
        end = self._bytes.find(b"\n", max(self._at, self._searched)) + 1
        if not end:
            self._searched = len(self._bytes)
            return None
        line = bytes(self._bytes[self._at : end])
        self._at = end
        if not line.endswith(_LINE_END):
            self.state = State.BROKEN
        return line

    def _look_at_head(self) -> None:
        while self.state is State.COMING and self._in_head:
            is_first = self._at == 0
            line = self._line()
            if max(self._at, self._searched) > self._limits.head:
                self.state = State.BROKEN
            elif line is None:
                return
            elif line == _LINE_END and not is_first:
                self._end_head()

    def _end_head(self) -> None:
        self._in_head = False
        self._body_at = self._at
        head = bytes(self._bytes[: self._at]).removeprefix(_LINE_END)
        request_line, _, headers = head.partition(_LINE_END)
        try:
            found = Headers()(BytesIO(headers), {})
            self._body_size = int(found.get(b"Content-Length", 0))
        except ValueError:
            self.state = State.BROKEN
            return
        codings = found.get(b"Transfer-Encoding", b"") if not request_line.endswith(b"HTTP/1.0") else b""
        self._chunked = codings.strip().lower() == b"chunked"
        other_coding = bool(codings.strip()) and not self._chunked
        if other_coding or not 0 <= self._body_size <= self._limits.body:
            self.state = State.BROKEN
        self.wants_continue = found.get(b"Expect", b"").lower() == b"100-continue"

    def _look_at_body(self) -> None:
        end = self._body_at + self._body_size
        if len(self._bytes) >= end:
            self._at = end
            self.state = State.WHOLE

    def _look_at_chunks(self) -> None:
        while self.state is State.COMING:
            before = self._at
            line = self._line()
            if max(self._at, self._searched) - before > _LONGEST_CHUNK_LINE:
                self.state = State.BROKEN
            elif line is None or not line.endswith(_LINE_END):
                return
            elif self._in_trailers:
                self._look_at_trailer(line)
            elif not self._skip_chunk(line, before):
                return

    def _look_at_trailer(self, line: bytes) -> None:
        """Trailers are read by nobody; they count as body."""
        self._counted += len(line)
        if line == _LINE_END:
            self.state = State.WHOLE
        elif self._counted > self._limits.body:
            self.state = State.BROKEN

    def _skip_chunk(self, line: bytes, line_at: int) -> bool:
        """Whether the chunk is there; sizes are counted as cheroot counts them, which refuses the rest."""
        try:
            size = int(line.strip().split(b";", 1)[0], 16)
        except ValueError:
            self.state = State.BROKEN
            return True
        if size <= 0:
            self._in_trailers = True
            return True
        if self._counted + len(line) + size > self._limits.body:
            self.state = State.BROKEN
            return True
        end = self._at + size + len(_LINE_END)
        if len(self._bytes) < end:
            self._at = self._searched = line_at
            self._check_overrun(line_at + len(line) + size)
            return False
        self._counted += len(line) + size
        if bytes(self._bytes[end - 2 : end]) != _LINE_END:
            self.state = State.BROKEN
        self._at = self._searched = end
        return True

    def _check_overrun(self, end_of_data: int) -> None:
        """A chunk that does not end where it said is broken at its first byte too much."""
        if not _LINE_END.startswith(bytes(self._bytes[end_of_data : end_of_data + 1])):
            self.state = State.BROKEN
