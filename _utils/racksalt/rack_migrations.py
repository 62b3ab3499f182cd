"""Moving VMs between hosts: claim, offer, receive, send, and what both ends say of it.

The lock is never held while hosts work. Whatever fails, and whoever dies, the VM is where both ends show it: a look at
them ends the claim (:mod:`racksalt.move_ends`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from racksalt import migration, rack_vms
from racksalt.access import Caller
from racksalt.errors import Cancelled, RacksaltError, Unavailable
from racksalt.host_requests import MoveEnd
from racksalt.migration import How
from racksalt.model import Claim, Record
from racksalt.move_calls import MoveCalls
from racksalt.move_claims import MoveClaims
from racksalt.move_ends import Found, MoveEnds
from racksalt.rack import Rack
from racksalt.rack_claims import RackClaims
from racksalt.rack_requests import MigrateVm
from racksalt.settings import Settings
from racksalt.vm_verbs import DOWN

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RackMigrations:
    """Moves, on the writer; for operators."""

    rack: Rack

    def migrate(self, caller: Caller, asked: MigrateVm, settings: Settings) -> dict[str, Any]:
        """Move one VM; with ``test`` only tell the plan. Where it is there already, nothing is done."""
        how = How(asked.live, asked.bandwidth_mib_s, asked.auto_converge, asked.post_copy, asked.timeout_s)
        seen = self.rack.recent_inventory(settings) or self.rack.inventory(settings)
        vm = rack_vms.find(caller, asked.name, asked.tenant, settings, seen)
        if asked.target == vm.record.host and not seen.move_of(vm.record.uuid):
            told = {"changed": False, "vm": vm.record.title, "host": vm.record.host}
            return {**told, **({"test": True} if asked.test else {})}
        if asked.test:
            return self._plan(vm.record, asked.target, how, settings)
        return self.move(caller, vm.record, asked.target, settings, how)

    def move(
        self, caller: Caller, record: Record, target: str | None, settings: Settings, how: How | None = None
    ) -> dict[str, Any]:
        """One whole move of the VM that ``record`` is of, as the hosts showed it; the receipt of both ends."""
        how, began = how or How(), self.rack.clock.now()
        claim, settings = self._claim(record, target, how, settings)
        calls = MoveCalls(self.rack, claim, settings)
        log.info("%s moves from %s to %s, for %s", record.title, calls.source, calls.target, caller.user)
        try:
            sent, ends = self._send(calls, how)
        except Cancelled:
            self._stop(calls)
            raise
        except _Undone as undone:
            RackClaims(self.rack).end(claim)
            raise undone.reason from None
        except RacksaltError as error:
            if error.code == "vm_not_found" and MoveEnds(self.rack).held(claim) is None:
                self._clear(calls)
                raise
            return self._told(claim, MoveEnds(self.rack).await_end(claim, settings), error, began)
        return self._conclude(sent, ends, began)

    def _claim(self, record: Record, target: str | None, how: How, settings: Settings) -> tuple[Claim, Settings]:
        """The claim, and the files that it was decided on.

        A look of a moment ago is enough to begin, as the target checks again; a refusal needs a fresh one.
        """
        recent = self.rack.recent_inventory(settings)
        if recent is not None:
            try:
                return MoveClaims(self.rack, settings).hold(record, target, how, recent), settings
            except RacksaltError as error:
                log.debug("%s on a recent look: %s", error.code, error.detail)
        now = self.rack.settings()
        return MoveClaims(self.rack, now).hold(record, target, how, self.rack.inventory(now)), now

    def _plan(self, record: Record, target: str | None, how: How, settings: Settings) -> dict[str, Any]:
        claim = MoveClaims(self.rack, settings).decide(record, target, how, self.rack.inventory(settings))
        return {
            "test": True,
            "changed": True,
            "vm": record.title,
            "from": claim.moves_from,
            "to": claim.record.host,
            "live": claim.was not in DOWN,
            "steps": migration.steps(claim),
        }

    def _send(self, calls: MoveCalls, how: How) -> tuple[MoveCalls, dict[str, MoveEnd]]:
        """All that comes before the end; before anything is sent, a host's own refusal leaves nothing behind.

        The state that the VM was in is the one that its source found: it may have stopped since it was claimed.
        """
        claim, settings = calls.claim, calls.settings
        try:
            offer = calls.offer()
        except RacksaltError as error:
            raise _Undone(error) from error
        try:
            calls.receive(offer)
        except RacksaltError as error:
            if error.code == "host_silent" or error.facts.get("left"):
                raise
            raise _Undone(error) from error
        was, ends = calls.send(migration.way_of(how, offer, settings.migrations, shared=claim.shared))
        return replace(calls, was=was), ends

    def _conclude(self, calls: MoveCalls, told: Mapping[str, MoveEnd], began: float) -> dict[str, Any]:
        """libvirt says at the source that it is done; both ends tell, and the source removes what is left there.

        Mostly they have told with the send; who has not is asked.
        """
        claim = calls.claim
        left = [host for host in (calls.source, calls.target) if host not in told]
        try:
            ends = {**told, **(calls.conclude(left, looked=False) if left else {})}
        except RacksaltError as error:
            return self._told(claim, MoveEnds(self.rack).await_end(claim, calls.settings), error, began)
        if not migration.is_confirmed(claim, ends):
            doubt = Unavailable("host_failed", f"{claim.record.title}: its hosts do not agree on where it is")
            return self._told(claim, MoveEnds(self.rack).await_end(claim, calls.settings), doubt, began)
        RackClaims(self.rack).settle(MoveEnds(self.rack).held(claim) or claim)
        return migration.receipt(claim, ends, calls.was or "unknown", self.rack.clock.now() - began)

    def _told(self, claim: Claim, found: Found, error: RacksaltError, began: float) -> dict[str, Any]:
        """The receipt where it has moved all the same; else the error, with where the VM is."""
        if found.what == "moved" and found.ends is not None:
            return migration.receipt(claim, found.ends, claim.was or "unknown", self.rack.clock.now() - began)
        if found.what in ("stayed", "over"):
            error.facts["vm_is"] = found.told
            raise error
        raise Unavailable(
            "host_silent",
            f"{claim.record.title}: {error.detail}; {found.told}; it is held where it was, and the writer looks again",
            vm=claim.record.title,
        ) from error

    def _clear(self, calls: MoveCalls) -> None:
        """Its source has deleted it after the claim, which went with it: what the target has made goes too."""
        try:
            calls.withdraw(looked=False)
        except RacksaltError as error:
            log.error("%s was deleted, and leaves something on %s: %s", calls.claim.record.title, calls.target, error)

    def _stop(self, calls: MoveCalls) -> None:
        """Asked to end: the source ends it too, where it still can; a look tells what became of it."""
        try:
            calls.recall(abort=True)
        except RacksaltError as error:
            log.warning("%s: %s", calls.claim.record.title, error.detail)
        found = MoveEnds(self.rack).await_end(calls.claim, calls.settings)
        log.info("%s: its move was ended: %s", calls.claim.record.title, found.told)


class _Undone(Exception):
    """A host refused before anything was sent, and has nothing of the move."""

    def __init__(self, reason: RacksaltError) -> None:
        super().__init__(reason.detail)
        self.reason = reason
