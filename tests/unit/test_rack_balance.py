"""Balancing a rack in memory by a plan."""

from __future__ import annotations

from typing import Any

from racksalt.access import identify
from racksalt.rack_balance import RackBalance
from racksalt.rack_plans import RackPlans
from racksalt.rack_requests import BalanceRack
from tests.fakes import FakeRack
from tests.unit.test_rack_drains import ALL, everybody, full_rack, on


def balance(rack: FakeRack, **asked: Any) -> dict[str, Any]:
    settings = rack.rack.settings()
    return RackBalance(rack.rack, RackPlans(rack.rack)).balance(
        identify("root", settings), BalanceRack(**asked), settings
    )


def test_a_rack_is_balanced_as_its_plan_said_and_then_stays_so() -> None:
    rack = full_rack(vms=4, hosts=2)
    plan = balance(rack, test=True)
    assert plan["steps"] and plan["score_after"] < plan["score_before"] and on(rack, "h1") == ALL
    told = balance(rack, apply=plan["hash"])
    assert [step["vm"] for step in told["steps"]] == [step["vm"] for step in plan["steps"]]
    assert len(on(rack, "h1")) == len(on(rack, "h2")) == 2 and everybody(rack) == ALL
    assert not balance(rack)["changed"]


def test_no_more_moves_than_asked_for() -> None:
    rack = full_rack(vms=4, hosts=2)
    assert len(balance(rack, max_moves=1)["steps"]) == 1 and len(on(rack, "h1")) == 3
