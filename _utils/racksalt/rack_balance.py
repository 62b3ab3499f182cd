"""Balancing the rack: the moves of :mod:`racksalt.balance` as a plan, read first and then carried out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from racksalt import balance_input, plans, rack_plans
from racksalt.access import Caller
from racksalt.balance import Balance
from racksalt.drain_plan import pieces_of
from racksalt.inventory import Inventory
from racksalt.plan_board import Move, board_of
from racksalt.plan_order import steps_of
from racksalt.plan_run import failed
from racksalt.plans import Plan
from racksalt.rack import Rack
from racksalt.rack_plans import RackPlans
from racksalt.rack_requests import BalanceRack
from racksalt.settings import Settings


@dataclass(frozen=True, slots=True)
class RackBalance:
    """Hosts alike in load; for operators."""

    rack: Rack
    plans: RackPlans

    def balance(self, caller: Caller, asked: BalanceRack, settings: Settings) -> dict[str, Any]:
        """Move VMs until no move gains enough; with ``test`` only tell the plan, and what it gains."""
        seen = self.rack.inventory(settings)
        found = balance_input.even_out(seen, settings, min_gain=asked.min_gain, max_moves=asked.max_moves)
        plan, scores = balance_plan(seen, settings, found), _scores(found)
        if asked.test:
            return {**self.plans.told(plan), **scores}
        if asked.apply:
            plan = self.plans.applied(asked.apply, plan, seen)
        ends = self.plans.carry_out(caller, plan, seen)
        return rack_plans.ended(plan, ends, failed(ends), **scores)


def balance_plan(seen: Inventory, settings: Settings, found: Balance) -> Plan:
    """The moves as steps; they end before the first one that a rule of placement forbids after all, such as N+1."""
    board = now = board_of(seen, settings)
    pieces = {piece.uuid: piece for own in pieces_of(seen, settings).movable.values() for piece in own}
    moves: list[Move] = []
    for one in found.moves:
        piece = pieces[one.uuid]
        if not now.takes(piece, one.target):
            break
        why = f"score {one.score_before:.6f} to {one.score_after:.6f}"
        moves.append(Move(piece, one.source, one.target, why))
        now = now.after(moves[-1])
    steps = steps_of(board, moves)
    return Plan("balance", settings.rack, tuple(steps), facts=plans.facts_of(seen, steps))


def _scores(found: Balance) -> dict[str, Any]:
    return {
        "score_before": round(found.score_before, 9),
        "score_after": round(found.score_after, 9),
        "stopped": found.stopped,
    }
