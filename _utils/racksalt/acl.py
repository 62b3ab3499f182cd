"""The ACL that salt-api's logins get: the outer fence, generated, every pattern anchored.

Salt matches a pattern with an unanchored ``re.match``: ``rack_vm.stop`` would admit ``rack_vm.stop_all`` too.
Groups are constants, so that a new tenant needs no restart of the master.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from racksalt import rack_calls

TENANT_GROUP = "tenant"
OPERATOR_GROUP = "operator"

#: Every runner function that a tenant's login may call; inside, it acts on its own namespace only.
TENANT_CALLS = rack_calls.calls_of("tenant")

#: What an operator's login may call besides.
OPERATOR_CALLS = rack_calls.calls_of("operator")


def pattern(call: str) -> str:
    """A pattern that matches this one function."""
    return re.escape(call) + r"\Z"


def external_auth() -> dict[str, Any]:
    """The master's ``external_auth`` setting."""
    return {
        "rack": {
            f"{TENANT_GROUP}%": _runners(TENANT_CALLS),
            f"{OPERATOR_GROUP}%": _runners((*TENANT_CALLS, *OPERATOR_CALLS)),
        }
    }


def _runners(calls: Iterable[str]) -> list[dict[str, list[str]]]:
    return [{"@runner": [pattern(call) for call in sorted(calls)]}]
