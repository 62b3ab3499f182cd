"""The verbs of the command line, and what they print."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

from . import preflight
from .entering import enter
from .errors import RackboxError
from .identity import RackIdentity
from .node import Node, NodeStatus
from .rack import Rack

_RACKBOX_DIR = Path(__file__).resolve().parent.parent
_NODE_VERBS: dict[str, tuple[str, Callable[[Node], None]]] = {
    "crash": ("end a node as a power cut would; its disk stays", Node.crash),
    "boot": ("start a node that is off or crashed, from its disk", lambda node: _booted(node, node.boot)),
    "cut": ("pull a node's network cable", Node.cut),
    "heal": ("put the cable back", Node.heal),
    "freeze": ("stop all processes of a node", Node.freeze),
    "thaw": ("let them go on", Node.thaw),
    "restart": ("reboot a node in good order", lambda node: _booted(node, node.restart)),
    "rebuild": ("replace a node by a blank one", lambda node: _booted(node, node.rebuild)),
}


def run_verb(identity: RackIdentity, arguments: list[str]) -> None:
    """Parse one verb and do it."""
    options = _parse(arguments)
    preflight.check_machine()
    _do(Rack(identity.name, identity.checkout), options)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="rackbox", description="A whole rack of booted hosts on one machine.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    up = verbs.add_parser("up", help="build what is missing, boot the master and the hosts, deploy")
    up.add_argument("--hosts", type=int, default=3, metavar="N", help="number of hosts (default 3)")
    verbs.add_parser("prepare", help="only build the base and the environments")
    verbs.add_parser("down", help="end and remove everything of this rack")
    status = verbs.add_parser("status", help="list the nodes")
    status.add_argument("--json", action="store_true", help="as JSON")
    execute = verbs.add_parser("exec", help="run a command in a node")
    execute.add_argument("node", metavar="NODE")
    execute.add_argument("command", nargs=argparse.REMAINDER, metavar="CMD", help="default: a shell")
    for verb, (text, _) in _NODE_VERBS.items():
        verbs.add_parser(verb, help=text).add_argument("node", metavar="NODE")
    verbs.add_parser("reset", help="rebuild every node to a blank one")
    verbs.add_parser("demo", help="run the demonstration on this rack")
    return parser.parse_args(arguments)


def _do(rack: Rack, options: argparse.Namespace) -> None:
    match options.verb:
        case "up":
            rack.up(options.hosts)
            if deploy := _beside("deploy"):
                deploy.deploy(rack)
        case "prepare":
            rack.prepare()
        case "down":
            rack.down()
        case "reset":
            rack.reset()
        case "status":
            _print_status([node.status() for node in rack.nodes()], as_json=options.json)
        case "exec":
            enter(rack.node(options.node), options.command)
        case "demo":
            _demo(rack)
        case verb:
            node = rack.node(options.node)
            _NODE_VERBS[verb][1](node)
            rack.progress.say(f"{node.name}: {node.state()}")


def _booted(node: Node, act: Callable[[], None]) -> None:
    act()
    node.wait_ready()


def _demo(rack: Rack) -> None:
    demo = _beside("demo")
    if demo is None:
        raise RackboxError(f"no demonstration: {_RACKBOX_DIR / 'demo.py'} is missing")
    demo.main(rack)


def _beside(name: str) -> ModuleType | None:
    """The module `name`.py next to the command, if there is one."""
    path = _RACKBOX_DIR / f"{name}.py"
    if not path.exists():
        return None
    spec = importlib.util.spec_from_file_location(f"rackbox_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _print_status(nodes: list[NodeStatus], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([asdict(node) for node in nodes], indent=2))
        return
    print(f"{'NODE':<8} {'STATE':<8} {'ADDRESS':<14} {'UPTIME':>9} {'MEMORY':>9}")
    for node in nodes:
        uptime = "-" if node.uptime_s is None else f"{node.uptime_s:.0f} s"
        memory = "-" if node.memory_mib is None else f"{node.memory_mib} MiB"
        print(f"{node.name:<8} {node.state:<8} {node.address:<14} {uptime:>9} {memory:>9}")
