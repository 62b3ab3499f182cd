"""Deciding a move: whether the VM may go there, and the claim that holds its place. Under the writer's lock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from racksalt import migration, placement, rack_vms, record_proof, shape
from racksalt.errors import Conflict, NotFound, Refused, Unavailable
from racksalt.inventory import Inventory, Vm
from racksalt.migration import How
from racksalt.model import Claim, Record
from racksalt.placement import HostLoad, Verdict, Wish
from racksalt.rack import Rack
from racksalt.rack_claims import CLAIM_S
from racksalt.settings import Settings


@dataclass(frozen=True, slots=True)
class MoveClaims:
    """Claims of moves on the writer."""

    rack: Rack
    settings: Settings

    def hold(self, record: Record, target: str | None, how: How, seen: Inventory) -> Claim:
        """Decide, and write it down; durable when this returns. ``record`` is the VM as the caller knows it.

        A deletion that waits is written under the same lock: one that came since the look is seen here.
        """
        with self.rack.claims.locked():
            if not self.rack.is_current(self.settings):
                raise Conflict("files_changed", "the rack's files were changed meanwhile; try again")
            if record.uuid in self.rack.settings().deletions:
                raise _not_there(record)
            held = self.rack.claims.certain()
            claim = self.decide(record, target, how, seen.with_claims(held))
            self.rack.claims.write(claim)
        return claim

    def decide(self, record: Record, target: str | None, how: How, seen: Inventory) -> Claim:
        """The claim that this move would hold; raises why it may not be."""
        vm = self._vm(record, seen)
        migration.check_state(record.title, vm.state, how.live)
        self._check_limits(vm.record, record.host, how, seen.claims)
        chosen = self._target(vm.record, target, how, seen).config
        self._check_limits(vm.record, chosen.name, how, seen.claims)
        after = replace(vm.record, host=chosen.name, generation=vm.record.generation + 1, signature=None)
        return Claim(
            record_proof.sign(after, self.rack.ring.read()),
            self.rack.clock.now() + CLAIM_S,
            moves_from=record.host,
            was=vm.state,
            shared=self.settings.share_volumes(record.host, chosen.name),
            together=how.together,
        )

    def _vm(self, record: Record, seen: Inventory) -> Vm:
        """The VM as the hosts show it, if it is still the one that the caller has seen, and free to move."""
        if seen.move_of(record.uuid):
            raise rack_vms.moving(record)
        vm = seen.vm(record.uuid)
        if vm is None:
            raise _not_there(record)
        if (vm.record.host, vm.record.generation) != (record.host, record.generation):
            raise Conflict("record_changed", f"{record.title} is not what it was: it is on {vm.record.host}")
        if not vm.host_answers:
            raise Unavailable("host_silent", f"host {record.host} does not answer; nothing was sent", host=record.host)
        twice = seen.index.twice.get(record.uuid)
        if twice:
            raise _refused(record, [{"rule": "twice", "hosts": list(twice)}], f"{' and '.join(twice)} both show it")
        return vm

    def _check_limits(self, record: Record, target: str, how: How, held: Sequence[Claim]) -> None:
        """Each move takes the network and the disks of two hosts."""
        limits, moves = self.settings.migrations, [claim for claim in held if claim.is_moving]
        there = replace(record, host=target)
        one_more = [*moves, Claim(there, 0, moves_from=record.host, together=how.together)]
        told = []
        if migration.under_way(one_more) > limits.rack:
            told.append(f"the rack has {migration.under_way(moves)} under way, allowed: {limits.rack}")
        for host in dict.fromkeys((record.host, target)):
            if migration.under_way(one_more, host) > limits.per_host:
                busy = migration.under_way(moves, host)
                told.append(f"host {host} has {busy} under way, allowed: {limits.per_host}")
        if told:
            raise Refused("too_many_migrations", f"{'; '.join(told)}; try again, or raise migrations in hosts.yaml")

    def _target(self, record: Record, target: str | None, how: How, seen: Inventory) -> HostLoad:
        """The named host, or the best one; with every reason why it cannot be."""
        everywhere = seen.loads()
        loads = [load for load in everywhere if load.config.name != record.host]
        if target is not None:
            if target not in self.settings.hosts:
                raise NotFound("host_unknown", f"no host {target!r}; there are {', '.join(self.settings.hosts)}")
            loads = [load for load in loads if load.config.name == target]
        wish = placement.among(placement.wish_of(record, self.settings), everywhere, seen.survival())
        verdicts = {load.config.name: self._verdicts(record, wish, load, how) for load in loads}
        fitting = [load for load in loads if all(verdict.ok for verdict in verdicts[load.config.name])]
        if not fitting:
            refusals = [{"host": host, **shape.plain(verdict)} for host, verdict in placement.refusals(verdicts)]
            told = "; ".join(
                f"{one['host']}: {one['rule']} {one['asked']} asked, {one['found']} found" for one in refusals
            )
            raise _refused(record, refusals, told or "there is no other host")
        return min(fitting, key=lambda load: (placement.fullness(wish, load), load.config.name))

    def _verdicts(self, record: Record, wish: Wish, load: HostLoad, how: How) -> list[Verdict]:
        """Placement's rules, and what only a move asks for."""
        source, target = self.settings.hosts[record.host], load.config
        told = [verdict for verdict in placement.verdicts(wish, load) if verdict.rule not in how.ignore]
        same = source.accelerator == target.accelerator
        return [*told, Verdict("accelerator", same, source.accelerator, target.accelerator)]


def _not_there(record: Record) -> NotFound:
    return NotFound("vm_not_found", f"no VM {record.title}", vm=record.title)


def _refused(record: Record, refusals: Sequence[Any], told: str) -> Refused:
    return Refused("migration_refused", f"{record.title} cannot be moved: {told}", vm=record.title, refusals=refusals)
