"""``cache: redis``: several masters with one inventory, on a real redis-server of Debian's."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from racksalt import inventory_json
from racksalt.adapters import soft_cache
from racksalt.adapters.inventory_cache import InventoryCache
from racksalt.model import HostReport, Look, Room
from racksalt.rack import Rack
from tests.fakes import fake_rack
from tests.unit.test_rack import look, make

pytest.importorskip("redis", reason="the extra 'redis' is not installed")

REPORT = HostReport("h1", Room(8, 1024, 10), (), "fake", 5.0, "boot-1", 7.5)


@dataclass(frozen=True)
class Server:
    """A redis-server of the test's own."""

    process: subprocess.Popen[bytes]
    port: int

    def cache(self, folder: Path) -> InventoryCache:
        """The inventory of one more master."""
        opts: dict[str, Any] = {"cache": "redis", "cache.redis.host": "127.0.0.1", "cache.redis.port": self.port}
        return InventoryCache({**opts, "cachedir": str(folder), "extension_modules": "", "__role": "master"})


@pytest.fixture(scope="module")
def program() -> str:
    """The server's program; Debian's package is installed where it is missing, and not started by that."""
    if shutil.which("redis-server") is None:
        argv = ["apt-get", "install", "-y", "--no-install-recommends", "redis-server"]
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        subprocess.run(argv, check=True, capture_output=True, timeout=300, env=env)
    return shutil.which("redis-server") or "redis-server"


@pytest.fixture
def server(program: str, tmp_path: Path) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(tmp_path), "--save", "", "--appendonly", "no"]
    process = subprocess.Popen([program, *settings], stdout=subprocess.DEVNULL)
    try:
        _await(port)
        yield Server(process, port)
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait(30)
        soft_cache.forget_troubles()


def _await(port: int) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail("redis-server does not answer")


def test_masters_see_what_others_write(server: Server, tmp_path: Path) -> None:
    one, other = server.cache(tmp_path / "1"), server.cache(tmp_path / "2")
    one.write(REPORT)
    one.write_live(replace(REPORT, uptime_s=8.5))
    one.write_look(Look(5.0, {"h1": ""}))
    one.touch("h1", 6.0)
    assert other.read() == {"h1": REPORT} and other.live_one("h1") == replace(REPORT, uptime_s=8.5)
    assert other.look() == Look(5.0, {"h1": ""}) and other.part() is None and other.touched() == {"h1": 6.0}
    other.clear(keep=())
    assert one.read() == {} and one.live() == {} and one.look() is None


def test_the_inventory_is_the_same_whatever_keeps_it_and_whoever_reads_it(server: Server, tmp_path: Path) -> None:
    fake = fake_rack()
    make(fake)
    prints = {_print(fake.rack, fake)}
    for folder in ("1", "2"):
        rack = replace(fake.rack, last_known=server.cache(tmp_path / folder))
        prints.add(_print(rack, fake))
        rack.last_known.clear(keep=())
        prints.add(_print(rack, fake))
    fake.hosts["h1"].silent = True
    told = replace(fake.rack, last_known=server.cache(tmp_path / "3"))
    prints.add(inventory_json.told(told.inventory(told.settings()))["sha256"])
    assert len(prints) == 1, "the third master has the silent host from what the others wrote"


def _print(rack: Rack, fake: Any) -> str:
    return str(inventory_json.told(look(replace(fake, rack=rack)))["sha256"])


@pytest.mark.parametrize("fate", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "hangs"])
def test_a_server_that_is_away_fails_nothing_and_holds_up_nobody(
    server: Server, tmp_path: Path, fate: signal.Signals
) -> None:
    fake = fake_rack()
    make(fake)
    rack = replace(fake.rack, last_known=server.cache(tmp_path))
    before = _print(rack, fake)
    server.process.send_signal(fate)
    began = time.monotonic()
    for _ in range(10):
        assert _print(rack, fake) == before
        assert [vm.record.name for vm in rack.live_inventory(rack.settings()).vms()] == ["web1"]
    assert time.monotonic() - began < 10
