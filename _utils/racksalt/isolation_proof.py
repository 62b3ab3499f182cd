"""Whether a login learns of others, or changes what is not its own: every case asked in both editions of a rack."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from racksalt.isolation import Case, Function, cases
from racksalt.isolation_probe import Effect, PretendedRack
from racksalt.isolation_worlds import Worlds

#: How a call gets to the rack: as this user, on this rack; the answer as plain data, an error too.
Door = Callable[[PretendedRack, str, Case], Any]

#: What a tenant may learn of others, as it cannot be otherwise: MACs are unique in the rack, so one that is asked for
#: and taken is refused. Nobody learns whose it is, and the rack's own ones cannot be asked for.
TOLD = frozenset({("rack_vm.create", "mac", "mac_in_use")})

#: What is of one thing only wherever it stands: UUIDs, MACs, IPv4 addresses.
_UNIQUE = re.compile(
    r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"
    r"|\b[0-9a-f]{2}(?::[0-9a-f]{2}){5}\b"
    r"|\b\d{1,3}(?:\.\d{1,3}){3}\b"
)


@dataclass(frozen=True, slots=True)
class Leak:
    """One call that got through: what it got, or did."""

    case: Case
    what: str


@dataclass(frozen=True, slots=True)
class _Outcome:
    answer: Any
    effects: tuple[Effect, ...]
    waited_s: float
    failed: str


def prove(functions: Mapping[str, Function], user: str, pair: Worlds, door: Door) -> tuple[int, list[Leak]]:
    """How many cases there are, and what leaks."""
    count, leaks = 0, []
    known = frozenset(_words(pair.one)) | frozenset(_words(pair.other))
    for case in cases(functions, pair.own, pair.foreign):
        count += 1
        one, other = (_ask(door, rack, user, case) for rack in (pair.one, pair.other))
        function = functions[case.fun]
        found = [
            *_undue(case, function, one, pair),
            *_undue(case, function, other, pair),
            *_told(case, one, other, pair, known),
        ]
        leaks += [Leak(case, what) for what in dict.fromkeys(found)]
    return count, leaks


def _ask(door: Door, rack: PretendedRack, user: str, case: Case) -> _Outcome:
    """A function that fails is a finding, too: nobody has thought of this case."""
    try:
        answer, failed = door(rack, user, case), ""
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        answer, failed = None, f"{type(error).__name__}: {error}"
    return _Outcome(answer, *rack.take(), failed)


def _undue(case: Case, function: Function, outcome: _Outcome, pair: Worlds) -> Iterator[str]:
    """What a call did that it must not do."""
    if outcome.failed:
        yield f"fails with {outcome.failed}"
    for effect in outcome.effects:
        if not function.changes:
            yield f"only reads, and would {effect.what}"
        elif case.kwarg.get("test") is True:
            yield f"with test, and would {effect.what}"
        elif effect.tenant is None:
            yield f"would {effect.what}, which is the rack's"
        elif effect.tenant not in pair.writable:
            yield f"would {effect.what} of tenant {effect.tenant}"


def _told(case: Case, one: _Outcome, other: _Outcome, pair: Worlds, known: frozenset[str]) -> Iterator[str]:
    """What an answer tells that it must not tell."""
    asked, told = json.dumps(case.kwarg, default=str), json.dumps(one.answer, sort_keys=True, default=str)
    names = sorted(word for word in pair.unique if word in told and word not in asked and _stands_in(word, told))
    if names:
        yield f"tells {', '.join(names)}, which is another's"
    if (case.fun, case.argument, _code(one.answer)) in TOLD:
        return
    texts = [_without_new(json.dumps(it.answer, sort_keys=True, default=str), known) for it in (one, other)]
    if one.waited_s != other.waited_s:
        yield f"waits {one.waited_s} s, and {other.waited_s} s where others have other things"
    if texts[0] != texts[1]:
        yield f"answers otherwise where others have other things: {_difference(*texts)}"


def _stands_in(word: str, text: str) -> bool:
    return re.search(rf"(?<![\w.:-]){re.escape(word)}(?![\w:-]|\.\w)", text) is not None


def _code(answer: Any) -> str | None:
    error = answer.get("error") if isinstance(answer, Mapping) else None
    return error.get("code") if isinstance(error, Mapping) else None


def _without_new(text: str, known: frozenset[str]) -> str:
    """UUIDs and addresses that nobody had before are random."""
    return _UNIQUE.sub(lambda found: found[0] if found[0] in known or found[0].lower() in known else "NEW", text)


def _words(rack: PretendedRack) -> Iterator[str]:
    for record in rack.seen.records():
        yield record.uuid
        yield record.request_id or ""
        for nic in record.nics:
            yield from (nic.mac, nic.address)


def _difference(one: str, other: str) -> str:
    """The place where they part, short enough for a message."""
    at = next(
        (n for n, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), min(len(one), len(other))
    )
    start = max(0, at - 30)
    return f"{one[start : at + 60]!r} and {other[start : at + 60]!r}"
