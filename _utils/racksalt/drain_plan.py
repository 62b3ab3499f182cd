"""The plans that empty hosts, from the rack as it is: what may be moved, what may not, and the steps in between."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from racksalt import drain, placement, plans
from racksalt.inventory import Inventory, Vm, domains_of
from racksalt.plan_board import Board, Piece, board_of
from racksalt.plan_order import steps_of
from racksalt.plans import Plan, Refusal, Step
from racksalt.settings import Settings

DRAINING = "draining"
UPDATING = "updating"


@dataclass(frozen=True, slots=True)
class Pieces:
    """The VMs that may be moved, by host; those that may not, with why; and those that are on the move already."""

    movable: Mapping[str, Sequence[Piece]]
    fixed: Sequence[Refusal]
    moving: Sequence[str]

    def refusals_on(self, host: str) -> list[Refusal]:
        """What stays on a host."""
        return [refusal for refusal in self.fixed if refusal.host == host]


def drain_plan(seen: Inventory, settings: Settings, host: str, *, reason: str = DRAINING, first: int = 1) -> Plan:
    """Take a host out of placement, and move all its VMs to others. Its steps begin at number ``first``."""
    pieces = pieces_of(seen, settings)
    steps, refusals, _ = _emptying(board_of(seen, settings), pieces, host, reason, first=first)
    moving = [claim.record.title for claim in seen.claims if claim.is_moving and claim.moves_from == host]
    facts = plans.facts_of(seen, steps, emptied=[host])
    return Plan("drain", host, tuple(steps), tuple(refusals), tuple(sorted(moving)), facts)


def update_plan(seen: Inventory, settings: Settings, hosts: Sequence[str], *, reboot: bool, first: int = 1) -> Plan:
    """One host after the other: emptied, brought up to date, and taken into placement again.

    One that was out of placement before, and not for an update that was cut off, stays so.
    """
    pieces, board = pieces_of(seen, settings), board_of(seen, settings)
    steps: list[Step] = []
    refusals: list[Refusal] = []
    for host in hosts:
        config = board.loads[host].config
        enable = config.enabled or config.reason == UPDATING
        begin = first + len(steps)
        own, refused, board = _emptying(board, pieces, host, UPDATING, first=begin, after=_last(steps))
        own += _updating(host, begin + len(own), own or steps[-1:], reboot=reboot, enable=enable)
        board = board.switched(host, enabled=enable, reason=config.reason)
        pieces = _moved(pieces, board)
        steps += own
        refusals += refused
    moving = sorted(claim.record.title for claim in seen.claims if claim.is_moving)
    return Plan("update", " ".join(hosts), tuple(steps), tuple(refusals), tuple(moving), plans.facts_of(seen, steps))


def pieces_of(seen: Inventory, settings: Settings) -> Pieces:
    """Every VM of the rack as a piece of the plan, or the reason why it is none."""
    movable: dict[str, list[Piece]] = {}
    fixed: list[Refusal] = []
    moving = {claim.record.uuid: claim.record.title for claim in seen.claims if claim.is_moving}
    for vm in seen.vms():
        if vm.record.uuid in moving:
            continue
        why = _why_fixed(vm, seen)
        if why:
            fixed.append(Refusal(vm.record.title, vm.record.uuid, vm.record.host, *why))
        else:
            accelerator = seen.hosts[vm.record.host].config.accelerator
            piece = Piece(vm.record, placement.wish_of(vm.record, settings), plans.is_live(vm.state), accelerator)
            movable.setdefault(vm.record.host, []).append(piece)
    return Pieces(movable, [*fixed, *_strangers(seen)], tuple(moving.values()))


def _emptying(
    board: Board, pieces: Pieces, host: str, reason: str, *, first: int, after: Sequence[int] = ()
) -> tuple[list[Step], list[Refusal], Board]:
    """The steps that empty a host, what stays on it, and the rack after them; all wait for the steps ``after``."""
    steps: list[Step] = []
    config = board.loads[host].config
    if config.enabled or (config.reason == UPDATING and reason != UPDATING):
        steps.append(Step(first, "disable", host, f"{reason}: no VM may come to it any more", tuple(after)))
        after = (first,)
    disabled = board.switched(host, enabled=False, reason=reason)
    emptied = drain.empty(disabled, host, pieces.movable)
    refused = [*pieces.refusals_on(host), *(drain.refusal_of(piece, emptied.board) for piece in emptied.left)]
    steps += steps_of(disabled, emptied.moves, first=first + len(steps), after=after)
    return steps, refused, emptied.board


def _updating(host: str, first: int, before: Sequence[Step], *, reboot: bool, enable: bool) -> list[Step]:
    """Each waits for the one before it; the first one for all steps that empty the host."""
    todo = [Step(first, "update", host, "the highstate", tuple(step.n for step in before))]
    if reboot:
        todo.append(Step(first + 1, "reboot", host, "what the highstate brought is to run", (first,)))
    if enable:
        n = first + len(todo)
        todo.append(Step(n, "enable", host, "it is up to date", (n - 1,)))
    return todo


def _last(steps: Sequence[Step]) -> tuple[int, ...]:
    return (steps[-1].n,) if steps else ()


def _moved(pieces: Pieces, board: Board) -> Pieces:
    """The same VMs, on the hosts that they are on by then."""
    movable: dict[str, list[Piece]] = {}
    for piece in (piece for own in pieces.movable.values() for piece in own):
        host = next(iter(board.at(piece)))
        record = piece.record if host == piece.record.host else replace(piece.record, host=host)
        movable.setdefault(host, []).append(replace(piece, record=record))
    return replace(pieces, movable=movable)


def _why_fixed(vm: Vm, seen: Inventory) -> tuple[str, str] | None:
    """The code and the reason."""
    host = vm.record.host
    if not vm.host_answers:
        return "host_silent", f"host {host} does not answer"
    if vm.record.uuid in seen.index.twice:
        hosts = ", ".join(seen.index.twice[vm.record.uuid])
        return "vm_twice", f"hosts {hosts} show it with equal right; see `twice` in rack_host.status"
    if vm.state == "suspended":
        return "vm_state", "its memory is kept on its host; start it, or stop it for good"
    return None


def _strangers(seen: Inventory) -> Iterator[Refusal]:
    """What is on hosts and is no VM of the rack's: nobody moves it."""
    gone: Iterable[str] = seen.deleted.keys()
    for host, view in seen.hosts.items():
        for domain in domains_of(view):
            if domain.record is None and not domain.incoming and domain.uuid not in gone:
                why = "the rack did not sign it; adopt it, or take it away by hand"
                yield Refusal(domain.name, domain.uuid, host, "vm_foreign", why)
