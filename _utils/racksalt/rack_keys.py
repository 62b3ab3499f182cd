"""The rotation of the key that signs records: at every moment each record is signed by a key of the ring.

The new key is made first, then all hosts write new signatures, and the older keys go when every host of the rack was
heard and shows no other signature. Killed anywhere, the next run goes on with the same new key.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from racksalt import record_proof
from racksalt.errors import RacksaltError
from racksalt.inventory import HostView, Inventory, domains_of
from racksalt.model import Record
from racksalt.ports import Silent
from racksalt.rack import Rack, silent_hosts
from racksalt.rack_adopt import sign_on
from racksalt.rack_requests import RotateKey
from racksalt.record_proof import Ring
from racksalt.settings import Settings


@dataclass(frozen=True, slots=True)
class RackKeys:
    """The rack's signing keys. For operators."""

    rack: Rack

    def rotate(self, asked: RotateKey, settings: Settings) -> dict[str, Any]:
        """Sign every record with a new key; ``done`` says whether the older ones are gone."""
        if asked.test:
            return self._plan(settings)
        ring = self._with_new_key()
        seen = self.rack.inventory(settings)
        failed: dict[str, str] = {}
        signed = 0
        for host, view in seen.hosts.items():
            records = _others(view, ring.newest) if view.answers else []
            wrong = self._sign(host, records, ring) if records else ""
            if wrong:
                failed[host] = wrong
            else:
                signed += len(records)
        if signed:
            seen = self.rack.inventory(settings)
        missing = silent_hosts(seen) | failed | _unsigned(seen, ring.newest)
        coming = [record.title for record in seen.in_flight() if record_proof.key_of(record) != ring.newest]
        done = not missing and not coming
        removed = self.rack.ring.keep_only(ring.newest) if done else []
        return {
            "changed": True,
            "key": ring.newest,
            "signed": signed,
            "done": done,
            "removed_keys": removed,
            "missing_hosts": missing,
            "claims_in_flight": coming,
        }

    def _with_new_key(self) -> Ring:
        """Under the writer's lock: each claim from now on is signed with the new key."""
        with self.rack.claims.locked():
            ring = self.rack.ring.read()
            return ring if len(ring.keys) > 1 else self.rack.ring.add()

    def _plan(self, settings: Settings) -> dict[str, Any]:
        ring = self.rack.ring.read()
        seen = self.rack.inventory(settings)
        key = ring.newest if len(ring.keys) > 1 else ring.newest + 1
        to_sign = {host: len(_others(view, key)) for host, view in seen.hosts.items()}
        return {
            "test": True,
            "changed": True,
            "key": key,
            "steps": [
                f"go on with key {key}" if len(ring.keys) > 1 else f"make key {key}",
                *(f"sign {count} VMs on {host}" for host, count in to_sign.items() if count),
                f"remove the keys before {key}, when every host of the rack has confirmed",
            ],
            "missing_hosts": silent_hosts(seen),
        }

    def _sign(self, host: str, records: list[Record], ring: Ring) -> str:
        """What is wrong; nothing where the host wrote all signatures."""
        answer = sign_on(self.rack, host, [record_proof.sign(record, ring) for record in records])
        if isinstance(answer, Silent):
            return f"silent for {answer.waited_s} s"
        if isinstance(answer, RacksaltError):
            return answer.detail
        return "; ".join(f"{uuid}: {reason}" for uuid, reason in answer.items())


def _others(view: HostView, newest: int) -> list[Record]:
    """The records of a host that count, and that the newest key did not sign."""
    return [record for record in _records(view) if record_proof.key_of(record) != newest]


def _records(view: HostView) -> Iterator[Record]:
    for domain in domains_of(view):
        if domain.record is not None:
            yield domain.record


def _unsigned(seen: Inventory, newest: int) -> dict[str, str]:
    left = {host: len(_others(view, newest)) for host, view in seen.hosts.items()}
    return {host: f"{count} records are signed by an older key" for host, count in left.items() if count}
