"""Which steps of a plan begin next, and which of them together: small VMs that leave one host. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from racksalt.plans import Step

#: What part of a whole group a step is; what is none of it goes alone.
Share = Callable[[Step], float]

#: What is more than so much of a group goes alone: the others would wait for it.
_SMALL = 0.25


@dataclass(frozen=True, slots=True)
class Limits:
    """How many steps may run at the same time, on each host and in all."""

    per_host: int
    rack: int


@dataclass(frozen=True, slots=True)
class Group:
    """Steps that begin together, of which ``abreast`` run at the same time."""

    steps: tuple[Step, ...]
    abreast: int

    def without(self, ended: Container[int]) -> Group:
        """What is left of it when these steps have ended."""
        left = tuple(step for step in self.steps if step.n not in ended)
        return Group(left, min(self.abreast, len(left)))

    def load(self) -> Counter[str]:
        """How many of them may run at the same time on each host."""
        on = Counter(host for step in self.steps for host in step.hosts)
        return Counter({host: min(number, self.abreast) for host, number in on.items()})


def next_groups(ready: Sequence[Step], at_work: Iterable[Group], limits: Limits, share: Share) -> Iterator[Group]:
    """The groups that begin now, of the steps that may; in their order, as far as the limits go."""
    places, left = _Places(limits), list(ready)
    for group in at_work:
        places.take(group)
    while left and places.running < limits.rack:
        first = left.pop(0)
        if not places.have(Group((first,), 1)):
            continue
        group = places.best_group(first, _alike(first, left, share), share)
        left = [step for step in left if step not in group.steps]
        places.take(group)
        yield group


def _alike(first: Step, others: Iterable[Step], share: Share) -> list[Step]:
    """The other steps that could go together with this one."""
    small = [step for step in (first, *others) if step.do == "move" and share(step) <= _SMALL]
    return [step for step in small if step.host == first.host][1:] if first in small else []


@dataclass(slots=True)
class _Places:
    """What is free for steps."""

    limits: Limits
    running: int = 0
    busy: Counter[str] = field(default_factory=Counter)

    def take(self, group: Group) -> None:
        self.running += group.abreast
        self.busy += group.load()

    def have(self, group: Group) -> bool:
        """Whether there is room for it."""
        on_hosts = all(self.busy[host] + number <= self.limits.per_host for host, number in group.load().items())
        return on_hosts and self.running + min(group.abreast, len(group.steps)) <= self.limits.rack

    def best_group(self, first: Step, alike: Sequence[Step], share: Share) -> Group:
        """As many as may run at the same time; fewer, where a busy target lets so many more go with them."""
        most = min(self.limits.rack - self.running, self.limits.per_host - self.busy[first.host])
        widest = self._group(first, alike, share, most)
        for abreast in range(most - 1, 0, -1):
            if len(widest.steps) > abreast + 1:
                break
            group = self._group(first, alike, share, abreast)
            if len(group.steps) > max(abreast, len(widest.steps)):
                return group
        return widest.without(())

    def _group(self, first: Step, alike: Sequence[Step], share: Share, abreast: int) -> Group:
        group, full = Group((first,), abreast), share(first)
        for step in alike:
            if full + share(step) > 1:
                continue
            wider = Group((*group.steps, step), abreast)
            if self.have(wider):
                group, full = wider, full + share(step)
        return group
