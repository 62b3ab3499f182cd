"""The true end of a job whose runner did not live to tell it, or could not: a lost return is not a lost job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from racksalt import rack_vms
from racksalt.access import Caller
from racksalt.errors import BadInput, NotFound, Unavailable
from racksalt.inventory import Vm
from racksalt.job_trail import CREATE, JobState, Trail
from racksalt.model import Claim
from racksalt.rack import Rack
from racksalt.rack_claims import RackClaims
from racksalt.settings import Settings

HELD = "what its host did is looked up; the name and the place stay held until then"


@dataclass(frozen=True, slots=True)
class End:
    """How a job ended: ``told`` is a sentence for people, ``vm`` the VM as it is now where that is all one knows."""

    state: JobState
    result: Any = None
    told: str | None = None
    vm: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class JobEnds:
    """Looks at the rack for what became of jobs."""

    rack: Rack

    def look(self, caller: Caller, trail: Trail, settings: Settings) -> End:
        """The end of a job of which the audit alone does not tell it."""
        if trail.fun == CREATE:
            return self._of_create(caller, trail, settings)
        told = "its runner ended without an answer; whether its host carried it out is not known"
        if not trail.fun.startswith("rack_vm."):
            return End("lost", told="its runner ended without an answer; look at what it was to change")
        vm = self._vm_now(caller, trail, settings)
        return End("lost", told=f"{told}; vm is what there is now" if vm else f"{told}; the VM is not there", vm=vm)

    def open_claim(self, trail: Trail) -> Claim | None:
        """What a create still holds."""
        if trail.request_id is None:
            return None
        wanted = (trail.tenant, trail.request_id)
        held = (claim for claim in self.rack.claims.all() if claim.settled_at is None and not claim.moves_from)
        return next((claim for claim in held if (claim.record.tenant, claim.record.request_id) == wanted), None)

    def where(self, caller: Caller, trail: Trail, settings: Settings) -> str:
        """Where the VM of a move is that was ended."""
        of = (claim.record for claim in self.rack.claims.all() if claim.is_moving)
        if any(trail.object in (record.title, record.name, record.uuid) for record in of):
            return "its hosts have still to say where the VM is; it is held until then"
        vm = self._vm_now(caller, trail, settings)
        return f"the VM is on {vm.get('host', 'its host')}, {vm['state']}" if vm else "the VM is not there any more"

    def _of_create(self, caller: Caller, trail: Trail, settings: Settings) -> End:
        """A claim within its time is the host's to end; of a late one the host is asked, as the next create would."""
        made, claim = self._made(trail, settings)
        if claim is not None and made is None and self._tidied(trail, settings):
            made, claim = self._made(trail, settings)
        if made is not None and (claim is None or made.state == "running"):
            return End("done", {"changed": True, "vm": rack_vms.shown(caller, made)})
        if claim is not None:
            return End("running", told=HELD)
        lost = Unavailable("job_lost", "its runner ended in the middle, and nothing was made")
        return End("failed", {"error": lost.as_dict()}, "there is no VM of it, and nothing is held for it")

    def _made(self, trail: Trail, settings: Settings) -> tuple[Vm | None, Claim | None]:
        """The VM that hosts show, and the claim that is open; a claim that ends meanwhile is one or the other."""
        claim = self.open_claim(trail)
        seen = self.rack.inventory(settings)
        if trail.tenant is None or trail.request_id is None:
            return None, None
        return seen.made_by(trail.tenant, trail.request_id), claim

    def _tidied(self, trail: Trail, settings: Settings) -> bool:
        """Whether its claim is past its time and was looked up; that is the writer's work."""
        claims = RackClaims(self.rack)
        if self.rack.master != settings.writer or not claims.any_due():
            return False
        wanted = (trail.tenant, trail.request_id)
        return bool(claims.tidy(self.rack.inventory(settings), only=lambda vm: (vm.tenant, vm.request_id) == wanted))

    def _vm_now(self, caller: Caller, trail: Trail, settings: Settings) -> dict[str, Any] | None:
        try:
            seen = self.rack.inventory(settings)
            name, tenant = trail.object or "", None if "/" in (trail.object or "") else trail.tenant
            return rack_vms.shown(caller, rack_vms.find(caller, name, tenant, settings, seen))
        except (NotFound, BadInput):
            return None
