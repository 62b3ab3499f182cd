"""Quotas: what counts, what passes, and the numbers of a refusal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from racksalt import quota
from racksalt.errors import Denied
from racksalt.model import Quota, Record, Tenant
from racksalt.quota import Usage

USAGES = st.builds(Usage, *[st.integers(0, 20)] * 4)
QUOTAS = st.builds(Quota, *[st.integers(-1, 20)] * 4)
NAMES = ("vms", "vcpus", "memory_mib", "disk_gib")


def passes(limits: Quota, used: Usage, asked: Usage) -> bool:
    try:
        quota.check(Tenant("acme", quota=limits), used, asked)
    except Denied:
        return False
    return True


@given(QUOTAS, USAGES, USAGES)
def test_nothing_passes_a_limit(limits: Quota, used: Usage, asked: Usage) -> None:
    over = [
        name
        for name in NAMES
        if getattr(limits, name) != -1
        and getattr(asked, name) > 0
        and getattr(used, name) + getattr(asked, name) > getattr(limits, name)
    ]
    assert passes(limits, used, asked) == (not over)


@given(QUOTAS, st.lists(USAGES, max_size=20))
def test_what_is_added_one_by_one_never_passes_a_limit(limits: Quota, asked: list[Usage]) -> None:
    used = Usage()
    for more in asked:
        if passes(limits, used, more):
            used = Usage(*(getattr(used, name) + getattr(more, name) for name in NAMES))
    assert all(getattr(limits, name) == -1 or getattr(used, name) <= getattr(limits, name) for name in NAMES)


def test_the_last_one_fits_and_the_next_one_does_not() -> None:
    limits = Quota(2, -1, -1, -1)
    assert passes(limits, Usage(1), Usage(1)) and not passes(limits, Usage(2), Usage(1))


def test_zero_is_none_and_minus_one_is_unlimited() -> None:
    assert not passes(Quota(0), Usage(), Usage(1))
    assert passes(Quota(-1, -1, -1, -1), Usage(10**9), Usage(10**9))


def test_who_is_over_a_lowered_quota_may_still_do_what_asks_for_no_more() -> None:
    assert passes(Quota(1), Usage(5), Usage(0))


def test_a_refusal_tells_every_limit_with_its_numbers_and_the_remedy() -> None:
    with pytest.raises(Denied) as told:
        quota.check(Tenant("acme", quota=Quota(1, 20, 1024, 100)), Usage(1, 1, 1000, 1), Usage(1, 1, 128, 1))
    assert told.value.code == "quota_exceeded" and told.value.status == 403
    assert told.value.facts["limits"] == [
        {"what": "vms", "limit": 1, "used": 1, "asked": 1},
        {"what": "memory_mib", "limit": 1024, "used": 1000, "asked": 128},
    ]
    assert "1000 of 1024 MiB memory in use, 128 asked" in told.value.detail and "operator" in told.value.detail


def test_usage_is_the_sum_over_the_records() -> None:
    uuid = "0b5f2f40-4a4e-4b0e-9d2c-0b8f9f1d2c3e"
    one = Record("r", uuid, "acme", "a", "h1", "f", "i", 1, 2, 300, 4)
    assert quota.usage([one, one]) == Usage(2, 4, 600, 8)
    assert quota.usage([]) == Usage()
