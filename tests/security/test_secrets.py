"""S13: passwords, tokens, tickets, user-data and keys are searched for on every node after they were used in every way.

What a VM is started with may be in its own seed in the volumes of its host, and nowhere else in the open. Salt keeps
tokens of its own in a folder of root's (``/var/cache/salt/master/tokens``); those never leave the API, and are searched
for elsewhere.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from rackbox_lib.node import Node
from tests.on_rack import CREATE, CallRefused, RealRack, at_once, wait_for
from tests.security.hostile_host import HostileHost, Talk, hostile, talking

pytestmark = pytest.mark.promise("S13")

_TOKENS = "/var/cache/salt/master/tokens"
#: Written by the test, to see that the search finds what is there.
_CONTROL = "/var/log/racksalt-control"
#: What is searched: everything that a node writes, but for the images.
_SEARCH = """
grep -rlaF -D skip -f - /etc /home /root /run /srv /tmp /var --exclude-dir=images --exclude-dir=tokens 2> /dev/null
true
"""
_JOURNAL = 'needles=$(cat); journalctl -a --no-pager -o cat | grep -aF -f <(printf "%s\\n" "$needles"); true'
#: Found by their form: they live for seconds, in the memory of two processes.
_TICKET = r"\b[0-9]{10}\.[0-9a-f]{16}\.[0-9a-f]{64}\b"
_TICKETS = f"""
grep -rlaP -D skip '{_TICKET}' /etc /home /root /srv /tmp /var --exclude-dir=images 2> /dev/null
journalctl -a --no-pager -o cat | grep -aP '{_TICKET}'
true
"""
#: Every command line and environment that a node's processes have, until the end of its input.
_WATCH = """
import json, os, sys, threading, time
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
print(json.dumps({"ready": True}), flush=True)
seen = set()
while not ended.is_set():
    for process in os.listdir("/proc"):
        if process.isdigit() and process != str(os.getpid()):
            for part in ("cmdline", "environ"):
                try:
                    with open(f"/proc/{process}/{part}", "rb") as file:
                        seen.add(file.read().replace(b"\\0", b" ").decode("utf-8", "replace"))
                except OSError:
                    pass
    time.sleep(0.05)
print(json.dumps({"processes": sorted(seen)}), flush=True)
"""


@dataclass
class Used:
    """The secrets that were used, by what they are; and where they were looked for meanwhile."""

    needles: dict[str, str] = field(default_factory=dict)
    salt_tokens: list[str] = field(default_factory=list)
    processes: dict[str, list[str]] = field(default_factory=dict)
    heard: str = ""
    seeded: list[str] = field(default_factory=list)

    def marker(self, what: str) -> str:
        self.needles[what] = f"MARK{secrets.token_hex(12)}"
        return self.needles[what]

    def user_data(self, what: str) -> str:
        return f"#cloud-config\nruncmd:\n  - [echo, {self.marker(what)}]\n"

    def key(self, what: str) -> str:
        return f"ssh-ed25519 {'A' * 68} {self.marker(what)}"

    def forms(self) -> dict[str, str]:
        """Each secret as it is, and inside of base64 at each of the three places where it may begin there."""
        found = {}
        for what, secret in [*self.needles.items(), *((f"token {one[:4]} of Salt", one) for one in self.salt_tokens)]:
            found[secret] = what
            for shift in range(3):
                coded = base64.b64encode(b"x" * shift + secret.encode()).decode()
                found[coded[4:-4]] = f"{what}, in base64"
        return found


@pytest.fixture(scope="module")
def used(rack: RealRack) -> Iterator[Used]:
    """Every way that a secret takes, with a hostile host that listens and a watch on all processes."""
    used = Used()
    with contextlib.ExitStack() as running:
        watches = {
            node.name: running.enter_context(talking(node, ["python3", "-c", _WATCH])) for node in rack.box.nodes()
        }
        host = running.enter_context(hostile(rack.host("h3")))
        _log_in_and_out(rack, used)
        _create_over_the_api(rack, used)
        _create_on_the_shell(rack, used)
        _fail(rack, used)
        used.heard = _all_heard(host)
        used.salt_tokens = rack.master.run(["ls", _TOKENS], timeout_s=10).stdout.split()
    used.processes = {name: _processes(watch) for name, watch in watches.items()}
    yield used
    for name in used.seeded:
        rack.run("rack_vm.delete", f"acme/{name}")


def _all_heard(host: HostileHost) -> str:
    assert host.heard("rack_vm.create"), "it did listen"
    return json.dumps(host.heard())


def _processes(watch: Talk) -> list[str]:
    told: list[str] = next(line["processes"] for line in watch.said if "processes" in line)
    return told


def _log_in_and_out(rack: RealRack, used: Used) -> None:
    for role in ("ACME", "BETA", "READER", "OPERATOR"):
        used.needles[f"password of {role}"] = rack.env[f"{role}_PASSWORD"]
    for user in ("alice", "bob", "nobody-here"):
        wrong = rack.fresh_api(user, used.marker(f"wrong password of {user}"))
        with pytest.raises(CallRefused):
            wrong.login()
    guessed = rack.fresh_api()
    guessed.token = used.marker("guessed token")
    assert guessed.refusal("rack_vm.list").status == 401
    for role in ("ACME", "BETA"):
        login = rack.fresh_api(rack.env[f"{role}_USER"], rack.env[f"{role}_PASSWORD"]).login()
        assert login.call("rack_vm.list")["vms"] == []
        used.needles[f"token of {role}, logged out"] = str(login.token)
        assert login.post("/logout").status == 200
        used.needles[f"token of {role}"] = str(rack.api(role).token)
    used.needles["token of OPERATOR"] = str(rack.api("OPERATOR").token)


def _create_over_the_api(rack: RealRack, used: Used) -> None:
    acme = rack.api("ACME")
    for name in ("api", "api-later"):
        kwarg = {
            "name": name,
            "user_data": used.user_data(f"user-data, {name}"),
            "ssh_keys": [used.key(f"key, {name}")],
            "host": None,
            **CREATE,
        }
        kwarg.pop("host")
        client = "runner" if name == "api" else "runner_async"
        answer = acme.post("/", {"client": client, "fun": "rack_vm.create", "kwarg": kwarg})
        assert answer.status == 200 and answer.error is None, answer.text
        used.seeded.append(name)
    wait_for(lambda: acme.attempt("rack_vm.show", name="api-later") is None, "the second one is made", timeout_s=60)
    wait_for(lambda: rack.vm("acme/api-later")["state"] == "running", "it runs", timeout_s=60)


def _create_on_the_shell(rack: RealRack, used: Used) -> None:
    rack.master.write("/root/user-data", used.user_data("user-data, @FILE"), 0o600)
    words = {"image": "tiny", "flavor": "m1.tiny", "start": False}
    assert rack.run("rack_vm.create", "acme/file", user_data="@/root/user-data", **words).code == 0
    rack.master.run(["rm", "/root/user-data"], timeout_s=10)
    told = rack.master.run(
        ["salt-run", "rack_vm.create", "acme/stdin", "image=tiny", "flavor=m1.tiny", "user_data=-", "start=False"],
        timeout_s=100,
        input=used.user_data("user-data, standard input"),
    )
    assert told.returncode == 0
    used.seeded += ["file", "stdin"]


def _fail(rack: RealRack, used: Used) -> None:
    """What is refused at the edge, by the runner, and by the host."""
    acme = rack.api("ACME")
    wrong: list[dict[str, Any]] = [
        {"user_data": f"no cloud-config {used.marker('wrong user-data')}"},
        {"user_data": {"password": used.marker("user-data, no text")}},
        {"user_data": "#cloud-config\n" + used.marker("user-data, too long") * 4000},
        {"ssh_keys": [f"no key {used.marker('wrong key')}"]},
        {"ssh_keys": used.key("key, no list")},
        {"userdata": used.user_data("user-data, misspelt")},
        {"ssh_keys": [used.key("key, no flavor")], "user_data": used.user_data("user-data, no flavor"), "flavor": "no"},
    ]
    for kwarg in wrong:
        assert acme.refusal("rack_vm.create", **{"name": "refused", **CREATE, **kwarg}).status in (400, 404, 422)
    assert acme.refusal("rack_vm.list", user_data=used.user_data("user-data, of a list")).status == 400
    assert acme.refusal("rack_vm.nosuch", user_data=used.user_data("user-data, of nothing")).status == 403
    acme.request(
        "POST", "/", data='{"broken": "' + used.marker("broken body"), headers={"Content-Type": "application/json"}
    )
    _fail_on_the_host(rack, used)


def _fail_on_the_host(rack: RealRack, used: Used) -> None:
    """No host can write a disk, though there is room: the create fails where its secrets are open already."""
    folder = "/var/lib/racksalt/volumes"
    try:
        for host in rack.hosts:
            host.run(["mount", "-t", "tmpfs", "-o", "size=60g,ro", "full", folder], timeout_s=10)
        secret = {"user_data": used.user_data("user-data, failed"), "ssh_keys": [used.key("key, failed")]}
        assert rack.api("ACME").refusal("rack_vm.create", name="failed", **secret, **CREATE).status == 503
    finally:
        for host in rack.hosts:
            host.run(["umount", folder], timeout_s=10, check=False)


def _search(node: Node, script: str, forms: dict[str, str]) -> list[str]:
    """The needles go in by standard input: nothing of the search is in a process list, or on a disk."""
    done = node.run(["bash", "-c", script], timeout_s=300, input="\n".join(forms) + "\n", check=False)
    return done.stdout.splitlines()


def _named(text: str, forms: dict[str, str]) -> list[str]:
    return [what for form, what in forms.items() if form in text]


def test_nothing_of_it_is_on_any_disk(rack: RealRack, used: Used) -> None:
    forms = used.forms()
    control = next(iter(forms))
    for node in rack.box.nodes():
        node.write(_CONTROL, f"x{control}\n", 0o600)
    found = at_once([lambda node=node: _search(node, _SEARCH, forms) for node in rack.box.nodes()], threads=4)
    for node in rack.box.nodes():
        node.run(["rm", _CONTROL], timeout_s=10)
    seeds = 0
    leaks = []
    for node, paths in zip(rack.box.nodes(), found, strict=True):
        assert _CONTROL in paths, f"the search on {node.name} finds what is there"
        for path in set(paths) - {_CONTROL}:
            is_seed = re.fullmatch(r"/var/lib/racksalt/volumes/acme/[0-9a-f-]{36}-seed\.iso", path)
            seeds += bool(is_seed)
            leaks += [] if is_seed else [(node.name, path, _inside(node, path, forms))]
    assert leaks == []
    assert seeds == len(used.seeded), "each VM has its own seed, with what it was given"


def _inside(node: Node, path: str, forms: dict[str, str]) -> list[str]:
    script = f"needles=$(cat); grep -aoF -f <(printf '%s\\n' \"$needles\") '{path}' | sort -u; true"
    return sorted({forms.get(text, text) for text in _search(node, script, forms)})


def test_nothing_of_it_is_in_a_journal(rack: RealRack, used: Used) -> None:
    forms = used.forms()
    told = {node.name: _search(node, _JOURNAL, forms) for node in rack.box.nodes()}
    assert {name: [_named(line, forms) for line in lines] for name, lines in told.items() if lines} == {}


def test_no_ticket_is_anywhere(rack: RealRack, used: Used) -> None:
    assert {node.name: _search(node, _TICKETS, {}) for node in rack.box.nodes()} == {
        n.name: [] for n in rack.box.nodes()
    }
    texts = [used.heard, *(text for texts in used.processes.values() for text in texts)]
    assert not any(re.search(_TICKET, text) for text in texts)


def test_no_process_shows_it(used: Used) -> None:
    forms = used.forms()
    assert all(any("salt" in text for text in texts) for texts in used.processes.values()), "processes were seen"
    shown = {name: [_named(text, forms) for text in texts] for name, texts in used.processes.items()}
    assert {name: [one for one in found if one] for name, found in shown.items() if any(found)} == {}


def test_a_host_that_listens_hears_none_of_it(used: Used) -> None:
    assert '"sealed": "' in used.heard, "the secrets of the creates went by"
    assert _named(used.heard, used.forms()) == []


def test_the_audit_names_the_calls_and_not_what_they_held(rack: RealRack, used: Used) -> None:
    told = rack.api("OPERATOR").call("rack_audit.list", user="alice", limit=1000)["lines"]
    assert any(line.get("fun") == "rack_vm.create" and line.get("object") == "api" for line in told)
    assert _named(json.dumps(told), used.forms()) == []


def test_salts_own_tokens_are_for_root_alone(rack: RealRack, used: Used) -> None:
    """A token of Salt's is worth a login at the master's port; the API's own are kept as hashes, in memory."""
    assert used.salt_tokens
    modes = rack.master.run(["find", _TOKENS, "-perm", "/077", "-type", "f"], timeout_s=10).stdout
    assert modes == ""
