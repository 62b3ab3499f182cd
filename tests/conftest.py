"""Fixtures of all tests: the rackbox that tests on real parts share, and the promises."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.on_rack import RealRack

pytest_plugins = ["tests.promises"]

_HOSTS = 3
_LOGGED = pytest.StashKey["RealRack"]()


@pytest.fixture(scope="session")
def booted_rack(request: pytest.FixtureRequest) -> Iterator[RealRack]:
    """One rackbox for the whole run, named by RACKBOX_TEST; RACKBOX_KEEP keeps it, and finds it again next time.

    Where several workers share the tests, each has a rackbox of its own: most of the time they wait.
    """
    from tests import on_rack

    keep = bool(os.environ.get("RACKBOX_KEEP"))
    name = os.environ.get("RACKBOX_TEST", "test") + os.environ.get("PYTEST_XDIST_WORKER", "")
    real = on_rack.bring_up(name, hosts=_HOSTS, reuse=keep)
    request.config.stash[_LOGGED] = real
    real.revive()
    real.keep_files()
    yield real
    if not keep:
        real.box.down()


@pytest.fixture(scope="module")
def rack(booted_rack: RealRack) -> RealRack:
    """The rackbox, empty and as it was deployed, for one module of tests."""
    booted_rack.clean()
    return booted_rack


@pytest.fixture
def clean_rack(rack: RealRack) -> Iterator[RealRack]:
    """The rackbox, and an empty one again after the test."""
    yield rack
    rack.clean()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a rackbox; what boots a whole Debian comes last."""
    for item in items:
        if "booted_rack" in getattr(item, "fixturenames", ()):
            item.add_marker("rack")
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[Any]:
    """The daemons' last words go into the report of a failed test."""
    report = yield
    real = item.config.stash.get(_LOGGED, None)
    if real is not None and report.failed and item.get_closest_marker("rack"):
        report.sections += [(f"log of {name}", text) for name, text in real.log_tails()]
    return report
