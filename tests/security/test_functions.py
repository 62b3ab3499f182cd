"""S3: of all that Salt can do, a tenant's login can call the listed runner functions, and nothing else."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import salt
import salt.config
import salt.netapi
import salt.utils.minions

from racksalt import acl, acl_file
from racksalt.api import lowstate
from racksalt.errors import BadInput
from tests import on_rack
from tests.on_rack import Answer, RealRack
from tests.promises import sample

pytestmark = pytest.mark.promise("S3")

ROOT = Path(__file__).resolve().parents[2]
#: Names beside the listed ones, for patterns that match too much.
NEAR = (
    [
        near.format(call)
        for call in acl.TENANT_CALLS
        for near in ("{}_all", "x{}", "{}\n", " {}", "{}.x", "{}%00", "{}\\Z")
    ]
    + [call.replace(".", "x") for call in acl.TENANT_CALLS]
    + [call.upper() for call in acl.TENANT_CALLS]
)
CLIENTS = sorted({*salt.netapi.CLIENTS, "local_subset", "local_batch", "cloud", "caller", "", "Runner", "runner "})
OPEN_CLIENTS = ("runner", "runner_async")
#: URLs of stock salt-api that do not exist here.
NOWHERE = ("/events", "/ws", "/hook", "/hook/x", "/jobs", "/jobs/1", "/minions", "/minions/h1", "/keys", "/keys/h1")
NOWHERE += ("/stats", "/token", "/app", "/static/x", "/login/x", "/run/x", "/all_events", "/favicon.ico")
#: What the master's loaders and one host's know, asked of themselves.
_LOADERS = """
import json, salt.config, salt.loader
opts = salt.config.master_config("/etc/salt/master")
opts["quiet"] = True
minion = salt.config.minion_config("/etc/salt/minion")
minion["file_client"] = "local"
found = {"runner": list(salt.loader.runner(opts)), "wheel": list(salt.loader.wheels(opts))}
found["local"] = list(salt.loader.minion_mods(minion))
print(json.dumps(found))
"""


@cache
def _salts_own() -> dict[str, list[str]]:
    """Every function that Salt itself brings, also those that would not load here."""
    root = Path(salt.__file__).parent
    kinds = {"runner": "runners", "wheel": "wheel", "local": "modules"}
    return {client: sorted(_functions_in(root / folder)) for client, folder in kinds.items()}


def _functions_in(folder: Path) -> Iterator[str]:
    for path in folder.glob("*.py"):
        for name in re.findall(r"^def ([a-z]\w*)\(", path.read_text(encoding="utf-8"), re.MULTILINE):
            yield f"{path.stem}.{name.rstrip('_')}"


def _low(client: str, fun: str) -> dict[str, Any]:
    target = {"tgt": "*"} if client.startswith(("local", "ssh")) else {}
    return {"client": client, "fun": fun, **target}


def test_the_front_lets_only_the_listed_runner_functions_through() -> None:
    """Every function of every client type: refused by its form, or as not among the tenant's."""
    found = _salts_own()
    assert len(found["runner"]) > 50 and len(found["wheel"]) > 25 and len(found["local"]) > 1000
    for client, fun in itertools.product(CLIENTS, [*itertools.chain.from_iterable(found.values()), *NEAR]):
        with suppress(BadInput):
            calls, _ = lowstate.calls(_low(client, fun))
            assert client in OPEN_CLIENTS and calls[0].fun not in acl.TENANT_CALLS
    for client in OPEN_CLIENTS:
        assert [lowstate.calls(_low(client, fun))[0][0].fun for fun in acl.TENANT_CALLS] == list(acl.TENANT_CALLS)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> salt.utils.minions.CkMinions:
    """Salt's own judge of ACLs."""
    opts = {**salt.config.master_config(None), "pki_dir": str(tmp_path_factory.mktemp("pki"))}
    return salt.utils.minions.CkMinions(opts)


def test_salts_own_judge_reads_the_acl_the_same_way(judge: salt.utils.minions.CkMinions) -> None:
    """The outer fence by itself: the generated file, as the master applies it to the group ``tenant``."""
    rules = salt.config._read_conf_file(str(ROOT / "api-config/acl.conf"))["external_auth"]["rack"]
    assert rules == acl.external_auth()["rack"] and acl_file.text()
    allowed = judge.fill_auth_list_from_groups(rules, [acl.TENANT_GROUP], [])
    call = {"arg": [], "kwarg": {}}
    found = _salts_own()
    runners = {*found["runner"], *found["wheel"], *acl.OPERATOR_CALLS, *NEAR, *acl.TENANT_CALLS}
    passed = {fun for fun in runners if judge.runner_check(allowed, fun, call) is True}
    assert passed == set(acl.TENANT_CALLS)
    assert not [fun for fun in {*found["wheel"], *acl.TENANT_CALLS} if judge.wheel_check(allowed, fun, call) is True]
    for fun in (*found["local"], *acl.TENANT_CALLS):
        assert not judge.auth_check(allowed, fun, [], "*", "glob"), fun
    assert judge.fill_auth_list_from_groups(rules, ["tenants", "xtenant", "acme", ""], []) == []


def test_a_group_is_a_constant_and_matches_as_a_whole() -> None:
    assert set(acl.external_auth()["rack"]) == {"tenant%", "operator%"}


# On a real rack.


@pytest.fixture(scope="module")
def known(rack: RealRack) -> dict[str, list[str]]:
    """Every function that the master's loaders know, and those of a host's minion."""
    python = "/opt/racksalt-master/bin/python3"
    done = rack.master.run([python, "-c", _LOADERS], timeout_s=120)
    found: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    listed = rack.shell(["salt-call", "--local", "--out=json", "sys.list_functions"], node=rack.host("h1"))
    found["local"] = sorted({*found["local"], *listed.data["local"]})
    return found


def _refused(answer: Answer, what: object) -> None:
    assert answer.status in (400, 401, 403), f"{what} was not refused: {answer}"
    assert answer.error is not None and "Traceback" not in answer.text, f"{what}: {answer.text[:300]}"


def test_every_function_of_every_client_is_refused_over_https(rack: RealRack, known: dict[str, list[str]]) -> None:
    assert {"rack_vm.create", "rack_host.list", "jobs.list_jobs"} <= set(known["runner"])
    assert {"key.accept", "config.values"} <= set(known["wheel"]) and {"test.ping", "rack_vm.act"} <= set(
        known["local"]
    )
    acme = rack.api("ACME")
    cases = [
        _low(client, fun)
        for client, fun in itertools.product(CLIENTS, {*known["runner"], *known["wheel"], *known["local"], *NEAR})
        if client not in OPEN_CLIENTS or fun not in acl.TENANT_CALLS
    ]
    cases.sort(key=lambda low: (low["client"], low["fun"]))
    dear = [_low(client, fun) for client in CLIENTS for fun in ("cmd.run", "key.accept", "state.apply", "rack_vm.act")]
    # The outcome is the same before and after, so a sample of the many and all of the dear ones.
    before = rack.snapshot()
    chosen = [*sample(cases, 400), *dear]
    answers = on_rack.at_once([lambda low=low: acme.post("/", low) for low in chosen], threads=8)
    for low, answer in zip(chosen, answers, strict=True):
        _refused(answer, low)
    assert rack.snapshot() == before


def test_operators_calls_are_refused_to_tenants_and_open_to_operators(rack: RealRack) -> None:
    for fun in acl.OPERATOR_CALLS:
        refused = rack.api("ACME").post("/", {"client": "runner", "fun": fun, "kwarg": {}})
        assert refused.status == 403 and refused.error and refused.error["code"] == "function_denied"
    assert rack.api("OPERATOR").call("rack_host.list")["hosts"]
    _refused(rack.api("OPERATOR").post("/", {"client": "wheel", "fun": "key.list_all"}), "an operator's wheel")
    _refused(rack.api("OPERATOR").post("/", {"client": "runner", "fun": "salt.cmd"}), "an operator's salt.cmd")


@pytest.mark.parametrize("path", NOWHERE)
def test_stock_salt_apis_other_urls_do_not_exist(rack: RealRack, path: str) -> None:
    acme = rack.api("ACME")
    for method, token in itertools.product(("GET", "POST"), (None, acme.token)):
        body = {"json": {"tag": "x"}} if method == "POST" else {}
        answer = acme.request(method, path, token=token, **body)
        assert answer.status == 404, f"{method} {path}: {answer}"
        assert answer.body is not None and answer.body["status"] == 404, "JSON, not HTML"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(rack: RealRack, method: str) -> None:
    for path in ("/", "/run", "/login", "/logout"):
        answer = rack.api("ACME").request(method, path)
        assert answer.status == 405 and answer.body is not None, f"{method} {path}: {answer}"


def test_the_master_itself_refuses_a_tenants_password_on_its_bus(rack: RealRack) -> None:
    """``salt -a rack`` and a wheel call with a tenant's password, as from a shell that reaches the master."""
    login = ["--username", rack.env["ACME_USER"], "--password", rack.env["ACME_PASSWORD"]]
    ran = rack.shell(["salt", "--out=json", "-a", "rack", *login, "h1", "test.ping"], timeout_s=60)
    assert "error occurred" in ran.stdout and "true" not in ran.stdout, ran.stdout
    script = (
        "import json, sys, salt.config, salt.wheel, salt.runner\n"
        "login = json.load(sys.stdin)\n"
        "opts = salt.config.master_config('/etc/salt/master')\n"
        "for client, fun in ((salt.wheel.WheelClient, 'key.list_all'), (salt.runner.RunnerClient, 'rack_host.list'),\n"
        "                    (salt.runner.RunnerClient, 'jobs.list_jobs'), (salt.runner.RunnerClient, 'salt.cmd')):\n"
        "    low = {'fun': fun, 'eauth': 'rack', **login}\n"
        "    try:\n"
        "        told = client(opts).master_call(**low)\n"
        "    except Exception as error:\n"
        "        told = {'error': str(error)}\n"
        "    print(json.dumps([fun, told], default=str))\n"
    )
    given = json.dumps({"username": rack.env["ACME_USER"], "password": rack.env["ACME_PASSWORD"]})
    done = rack.master.run(["/opt/racksalt-master/bin/python3", "-c", script], timeout_s=90, input=given)
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(told) == 4
    for fun, answer in told:
        assert "error" in answer and "data" not in answer, f"{fun}: {answer}"
