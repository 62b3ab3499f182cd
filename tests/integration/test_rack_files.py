"""The rack's files: a mistake is told with file, line and key before anything changes; comments outlive edits."""

from __future__ import annotations

import pytest

from tests.on_rack import CREATE, RACK_FILES, RealRack

MISTAKES = [
    ("tenants.yaml", "quota: {vms: 3}", "quota: {vms: three}", "tenants.beta.quota.vms", "'three'"),
    ("tenants.yaml", "  beta:\n", "  be/ta:\n", "tenants.be/ta", "'be/ta'"),
    ("hosts.yaml", "    labels: {zone: b}", "    lables: {zone: b}", "hosts.h2.lables", "an unknown key"),
    ("users.yaml", "{beta: member}\n", "{gamma: member}\n", "users.bob.tenants.gamma", "an unknown tenant"),
    ("flavors.yaml", "m1.tiny: {vcpus: 1,", "m1.tiny: {vcpus: 0,", "flavors.m1.tiny.vcpus", "0"),
    ("networks.yaml", "gateway: 10.80.0.1", "gateway: 10.81.0.1", "networks.nat.gateway", "10.81.0.1"),
    ("profiles.yaml", "image: tiny", "image: nosuch", "profiles.tiny.image", "'nosuch'"),
    ("users.yaml", "users:\n", "users: [\n", "(whole)", ""),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: f"{mistake[0]} {mistake[3]}")
def test_a_mistake_is_told_with_file_line_and_key_and_nothing_changes(
    clean_rack: RealRack, mistake: tuple[str, str, str, str, str]
) -> None:
    rack = clean_rack
    file, right, wrong, field, found = mistake
    text = rack.edit(file, lambda text: text.replace(right, wrong, 1))
    assert wrong in text, f"{file} has no {right!r} any more"
    line = 1 + text[: text.index(wrong)].count("\n") + wrong.rstrip("\n").count("\n")
    before = rack.snapshot()

    told = rack.run("rack_tenant.list")
    assert told.code != 0 and told.error and told.error["code"] == "bad_rack_files", told.stdout
    first = told.error["mistakes"][0]
    assert first["file"] == f"{RACK_FILES}/{file}"
    assert first["field"] == field and found in first["found"], first
    assert field == "(whole)" or first["line"] == line, first
    assert f"{file}:{first['line']}: " in told.error["detail"]
    refused = rack.run("rack_vm.create", "acme/web1", **CREATE)
    assert refused.code != 0 and refused.error and refused.error["code"] == "bad_rack_files"
    assert rack.snapshot() == before


def test_an_operators_changes_keep_comments_and_a_refused_one_keeps_the_file(clean_rack: RealRack) -> None:
    rack, operator = clean_rack, clean_rack.api("OPERATOR")
    rack.edit("tenants.yaml", lambda text: text + "  # after beta {{ 7 * 7 }}\n")
    before = rack.master.read(f"{RACK_FILES}/tenants.yaml")
    assert operator.call("rack_tenant.quota", name="beta", vms=4, test=True)["quota"]["vms"] == 4
    assert operator.refusal("rack_tenant.create", name="beta").status == 409
    assert operator.refusal("rack_tenant.create", name="be ta").status == 400
    assert rack.master.read(f"{RACK_FILES}/tenants.yaml") == before

    assert operator.call("rack_tenant.quota", name="beta", vms=4)["changed"]
    assert operator.call("rack_tenant.quota", name="beta", vms=4)["changed"] is False
    assert operator.call("rack_tenant.create", name="gamma", description="New: {{ 1 }} ones", quota={"vms": 1})[
        "changed"
    ]
    after = rack.master.read(f"{RACK_FILES}/tenants.yaml")
    assert "# after beta {{ 7 * 7 }}" in after and "# Tenants and their quotas" in after
    assert rack.api("BETA").call("rack_tenant.show")["quota"]["vms"] == 4
    assert operator.call("rack_tenant.show", name="gamma")["quota"]["vms"] == 1
    assert operator.call("rack_vm.create", name="gamma/first", start=False, **CREATE)["changed"]
    assert operator.refusal("rack_vm.create", name="gamma/second", **CREATE).code == "quota_exceeded"
    stat = rack.master.run(["stat", "-c", "%a %U", f"{RACK_FILES}/tenants.yaml"], timeout_s=10).stdout.split()
    assert stat == ["600", "root"]


def test_nothing_in_the_files_is_run(clean_rack: RealRack) -> None:
    """Neither a template nor a tag of YAML's Python dialect; both in a file that is otherwise right."""
    rack = clean_rack
    traps = "# {{ salt['cmd.run']('touch /tmp/ran') }}\n# {% set x = 1 %}\n"
    tag = "!!python/object/apply:os.system [touch /tmp/ran]"
    rack.edit("users.yaml", lambda text: traps + text)
    assert rack.run("rack_tenant.list").code == 0
    rack.edit("users.yaml", lambda text: text + f"  eve: {tag}\n")
    rack.run("rack_tenant.list")
    rack.shell(["salt", "--static", "--out=json", "h1", "saltutil.refresh_pillar", "wait=True"])
    for node in (rack.master, rack.host("h1")):
        assert node.run(["test", "-e", "/tmp/ran"], timeout_s=10, check=False).returncode == 1
