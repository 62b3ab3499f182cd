"""When a certificate has to be made anew."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from racksalt.tls_certificates import AUTHORITY_S, HOST_S, Life, TlsPair, is_due, life


@pytest.mark.parametrize(
    ("now", "due"), [(0.0, False), (199.0, False), (200.0, False), (201.0, True), (300.0, True), (-1.0, True)]
)
def test_it_is_due_in_its_last_third_and_before_its_time(now: float, due: bool) -> None:
    assert is_due(Life(0.0, 300.0), now) is due


@given(st.floats(0, 1e10), st.sampled_from([HOST_S, AUTHORITY_S]))
def test_a_new_one_is_not_due(now: float, seconds: float) -> None:
    assert not is_due(life(now, seconds), now)


def test_a_key_is_in_no_log() -> None:
    assert "secret" not in repr(TlsPair("authority", "certificate", "secret"))
