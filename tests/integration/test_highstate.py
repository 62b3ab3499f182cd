"""The highstate: a second run changes nothing, a dry run says exactly what is missing, the next one mends it."""

from __future__ import annotations

import pytest

from tests import on_rack
from tests.on_rack import RealRack


def _changed(rack: RealRack, names: list[str], *, test: bool = False) -> dict[str, list[str]]:
    """Each node's states that changed, or would: ``module.function id``."""
    told = on_rack.rackbox_deploy.apply_highstate(rack.box, names, test=test)
    return {name: [_short(key) for key in keys] for name, keys in told.items() if keys}


def _short(key: str) -> str:
    """``rack_net_|-network nat_|-nat_|-present`` as ``rack_net.present network nat``."""
    module, state_id, _, function = key.split("_|-")
    return f"{module}.{function} {state_id}"


def test_a_second_highstate_changes_nothing_on_any_node(rack: RealRack) -> None:
    assert _changed(rack, ["master", "h1", "h2", "h3"]) == {}


@pytest.mark.parametrize("words", [["net-destroy"], ["net-destroy", "net-undefine"]], ids=" ".join)
def test_what_is_gone_is_all_that_a_dry_run_shows(rack: RealRack, words: list[str]) -> None:
    host = rack.host("h2")
    for word in words:
        host.run(["virsh", word, "nat"], timeout_s=30)
    expected = {"h2": ["rack_net.present network nat"]}
    assert _changed(rack, ["h2", "h3"], test=True) == expected
    assert "nat" not in host.run(["virsh", "net-list", "--name"], timeout_s=10).stdout.split(), "it was a dry run"
    assert _changed(rack, ["h2"]) == expected
    assert "nat" in host.run(["virsh", "net-list", "--name", "--autostart"], timeout_s=10).stdout.split()


def test_the_rack_files_reach_hosts_as_slices_only(rack: RealRack) -> None:
    """A host gets its networks, images and certificates by pillar: no user, no tenant, no quota, no other host."""
    for name in ("h1", "h2", "h3"):
        pillar = rack.run("pillar.show_pillar", name).data["racksalt"]
        migration = pillar.pop("migration")
        assert (migration["address"], migration["shared_volumes"]) == (name, False)
        assert set(migration["tls"]) == {"libvirt", "qemu"}
        assert set(pillar) == {"rack", "roles", "networks", "images"} and pillar["roles"] == ["hypervisor"]
        assert not [word for word in ("alice", "acme", "quota", "h1", "h2", "h3") if word in str(pillar)], pillar
    assert set(rack.run("pillar.show_pillar", "master").data["racksalt"]) == {"rack", "roles"}
    assert rack.run("pillar.show_pillar", "h9").data == {"racksalt": {}}, "nobody's slice is empty"
    listed = rack.shell(["salt", "--static", "--out=json", "h1", "cp.list_master"]).data["h1"]
    assert not [path for path in listed if "rack/" in path or path.endswith((".yaml", "htpasswd"))], (
        "nothing of pillar/"
    )


def test_with_a_mistake_in_the_files_nothing_is_applied(clean_rack: RealRack) -> None:
    rack, host = clean_rack, clean_rack.host("h3")
    before = host.run(["nft", "list", "table", "inet", "racksalt"], timeout_s=10).stdout
    rack.edit("users.yaml", lambda text: text + "users: [\n")
    for words in (["state.apply"], ["state.apply", "hypervisor"]):
        told = rack.shell(["salt", "--static", "--out=json", "h3", *words])
        assert "rack-lint" in str(told.data["h3"]) and "users" not in told.stdout, told.stdout
        assert isinstance(told.data["h3"], list), "states were applied"
    assert host.run(["nft", "list", "table", "inet", "racksalt"], timeout_s=10).stdout == before


def test_a_changed_network_is_one_change_and_then_none(clean_rack: RealRack) -> None:
    """The rack's files are what the next highstate makes true; the running network is left to the operator."""
    rack = clean_rack
    rack.edit_yaml("networks.yaml", lambda data: data["networks"]["nat"].update(dns=["10.80.0.2"]))
    rack.shell(["salt", "--out=json", "h3", "saltutil.refresh_pillar", "wait=True"])
    assert _changed(rack, ["h3"]) == {"h3": ["rack_net.present network nat"]}
    assert "10.80.0.2" in rack.host("h3").run(["virsh", "net-dumpxml", "--inactive", "nat"], timeout_s=10).stdout
    assert _changed(rack, ["h3"]) == {}
    rack.restore_files()
    assert _changed(rack, ["h3"]) == {"h3": ["rack_net.present network nat"]}
