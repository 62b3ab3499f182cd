"""A rack of booted nodes: the interface for tests, the deployment and the command line."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from . import cgroup, locks, network, packages, preflight, registry, wheel
from .at_once import at_once
from .base import base_tree
from .environments import build_environment, hosts_environment, master_environment
from .identity import CGROUP_ROOT, CHECKOUT, MASTER, RackIdentity, node_names, node_number, outer_address
from .node import Node, find_node
from .node_disk import unmount_below
from .progress import Progress

_BOOTS_AT_ONCE = 4


class Rack:
    """The rack of that name in that checkout; made by `up`, gone after `down`."""

    def __init__(self, name: str, checkout: Path = CHECKOUT, *, progress: Progress | None = None) -> None:
        self.identity = RackIdentity(name, Path(checkout).resolve())
        self.progress = progress or Progress()

    @property
    def name(self) -> str:
        return self.identity.name

    @property
    def checkout(self) -> Path:
        return self.identity.checkout

    @property
    def state_dir(self) -> Path:
        return self.identity.state_dir

    @property
    def images_dir(self) -> Path:
        """The image store: written here or on the master, read by every host."""
        return self.state_dir / "images"

    @property
    def shared_dir(self) -> Path:
        """/srv/shared of every node."""
        return self.state_dir / "shared"

    @property
    def outer_address(self) -> str:
        """The outer machine's address in the rack's network."""
        return outer_address(self._subnet())

    def prepare(self) -> None:
        """Build the base and the environments, side by side, unless the cache has them."""
        self._prepared()

    def up(self, hosts: int = 3) -> None:
        """Boot the master and that many hosts, and wait until all are ready. Nodes that run are left alone.

        Raises PreconditionError when the machine lacks something. More hosts than before are added; fewer end none.
        """
        names = node_names(hosts)
        base = self._prepared()
        with self._locked():
            self._lay_out()
            subnet = registry.register(self.identity).subnet
            network.make_bridge(self.identity, subnet)
            nodes = [Node(self.identity, name, subnet) for name in names]
            down = [node for node in nodes if node.state() in ("off", "crashed")]
            preflight.check_room(self.identity, len(down))
            self.progress.say(f"rack {self.name}: booting {len(down)} of {len(nodes)} nodes on {self.outer_address}/24")
            _for_each(lambda node: node.boot(base), down)
            _for_each(self._await, [node for node in nodes if node.state() in ("running", "cut")])

    def down(self) -> None:
        """End and remove everything of this rack, also what a killed run left; the machine-wide cache stays."""
        with self._locked():
            made = registry.find(self.identity)
            nodes = [Node(self.identity, name, made.subnet if made else 0) for name in self._names_left()]
            _for_each(lambda node: node.remove(), nodes)
            unmount_below(self.state_dir)
            network.remove_bridge(self.identity)
            cgroup.remove_if_empty(self.identity.cgroup)
            cgroup.remove_if_empty(CGROUP_ROOT)
            shutil.rmtree(self.state_dir, ignore_errors=False)
            registry.unregister(self.identity)
        if self.state_dir.parent.exists() and not any(self.state_dir.parent.iterdir()):
            self.state_dir.parent.rmdir()
        self.progress.say(f"rack {self.name}: down, {len(nodes)} nodes removed")

    def reset(self) -> None:
        """Rebuild every node to a blank one and empty the shared folder; images stay."""
        base = self._prepared()
        with self._locked():
            nodes = self.nodes()
            _for_each(lambda node: node.remove(), nodes)
            _empty(self.shared_dir)
            _for_each(lambda node: node.boot(base), nodes)
            _for_each(self._await, nodes)
        self.progress.say(f"rack {self.name}: {len(nodes)} nodes are blank")

    def node(self, name: str) -> Node:
        """The node of that name. Raises RackboxError when the rack has none."""
        return find_node(self.identity, name)

    def nodes(self) -> list[Node]:
        """All nodes, the master first."""
        return [Node(self.identity, name, self._subnet()) for name in self._node_dirs()]

    @property
    def master(self) -> Node:
        return self.node(MASTER)

    def hosts(self) -> list[Node]:
        """All nodes but the master."""
        return [node for node in self.nodes() if node.name != MASTER]

    def install_wheel(self) -> bool:
        """Install the checkout's wheel into this rack's master environment; False when it already is the newest.

        The running master sees it at once, at /opt/racksalt-master; its daemons need a restart.
        """
        master = master_environment(self.checkout, self.progress)
        builder = build_environment(self.checkout, self.progress)
        environment = self.state_dir / "master-env"
        with self._locked():
            wheel.ensure_copy(master, environment)
            changed = wheel.install(self.checkout, builder, environment)
            node = self.master
            if node.state() == "running":
                for name in wheel.scripts(environment):
                    node.run(["ln", "-sfn", f"/opt/racksalt-master/bin/{name}", f"/usr/local/bin/{name}"], timeout_s=10)
        return changed

    def _prepared(self) -> Path:
        preflight.check_machine()
        preflight.check_build_room()
        packages.ensure(packages.NEEDED, self.progress)
        builds: list[Callable[[], Path]] = [
            lambda: base_tree(self.progress),
            lambda: master_environment(self.checkout, self.progress),
            lambda: build_environment(self.checkout, self.progress),
        ]
        return at_once(builds, limit=len(builds))[0]

    def _lay_out(self) -> None:
        for folder in (self.state_dir / "nodes", self.images_dir, self.shared_dir):
            folder.mkdir(parents=True, exist_ok=True)
        link = self.state_dir / "hosts-env"
        link.unlink(missing_ok=True)
        link.symlink_to(hosts_environment(self.progress))
        wheel.ensure_copy(master_environment(self.checkout, self.progress), self.state_dir / "master-env")

    def _await(self, node: Node) -> None:
        node.wait_ready()
        self.progress.say(f"{node.name}: ready at {node.address}")

    def _subnet(self) -> int:
        return registry.require(self.identity).subnet

    def _node_dirs(self) -> list[str]:
        folder = self.state_dir / "nodes"
        return sorted((path.name for path in folder.iterdir()), key=node_number) if folder.exists() else []

    def _names_left(self) -> list[str]:
        # A node may have lost its folder and still run, or the reverse.
        names = set(self._node_dirs())
        for mount in cgroup.mounts():
            folder = mount / self.identity.cgroup
            if folder.exists():
                names.update(path.name for path in folder.iterdir() if path.is_dir())
        return sorted(names, key=node_number)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        waiting = f"rack {self.name}: another command works on it, waiting"
        with locks.held(self.state_dir / "lock", waiting=lambda: self.progress.say(waiting)):
            yield


def _for_each(act: Callable[[Node], None], nodes: Iterable[Node]) -> None:
    at_once([partial(act, node) for node in nodes], limit=_BOOTS_AT_ONCE)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
