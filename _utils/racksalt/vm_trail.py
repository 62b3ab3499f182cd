"""Which VMs there should be, as the audit has it: made or adopted by the rack, and not deleted since.

It is no list of VMs, and nothing is decided on it but to tell the operator that one is missing: nothing else is left of
a domain that somebody undefined on its host.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from racksalt import audit
from racksalt.audit import Line
from racksalt.names import is_uuid

MADE = ("rack_vm.create", "rack_vm.adopt")
GONE = "rack_vm.delete"
DRIFT = "rack_host.drift"

#: As they stand in a line; every other one is not even parsed.
_MARKS = tuple(f'"fun":"{fun}"'.encode() for fun in (*MADE, GONE, DRIFT))
#: After these a deletion has changed nothing for certain.
_REFUSED = (
    *("vm_not_found", "vm_protected", "role_reader", "name_ambiguous", "bad_input", "vm_in_flight", "vm_moving"),
    *("tenant_not_found", "tenant_ambiguous", "tenant_missing"),
)


@dataclass(frozen=True, slots=True)
class Made:
    """A VM that was made; ``line`` is the number of the audit's line that says so."""

    uuid: str
    title: str
    at: str
    line: int

    @property
    def tenant(self) -> str:
        return self.title.partition("/")[0]


@dataclass(slots=True)
class VmTrail:
    """The fold over the audit's lines, the oldest first."""

    made: dict[str, Made] = field(default_factory=dict)
    #: The lines of drift that an operator has taken as they are.
    accepted: set[str] = field(default_factory=set)
    _titles: dict[str, str] = field(default_factory=dict)
    _asked: dict[str, Line] = field(default_factory=dict)
    _going: dict[str, Made] = field(default_factory=dict)

    def add(self, texts: Iterable[bytes], *, until: str) -> VmTrail:
        """Take in all lines; what was made after ``until`` may not be in the reports yet, and is left out."""
        for text in texts:
            line = audit.read(text) if any(mark in text for mark in _MARKS) else None
            if line is not None and line.is_whole:
                self._add(line, until)
        return self

    def _add(self, line: Line, until: str) -> None:
        kind, fun, job = line.data["kind"], line.data.get("fun"), str(line.data.get("job"))
        if kind == "intent":
            self._asked[job] = line
            if fun == GONE:
                self._remove(line, job)
        elif kind == "outcome":
            asked, result = self._asked.pop(job, None), line.data.get("result")
            if fun == GONE:
                self._removed(line, job, result)
            elif result == "done":
                self._accept(asked)
                if line.data["time"] <= until:
                    self._make(line)

    def _make(self, line: Line) -> None:
        uuid, title = line.data.get("vm"), _title(line)
        if isinstance(uuid, str) and is_uuid(uuid) and title:
            self.made[uuid] = Made(uuid, title, str(line.data["time"]), line.n)
            self._titles[title] = uuid

    def _remove(self, line: Line, job: str) -> None:
        """From the moment on at which it was asked for: its host may be done before the outcome is written.

        What is not of the caller's tenant stays: the deletion is refused, whatever its outcome will be.
        """
        named = line.data.get("object")
        uuid = str(named if named in self.made else self._titles.get(_title(line) or ""))
        known = self.made.get(uuid)
        if known is not None and (line.data.get("operator") or known.tenant == line.data.get("tenant")):
            self._going[job] = self.made.pop(uuid)

    def _removed(self, line: Line, job: str, result: object) -> None:
        known = self._going.pop(job, None)
        if known is not None and result in _REFUSED:
            self.made[known.uuid] = known
        if result == "done":
            self.made.pop(str(line.data.get("vm")), None)

    def _accept(self, asked: Line | None) -> None:
        arguments = asked.data.get("arguments") if asked and asked.data.get("fun") == DRIFT else None
        if isinstance(arguments, Mapping) and isinstance(arguments.get("adopt"), str):
            self.accepted.add(arguments["adopt"])


def _title(line: Line) -> str | None:
    """The VM as people write it: what was named, with the tenant that was meant."""
    named, tenant = line.data.get("object"), line.data.get("tenant")
    if not isinstance(named, str) or is_uuid(named):
        return None
    if "/" in named:
        return named
    return f"{tenant}/{named}" if isinstance(tenant, str) else None
