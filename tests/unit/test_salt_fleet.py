"""The client that talks to Salt's bus, held to Salt's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import salt.client
import salt.config

from racksalt.adapters import salt_fleet

LOADERS = {"utils", "functions", "returners"}


@pytest.fixture
def opts(tmp_path: Path) -> dict[str, Any]:
    """A master's, of a folder where nothing listens."""
    found: dict[str, Any] = salt.config.master_config(None)
    for name in ("root_dir", "cachedir", "sock_dir", "pki_dir"):
        found[name] = str(tmp_path)
    return found


def test_it_has_all_that_salts_own_client_has_but_the_loaders(opts: dict[str, Any]) -> None:
    own, other = salt_fleet._Client(opts), salt.client.LocalClient(mopts=opts)
    try:
        assert set(own.__dict__) == set(other.__dict__) - LOADERS
        assert own.key == other.key and own.salt_user == other.salt_user
    finally:
        own.destroy()
        other.destroy()


def test_the_loaders_come_when_a_kept_return_is_read(opts: dict[str, Any]) -> None:
    own = salt_fleet._Client(opts)
    try:
        assert own.get_cache_returns("20260101000000000000") == {}
        assert set(own.__dict__) >= LOADERS
    finally:
        own.destroy()
