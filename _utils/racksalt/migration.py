"""A move of a VM, decided: how it goes, how long it may take, who has the VM when it was cut off. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from racksalt.errors import Conflict
from racksalt.host_requests import MoveEnd, MoveOffer, Way
from racksalt.model import Claim, Domain, Migrations, State, Together
from racksalt.vm_verbs import DOWN

#: A move may take so long, and as much more as its bytes take at this speed: a slow link, and memory sent twice.
_LEAST_S = 300.0
_SLOWEST_BYTES_S = 10 * 1024 * 1024
_LONGEST_S = 7 * 86400.0

#: Who has a VM whose move was cut off: its target, its source, nobody knows yet, or nobody at all.
Outcome = Literal["moved", "stayed", "under way", "lost"]


@dataclass(frozen=True, slots=True)
class How:
    """What a caller says about the way; ``live`` is what the caller takes the VM for, and ``None`` is either.

    ``timeout_s`` is for memory and disks; without one it follows from their size. ``ignore`` are rules of placement
    that the caller looks after by itself, like the affinity of a group that moves as a whole. ``together`` are the
    moves that it begins with.
    """

    live: bool | None = None
    bandwidth_mib_s: int = 0
    auto_converge: bool = False
    post_copy: bool = False
    timeout_s: float | None = None
    ignore: frozenset[str] = frozenset()
    together: Together | None = None


def way_of(how: How, offer: MoveOffer, limits: Migrations, *, shared: bool) -> Way:
    """How the bytes of this VM go."""
    bandwidth_mib_s = how.bandwidth_mib_s or limits.bandwidth_mib_s
    data = offer.memory_mib * 2**20 + (0 if shared else offer.disk.used_bytes)
    speed = min(_SLOWEST_BYTES_S, bandwidth_mib_s * 2**20 / 2) if bandwidth_mib_s else _SLOWEST_BYTES_S
    timeout_s = how.timeout_s or min(_LONGEST_S, _LEAST_S + data / speed)
    return Way(bandwidth_mib_s, how.auto_converge, how.post_copy, timeout_s)


def under_way(moves: Iterable[Claim], host: str | None = None) -> int:
    """How many of these moves are made at the same time, in all or with this host at one of their ends."""
    convoys = Counter[Together | None]()
    for claim in moves:
        if host is not None and host not in (claim.moves_from, claim.record.host):
            continue
        convoys[claim.together] += 1
    return sum(min(number, convoy.abreast) if convoy else number for convoy, number in convoys.items())


def check_state(title: str, state: State, live: bool | None) -> None:
    """Refuse what the VM's state does not allow; a guest is never stopped to be moved."""
    if state in ("suspended", "unknown"):
        raise Conflict("vm_state", f"{title} is {state}; start it, or discard what was saved, first", state=state)
    if live is not None and live != (state not in DOWN):
        wanted = "runs" if live else "is stopped"
        raise Conflict("vm_state", f"{title} is {state}, and was to be moved while it {wanted}", state=state)


def steps(claim: Claim) -> list[str]:
    """What a move does, for people."""
    vm, live = claim.record, claim.was not in DOWN
    files = [] if claim.shared else [f"make a disk of {vm.disk_gib} GiB and the seed on {vm.host}"]
    return [
        f"hold the room of {vm.flavor} on {vm.host}",
        f"ask {claim.moves_from} what the VM needs, and whether it can leave",
        *files,
        f"reserve its addresses on {vm.host}, and let {claim.moves_from} in",
        f"move it {'while it runs' if live else 'stopped'}, with its definition and generation {vm.generation}",
        f"remove what is left on {claim.moves_from}",
    ]


def outcome(claim: Claim, source: Domain | None, target: Domain | None) -> Outcome:
    """Who has the VM, by what both hosts show at the same time; the records are those that count.

    The target has it once it is there for good. Should the source run it all the same, and the target not, libvirt has
    taken the move back at its very last step: the guest went on at the source, which then has the newer disk.
    """
    if target is not None and target.incoming:
        return "under way"
    if _has(target, claim.record.generation):
        runs_on = source is not None and source.state == "running" and target is not None and target.state != "running"
        return "stayed" if runs_on else "moved"
    if target is not None:
        return "under way"
    return "stayed" if _has(source, claim.record.generation - 1) else "lost"


def receipt(claim: Claim, ends: Mapping[str, MoveEnd], was: State, total_s: float) -> dict[str, Any]:
    """What both ends told of a move that is done."""
    source, target = claim.moves_from or "", claim.record.host
    stats = ends[target].stats
    live = was not in DOWN
    return {
        "changed": True,
        "vm": claim.record.title,
        "uuid": claim.record.uuid,
        "from": {"host": source, "before": was, "after": ends[source].state},
        "to": {"host": target, "before": None, "after": ends[target].state},
        "live": live,
        "copied_bytes": stats.copied_bytes if stats else None,
        "total_s": round(total_s, 3),
        "transfer_s": stats.transfer_ms / 1000 if stats else None,
        "pause_ms": stats.pause_ms if stats and live else None,
        "generation": ends[target].generation,
        "persistent": ends[target].state is not None,
    }


def is_confirmed(claim: Claim, ends: Mapping[str, MoveEnd]) -> bool:
    """Whether both ends say so: the target has it for good, the source has it no more."""
    target = ends[claim.record.host]
    return target.state is not None and target.generation >= claim.record.generation and _source(claim, ends) is None


def _source(claim: Claim, ends: Mapping[str, MoveEnd]) -> State | None:
    return ends[claim.moves_from or ""].state


def _has(domain: Domain | None, generation: int) -> bool:
    return domain is not None and domain.record is not None and domain.record.generation >= generation
