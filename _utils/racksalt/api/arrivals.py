"""The one thread that waits for clients: for the bytes of their requests, and until they took their answers.

cheroot gives a connection to a worker at its first byte, and a worker that reads from a slow client, or writes to
one, is lost to all others. Here a worker gets whole requests only. What is not whole yet waits here, bounded in
time, number and size; of too many, the oldest of whoever has most goes.
"""

from __future__ import annotations

import errno
import logging
import selectors
import socket
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Protocol

from racksalt.api.origins import origin

log = logging.getLogger(__name__)

#: Accepted before the others have their turn.
_AT_ONCE = 64
_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE_S = 0.05


class Wish(Enum):
    """What a connection waits for."""

    READ = auto()
    WRITE = auto()
    WORKER = auto()
    END = auto()


_EVENTS = {Wish.READ: selectors.EVENT_READ, Wish.WRITE: selectors.EVENT_WRITE}


class Waiting(Protocol):
    """A connection, as far as it is waited for; none of its methods blocks, none raises for what a client does."""

    origin: str

    @property
    def shakes_hands(self) -> bool: ...

    @property
    def kept_bytes(self) -> int: ...

    def fileno(self) -> int: ...

    def advance(self) -> Wish:
        """Read or write what is possible now."""

    def is_late(self) -> bool: ...

    def give_up(self) -> Wish:
        """The time is up: what is left to say, if anything."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Most:
    """How much may wait."""

    of_origin: int = 50
    of_all: int = 1000
    kept_bytes: int = 64 * 1024 * 1024


class Arrivals:
    """cheroot's ``ConnectionManager``, as far as its server uses it."""

    def __init__(self, server: Any, most: Most) -> None:
        self._server = server
        self._most = most
        self._listening: socket.socket = server.socket
        self._listening.settimeout(0)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._awake, self._alarm = socket.socketpair()
        for end in (self._awake, self._alarm):
            end.settimeout(0)
        self._selector.register(self._awake, selectors.EVENT_READ)
        #: Each with what it waits for; the oldest first.
        self._held: dict[Waiting, Wish | None] = {}
        self._by_origin: dict[str, dict[Waiting, None]] = {}
        self._returned: deque[Waiting] = deque()
        self._stopping = False
        self._serving = False

    @property
    def can_add_keepalive_connection(self) -> bool:
        """There is always room for one more: the oldest goes."""
        return not self._stopping

    def put(self, connection: Waiting) -> None:
        """A worker is done with it. From any thread."""
        self._returned.append(connection)
        self._wake()

    def stop(self) -> None:
        """End :meth:`run`, and wait for that. From any thread but its own."""
        self._stopping = True
        self._wake()
        while self._serving:
            time.sleep(0.01)

    def close(self) -> None:
        """Close all that wait here."""
        for connection in [*self._held, *self._returned]:
            connection.close()
        self._selector.close()
        for end in (self._awake, self._alarm):
            end.close()

    def run(self, expiration_interval: float) -> None:
        """Until stopped; deadlines are looked at every ``expiration_interval`` seconds."""
        self._serving = True
        look_at = time.monotonic() + expiration_interval
        try:
            while not self._stopping:
                self._turn(expiration_interval)
                if time.monotonic() >= look_at:
                    self._end_late_ones()
                    self._end_large_ones()
                    look_at = time.monotonic() + expiration_interval
        finally:
            self._serving = False

    def _turn(self, timeout_s: float) -> None:
        for connection in self._ready(timeout_s):
            if connection in self._held:
                self._settle(connection, connection.advance())
        for _ in range(len(self._returned)):
            connection = self._returned.popleft()
            self._hold(connection)
            self._settle(connection, connection.advance())

    def _ready(self, timeout_s: float) -> Iterator[Waiting]:
        """Whose turn it is. A handshake takes a thousand times longer than a read: one a turn for each address."""
        shaken: set[str] = set()
        for key, _ in self._selector.select(timeout_s):
            if key.fileobj is self._listening:
                self._accept()
            elif key.fileobj is self._awake:
                with suppress(BlockingIOError):
                    self._awake.recv(4096)
            elif not key.data.shakes_hands:
                yield key.data
            elif key.data.origin not in shaken:
                shaken.add(key.data.origin)
                yield key.data

    def _settle(self, connection: Waiting, wish: Wish) -> None:
        """Wait for what it wishes, or let it go."""
        if wish in _EVENTS:
            self._watch(connection, wish)
            return
        self._let_go(connection)
        if wish is Wish.WORKER:
            self._server.process_conn(connection)
        else:
            connection.close()

    def _watch(self, connection: Waiting, wish: Wish) -> None:
        before = self._held[connection]
        if before is None:
            self._selector.register(connection, _EVENTS[wish], connection)
        elif before is not wish:
            self._selector.modify(connection, _EVENTS[wish], connection)
        self._held[connection] = wish

    def _hold(self, connection: Waiting) -> None:
        self._make_room(connection.origin)
        self._held[connection] = None
        self._by_origin.setdefault(connection.origin, {})[connection] = None

    def _let_go(self, connection: Waiting) -> None:
        if self._held.pop(connection) is not None:
            self._selector.unregister(connection)
        own = self._by_origin[connection.origin]
        del own[connection]
        if not own:
            del self._by_origin[connection.origin]

    def _make_room(self, newcomer: str) -> None:
        while len(self._by_origin.get(newcomer, ())) >= self._most.of_origin:
            self._end(next(iter(self._by_origin[newcomer])))
        while len(self._held) >= self._most.of_all:
            self._end_oldest()

    def _end_oldest(self) -> None:
        """Of the address that has most."""
        most = max(self._by_origin.values(), key=lambda own: len(own))
        self._end(next(iter(most)))

    def _end(self, connection: Waiting) -> None:
        self._let_go(connection)
        connection.close()

    def _end_late_ones(self) -> None:
        for connection in [one for one in self._held if one.is_late()]:
            self._settle(connection, connection.give_up())

    def _end_large_ones(self) -> None:
        sizes = {connection: connection.kept_bytes for connection in self._held}
        kept = sum(sizes.values())
        while kept > self._most.kept_bytes and len(self._held) > 1:
            largest = max(self._by_origin.values(), key=lambda own: sum(sizes[one] for one in own))
            connection = next(one for one in largest if sizes[one])
            kept -= sizes[connection]
            self._end(connection)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                accepted, peer = self._listening.accept()
            except OSError as error:
                self._cannot_accept(error)
                return
            with suppress(OSError):
                self._welcome(accepted, peer)

    def _welcome(self, accepted: socket.socket, peer: Any) -> None:
        try:
            accepted.settimeout(0)
            connection = self._server.connection_of(accepted, peer)
        except OSError as error:
            accepted.close()
            log.info("%s: %s", peer[0], error)
            return
        self._hold(connection)
        self._settle(connection, Wish.READ)

    def _cannot_accept(self, error: OSError) -> None:
        """Nobody is there any more; or there are no files left, and the listening socket would not stop calling."""
        if error.errno not in _OUT_OF_FILES:
            return
        log.error("too many connections: %s", error)
        if self._held:
            self._end_oldest()
        else:
            time.sleep(_PAUSE_S)

    def _wake(self) -> None:
        with suppress(OSError):
            self._alarm.send(b"!")


def origin_of(peer: Any) -> str:
    """Whose a connection is, by the address that the kernel told."""
    return origin(str(peer[0]))
