"""Creating a VM: resolve what is asked, hold a place for it, let its host make it, and tell the truth.

The writer decides what is unique in the rack (names, addresses, quotas) under one lock and writes a claim;
the lock is never held while a host works. The host checks its room again; when another VM came first, the
claim moves to the next candidate. Whatever fails, the claim ends with what the host says.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from racksalt import access, ip_plan, placement, quota, shape
from racksalt.access import Caller
from racksalt.errors import BadInput, Conflict, RacksaltError, Refused, Unavailable
from racksalt.host_requests import CreateOnHost
from racksalt.inventory import Inventory, Vm
from racksalt.model import Claim, Flavor, HostReport, Image, Network, Nic, Record, Room
from racksalt.names import is_uuid, new_uuid
from racksalt.placement import HostLoad, Wish
from racksalt.ports import Answer, Silent
from racksalt.quota import Usage
from racksalt.rack import CLAIM_S, READ_TIMEOUT_S, Rack
from racksalt.rack_requests import CreateVm, FindHosts
from racksalt.rack_vms import shown
from racksalt.settings import Settings, network_of

log = logging.getLogger(__name__)

#: A create looks at so many hosts before it gives up.
_MOST_TRIES = 5
_CREATE_TIMEOUT_S = 150.0


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked, with every name looked up in the rack's files."""

    tenant: str
    name: str
    flavor: Flavor
    image: Image
    network: Network
    user_data: str | None
    asked: CreateVm

    @property
    def room(self) -> Room:
        return self.flavor.room

    @property
    def wish(self) -> Wish:
        labels = {**self.flavor.labels, **self.asked.labels}
        return Wish(self.tenant, self.room, labels, self.asked.anti_affinity, self.asked.host)


@dataclass(frozen=True, slots=True)
class VmCreate:
    """The one way in for new VMs."""

    rack: Rack

    def create(self, caller: Caller, asked: CreateVm, settings: Settings) -> dict[str, Any]:
        """Create and start a VM; with ``test`` only tell the plan.

        A look at the hosts of a moment ago is enough to succeed, as claims tell what came since and the host checks
        again; a refusal is told on a fresh one only.
        """
        order = resolve(caller, asked, settings, changes=True)
        recent = self.rack.recent_inventory(settings)
        if recent is not None:
            try:
                return self._create(caller, order, settings, recent)
            except RacksaltError as error:
                if error.code == "host_silent":
                    raise
        return self._create(caller, order, settings, self.rack.inventory(settings))

    def _create(self, caller: Caller, order: Order, settings: Settings, seen: Inventory) -> dict[str, Any]:
        known = _same_request(order, seen)
        if known:
            return {"changed": False, "vm": shown(caller, known)}
        if order.asked.test:
            return _plan(caller, self._decide(caller, order, settings, seen, {}), order)
        self.rack.tidy_claims(seen)
        return self._make(caller, order, settings, seen)

    def why_not(self, caller: Caller, asked: CreateVm, settings: Settings) -> dict[str, Any]:
        """Every host and every rule with numbers; a tenant learns counts by rule only."""
        order = resolve(caller, asked, settings, changes=False)
        loads = self.rack.inventory(settings).loads()
        explained = placement.explain(order.wish, loads)
        told: dict[str, Any] = {
            "fits": any(placement.fits(order.wish, load) for load in loads),
            "refused_by_rule": placement.count_by_rule(explained),
        }
        if caller.operator:
            told["hosts"] = {name: shape.plain(rules) for name, rules in explained.items()}
        return told

    def find_hosts(self, asked: FindHosts, settings: Settings) -> dict[str, Any]:
        """The hosts that could take a flavor, the first choice first; operators only."""
        flavor = _known("flavor", asked.flavor, settings.flavors)
        labels = {**flavor.labels, **asked.labels}
        wish = Wish(asked.tenant or "", flavor.room, labels, asked.anti_affinity)
        loads = self.rack.inventory(settings).loads()
        explained = placement.explain(wish, loads)
        return {
            "hosts": [load.config.name for load in placement.candidates(wish, loads)],
            "refused": {
                name: [shape.plain(verdict) for verdict in rules if not verdict.ok]
                for name, rules in explained.items()
                if not all(verdict.ok for verdict in rules)
            },
        }

    def _make(self, caller: Caller, order: Order, settings: Settings, seen: Inventory) -> dict[str, Any]:
        claim: Claim | None = None
        refused: dict[str, RacksaltError] = {}
        while True:
            claim = self._claim(caller, order, settings, seen, refused, claim)
            host = claim.record.host
            answer = self._ask_host(claim, order, settings)
            if isinstance(answer, Silent) and not self._is_made(claim, started=order.asked.start):
                raise _unconfirmed(caller, claim)
            if not isinstance(answer, RacksaltError):
                self.rack.claims.write(replace(claim, settled_at=self.rack.clock.now()))
                return {
                    "changed": True,
                    "vm": shown(caller, Vm(claim.record, "running" if order.asked.start else "stopped", True)),
                }
            refused[host] = answer
            if len(refused) >= _MOST_TRIES:
                self.rack.claims.remove(claim.record.uuid)
                raise _failed(caller, refused)

    def _claim(
        self,
        caller: Caller,
        order: Order,
        settings: Settings,
        seen: Inventory,
        refused: Mapping[str, RacksaltError],
        before: Claim | None,
    ) -> Claim:
        """Decide under the lock and write it down; ``before`` is the claim that a host refused."""
        with self.rack.claims.locked():
            claims = self.rack.claims.certain()
            if before:
                self.rack.claims.remove(before.record.uuid)
                claims = [claim for claim in claims if claim.record.uuid != before.record.uuid]
            now_seen = seen.with_claims(claims)
            record, _ = self._decide(caller, order, settings, now_seen, refused)
            claim = Claim(record, self.rack.clock.now() + CLAIM_S)
            self.rack.claims.write(claim)
        return claim

    def _decide(
        self, caller: Caller, order: Order, settings: Settings, seen: Inventory, refused: Mapping[str, RacksaltError]
    ) -> tuple[Record, HostLoad]:
        """The new VM's record, with name, quota, address and host; pure but for its UUID and time."""
        held = seen.records()
        own = [record for record in held if record.tenant == order.tenant]
        if any(record.name == order.name for record in own):
            title = f"{order.tenant}/{order.name}"
            raise Conflict("name_in_use", f"there is a VM {title} already; choose another name", vm=title)
        room = order.room
        asked = Usage(1, room.vcpus, room.memory_mib, room.disk_gib)
        quota.check(settings.tenants[order.tenant], quota.usage(own), asked)
        uuid = new_uuid()
        taken = [nic for record in held for nic in record.nics]
        nic = ip_plan.plan_nic(order.network, uuid, mac=order.asked.mac, taken=taken)
        loads = seen.loads()
        load = placement.best(order.wish, (load for load in loads if load.config.name not in refused))
        if load is None:
            raise _failed(caller, refused) if refused else _no_host(caller, order.wish, loads)
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
        )

    def _is_made(self, claim: Claim, *, started: bool) -> bool:
        """A lost return is not a lost job: whether the host shows the VM, started if that was asked."""
        host, uuid = claim.record.host, claim.record.uuid
        answer = self.rack.fleet.ask([host], "rack_host.report", {}, timeout_s=READ_TIMEOUT_S)[host]
        try:
            domains = () if isinstance(answer, (Silent, RacksaltError)) else shape.parse(HostReport, answer).domains
        except BadInput:
            return False
        wanted = "running" if started else "stopped"
        return any(domain.uuid == uuid and domain.state == wanted for domain in domains)

    def _ask_host(self, claim: Claim, order: Order, settings: Settings) -> Answer:
        host = claim.record.host
        config = settings.hosts[host]
        request = CreateOnHost(
            claim.record,
            order.image,
            order.network,
            config.room,
            config.accelerator,
            claim.deadline,
            order.asked.ssh_keys,
            order.user_data,
            order.asked.start,
        )
        arguments = {"request": shape.plain(request)}
        return self.rack.fleet.ask([host], "rack_vm.create", arguments, timeout_s=_CREATE_TIMEOUT_S)[host]


def resolve(caller: Caller, asked: CreateVm, settings: Settings, *, changes: bool) -> Order:
    """Every name looked up; what the caller may not ask for is refused."""
    tenant, name = _named(asked)
    tenant = access.acting_tenant(caller, tenant, settings, changes=changes)
    if asked.host is not None:
        access.require_operator(caller)
        _known("host", asked.host, settings.hosts)
    profile = _known("profile", asked.profile, settings.profiles) if asked.profile else None
    flavor_name = asked.flavor or (profile.flavor if profile else None)
    image_name = asked.image or (profile.image if profile else None)
    flavor = _known("flavor", flavor_name, settings.flavors)
    image = _known("image", image_name, settings.images)
    if flavor.disk_gib < image.min_disk_gib:
        raise BadInput(
            f"image {image.name} needs a disk of {image.min_disk_gib} GiB, "
            f"flavor {flavor.name} has {flavor.disk_gib}; choose a larger flavor",
            code="disk_too_small",
        )
    network = network_of(settings, asked.network or (profile.network if profile else None))
    user_data = asked.user_data or (profile.user_data if profile and profile.user_data else None)
    return Order(tenant, name, flavor, image, network, user_data, asked)


def _named(asked: CreateVm) -> tuple[str | None, str]:
    """``web1`` with ``tenant=acme``, or ``acme/web1``."""
    tenant, slash, name = asked.name.rpartition("/")
    if slash and asked.tenant not in (None, tenant):
        raise BadInput(f"name {asked.name!r} and tenant={asked.tenant} disagree; say one of them")
    if is_uuid(name):
        raise BadInput(f"name: found {name!r}, allowed: a name that is no UUID")
    return (tenant if slash else asked.tenant), name


def _known(noun: str, name: str | None, known: Any) -> Any:
    if name is None:
        raise BadInput(f"say {noun}=NAME; there are: {', '.join(known) or 'none'}", code=f"{noun}_missing")
    if name not in known:
        raise BadInput(
            f"{noun} {name!r} is unknown; there are: {', '.join(known) or 'none'}",
            code=f"{noun}_unknown",
            **{noun: name},
        )
    return known[name]


def _same_request(order: Order, seen: Inventory) -> Vm | None:
    """The VM that the same request made before: a repeated create is the same create."""
    wanted = order.asked.request_id
    return next(
        (vm for vm in seen.vms() if wanted and vm.record.request_id == wanted and vm.record.tenant == order.tenant),
        None,
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
