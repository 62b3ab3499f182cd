"""Proving that logins cannot do or learn what is not theirs: by the master's configuration, and by the functions."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from racksalt import acl, acl_fence, errors, isolation, isolation_proof, isolation_worlds, logins, rack_answer, shape
from racksalt.acl_fence import Leak, Subject
from racksalt.errors import Conflict, NotFound, RacksaltError
from racksalt.isolation import Case
from racksalt.isolation_proof import Door
from racksalt.rack import Rack
from racksalt.rack_answer import Came
from racksalt.rack_calls import CALLS, RackCall
from racksalt.rack_requests import CheckAcl
from racksalt.settings import Settings

#: What is told of very many ways through.
_MOST_TOLD = 200


def through_runner(rack: Rack, user: str, case: Case) -> Any:
    """A call as a runner makes it: the answer, or the error as plain data."""
    arguments = isolation.arguments(CALLS[case.fun])
    known = {name: case.kwarg.get(name) for name in arguments}
    unknown = {name: value for name, value in case.kwarg.items() if name not in arguments}
    try:
        return rack_answer.carry_out(rack, Came(case.fun, user, {**known, "unknown": unknown}))
    except RacksaltError as error:
        return errors.as_result(error)


@dataclass(frozen=True, slots=True)
class RackAclCheck:
    """Both fences; ``door`` is how a call gets to a rack."""

    rack: Rack
    functions: Mapping[str, RackCall] = field(default_factory=lambda: CALLS)
    door: Door = through_runner

    def check(self, asked: CheckAcl, settings: Settings) -> dict[str, Any]:
        """Every login, or the one that is named; raises ``acl_leak`` where something gets through."""
        if asked.login is not None and asked.login not in settings.users:
            raise NotFound("login_unknown", f"user {asked.login!r} is not in users.yaml", login=asked.login)
        users = [asked.login] if asked.login is not None else list(settings.users)
        known = dict(self.rack.acl.functions())
        known["runner"] = list(dict.fromkeys([*known["runner"], *self.functions, *acl_fence.near(self.functions)]))
        leaks = [*acl_fence.configured(self.rack.acl), *self._outer(users, settings, known, alone=asked.login is None)]
        cases, inner = self._inner(users, settings)
        leaks += inner
        told = {
            "ok": not leaks,
            "logins": len(users),
            "functions": sum(map(len, known.values())),
            "cases": cases,
            "found": len(leaks),
            "leaks": shape.plain(leaks[:_MOST_TOLD]),
        }
        if leaks:
            first = "; ".join(f"{leak.login}: {leak.what}" for leak in leaks[:3])
            raise Conflict("acl_leak", f"{len(leaks)} ways through: {first}", **told)
        return told

    def _outer(
        self, users: list[str], settings: Settings, known: Mapping[str, Collection[str]], *, alone: bool
    ) -> Iterator[Leak]:
        """What each login's entries admit; logins with the same entries are judged once."""
        judged: dict[tuple[str, frozenset[str]], list[Leak]] = {}
        for subject in self._subjects(users, settings, groups=alone):
            entries = self.rack.acl.entries(subject.login, subject.groups)
            key = (json.dumps(entries, sort_keys=True, default=str), subject.allowed)
            if key not in judged:
                judged[key] = list(acl_fence.admitted(self.rack.acl, subject, known))
                yield from judged[key]

    def _subjects(self, users: list[str], settings: Settings, *, groups: bool) -> Iterator[Subject]:
        for user in users:
            own = logins.groups(user, settings)
            yield Subject(user, tuple(own), self._allowed(own))
        for group in (acl.TENANT_GROUP, acl.OPERATOR_GROUP) if groups else ():
            yield Subject(f"{group}%", (group,), self._allowed([group]))

    def _allowed(self, groups: list[str]) -> frozenset[str]:
        kinds = {"tenant"} if groups else set()
        kinds |= {"operator"} if acl.OPERATOR_GROUP in groups else set()
        return frozenset(fun for fun, function in self.functions.items() if function.who in kinds)

    def _inner(self, users: list[str], settings: Settings) -> tuple[int, list[Leak]]:
        """Every function with everything that is others', as each login; to operators nothing is foreign."""
        count, leaks = 0, []
        seen = self.rack.inventory(settings)
        for name in users:
            user = settings.users[name]
            if user.operator or not user.tenants:
                continue
            pair = isolation_worlds.worlds(user, settings, seen, now=self.rack.clock.now())
            cases, found = isolation_proof.prove(self.functions, name, pair, self.door)
            count += cases
            leaks += [Leak(name, leak.case.fun, leak.case.argument, leak.case.value, leak.what) for leak in found]
        return count, leaks
