"""Creating a VM: resolve what is asked, hold a place for it, let its host make it, and tell the truth.

The writer decides what is unique in the rack (names, addresses, quotas) under one lock and writes a claim;
the lock is never held while a host works. The host checks its room again; when another VM came first, the
claim moves to the next candidate. Whatever fails, the claim ends with what the host says.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from racksalt import access, ip_plan, placement, quota, record_proof, shape
from racksalt.access import Caller
from racksalt.errors import Conflict, RacksaltError, Refused, Unavailable
from racksalt.host_requests import CreateOnHost, Secrets, seal_context
from racksalt.inventory import Inventory, Vm
from racksalt.model import Claim, HostReport, Nic, Record
from racksalt.names import new_uuid
from racksalt.placement import HostLoad, Wish
from racksalt.ports import Answer, Silent
from racksalt.quota import Usage
from racksalt.rack import READ_TIMEOUT_S, Rack
from racksalt.rack_claims import RackClaims
from racksalt.rack_requests import CreateVm
from racksalt.rack_vms import shown
from racksalt.settings import Settings
from racksalt.vm_order import Order, resolve

log = logging.getLogger(__name__)

#: With these a host says that it has not begun.
_NOTHING_DONE = ("no_room", "claim_expired", "name_in_use", "address_in_use")
#: A create tries so many hosts, and decides anew so often where files change, before it gives up.
_MOST_TRIES = 5
_CREATE_TIMEOUT_S = 150.0


@dataclass(frozen=True, slots=True)
class _Held:
    """A claim, or the VM that the same request has made before, and what it was decided on."""

    order: Order
    settings: Settings
    what: Claim | Vm


@dataclass(frozen=True, slots=True)
class VmCreate:
    """The one way in for new VMs."""

    rack: Rack

    def create(self, caller: Caller, asked: CreateVm, settings: Settings) -> dict[str, Any]:
        """Create and start a VM; with ``test`` only tell the plan.

        A look at the hosts of a moment ago is enough to begin, as claims tell what came since and the host checks
        again; anything but a new claim is told on a fresh one only.
        """
        order = resolve(caller, asked, settings, changes=True)
        if asked.test:
            return self._plan(caller, order, settings)
        recent = self.rack.recent_inventory(settings)
        held = self._claim_on(caller, order, settings, recent) if recent else None
        return self._make(caller, _Held(order, settings, held) if held else self._claim_anew(caller, asked))

    def _plan(self, caller: Caller, order: Order, settings: Settings) -> dict[str, Any]:
        seen = self.rack.inventory(settings)
        made = _same_request(order, seen)
        if made:
            return {"test": True, "changed": False, "vm": shown(caller, made)}
        return _plan(caller, self._decide(caller, order, settings, seen, {}), order)

    def _make(self, caller: Caller, held: _Held) -> dict[str, Any]:
        """Let hosts try, one after the other, until one has made it; the claim is always on the one that tries."""
        claims = RackClaims(self.rack)
        refused: dict[str, RacksaltError] = {}
        while isinstance(held.what, Claim):
            claim = held.what
            answer = self._ask_host(claim, held.order, held.settings)
            if isinstance(answer, Silent) and not self._is_made(claim, started=held.order.asked.start):
                raise _unconfirmed(caller, claim)
            if not isinstance(answer, RacksaltError):
                claims.settle(claim)
                return {"changed": True, "vm": shown(caller, Vm(claim.record, _wanted(held.order), True))}
            refused[claim.record.host] = answer
            moved = answer.code in _NOTHING_DONE
            if not moved and not claims.give_up(claim):
                raise _unconfirmed(caller, claim)
            if len(refused) >= _MOST_TRIES:
                raise _failed(caller, refused) if not moved or claims.end(claim) else _unconfirmed(caller, claim)
            try:
                held = self._claim_anew(caller, held.order.asked, refused, before=claim if moved else None)
            except RacksaltError:
                with suppress(RacksaltError):
                    claims.end(claim)
                raise
        if not held.what.host_answers:
            raise _not_seen(caller, held.what)
        return {"changed": False, "vm": shown(caller, held.what)}

    def _claim_anew(
        self,
        caller: Caller,
        asked: CreateVm,
        refused: Mapping[str, RacksaltError] = MappingProxyType({}),
        before: Claim | None = None,
    ) -> _Held:
        """Decide on the rack's files and hosts as they are now; again, where the files are changed meanwhile.

        A late claim that stands in the way is looked up first; the watch does so for the others.
        """
        for _ in range(_MOST_TRIES):
            settings = self.rack.settings()
            self.rack.require_writer(settings)
            caller = access.identify(caller.user, settings)
            order = resolve(caller, asked, settings, changes=True)
            seen = self.rack.inventory(settings)
            if before is None and not refused:
                RackClaims(self.rack).tidy(seen, only=_named(order.tenant, order.name))
            held = self._claim(caller, order, settings, seen, refused, before)
            if held is not None:
                return _Held(order, settings, held)
        raise Conflict("files_changed", "the rack's files are being changed all the time; try again")

    def _claim_on(self, caller: Caller, order: Order, settings: Settings, recent: Inventory) -> Claim | None:
        """A claim by a look of a moment ago; ``None`` where it takes a fresh one to know."""
        try:
            held = self._claim(caller, order, settings, recent)
        except RacksaltError as error:
            log.debug("%s on a recent look: %s", error.code, error.detail)
            return None
        return None if isinstance(held, Vm) else held

    def _claim(
        self,
        caller: Caller,
        order: Order,
        settings: Settings,
        seen: Inventory,
        refused: Mapping[str, RacksaltError] = MappingProxyType({}),
        before: Claim | None = None,
    ) -> Claim | Vm | None:
        """Decide under the lock and write it down; ``before`` is the claim that a host refused.

        ``None`` where the rack's files have changed: a host that they had may be taken out by now.
        A request that came before is the same create: its VM, or its claim while nobody knows yet.
        """
        claims = RackClaims(self.rack)
        # All that is known is added up before the lock is taken: under it, only what was claimed since.
        seen.loads()
        with self.rack.claims.locked():
            if not self.rack.is_current(settings):
                return None
            held = self.rack.claims.certain()
            if before:
                held = self._without(caller, before, held)
            held = self._on_hosts(held, settings)
            now_seen = seen.with_claims(held)
            same = next((claim for claim in held if _is_open(claim) and _is_same(order, claim.record)), None)
            if same and same.ending != "no":
                raise _ending(same)
            made = _same_request(order, now_seen)
            if made:
                return made
            if same and same.record.wanted != _wanted(order):
                raise _used_otherwise(same.record, ["start"])
            if same:
                return claims.join(same)
            record, _ = self._decide(caller, order, settings, now_seen, refused)
            return claims.hold(record_proof.sign(record, self.rack.ring.read()))

    def _without(self, caller: Caller, before: Claim, held: Sequence[Claim]) -> list[Claim]:
        """The claims without the one that moves; it may have been joined by the same request meanwhile."""
        if before not in held:
            raise _unconfirmed(caller, before)
        self.rack.claims.remove(before.record.uuid)
        return [claim for claim in held if claim != before]

    def _on_hosts(self, held: Sequence[Claim], settings: Settings) -> list[Claim]:
        """The claims on hosts of the rack's files; one of a create on a host that was taken out holds nothing."""
        gone = [claim for claim in held if claim.record.host not in settings.hosts and claim.moves_from is None]
        for claim in gone:
            self.rack.claims.remove(claim.record.uuid)
        return [claim for claim in held if claim not in gone]

    def _decide(
        self, caller: Caller, order: Order, settings: Settings, seen: Inventory, refused: Mapping[str, RacksaltError]
    ) -> tuple[Record, HostLoad]:
        """The new VM's record, with name, quota, address and host; pure but for its UUID and time."""
        if seen.holder(order.tenant, order.name):
            title = f"{order.tenant}/{order.name}"
            raise Conflict("name_in_use", f"there is a VM {title} already; choose another name", vm=title)
        if seen.unread:
            raise _incomplete(caller, seen.unread)
        room = order.room
        asked = Usage(1, room.vcpus, room.memory_mib, room.disk_gib)
        quota.check(settings.tenants[order.tenant], seen.usage(order.tenant), asked)
        uuid = new_uuid()
        nic = ip_plan.plan_nic(order.network, uuid, mac=order.asked.mac, taken=seen.taken())
        loads = seen.loads()
        wish = placement.among(order.wish, loads, seen.survival())
        load = placement.best(wish, (load for load in loads if load.config.name not in refused))
        if load is None:
            raise _failed(caller, refused) if refused else _no_host(caller, wish, loads)
        return self._record(order, settings, load, uuid, nic), load

    def _record(self, order: Order, settings: Settings, load: HostLoad, uuid: str, nic: Nic) -> Record:
        asked, flavor = order.asked, order.flavor
        return Record(
            rack=settings.rack,
            uuid=uuid,
            tenant=order.tenant,
            name=order.name,
            host=load.config.name,
            flavor=flavor.name,
            image=order.image.name,
            created_at=int(self.rack.clock.now()),
            vcpus=flavor.vcpus,
            memory_mib=flavor.memory_mib,
            disk_gib=flavor.disk_gib,
            nics=(nic,),
            tags=asked.tags,
            anti_affinity=asked.anti_affinity,
            note=asked.note,
            protected=asked.protected,
            request_id=asked.request_id,
            labels=order.labels,
            affinity=asked.affinity,
            spread=asked.spread,
            numa=flavor.numa,
            huge_pages=flavor.huge_pages,
            wanted=_wanted(order),
        )

    def _is_made(self, claim: Claim, *, started: bool) -> bool:
        """A lost return is not a lost job: whether the host shows the VM, started if that was asked."""
        host, uuid = claim.record.host, claim.record.uuid
        try:
            answer = self.rack.fleet.ask([host], "rack_host.report", {}, timeout_s=READ_TIMEOUT_S)[host]
            domains = () if isinstance(answer, (Silent, RacksaltError)) else shape.parse(HostReport, answer).domains
        except RacksaltError:
            return False
        wanted = "running" if started else "stopped"
        return any(domain.uuid == uuid and domain.state == wanted for domain in domains)

    def _ask_host(self, claim: Claim, order: Order, settings: Settings) -> Answer:
        host = claim.record.host
        config = settings.hosts[host]
        try:
            sealed = self._sealed(claim.record, Secrets(order.asked.ssh_keys, order.user_data))
        except RacksaltError as error:
            return error
        request = CreateOnHost(
            claim.record,
            order.image,
            order.network,
            config.room,
            config.accelerator,
            claim.deadline,
            sealed,
            order.asked.start,
            settings.cpu,
        )
        arguments = {"request": shape.plain(request)}
        try:
            return self.rack.fleet.ask([host], "rack_vm.create", arguments, timeout_s=_CREATE_TIMEOUT_S)[host]
        except RacksaltError as error:
            log.warning("create of %s on host %s: %s", claim.record.title, host, error.detail)
            return Silent(0.0)

    def _sealed(self, record: Record, secrets: Secrets) -> str | None:
        if secrets == Secrets():
            return None
        text = json.dumps(shape.plain(secrets))
        return self.rack.fleet.seal(record.host, text, context=seal_context(record.host, record.uuid))


def _wanted(order: Order) -> Literal["running", "stopped"]:
    return "running" if order.asked.start else "stopped"


def _named(tenant: str, name: str) -> Callable[[Record], bool]:
    return lambda record: (record.tenant, record.name) == (tenant, name)


def _is_open(claim: Claim) -> bool:
    """Whether a create holds it that nobody has confirmed; a move's is of a VM that is there."""
    return claim.settled_at is None and claim.moves_from is None


def _is_same(order: Order, record: Record) -> bool:
    """Whether the same request asked for this; one request id is for one VM, and for one form of it."""
    asked, wanted = order.asked, order.asked.request_id
    if wanted is None or (record.request_id, record.tenant) != (wanted, order.tenant):
        return False
    pairs = {
        "name": (order.name, record.name),
        "flavor": (order.flavor.name, record.flavor),
        "image": (order.image.name, record.image),
        "network": ([order.network.name], [nic.network for nic in record.nics]),
        "affinity": (asked.affinity or record.affinity, record.affinity),
        "anti_affinity": (asked.anti_affinity or record.anti_affinity, record.anti_affinity),
        "spread": (asked.spread or record.spread, record.spread),
        "mac": (asked.mac or record.nics[0].mac, record.nics[0].mac),
        "host": (asked.host or record.host, record.host),
    }
    other = [what for what, (now, before) in pairs.items() if now != before]
    if other:
        raise _used_otherwise(record, other)
    return True


def _used_otherwise(record: Record, other: Sequence[str]) -> Conflict:
    return Conflict(
        "request_id_used",
        f"the request id {record.request_id} was for {record.title} with another {' and '.join(other)}; send a new one",
        vm=record.title,
    )


def _same_request(order: Order, seen: Inventory) -> Vm | None:
    """The VM that the same request made before: a repeated create is the same create."""
    if order.asked.request_id is None:
        return None
    made = seen.made_by(order.tenant, order.asked.request_id)
    return made if made and _is_same(order, made.record) else None


def _ending(claim: Claim) -> Conflict:
    return Conflict(
        "request_ending",
        f"{claim.record.title}: the same request failed before, and what it left is still being removed; try again",
        vm=claim.record.title,
    )


def _plan(caller: Caller, decided: tuple[Record, HostLoad], order: Order) -> dict[str, Any]:
    record, load = decided
    plan: dict[str, Any] = {
        "test": True,
        "changed": True,
        "steps": [
            f"hold the name {record.title}, {record.nics[0].address} and the flavor {record.flavor}",
            f"make a disk of {record.disk_gib} GiB from image {record.image}",
            f"define {record.vcpus} vCPUs and {record.memory_mib} MiB",
            *(["start it"] if order.asked.start else []),
        ],
        "address": record.nics[0].address,
    }
    if caller.operator:
        plan["host"] = load.config.name
        plan["left"] = shape.plain(load.capacity - load.used)
    return plan


def _no_host(caller: Caller, wish: Wish, loads: Sequence[HostLoad]) -> Refused:
    explained = placement.explain(wish, loads)
    counts = placement.count_by_rule(explained)
    told = ", ".join(f"{rule} refuses {count}" for rule, count in counts.items())
    facts: dict[str, Any] = {"refused_by_rule": counts}
    if caller.operator:
        facts["refusals"] = [{"host": host, **shape.plain(verdict)} for host, verdict in placement.refusals(explained)]
    return Refused("no_host_fits", f"no host can take it: {told or 'there is none'}", **facts)


def _unconfirmed(caller: Caller, claim: Claim) -> Unavailable:
    where = f"host {claim.record.host}" if caller.operator else "the chosen host"
    return Unavailable(
        "host_silent",
        f"{claim.record.title}: {where} did not confirm it; its name and place stay held until it is looked up",
        vm=claim.record.title,
    )


def _not_seen(caller: Caller, made: Vm) -> Unavailable:
    """This request has made it; whether it is still there, its host alone knows."""
    title = made.record.title
    where = f"host {made.record.host}" if caller.operator else "its host"
    return Unavailable("host_silent", f"{title}: {where}, where this request has made it, does not answer", vm=title)


def _incomplete(caller: Caller, hosts: Sequence[str]) -> Unavailable:
    """What a host holds that nobody has read may be this very name, or this address."""
    if not caller.operator:
        return Unavailable("inventory_incomplete", "the rack does not know all that is in use; try again later")
    return Unavailable(
        "inventory_incomplete",
        f"nobody knows what {', '.join(hosts)} holds: it was never read here, and is in no snapshot; bring it up, or "
        "give it up with rack_host.forget",
        hosts=list(hosts),
    )


def _failed(caller: Caller, refused: Mapping[str, RacksaltError]) -> RacksaltError:
    """Every host that seemed to fit refused by itself: a race lost, or something wrong there."""
    told = [{"host": host, "code": error.code, "detail": error.detail} for host, error in refused.items()]
    lost_races = all(error.code in ("no_room", "claim_expired") for error in refused.values())
    code = "no_host_fits" if lost_races else "host_failed"
    kind = Refused if lost_races else Unavailable
    log.warning("no host made the VM that %s asked for: %s", caller.user, told)
    if not caller.operator:
        return kind(code, "no host could make the VM and nothing was kept; the operator can see why")
    details = "; ".join(f"{item['host']}: {item['detail']}" for item in told)
    return kind(code, f"no host made the VM and nothing was kept: {details}", refusals=told)
