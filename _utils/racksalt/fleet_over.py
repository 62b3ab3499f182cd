"""What a fleet over another one leaves to that one: all but how hosts are asked."""

from __future__ import annotations

from dataclasses import dataclass

from racksalt.ports import Fleet


@dataclass(frozen=True, slots=True)
class FleetOver:
    """The part of the ``Fleet`` port that has to do with keys."""

    fleet: Fleet

    def seal(self, host: str, text: str, *, context: str) -> str:
        """As the fleet does."""
        return self.fleet.seal(host, text, context=context)

    def public_key(self, host: str) -> str:
        """As the fleet does."""
        return self.fleet.public_key(host)

    def proves(self, host: str, data: bytes, signature: str) -> bool:
        """As the fleet does."""
        return self.fleet.proves(host, data, signature)
