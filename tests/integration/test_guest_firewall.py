"""What a guest reaches from its bridge: DHCP, but neither the host, nor the hosts' network, nor another guest.

Two network namespaces, attached like guests by isolated ports, speak for guests here. Every way is tried without the
table, too: a probe that never gets through would prove nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from rackbox_lib.node import Node
from tests.on_rack import CREATE, RealRack, rackbox_deploy

GATEWAY, ONE, TWO = "10.80.0.1", "10.80.15.1", "10.80.15.2"
PORT = "5353"

_ATTACH = """set -e
ip netns add "$1"
ip link add "v-$1" type veth peer name eth0 netns "$1"
ip link set "v-$1" master rs-nat up
bridge link set dev "v-$1" isolated on
ip -n "$1" address add "$2/20" dev eth0
ip -n "$1" link set eth0 up
ip -n "$1" route add default via "$4"
ip -n "$1" route add "$3/32" via "$4"
ip netns exec "$1" sh -c 'echo 0 > /proc/sys/net/ipv4/conf/all/accept_redirects'
"""
_DETACH = 'ip link del "v-$1"; ip netns del "$1"; true'
_LISTEN = """
import socket, sys
heard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
heard.bind(("0.0.0.0", int(sys.argv[1])))
heard.settimeout(3)
print(heard.recvfrom(99)[0].decode())
"""
_SEND = """
import socket, sys, time
sent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(10):
    sent.sendto(b"hello", (sys.argv[1], int(sys.argv[2])))
    time.sleep(0.2)
"""
_UDP = 'ip netns exec two python3 -c "$2" "$4" & ip netns exec one python3 -c "$1" "$3" "$4"; wait $!'


@pytest.fixture(scope="module")
def host(rack: RealRack) -> Iterator[Node]:
    """A host with two that are like guests on its bridge, and its table loaded again at the end."""
    host = rack.host("h2")
    for name in ("one", "two"):
        _script(host, _DETACH, name)
    for name, address, other in (("one", ONE, TWO), ("two", TWO, ONE)):
        assert _script(host, _ATTACH, name, address, other, GATEWAY)
    yield host
    for name in ("one", "two"):
        _script(host, _DETACH, name)
    _boot_table(host)


def _script(host: Node, script: str, *words: str) -> bool:
    return host.run(["bash", "-c", script, "bash", *words], timeout_s=30, check=False).returncode == 0


def _boot_table(host: Node) -> None:
    """As a boot does it."""
    host.run(["systemctl", "restart", "racksalt-guests.service"], timeout_s=30)


def _tcp(host: Node, address: str, port: int) -> bool:
    return _script(host, 'ip netns exec one timeout 2 bash -c "exec 3<>/dev/tcp/$1/$2"', address, str(port))


def _ping(host: Node, address: str) -> bool:
    return _script(host, 'ip netns exec one ping -c 1 -W 2 "$1"', address)


def _udp(host: Node, address: str) -> bool:
    return _script(host, _UDP, _SEND, _LISTEN, address, PORT)


WAYS: dict[str, Callable[[RealRack, Node], bool]] = {
    "the master's Salt port": lambda rack, host: _tcp(host, rack.master.address, 4506),
    "the master's publisher": lambda rack, host: _tcp(host, rack.master.address, 4505),
    "its host at the gateway": lambda _, host: _tcp(host, GATEWAY, 22),
    "its host at its own address": lambda _, host: _tcp(host, host.address, 22),
    "its host by ping": lambda _, host: _ping(host, GATEWAY),
    "another host": lambda rack, host: _tcp(host, rack.host("h3").address, 22),
    "another guest by ping": lambda _, host: _ping(host, TWO),
    "another guest by UDP": lambda _, host: _udp(host, TWO),
}


@pytest.mark.parametrize("way", WAYS)
def test_only_the_table_is_in_the_way(rack: RealRack, host: Node, way: str) -> None:
    host.run(["nft", "delete", "table", "inet", "racksalt"], timeout_s=10, check=False)
    assert WAYS[way](rack, host), f"without the table a guest reaches {way}"
    _boot_table(host)
    assert not WAYS[way](rack, host), f"a guest reaches {way}"


def test_the_host_reaches_its_guests(host: Node) -> None:
    _boot_table(host)
    assert _script(host, 'ping -c 1 -W 2 "$1"', ONE)


def test_a_real_guest_gets_its_address_and_is_reached_by_its_host(clean_rack: RealRack, host: Node) -> None:
    _boot_table(host)
    acme = clean_rack.api("ACME")
    made = acme.call("rack_vm.create", name="walled", labels={"zone": "b"}, **CREATE)["vm"]
    assert clean_rack.host_of("acme/walled").name == host.name
    assert clean_rack.guest("acme/walled")["address"] == made["addresses"][0]


def test_a_network_that_is_taken_out_of_the_files_stays_closed(clean_rack: RealRack, host: Node) -> None:
    """Its guests run on, and the next highstate does not know of it."""
    clean_rack.edit_yaml("networks.yaml", lambda data: data["networks"].clear())
    try:
        rackbox_deploy.apply_highstate(clean_rack.box, [host.name])
        reached = [name for name, way in WAYS.items() if way(clean_rack, host)]
        assert not reached and _script(host, 'ping -c 1 -W 2 "$1"', ONE)
    finally:
        clean_rack.restore_files()
        rackbox_deploy.apply_highstate(clean_rack.box, [host.name])


def test_the_highstate_brings_a_lost_table_back(rack: RealRack, host: Node) -> None:
    _boot_table(host)
    host.run(["nft", "delete", "table", "inet", "racksalt"], timeout_s=10)
    for test in (True, False):
        told = rackbox_deploy.apply_highstate(rack.box, [host.name], test=test)
        assert [key.split("_|-")[1] for key in told[host.name]] == ["hypervisor guest firewall"]
    assert rackbox_deploy.apply_highstate(rack.box, [host.name]) == {host.name: []}
    host.run(["nft", "list", "table", "inet", "racksalt"], timeout_s=10)
