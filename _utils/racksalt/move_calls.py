"""What the writer asks of the two hosts of one move, each call with the answer that it has to have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from racksalt import record_proof, shape
from racksalt.errors import RacksaltError, Unavailable
from racksalt.host_requests import (
    EndMove,
    MoveEnd,
    MoveOffer,
    MoveProgress,
    OfferMove,
    ReadProgress,
    RecallMove,
    ReceiveMove,
    SendMove,
    Sent,
    Way,
    WithdrawMove,
)
from racksalt.model import Claim, HostReport, State
from racksalt.ports import Answer, Silent
from racksalt.rack import READ_TIMEOUT_S, Rack
from racksalt.rack_claims import CLAIM_S
from racksalt.settings import Settings
from racksalt.vm_verbs import DOWN

T = TypeVar("T")

#: A host waits up to a minute for its own lock, and makes a disk meanwhile.
_QUICK_S = 90.0
#: What a host needs beyond the time of the move itself: to start a VM, and to tell.
_BEYOND_S = 60.0
#: Who only looks does not wait for long.
_PROGRESS_S = 8.0
#: How long a host may need to end what is under way.
_RECALL_S = 30.0


@dataclass(frozen=True, slots=True)
class MoveCalls:
    """The calls for one claim. An error that a host tells is raised; so is its silence, as ``host_silent``."""

    rack: Rack
    claim: Claim
    settings: Settings
    #: The state of the VM, where it is known better than by the claim.
    was: State | None = None

    @property
    def source(self) -> str:
        return self.claim.moves_from or ""

    @property
    def target(self) -> str:
        return self.claim.record.host

    def offer(self) -> MoveOffer:
        """What the target needs; the seed is for its key alone."""
        key = self.rack.fleet.public_key(self.target)
        request = OfferMove(self.claim.record, key, seed=not self.claim.shared)
        return self._ask(MoveOffer, self.source, "rack_vm.offer", request, _QUICK_S)

    def receive(self, offer: MoveOffer) -> None:
        """Everything that the VM needs is at the target, which lets the source in."""
        claim, room = self.claim, self.settings.hosts[self.target].room
        request = ReceiveMove(claim.record, self._address(self.source), room, claim.deadline, offer, claim.shared)
        self._ask(dict, self.target, "rack_vm.receive", request, _QUICK_S)

    def send(self, way: Way) -> tuple[State, dict[str, MoveEnd]]:
        """Move it; the state that it was in, and what these ends have told already.

        A VM that is up is awaited at the target meanwhile. One that is not is never seen as it was while it moves, and
        of one that went ahead of its memory libvirt keeps no count: for these the target is asked afterwards.
        """
        claim, was = self.claim, self.claim.was or "unknown"
        source, target = self._address(self.source), self._address(self.target)
        request = SendMove(claim.record, source, target, claim.deadline, was, way, claim.shared)
        hosts = [self.source] if was in DOWN or way.post_copy else [self.source, self.target]
        answers = self._publish(hosts, "rack_vm.send", request, way.timeout_s + _BEYOND_S, lead=self.source)
        sent = _parsed(Sent, self.source, answers[self.source])
        ends = {self.source: sent.end} if sent.end else {}
        with suppress(RacksaltError):
            came = _parsed(MoveEnd, self.target, answers.get(self.target, Silent(0.0)))
            # It was awaited as the claim says; the source may have found it otherwise, and knows better.
            ends |= {self.target: came} if came.state and sent.was == was else {}
        return sent.was, ends

    def progress(self) -> MoveProgress | None:
        """How far it has come; a source that cannot tell now tells nothing."""
        request = ReadProgress(self.claim.record.uuid)
        try:
            answer = self._publish([self.source], "rack_vm.progress", request, _PROGRESS_S)[self.source]
            return shape.parse(MoveProgress, answer) if isinstance(answer, Mapping) else None
        except RacksaltError:
            return None

    def conclude(self, hosts: Sequence[str], *, looked: bool) -> dict[str, MoveEnd]:
        """What is left to do at these ends, and what they tell."""
        claim = self.claim
        source = self._address(self.source)
        request = EndMove(claim.record, source, self.was or claim.was or "unknown", claim.shared, looked)
        answers = self._publish(hosts, "rack_vm.conclude", request, _QUICK_S)
        return {host: _parsed(MoveEnd, host, answers[host]) for host in hosts}

    def recall(self, *, abort: bool) -> Literal["sends", "has", "lacks"]:
        """Whether the source still sends the VM; and if not, whether it has it."""
        deadline = self.rack.clock.now() + CLAIM_S if abort else self.claim.deadline
        request = RecallMove(self.claim.record.uuid, self.claim.was or "unknown", deadline, abort)
        answer = self._ask(dict, self.source, "rack_vm.recall", request, _RECALL_S)
        if answer.get("at_work") is not False:
            return "sends"
        return "has" if answer.get("there") is True else "lacks"

    def withdraw(self, *, looked: bool) -> bool:
        """Whether nothing of the move is left at the target."""
        deadline = self.claim.deadline if looked else self.rack.clock.now() + CLAIM_S
        request = WithdrawMove(self.claim.record, self._address(self.source), deadline, self.claim.shared, looked)
        return not self._ask(dict, self.target, "rack_vm.withdraw", request, _QUICK_S).get("there", True)

    def reports(self) -> dict[str, HostReport]:
        """What both hosts show now, with the records that count."""
        hosts = [self.source, self.target]
        ring, began = self.rack.ring.read(), self.rack.clock.now()
        answers = self._publish(hosts, "rack_host.report", None, READ_TIMEOUT_S)
        found = {host: _parsed(HostReport, host, answers[host]) for host in hosts}
        whole = {host: replace(report, host=host, read_at=began) for host, report in found.items()}
        return {
            host: record_proof.proven(report, host, rack=self.settings.rack, ring=ring)
            for host, report in whole.items()
        }

    def _address(self, host: str) -> str:
        config = self.settings.hosts.get(host)
        return config.address if config and config.address else host

    def _ask(self, kind: type[T], host: str, function: str, request: Any, timeout_s: float) -> T:
        return _parsed(kind, host, self._publish([host], function, request, timeout_s)[host])

    def _publish(
        self, hosts: Sequence[str], function: str, request: Any, timeout_s: float, *, lead: str | None = None
    ) -> Mapping[str, Answer]:
        arguments = {} if request is None else {"request": shape.plain(request)}
        try:
            return self.rack.fleet.ask(hosts, function, arguments, timeout_s=timeout_s, lead=lead)
        except RacksaltError as error:
            raise Unavailable("host_silent", f"{' and '.join(hosts)} could not be asked: {error.detail}") from error


def _parsed(kind: type[T], host: str, answer: Answer) -> T:
    if isinstance(answer, Silent):
        raise Unavailable("host_silent", f"host {host} does not answer; {answer.told}", host=host)
    if isinstance(answer, RacksaltError):
        raise answer
    if kind is dict and isinstance(answer, Mapping):
        return answer  # type: ignore[return-value]
    try:
        return shape.parse(kind, answer)
    except RacksaltError as error:
        told = f"host {host} answers what cannot be read: {error.detail[:200]}"
        raise Unavailable("host_failed", told, host=host) from error
