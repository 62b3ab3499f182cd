"""The master's shell: every documented call works as it is written, and a refusal is an exit code."""

from __future__ import annotations

import ast
import re
import shlex

import pytest

from racksalt import acl
from tests.on_rack import CHECKOUT, CREATE, RealRack

#: What the examples speak of and this rack has under another name.
ADAPTED = {"image=debian-12": "image=tiny", "rack_tenant.create gamma": "rack_tenant.create delta"}
#: The order in which the examples make sense; those that are not here may come at any time between.
FIRST = ("rack_vm.create", "rack_vm.tag", "rack_vm.pause", "rack_vm.resume")
LAST = ("rack_vm.restart", "rack_vm.suspend", "rack_vm.start", "rack_vm.stop", "rack_vm.protect", "rack_vm.delete")


#: What an example may be told on a rack where nothing is wrong.
REFUSED = {"rack_job.cancel": "job_ended", "rack_host.forget": "host_answers"}


def _examples() -> dict[str, str]:
    """Every function of every runner with the call that its docstring shows."""
    found = {}
    for path in sorted((CHECKOUT / "_runners").glob("rack*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                text = ast.get_docstring(node) or ""
                lines = re.findall(r"^\s+(salt-run .*)$", text, re.MULTILINE)
                assert len(lines) == 1, f"{path.stem}.{node.name}: {lines}"
                found[f"{path.stem}.{node.name.rstrip('_')}"] = lines[0]
    return found


def _in_order(functions: list[str]) -> list[str]:
    return [*FIRST, *(fun for fun in functions if fun not in FIRST + LAST), *LAST]


def _todays(rack: RealRack, fun: str) -> dict[str, str]:
    """A job and a VM that there are, for the examples that name one."""
    if fun in ("rack_job.show", "rack_job.cancel"):
        return {r"\d{20}": rack.run("rack_job.list", "fun=rack_vm.create").data["jobs"][0]["job"]}
    if fun == "rack_vm.adopt":
        vm = rack.vm("acme/web1")
        return {r"adopt \S+ host=h2": f"adopt {vm['uuid']} host={vm['host']}"}
    return {}


def test_every_documented_example_runs(clean_rack: RealRack) -> None:
    rack = clean_rack
    examples = _examples()
    assert set(examples) == {*acl.TENANT_CALLS, *acl.OPERATOR_CALLS}
    wrong = {}
    for fun in _in_order(list(examples)):
        line = examples[fun]
        for written, here in {**ADAPTED, **_todays(rack, fun)}.items():
            line = re.sub(written, here, line)
        words = shlex.split(line)
        assert words[:2] == ["salt-run", fun]
        if fun in ("rack_vm.restart", "rack_vm.stop"):
            rack.guest("acme/web1")
        ran = rack.shell([*words, *([] if "--out=json" in words else ["--out=json"])])
        if fun in REFUSED and ran.error is not None:
            assert ran.error["code"] == REFUSED[fun], ran.error
        elif ran.code != 0 or ran.error is not None or ran.data is None:
            wrong[line] = (ran.code, ran.error or ran.stdout[-300:])
    assert wrong == {}
    assert rack.api("OPERATOR").call("rack_vm.list")["vms"] == []


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["rack_vm.show", "acme/nosuch"], "vm_not_found"),
        (["rack_vm.create", "acme/x", "flavor=nosuch", "image=tiny"], "flavor_unknown"),
        (["rack_vm.create", "acme/x", "flavor=m1.large", "image=tiny"], "no_host_fits"),
        (["rack_vm.create", "web1", "flavor=m1.tiny", "image=tiny"], "tenant_ambiguous"),
        (["rack_vm.list", "nosuch=1"], "bad_input"),
        (["rack_vm.show", "acme/x", "tenant=beta"], "vm_not_found"),
        (["rack_host.show", "h9"], "host_unknown"),
        (["rack_tenant.quota", "acme", "vms=-2"], "bad_input"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_a_refusal_exits_non_zero_and_says_why(rack: RealRack, words: list[str], code: str) -> None:
    ran = rack.run(words[0], *words[1:])
    assert ran.code != 0 and ran.error is not None, ran.stdout
    assert ran.error["code"] == code and ran.error["detail"]


def test_a_list_in_yaml_and_in_the_default_outputter(rack: RealRack) -> None:
    rack.run("rack_vm.create", "acme/shown", start=False, **CREATE)
    for out in ("yaml", "nested", "raw"):
        ran = rack.shell(["salt-run", f"--out={out}", "rack_vm.list"])
        assert ran.code == 0 and "shown" in ran.stdout
    assert rack.run("rack_vm.delete", "acme/shown").data["changed"]
