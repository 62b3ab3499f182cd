"""A host that has turned hostile, and who watches over it from outside: what both security tests of hosts share."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rackbox_lib.node import Node
from tests.on_rack import RealRack, wait_for

_ATTACKER = Path(__file__).with_name("attacker.py")
_PLACE = "/root/attacker.py"
_HOSTS_PYTHON = "/opt/racksalt/bin/python3"
_MASTERS_PYTHON = "/opt/racksalt-master/bin/python3"
#: Names every job of a runner as it begins: the worst case of a host that guesses them.
_SPY = """
import json, os, sys, threading
import salt.config, salt.utils.event
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
opts = salt.config.master_config("/etc/salt/master")
with salt.utils.event.get_event("master", sock_dir=opts["sock_dir"], opts=opts, listen=True) as bus:
    bus.get_event(wait=0.1)
    print(json.dumps({"ready": True}), flush=True)
    while True:
        event = bus.get_event(wait=5, tag="salt/run/", match_type="startswith", full=True)
        if event and event["tag"].endswith("/new"):
            print(json.dumps({"job": event["tag"].split("/")[2], "fun": event["data"]["fun"]}), flush=True)
"""


@dataclass
class Talk:
    """A program in a node that says lines of JSON, and ends with its input."""

    process: subprocess.Popen[str]
    on_line: Callable[[dict[str, Any]], None] = lambda line: None
    said: list[dict[str, Any]] = field(default_factory=list)
    other: list[str] = field(default_factory=list)

    def read(self) -> None:
        assert self.process.stdout
        for text in self.process.stdout:
            try:
                line = json.loads(text)
            except ValueError:
                self.other.append(text)
                continue
            self.said.append(line)
            self.on_line(line)

    def tell(self, **order: Any) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def await_(self, key: str, value: Any) -> None:
        def came() -> bool:
            assert self.process.poll() is None, "".join(self.other)[-2000:]
            return any(line.get(key) == value for line in list(self.said))

        wait_for(came, f"{key}: {value}", timeout_s=60, pause_s=0.1)


@contextmanager
def talking(
    node: Node, words: list[str], on_line: Callable[[dict[str, Any]], None] = lambda line: None
) -> Iterator[Talk]:
    """A program that runs until the end of the block."""
    process = subprocess.Popen(
        node.exec_argv(words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    talk = Talk(process, on_line)
    reader = threading.Thread(target=talk.read, daemon=True)
    reader.start()
    try:
        talk.await_("ready", True)
        yield talk
    finally:
        assert process.stdin
        process.stdin.close()
        process.wait(30)
        reader.join(30)


@dataclass(frozen=True)
class HostileHost:
    """A host whose root has turned against the rack; its own minion runs on."""

    node: Node
    talk: Talk

    def order(self, **order: Any) -> None:
        """What it does from now on; see ``attacker.Attack.ordered``."""
        self.talk.tell(**order)
        self.talk.await_("obeyed", order)

    def heard(self, fun: str = "") -> list[dict[str, Any]]:
        """Every publish that it decrypted."""
        loads = [line["heard"] for line in list(self.talk.said) if "heard" in line]
        return [load for load in loads if fun in ("", load["fun"])]

    def tried(self, **about: Any) -> list[dict[str, Any]]:
        """What it forged, with the master's answer to it."""
        lines = [line for line in list(self.talk.said) if "tried" in line]
        return [line for line in lines if all(line.get(key) == value for key, value in about.items())]


@contextmanager
def hostile(node: Node) -> Iterator[HostileHost]:
    """Take a host over."""
    node.write(_PLACE, _ATTACKER.read_text(encoding="utf-8"))
    with talking(node, [_HOSTS_PYTHON, _PLACE, "/etc/salt"]) as talk:
        yield HostileHost(node, talk)


@contextmanager
def telling_jobs(rack: RealRack, host: HostileHost) -> Iterator[Talk]:
    """The hostile host learns the name of every runner's job, and forges its answer at once."""

    def told(line: dict[str, Any]) -> None:
        if "job" in line:
            host.talk.tell(runner=line["job"], fun=line["fun"].removeprefix("runner."))

    with talking(rack.master, [_MASTERS_PYTHON, "-c", _SPY], told) as spy:
        yield spy


@contextmanager
def slow(node: Node, seconds: float) -> Iterator[None]:
    """A host that stands still for a while from now on: a forged answer in its name comes first."""
    node.freeze()
    thaw = threading.Timer(seconds, node.thaw)
    thaw.start()
    try:
        yield
    finally:
        thaw.join()


def dropped(rack: RealRack, since: float, **about: Any) -> list[dict[str, Any]]:
    """The audit's lines of what was not believed."""
    return lines(rack, since, kind="dropped", **about)


def lines(rack: RealRack, since: float, **about: Any) -> list[dict[str, Any]]:
    """The audit's lines since a moment (seconds since the epoch) with these facts."""
    told = rack.api("OPERATOR").call("rack_audit.list", since=int(since), limit=10000)["lines"]
    return [line for line in told if all(line.get(key) == value for key, value in about.items())]


def now() -> float:
    """Nodes have the outer machine's clock."""
    return time.time()
