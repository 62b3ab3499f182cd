"""Which racks are on this machine, and which network each has."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from . import locks
from .cgroup import NodeCgroup
from .commands import run
from .errors import RackboxError
from .identity import CGROUP_ROOT, RackIdentity

REGISTRY_DIR = Path("/run/rackbox")
SUBNETS = range(1, 255)


@dataclass(frozen=True)
class Registration:
    """One rack's line in the registry; `subnet` is the X of 10.77.X.0/24."""

    id: str
    name: str
    state_dir: str
    subnet: int


def register(rack: RackIdentity) -> Registration:
    """The rack's registration, made with a free network if it has none."""
    with locks.held(REGISTRY_DIR / "lock"):
        known = {item.id: item for item in _read_all()}
        if rack.id in known:
            return known[rack.id]
        _reclaim(known)
        subnet = pick_subnet({item.subnet for item in known.values()} | _subnets_in_use(), int(rack.id, 16))
        made = Registration(rack.id, rack.name, str(rack.state_dir), subnet)
        part = REGISTRY_DIR / f".{rack.id}.part"
        part.write_text(json.dumps(asdict(made)))
        part.rename(_file(rack.id))
        return made


def find(rack: RackIdentity) -> Registration | None:
    """The rack's registration, or None."""
    return _read(_file(rack.id))


def require(rack: RackIdentity) -> Registration:
    """The rack's registration. Raises RackboxError when it has none."""
    made = find(rack)
    if not made:
        raise RackboxError(f"rack {rack.name} is not up; `rackbox up` boots it")
    return made


def unregister(rack: RackIdentity) -> None:
    """Give the rack's network back."""
    with locks.held(REGISTRY_DIR / "lock"):
        _file(rack.id).unlink(missing_ok=True)


def pick_subnet(taken: set[int], wish: int) -> int:
    """A free X, starting the search at a place that `wish` decides, so that a rack tends to get the same again."""
    for step in range(len(SUBNETS)):
        subnet = SUBNETS[(wish + step) % len(SUBNETS)]
        if subnet not in taken:
            return subnet
    raise RackboxError("no free network: all of 10.77.1.0/24 to 10.77.254.0/24 are in use; take down a rack")


def subnets_of(routes: str) -> set[int]:
    """The X of every 10.77.X.… that occurs in the output of `ip route` or `ip address`."""
    return {int(match) for match in re.findall(r"\b10\.77\.(\d{1,3})\.", routes)}


def _file(rack_id: str) -> Path:
    return REGISTRY_DIR / f"{rack_id}.json"


def _read(path: Path) -> Registration | None:
    try:
        return Registration(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None


def _read_all() -> list[Registration]:
    return [item for path in sorted(REGISTRY_DIR.glob("*.json")) if (item := _read(path))]


def _subnets_in_use() -> set[int]:
    routes = run(["ip", "route", "show", "table", "all"], timeout_s=10).stdout
    return subnets_of(routes + run(["ip", "-o", "address"], timeout_s=10).stdout)


def _reclaim(known: dict[str, Registration]) -> None:
    for item in list(known.values()):
        alive = Path(f"/sys/class/net/rkb-{item.id}").exists() or NodeCgroup(f"{CGROUP_ROOT}/{item.id}").pids()
        if not alive and not Path(item.state_dir).exists():
            _file(item.id).unlink(missing_ok=True)
            del known[item.id]
