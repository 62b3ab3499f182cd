"""Who may migrate to a host: the table as nft takes it, and who is in its sets, until when."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from racksalt import migration_port
from racksalt.adapters.nft import MOVES, NftMigrationPort, NftTable
from racksalt.errors import BadInput, Refused, Unavailable
from tests.fakes import FakeClock
from tests.unit.test_host_firewall import FakeFirewall

GOLDEN = Path(__file__).parent / "golden"
STATES = Path(__file__).parents[2] / "states/hypervisor"
NOW, LATER = 1000.0, 1060.0
LIST = "nft list table inet racksalt_moves\n"


def nft(*texts: str, then: str = LIST) -> str:
    """What nft shows after it took these texts in turn, in a network namespace of its own."""
    if not shutil.which("nft") or subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode:
        pytest.skip("needs nft and a network namespace of its own")
    script = 'set -e; for text; do nft -f - <<<"$text"; done; ' + then
    words = ["unshare", "-rn", "bash", "-c", script, "bash", *texts]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def opening(*sources: str, until_s: float = LATER) -> str:
    return migration_port.opening(sources, until_s=until_s, now=NOW)


def members(shown: str) -> dict[str, str]:
    """Each source with its time, as nft shows them."""
    return dict(re.findall(r"([0-9a-f.:]+) timeout (\w+)", shown))


def test_the_table_is_the_golden_text() -> None:
    assert migration_port.render() == (GOLDEN / "migration-port.nft").read_text()


def test_loading_it_again_changes_no_rule_and_keeps_who_is_let_in() -> None:
    text = migration_port.render()
    once, again = nft(text), nft(text, opening("192.0.2.1", "2001:db8::1"), text)
    assert again.count("reject") == once.count("reject") == 1
    assert members(again) == {"192.0.2.1": "1m", "2001:db8::1": "1m"}


def test_it_is_made_once() -> None:
    firewall = FakeFirewall()
    assert set(migration_port.ensure(firewall, test=True)) == {"rules", "loaded"} and firewall.loaded is None
    assert set(migration_port.ensure(firewall)) == {"rules", "loaded"}
    assert migration_port.ensure(firewall) == {} and firewall.written == migration_port.render()


def test_a_new_deadline_takes_the_place_of_the_old_one() -> None:
    text = migration_port.render()
    assert members(nft(text, opening("192.0.2.1"), opening("192.0.2.1", until_s=NOW + 600))) == {"192.0.2.1": "10m"}
    assert members(nft(text, opening("192.0.2.1", until_s=NOW + 600), opening("192.0.2.1"))) == {"192.0.2.1": "1m"}


def test_closing_takes_one_away_and_may_be_said_twice() -> None:
    text = migration_port.render()
    left = nft(text, opening("192.0.2.1", "192.0.2.2"), *[migration_port.closing(["192.0.2.1"])] * 2)
    assert members(left) == {"192.0.2.2": "1m"}
    assert members(nft(text, migration_port.closing(["2001:db8::1"]))) == {}


def test_the_kernel_forgets_by_itself() -> None:
    assert members(nft(migration_port.render(), opening("192.0.2.1", until_s=NOW + 1), then="sleep 1.5; " + LIST)) == {}


def test_an_ipv4_address_in_ipv6_is_the_ipv4_address() -> None:
    assert opening("::ffff:192.0.2.1", "192.0.2.1") == opening("192.0.2.1")


@pytest.mark.parametrize("until_s", [NOW, NOW - 1, 0.0])
def test_after_the_deadline_nobody_is_let_in(until_s: float) -> None:
    with pytest.raises(Refused) as told:
        opening("192.0.2.1", until_s=until_s)
    assert told.value.code == "claim_expired" and told.value.facts["now"] == NOW


@pytest.mark.parametrize("source", ["", "h1", "192.0.2.0/24", "0.0.0.0/0", "192.0.2.1 }", "fe80::1%host0", "::\n", "*"])
def test_only_an_address_is_a_source(source: str) -> None:
    with pytest.raises(BadInput):
        opening(source)
    with pytest.raises(BadInput):
        migration_port.closing([source])


def test_a_source_without_an_address_is_told() -> None:
    with pytest.raises(Unavailable) as told:
        NftMigrationPort(FakeClock()).open("nowhere.invalid", 2e9)
    assert told.value.code == "host_failed" and "nowhere.invalid" in told.value.detail


def test_the_table_has_a_file_of_its_own() -> None:
    assert MOVES.table == migration_port.TABLE != NftTable().table and MOVES.path != NftTable().path


def test_the_states_say_the_same_ports_and_tables() -> None:
    """Neither of them can read the other."""
    settings = (STATES / "libvirt.sls").read_text()
    first, last = migration_port.DATA_PORTS
    assert f'"migration_port_min": {first},' in settings and f'"migration_port_max": {last},' in settings
    assert f"nft -f {MOVES.path}" in (STATES / "files/racksalt-guests.service").read_text()
    assert f"inet {migration_port.TABLE} closed" in (STATES / "files/libvirtd-tls.conf").read_text()
