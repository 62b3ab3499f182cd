"""S15: who has a certificate of the rack reaches no other host's libvirt or QEMU by it, but in a migration's window.

Migrations go from h1 to h2 here. h3 is a host like them, and none of this is its business. A window is the one that
the destination itself opens, by the code that it has from the highstate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from rackbox_lib.node import Node
from tests.on_rack import RealRack, rackbox_deploy, wait_for

pytestmark = pytest.mark.promise("S15")

TLS_PORT, FIRST, LAST = 16514, 49152, 49215

_PORT = """
import sys, time
sys.path.insert(0, "/var/cache/salt/minion/extmods/utils")
from racksalt.adapters.nft import NftMigrationPort
from racksalt.adapters.system import SystemClock
port, verb, source = NftMigrationPort(SystemClock()), *sys.argv[1:3]
port.open(source, time.time() + float(sys.argv[3])) if verb == "open" else port.close(source)
"""
_LISTEN = """
import socket, sys, threading
for port in map(int, sys.argv[1:]):
    heard = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    threading.Thread(target=lambda heard=heard: [heard.accept()[0].sendall(b"in") for _ in iter(int, 1)]).start()
"""
#: Connected before the deadline, and asked something when others are refused.
_LASTS = """
import libvirt, time
there = libvirt.open("qemu+tls://h2/system")
for _ in range(200):
    try:
        libvirt.open("qemu+tls://h2/system").close()
    except libvirt.libvirtError as error:
        print("then", error)
        print("still", there.getHostname())
        break
    time.sleep(0.2)
"""
#: A client that shows no certificate, or one that libvirt's authority did not make.
_STRANGERS = {
    "without a certificate": "cp /etc/pki/CA/cacert.pem $1/",
    "with a guest's QEMU's certificate": "cp /etc/pki/CA/cacert.pem $1/; "
    "cp /etc/pki/qemu/client-cert.pem $1/clientcert.pem; cp /etc/pki/qemu/client-key.pem $1/clientkey.pem",
    "with one of its own making": "cp /etc/pki/CA/cacert.pem $1/; openssl req -x509 -newkey ec -nodes -subj /CN=h1 "
    "-pkeyopt ec_paramgen_curve:P-256 -keyout $1/clientkey.pem -out $1/clientcert.pem",
}


@pytest.fixture
def closed(rack: RealRack) -> Iterator[None]:
    """h2 lets nobody in, before and after."""
    for name in ("h1", "h3"):
        close(rack, name)
    yield
    for name in ("h1", "h3"):
        close(rack, name)


def open_for(rack: RealRack, source: str, seconds: float) -> None:
    _port(rack.host("h2"), "open", source, str(seconds))


def close(rack: RealRack, source: str) -> None:
    _port(rack.host("h2"), "close", source)


def _port(host: Node, *words: str) -> None:
    host.run(["/opt/racksalt/bin/python3", "-c", _PORT, *words], timeout_s=30)


def refusal(host: Node, where: str = "h2", options: str = "") -> str | None:
    """Why this host's libvirt does not get to another's; ``None`` where it does."""
    words = ["timeout", "20", "virsh", "-c", f"qemu+tls://{where}/system{options}", "hostname"]
    done = host.run(words, timeout_s=30, check=False)
    return None if done.returncode == 0 else done.stderr


def reached(host: Node, address: str, port: int) -> bool:
    script = 'timeout 5 bash -c "exec 3<>/dev/tcp/$1/$2"'
    return host.run(["bash", "-c", script, "bash", address, str(port)], timeout_s=10, check=False).returncode == 0


@pytest.fixture(scope="module")
def ears(rack: RealRack) -> Iterator[tuple[int, ...]]:
    """Something that listens on h2 as a QEMU would, and on the ports beside."""
    ports = (FIRST - 1, FIRST, FIRST + 30, LAST, LAST + 1)
    host, unit = rack.host("h2"), "rack-test-ears"
    words = ["systemd-run", "--collect", f"--unit={unit}", "python3", "-c", _LISTEN, *map(str, ports)]
    host.run(words, timeout_s=10)
    wait_for(lambda: reached(host, "::1", LAST + 1), "they listen", timeout_s=10)
    yield ports
    host.run(["systemctl", "stop", unit], timeout_s=30, check=False)


def test_without_a_window_a_certificate_opens_nothing(rack: RealRack, closed: None) -> None:
    for name in ("h1", "h3"):
        assert "refused" in (refusal(rack.host(name)) or "")
    assert not reached(rack.master, "h2", TLS_PORT)


def test_a_window_is_for_its_source_only(rack: RealRack, closed: None) -> None:
    open_for(rack, "h1", 60)
    assert refusal(rack.host("h1")) is None
    assert "refused" in (refusal(rack.host("h3")) or ""), "a third host, with a good certificate"
    assert "refused" in (refusal(rack.host("h1"), "h3") or ""), "nor is the third host open"
    close(rack, "h1")
    assert "refused" in (refusal(rack.host("h1")) or "")


def test_after_the_deadline_the_source_is_refused_and_what_goes_on_goes_on(rack: RealRack, closed: None) -> None:
    open_for(rack, "h1", 15)
    told = rack.host("h1").run(["timeout", "60", "python3", "-c", _LASTS], timeout_s=70).stdout
    assert "refused" in told and told.endswith("still h2\n")


def test_the_ports_of_qemu_are_closed_like_libvirts(rack: RealRack, closed: None, ears: tuple[int, ...]) -> None:
    before, *inside, after = ears
    open_for(rack, "h1", 60)
    for port in inside:
        assert reached(rack.host("h1"), "h2", port) and not reached(rack.host("h3"), "h2", port), port
    for port in (before, after):
        assert reached(rack.host("h3"), "h2", port), f"{port} is none of QEMU's"
    close(rack, "h1")
    assert not [port for port in inside if reached(rack.host("h1"), "h2", port)]


@pytest.fixture
def ipv6(rack: RealRack) -> Iterator[Callable[[str], str]]:
    """An IPv6 address for each host; the rackbox gives none."""
    script = "ip -6 address $1 $2/64 dev host0 $3"
    addresses = {host.name: f"fd00:77::{host.name[1:]}" for host in rack.hosts}
    for name, address in addresses.items():
        rack.host(name).run(["bash", "-c", script, "bash", "add", address, "nodad"], timeout_s=10)
    yield addresses.__getitem__
    for name, address in addresses.items():
        rack.host(name).run(["bash", "-c", script, "bash", "del", address, ""], timeout_s=10)


def test_ipv6_is_closed_too(rack: RealRack, closed: None, ears: tuple[int, ...], ipv6: Callable[[str], str]) -> None:
    assert reached(rack.host("h3"), ipv6("h2"), ears[-1]), "what is not closed is reached"
    open_for(rack, ipv6("h1"), 60)
    for port in (TLS_PORT, FIRST):
        assert reached(rack.host("h1"), ipv6("h2"), port) and not reached(rack.host("h3"), ipv6("h2"), port)
    close(rack, ipv6("h1"))
    assert not reached(rack.host("h1"), ipv6("h2"), TLS_PORT)


@pytest.mark.parametrize("stranger", _STRANGERS)
def test_in_the_window_a_certificate_of_libvirts_authority_is_needed(
    rack: RealRack, closed: None, stranger: str
) -> None:
    """Also of the host that the window is for: who broke out of a guest there has QEMU's key at most."""
    source, folder = rack.host("h1"), "/tmp/rack-test-pki"
    open_for(rack, "h1", 60)
    source.run(["bash", "-c", f"mkdir -p $1; {_STRANGERS[stranger]}", "bash", folder], timeout_s=20)
    try:
        why = refusal(source, options=f"?pkipath={folder}")
    finally:
        source.run(["rm", "-rf", folder], timeout_s=10)
    assert why is not None and "refused" not in why, "the firewall lets it in here, so it says nothing"
    assert refusal(source) is None, "with its own it is let in"


def test_a_key_of_libvirt_is_for_root_and_qemus_for_qemu(rack: RealRack) -> None:
    for path, readers in (
        ("/etc/pki/libvirt/private/serverkey.pem", "root root 600"),
        ("/etc/pki/libvirt/private/clientkey.pem", "root root 600"),
        ("/etc/pki/qemu/server-key.pem", "root libvirt-qemu 640"),
        ("/etc/pki/qemu/client-key.pem", "root libvirt-qemu 640"),
    ):
        for host in rack.hosts:
            assert host.run(["stat", "-c", "%U %G %a", path], timeout_s=10).stdout.strip() == readers


def test_no_host_gets_another_ones_key(rack: RealRack) -> None:
    keys = [key for host in rack.hosts for key in _keys(rack, host.name)]
    assert len(keys) == len(set(keys)) == 2 * len(rack.hosts)
    assert not _keys(rack, "master") and not _keys(rack, "h9")


def _keys(rack: RealRack, name: str) -> list[str]:
    told = rack.run("pillar.show_pillar", name).data["racksalt"]
    return [pair["key"] for pair in told.get("migration", {}).get("tls", {}).values()]


def test_a_window_outlasts_what_loads_the_table_again(rack: RealRack, closed: None) -> None:
    """A restart of its unit, and a highstate that finds it missing in the file."""
    host = rack.host("h2")
    open_for(rack, "h1", 60)
    host.run(["systemctl", "restart", "racksalt-guests.service"], timeout_s=30)
    assert refusal(rack.host("h1")) is None and refusal(rack.host("h3"))
    host.run(["sh", "-c", "echo >> /etc/racksalt/moves.nft"], timeout_s=10)
    told = rack.shell(["salt-call", "--out=json", "rack_net.migration_port"], node=host).data["local"]
    assert set(told["changes"]) == {"rules"}
    assert refusal(rack.host("h1")) is None and refusal(rack.host("h3"))


def test_the_highstate_brings_a_lost_table_back(rack: RealRack, closed: None) -> None:
    host = rack.host("h2")
    host.run(["nft", "delete", "table", "inet", "racksalt_moves"], timeout_s=10)
    assert refusal(rack.host("h3")) is None, "only the table is in the way"
    told = rackbox_deploy.apply_highstate(rack.box, [host.name])
    assert [key.split("_|-")[1] for key in told[host.name]] == ["hypervisor migration ports closed"]
    assert "refused" in (refusal(rack.host("h3")) or "")


def test_after_a_boot_it_is_closed_before_it_is_open(rack: RealRack, closed: None) -> None:
    """The socket waits for the table, and is not there without it."""
    host = rack.host("h2")
    host.restart()
    host.wait_ready()
    active = ["systemctl", "is-active", "libvirtd-tls.socket", "racksalt-guests.service"]
    wait_for(
        lambda: host.run(active, timeout_s=10, check=False).stdout.split() == ["active"] * 2,
        "both are up",
        timeout_s=60,
    )
    assert "refused" in (refusal(rack.host("h3")) or "")
    script = (
        "mv /etc/racksalt/moves.nft /etc/racksalt/moves.gone; nft delete table inet racksalt_moves; "
        "systemctl stop racksalt-guests libvirtd.service libvirtd-tls.socket; systemctl start libvirtd-tls.socket"
    )
    assert host.run(["sh", "-c", script], timeout_s=60, check=False).returncode != 0
    host.run(["mv", "/etc/racksalt/moves.gone", "/etc/racksalt/moves.nft"], timeout_s=10)
    # What asks libvirt all the time has started it by its other socket; a socket does not open while its service runs.
    host.run(["virsh", "list"], timeout_s=30)
    rackbox_deploy.apply_highstate(rack.box, [host.name])
    host.run(active, timeout_s=10)
    assert "refused" in (refusal(rack.host("h3")) or "")
    rack.await_hosts(["h1", "h2", "h3"])
