"""S1: a tenant acts only in its namespace, whatever it names and claims to be. S2: and learns of no other."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import pytest

from racksalt import isolation, isolation_proof, isolation_worlds
from racksalt.isolation import FORGED, Case, Own, UnknownArgument
from racksalt.isolation_worlds import Worlds
from racksalt.rack_calls import CALLS, RackCall
from racksalt.shape import Matches
from tests import on_rack
from tests.fakes import FakeRack, fake_rack
from tests.on_rack import CREATE, Answer, Api, RealRack
from tests.promises import full, sample
from tests.security.calls import (
    MAKERS,
    WAYS,
    CallCase,
    Function,
    functions,
    in_process,
    past_the_api,
    run_function,
    send,
    status_of,
    tenant_functions,
    through_the_api,
)

pytestmark = [pytest.mark.promise("S1"), pytest.mark.promise("S2")]

REFUSED = (400, 401, 403, 404)
#: All that a reader may call; without new limits, `quota` only shows them.
READS = ("rack_vm.list", "rack_vm.show", "rack_vm.why_not", "rack_job.list", "rack_job.show")
READS += ("rack_tenant.list", "rack_tenant.show", "rack_tenant.usage", "rack_tenant.quota")
SECRET = "secret-of-beta"
#: A member all ways; another one and carol, who is in two tenants, one way. With FULL everybody all ways.
BY_WAYS = [
    (user, way) for user in ("alice", "bob", "carol") for way in WAYS if user == "alice" or way == WAYS[0] or full()
]


# In this process: every case, in two editions of a rack that differ in what a login must not know.


def worlds_of(user: str) -> Worlds:
    """Both, with real VMs of acme and beta in them."""
    rack, _ = _two_tenants()
    settings = rack.rack.settings()
    seen = rack.rack.inventory(settings)
    return isolation_worlds.worlds(settings.users[user], settings, seen, now=rack.clock.now())


@pytest.mark.parametrize(("user", "way"), BY_WAYS, ids=str)
def test_every_function_with_every_argument_as_the_api_sends_it(user: str, way: tuple[str, str]) -> None:
    """Each function × argument × foreign value, each forged identity."""
    count, leaks = isolation_proof.prove(CALLS, user, worlds_of(user), through_the_api(way))
    assert leaks == []
    assert count > 8000


@pytest.mark.parametrize("user", ["alice", "carol"])
def test_every_function_with_every_argument_past_the_api(user: str) -> None:
    """The runner's own functions by themselves, the operator's too, with what the API would have refused."""
    count, leaks = isolation_proof.prove(CALLS, user, worlds_of(user), past_the_api)
    assert leaks == [] and count > 8000


def test_the_proof_reaches_what_it_is_about() -> None:
    """As each function changes own things where it may, a foreign one would be seen to change."""
    pair = worlds_of("alice")
    done = {}
    for case in isolation.cases(CALLS, pair.own, pair.foreign):
        if case.argument == "":
            answer = past_the_api(pair.one, "alice", case)
            done[case.fun] = (status_of(answer), [effect.tenant for effect in pair.one.take()[0]])
    changing = {fun for fun, call in CALLS.items() if call.changes and call.who == "tenant" and fun not in READS}
    assert {fun for fun, (_, effects) in done.items() if effects} == changing
    assert all(set(effects) == {"acme"} for _, effects in done.values() if effects)
    readers = [fun for fun, call in CALLS.items() if call.who == "tenant" and fun not in changing]
    assert {fun: done[fun][0] for fun in readers} == dict.fromkeys(readers, 200)
    assert {done[fun][0] for fun, call in CALLS.items() if call.who == "operator"} <= {400, 403}


def test_every_function_and_argument_is_in_the_matrix() -> None:
    pair = worlds_of("alice")
    tried = {(case.fun, case.argument) for case in isolation.cases(CALLS, pair.own, pair.foreign)}
    assert {fun for fun, _ in tried} == {function.fun for function in functions()}
    for function in functions():
        assert {(function.fun, name) for name in function.parameters} <= tried


def test_an_argument_of_a_new_type_stops_everything() -> None:
    """Somebody has to say what it may name."""

    @dataclass(frozen=True)
    class Asked:
        label: Annotated[str, Matches("x", "x")] = "x"

    @dataclass(frozen=True)
    class Needs:
        colour: int

    pair = worlds_of("alice")
    for request in (Asked, Needs):
        call = RackCall(request, lambda *_: {})
        with pytest.raises(UnknownArgument):
            list(isolation.cases({"rack_vm.new": call}, pair.own, pair.foreign))


# In this process, on a rack in memory that really changes.


def _two_tenants() -> tuple[FakeRack, dict[str, str]]:
    rack = fake_rack()
    with in_process(rack):
        made = send("bob", [_create("victim", note=SECRET, tags=[SECRET])])[0]["vm"]
        assert status_of(send("alice", [_create("own")])[0]) == 200
    return rack, {"uuid": made["uuid"], "mac": made["nics"][0]["mac"], "address": made["addresses"][0]}


def _create(name: str, **more: Any) -> dict[str, Any]:
    return {"client": "runner", "fun": "rack_vm.create", "kwarg": {"name": name, **CREATE, **more}}


def foreign(victim: Mapping[str, str]) -> dict[str, Any]:
    """Every way to name what belongs to tenant beta."""
    return {
        "name": "victim",
        "tenant/name": "beta/victim",
        "uuid": victim["uuid"],
        "upper uuid": victim["uuid"].upper(),
        "domain": "beta.victim",
        "tenant": "beta",
        "own name with tenant": "beta/own",
        "path": "acme/../beta/victim",
        "double": "beta/beta/victim",
        "everything": "*",
        "list": ["beta/victim"],
        "mapping": {"tenant": "beta", "name": "victim"},
        "keyword": "tenant=beta",
        "mac": victim["mac"],
        "address": victim["address"],
        "host": "h1",
        "user": "bob",
    }


def matrix(victim: Mapping[str, str]) -> Iterator[Case]:
    """The cases of what a tenant's login may call."""
    calls = {function.fun: CALLS[function.fun] for function in tenant_functions()}
    yield from isolation.cases(calls, Own("acme", "own", "h1", **CREATE, job="20260101000000000001"), foreign(victim))


def must_be_refused(case: Case) -> bool:
    """A foreign tenant, a foreign VM and a host are never an argument; other arguments may hold any allowed text."""
    if case.argument in ("tenant", "host") or case.says.startswith("forged"):
        return not case.argument.startswith("__pub_")
    if case.argument == "name":
        may_be_new = case.fun in MAKERS or case.fun == "rack_vm.why_not"
        return not (may_be_new and case.says.partition(",")[0] in ("name", "tenant", "host", "user"))
    return False


def _of_beta(rack: FakeRack, victim: Mapping[str, str]) -> Any:
    """All that beta has, as the hosts and the files hold it."""
    hosts = rack.hosts.values()
    return (
        [host.hypervisor.xml.get(victim["uuid"]) for host in hosts],
        [host.hypervisor.states.get(victim["uuid"]) for host in hosts],
        [sorted(path for path in host.volumes.files if "/beta/" in path) for host in hosts],
        [host.hypervisor.leases.get(victim["mac"]) for host in hosts],
        json.dumps(rack.files.data, sort_keys=True, default=str),
        sorted(name for name in rack.vms_on_hosts() if name.startswith("beta.")),
    )


def _tells_of_beta(answer: Any, kwarg: Mapping[str, Any], victim: Mapping[str, str]) -> list[str]:
    """What of the victim stands in an answer and not in the question."""
    asked, told = json.dumps(kwarg), json.dumps(answer)
    return [word for word in (SECRET, *victim.values()) if word in told and word not in asked]


def test_what_beta_has_stays_as_it_is() -> None:
    rack, victim = _two_tenants()
    before = _of_beta(rack, victim)
    for case in sample(list(matrix(victim)), 1200):
        with in_process(rack):
            answer = send("alice", CallCase(case.fun, case.kwarg, "").body())[0]
        assert _of_beta(rack, victim) == before, f"{case} changed what beta has: {answer}"
        assert _tells_of_beta(answer, case.kwarg, victim) == [], f"{case} tells of beta: {answer}"
        if must_be_refused(case):
            assert status_of(answer) in REFUSED, f"{case} was not refused: {answer}"
        if case.fun in MAKERS or "acme.own" not in rack.vms_on_hosts():
            rack, victim = _two_tenants()
            before = _of_beta(rack, victim)


@pytest.mark.parametrize("function", tenant_functions(), ids=lambda function: function.fun)
def test_what_is_foreign_is_answered_like_what_is_not_there(function: Function) -> None:
    """A VM and a tenant of somebody else, and ones that do not exist: the same code and the same words."""
    rack, _ = _two_tenants()
    pairs = [({"name": "beta/victim"}, {"name": "gamma/victim"}), ({"name": "victim"}, {"name": "nosuch"})]
    pairs += [({"tenant": "beta"}, {"tenant": "gamma"})] if "tenant" in function.parameters else []
    if function.runner == "rack_tenant":
        pairs = [({"name": "beta"}, {"name": "gamma"})]
    for there, nowhere in pairs if {"name", "tenant"} & set(function.parameters) else []:
        if function.fun in MAKERS or function.fun == "rack_vm.why_not":
            there, nowhere = {**there, "name": "beta/new"}, {**nowhere, "name": "gamma/new"}
        given = function.good()
        told = []
        for words in (there, nowhere):
            with in_process(rack):
                answer = send("alice", CallCase(function.fun, {**given, **words}, "").body())[0]
            told.append(json.dumps(answer).replace("gamma", "beta").replace("nosuch", "victim"))
        assert told[0] == told[1]


def test_forged_identities_beside_the_call() -> None:
    """In the low data, where Salt would take them from; arguments are in the matrix."""
    rack, victim = _two_tenants()
    before = _of_beta(rack, victim)
    for function, (key, value) in itertools.product(tenant_functions(), FORGED.items()):
        if key in ("token", "kwarg"):
            continue
        body = CallCase(function.fun, {"name": "own"} if "name" in function.parameters else {}, key).body(
            **{key: value}
        )
        with in_process(rack):
            answer = send("alice", body)[0]
        assert status_of(answer) == 400, f"{body}: {answer}"
    assert _of_beta(rack, victim) == before


def test_an_envelope_of_ones_own_is_refused() -> None:
    """Past the API, too: of another user or function, or of nobody."""
    rack, _ = _two_tenants()
    with in_process(rack):
        for text in ("", "e30=", "x" * 100, {}, 5, "AAAA" * 40):
            answer = run_function("alice", "rack_vm.show", {"name": "own", "envelope": text})
            assert answer["error"]["code"] == "envelope_refused", text
        plain = run_function("alice", "rack_vm.create", {"name": "new", **CREATE, "user_data": "#!/bin/sh"})
        assert plain["error"]["code"] == "shell_only"


def test_a_reader_changes_nothing() -> None:
    """carol reads acme and is a member of beta: her role in one never counts in the other."""
    rack, _ = _two_tenants()
    with in_process(rack):
        uuid = send("alice", CallCase("rack_vm.show", {"name": "own"}, "").body())[0]["uuid"]
        own = [host.hypervisor.xml.get(uuid) for host in rack.hosts.values()]
        for function in tenant_functions():
            if function.fun in READS or function.runner == "rack_job":
                continue
            names = ["acme/new"] if function.fun in MAKERS else ["acme/own", uuid]
            for name in names:
                answer = send("carol", CallCase(function.fun, {**function.good(), "name": name}, "").body())[0]
                assert answer["error"]["code"] == "role_reader", f"{function.fun} {name}: {answer}"
        assert send("carol", CallCase("rack_vm.show", {"name": "acme/own"}, "").body())[0]["uuid"] == uuid
        ambiguous = send("carol", CallCase("rack_vm.show", {"name": "own"}, "").body())[0]
        assert ambiguous["error"]["code"] == "tenant_ambiguous"
        changed = send("carol", CallCase("rack_vm.note", {"name": "beta/victim", "note": "x"}, "").body())[0]
        assert changed["changed"], "she may do this in her own tenant"
    assert [host.hypervisor.xml.get(uuid) for host in rack.hosts.values()] == own


def test_a_reader_of_everything_changes_nothing() -> None:
    """dora, who reads acme and nothing else, through the whole matrix."""
    rack, _ = _two_tenants()
    settings = rack.rack.settings()
    dora = replace(settings.users["alice"], name="dora", tenants={"acme": "reader"})
    seen = rack.rack.inventory(settings)
    pair = isolation_worlds.worlds(dora, settings, seen, now=rack.clock.now())
    assert isolation_proof.prove(CALLS, "dora", pair, past_the_api)[1] == []


@pytest.mark.parametrize("user", ["mallory", "", "h1", "UNKNOWN", "Reactor", "salt"])
def test_an_unknown_user_may_do_nothing(user: str) -> None:
    rack, victim = _two_tenants()
    before = _of_beta(rack, victim)
    with in_process(rack):
        for function in tenant_functions():
            answer = send(user, CallCase(function.fun, function.good(), "").body())[0]
            assert status_of(answer) in REFUSED and _tells_of_beta(answer, {}, victim) == []
    assert _of_beta(rack, victim) == before


# Over HTTPS, on a real rack: a sample of the cases, and what only the API's front can refuse.


@pytest.fixture(scope="module")
def victim(rack: RealRack) -> dict[str, str]:
    """A running VM of beta, beside one of acme."""
    made = rack.api("BETA").call("rack_vm.create", name="victim", note=SECRET, tags=[SECRET], **CREATE)["vm"]
    rack.api("ACME").call("rack_vm.create", name="own", start=False, **CREATE)
    rack.guest("beta/victim")
    return {"uuid": made["uuid"], "mac": made["nics"][0]["mac"], "address": made["addresses"][0]}


def _refused(answer: Answer, what: object, victim: Mapping[str, str]) -> None:
    assert answer.status in REFUSED, f"{what} was not refused: {answer}"
    assert answer.error is not None and answer.error["status"] == answer.status, f"{what}: {answer.text[:300]}"
    assert SECRET not in answer.text and "Traceback" not in answer.text, f"{what}: {answer.text[:300]}"
    asked = str(what)
    assert not [word for word in victim.values() if word in answer.text and word not in asked]


def _ask(api: Api, route: str, body: Any) -> Answer:
    """``/`` takes the token in the header, ``/run`` in the body."""
    if route == "/":
        return api.post("/", body)
    chunks = body if isinstance(body, list) else [body]
    told = [{**chunk, "token": api.token} for chunk in chunks]
    return api.post("/run", told if isinstance(body, list) else told[0], token=None)


def test_foreign_names_are_refused_over_https(rack: RealRack, victim: dict[str, str]) -> None:
    acme = rack.api("ACME")
    cases = [case for case in matrix(victim) if must_be_refused(case)]
    before = rack.snapshot()
    chosen = sample(list(itertools.product(cases, ("/", "/run"))), 40)
    bodies = [(CallCase(case.fun, case.kwarg, "").body(), route) for case, route in chosen]
    answers = on_rack.at_once([lambda b=body, r=route: _ask(acme, r, b) for body, route in bodies], threads=4)
    for (case, route), answer in zip(chosen, answers, strict=True):
        _refused(answer, f"{route} {case}", victim)
    assert rack.snapshot() == before, "nothing changed, on no host and not on the master"
    assert rack.guest("beta/victim")["boots"] == 1


def test_forged_identities_are_refused_over_https(rack: RealRack, victim: dict[str, str]) -> None:
    acme = rack.api("ACME")
    bodies = []
    for function, (key, value) in itertools.product(tenant_functions(), FORGED.items()):
        name = "beta/victim" if function.runner == "rack_vm" else "beta"
        kwarg = {key_: item for key_, item in {**function.good(), "name": name}.items() if key_ in function.parameters}
        call = CallCase(function.fun, kwarg, key)
        if key != "token":  # which is where /run has its own
            bodies.append(call.body(**{key: value}))
        bodies.append(CallCase(function.fun, {**kwarg, key: value}, key).body())
    before = rack.snapshot()
    chosen = sample(list(itertools.product(bodies, ("/", "/run"))), 80)
    answers = on_rack.at_once([lambda b=body, r=route: _ask(acme, r, b) for body, route in chosen], threads=4)
    for (body, route), answer in zip(chosen, answers, strict=True):
        _refused(answer, f"{route} {body}", victim)
    assert rack.snapshot() == before


def test_other_shapes_of_a_body(rack: RealRack, victim: dict[str, str]) -> None:
    acme, beta = rack.api("ACME"), rack.api("BETA")
    show = {"client": "runner", "fun": "rack_vm.show", "kwarg": {"name": "own"}}
    theirs = {"client": "runner", "fun": "rack_vm.show", "kwarg": {"name": "beta/victim"}}
    several = acme.post("/", [show, theirs])
    assert several.status == 404 and several.body["return"][0]["name"] == "own"
    assert several.body["return"][1]["error"]["code"] == "vm_not_found"

    before = rack.snapshot()
    _refused(acme.post("/", [show] * 11), "eleven calls", victim)
    _refused(acme.post("/", []), "no call", victim)
    _refused(acme.post("/", {**theirs, "token": beta.token}), "another's token in the body of /", victim)
    _refused(acme.post("/", {**theirs, "token": [beta.token]}, token=None), "a list of tokens", victim)
    _refused(acme.post("/run", [{**show, "token": acme.token}, {**theirs, "token": beta.token}]), "two tokens", victim)
    _refused(acme.post("/run", show, token=None), "no token at all", victim)
    _refused(acme.post("/", show, token="0" * 64), "a guessed token", victim)
    _refused(acme.request("POST", "/", json=show, token=None, cookies={"session_id": acme.token}), "a cookie", victim)
    _refused(acme.request("POST", f"/?token={acme.token}", json=show, token=None), "a token in the URL", victim)
    basic = (rack.env["ACME_USER"], rack.env["ACME_PASSWORD"])
    _refused(acme.request("POST", "/", json=show, token=None, auth=basic), "basic authentication", victim)
    for key in ("X-Forwarded-User", "X-Remote-User", "Remote-User", "X-Auth-User"):
        _refused(acme.post("/", theirs, headers={key: "bob"}), f"the header {key}", victim)
    form = {"client": "runner", "fun": "rack_vm.show", "kwarg": '{"name": "beta/victim"}'}
    _refused(acme.post("/", data=form), "a form", victim)
    _refused(acme.post("/", data={**form, "username": "bob"}), "a form with a user", victim)
    assert rack.snapshot() == before


@pytest.mark.parametrize(
    "extra", [{key: FORGED[key]} for key in FORGED if key not in ("username", "password")], ids=str
)
def test_a_login_takes_a_name_and_a_password_and_nothing_else(rack: RealRack, extra: dict[str, Any]) -> None:
    nobody = rack.fresh_api()
    body = {"username": rack.env["ACME_USER"], "password": rack.env["ACME_PASSWORD"], "eauth": "rack", **extra}
    answer = nobody.post("/login", body)
    assert answer.status == 400 and "return" not in answer.body and "X-Auth-Token" not in answer.headers, f"{answer}"


def test_a_reader_is_refused_over_https(rack: RealRack, victim: dict[str, str]) -> None:
    carol = rack.api("READER")
    before = rack.snapshot()
    changes = [function for function in tenant_functions() if function.fun not in READS]
    for function in sample(changes, 5):
        name = "acme/new" if function.fun in MAKERS else "acme/own"
        refused = carol.refusal(function.fun, **{**function.good(), "name": name})
        assert (refused.status, refused.code) == (403, "role_reader"), function.fun
    assert rack.snapshot() == before


def test_what_only_operators_may_call(rack: RealRack, victim: dict[str, str]) -> None:
    before = rack.snapshot()
    for function in functions():
        if function not in tenant_functions():
            assert rack.api("ACME").refusal(function.fun, **function.good()).status == 403
    assert rack.api("ACME").refusal("rack_vm.create", name="new", host="h1", **CREATE).code == "operator_only"
    assert rack.api("ACME").refusal("rack_tenant.quota", vms=1000).code == "operator_only"
    assert rack.snapshot() == before
