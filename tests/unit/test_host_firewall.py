"""What guests may reach: as in the golden file, taken by nft, from sound values only, changed only where it must be."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given

from racksalt import domain_xml, host_firewall, shape
from racksalt.adapters import nft
from racksalt.adapters.nft import NftTable
from racksalt.errors import BadInput, Unavailable
from racksalt.host_firewall import GuestFirewall
from racksalt.model import Network
from tests.unit.allowed import values

GOLDEN = Path(__file__).parent / "golden"


def parsed(**changed: Any) -> GuestFirewall:
    told = yaml.safe_load((GOLDEN / "firewall-nat.yaml").read_text())
    return shape.parse(GuestFirewall, {**told, **changed})


@dataclass
class FakeFirewall:
    """A host's table in memory."""

    loaded: str | None = None
    written: str | None = None

    def text(self) -> str | None:
        return self.written

    def is_loaded(self) -> bool:
        return self.loaded is not None

    def load(self, text: str) -> None:
        self.loaded = self.written = text


def _taken_by_nft(text: str) -> None:
    """In a network namespace of its own, twice: loading it again replaces it."""
    if not shutil.which("nft") or subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode:
        pytest.skip("needs nft and a network namespace of its own")
    script = "nft -f - <<<$1 && nft -f - <<<$1 && nft list table inet racksalt"
    words = ["unshare", "-rn", "bash", "-c", script, "bash", text]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" drop") == text.count(" drop") and done.stdout.count("chain ") == text.count("chain ")


def test_a_spec_gives_the_golden_text() -> None:
    assert host_firewall.render(parsed()) == (GOLDEN / "firewall-nat.nft").read_text()


@pytest.mark.parametrize("changed", [{}, {"management": []}], ids=str)
def test_nft_takes_it_again_and_again(changed: dict[str, Any]) -> None:
    _taken_by_nft(host_firewall.render(parsed(**changed)))


def test_networks_that_overlap_are_one() -> None:
    text = host_firewall.render(parsed(management=["10.0.0.0/25", "10.0.0.128/25", "10.0.0.0/24"]))
    assert "ip daddr { 10.0.0.0/24 } drop" in text


def test_the_order_of_what_is_told_changes_nothing() -> None:
    told = parsed()
    turned = GuestFirewall(told.management[::-1] * 2)
    assert host_firewall.render(turned) == host_firewall.render(told)


@given(values(Network))
def test_every_rule_holds_for_every_bridge_of_a_rack(network: Network) -> None:
    """Whatever the rack's files say now: a network that was taken out of them may still have guests."""
    for text in (host_firewall.render(parsed()), host_firewall.render(GuestFirewall(()))):
        rules = [line.strip() for line in text.splitlines() if line.strip().startswith("iifname")]
        patterns = {pattern for rule in rules for pattern in re.findall(r'[io]ifname "([^"]+)"', rule)}
        assert rules and all(rule.startswith('iifname "') for rule in rules)
        assert all(fnmatchcase(domain_xml.bridge_name(network), pattern) for pattern in patterns)
        assert not any(fnmatchcase(name, pattern) for name in ("lo", "eth0", "virbr0", "rs") for pattern in patterns)


@pytest.mark.parametrize(
    "subnet",
    [
        "0.0.0.0/0",
        "10.0.0.1/24",
        "10.0.0.0",
        "10.0.0.0/33",
        "::/0",
        "10.0.0.0/24\n",
        "10.0.0.0/24 } drop",
        "@set",
        10,
        "",
    ],
)
def test_what_is_no_subnet_is_refused(subnet: Any) -> None:
    with pytest.raises(BadInput):
        parsed(management=[subnet])


def test_it_is_loaded_once_and_then_left_alone() -> None:
    firewall = FakeFirewall()
    planned = host_firewall.ensure(firewall, parsed(), test=True)
    assert set(planned) == {"rules", "loaded"} and firewall.loaded is None
    assert host_firewall.ensure(firewall, parsed()) == planned
    assert host_firewall.ensure(firewall, parsed()) == {}


def test_a_table_that_is_gone_comes_back() -> None:
    firewall = FakeFirewall()
    host_firewall.ensure(firewall, parsed())
    firewall.loaded = None
    assert host_firewall.ensure(firewall, parsed()) == {"loaded": {"old": False, "new": True}}
    assert firewall.is_loaded()


def test_changed_rules_are_told_as_old_and_new() -> None:
    firewall = FakeFirewall()
    host_firewall.ensure(firewall, parsed())
    before = firewall.written
    changes = host_firewall.ensure(firewall, parsed(management=[]))
    assert changes == {"rules": {"old": before, "new": firewall.loaded}}


def _program(folder: Path, body: str) -> None:
    path = folder / "nft"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_the_file_is_what_was_loaded_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    _program(tmp_path, f'echo "$@" >> {tmp_path}/asked; /bin/cat > {tmp_path}/stdin')
    table = NftTable(tmp_path / "etc" / "guests.nft")
    assert table.text() is None and table.is_loaded()
    table.load("the rules\n")
    assert table.text() == "the rules\n" == (tmp_path / "stdin").read_text()
    assert (tmp_path / "asked").read_text() == "list table inet racksalt\n-f -\n"
    assert table.path.stat().st_mode & 0o777 == 0o644


def test_rules_that_nft_refuses_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    _program(tmp_path, "echo no such thing >&2; exit 1")
    table = NftTable(tmp_path / "guests.nft")
    assert not table.is_loaded()
    with pytest.raises(Unavailable, match="no such thing"):
        table.load("nonsense")
    assert table.text() is None


def test_a_host_without_nft_has_no_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    table = NftTable(tmp_path / "guests.nft")
    assert not table.is_loaded()
    with pytest.raises(Unavailable, match="apply the highstate"):
        table.load("")


def test_an_nft_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(nft, "_TIMEOUT_S", 0.2)
    _program(tmp_path, "exec sleep 5")
    with pytest.raises(Unavailable, match="did not end"):
        NftTable(tmp_path / "guests.nft").load("")
