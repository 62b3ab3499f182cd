"""VMs that leave this host one after the other by one call: each waits for its turn, and is this host's until then.

Who looks meanwhile finds each of them at work, as its lock is held from the call's beginning on. A turn that comes too
late for its claim is missed: nothing of that move has begun.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

from racksalt import host_several, shape
from racksalt.errors import RacksaltError
from racksalt.host_departures import HostDepartures
from racksalt.host_requests import SendMove, Sent
from racksalt.host_several import turn_missed
from racksalt.ports import Clock, MoveLock

#: The target lets nobody in after the deadline by its own clock, which may be 5 s before the master's as this host's
#: may be 5 s behind it, and libvirt needs a while to connect.
_LAST_S = 20.0


@dataclass(frozen=True, slots=True)
class HostTurns:
    """``connected`` opens a connection to libvirt for one turn: on one, it hears so many long calls at a time."""

    sending: MoveLock
    clock: Clock
    connected: Callable[[], AbstractContextManager[HostDepartures]]

    def send(self, request: Mapping[str, Any], host: str) -> list[dict[str, Any]]:
        """Move them; what came of each (:mod:`racksalt.host_several`). A VM that is named twice moves once."""
        with ExitStack() as at_the_end:
            turns = [self._begin(one, at_the_end) for one in host_several.own(request, host)]
            return host_several.side_by_side(request, host, lambda n, _: self._take(turns[n]))

    def _begin(self, request: Mapping[str, Any], at_the_end: ExitStack) -> _Turn | RacksaltError:
        """A move with its VM's lock, or why it cannot be."""
        lock = at_the_end.enter_context(ExitStack())
        try:
            move = shape.parse(SendMove, request)
            lock.enter_context(self.sending(move.record.uuid, wait_s=0))
        except RacksaltError as error:
            return error
        return _Turn(move, lock)

    def _take(self, turn: _Turn | RacksaltError) -> Sent:
        if isinstance(turn, RacksaltError):
            raise turn
        with turn.lock:
            if self.clock.now() > turn.move.deadline - _LAST_S:
                raise turn_missed(f"{turn.move.record.title}: those before it took too long")
            with self.connected() as departures:
                return departures.send(turn.move, turn.lock)


@dataclass(frozen=True, slots=True)
class _Turn:
    """A move that waits; its VM's lock is held until then, and until it has left."""

    move: SendMove
    lock: ExitStack
