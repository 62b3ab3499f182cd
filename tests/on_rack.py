"""A rackbox as tests see it: its API over HTTPS, its shell, its hosts, and a way back to an empty rack."""

from __future__ import annotations

import json
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import requests
import yaml

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path[:0] = [path for path in (str(CHECKOUT), str(CHECKOUT / "rackbox")) if path not in sys.path]

import deploy as rackbox_deploy  # noqa: E402  # found once rackbox/ is on the path
from rackbox_lib.node import Node  # noqa: E402
from rackbox_lib.rack import Rack  # noqa: E402

T = TypeVar("T")

RACK_FILES = "/etc/racksalt/rack"
HTPASSWD = "/etc/racksalt/htpasswd"
VOLUMES = "/var/lib/racksalt/volumes"
CLAIMS = "/var/lib/racksalt/claims"
#: A tiny guest's userspace is up in seconds by itself; ten at once on two cores take longer.
GUEST_UP_S = 90.0
CREATE = {"flavor": "m1.tiny", "image": "tiny"}


def wait_for(reached: Callable[[], T], what: str, *, timeout_s: float, pause_s: float = 0.2) -> T:
    """The first truthy value of ``reached``; fails with ``what`` after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while not (value := reached()):
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(pause_s)
    return value


def at_once(calls: Iterable[Callable[[], T]], *, threads: int = 16) -> list[T]:
    """The results of calls that run side by side."""
    with ThreadPoolExecutor(threads) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


class CallRefused(Exception):
    """The API said no: HTTP status, stable code, and the whole error."""

    def __init__(self, status: int, error: Mapping[str, Any]) -> None:
        super().__init__(f"{status} {error}")
        self.status = status
        self.code = error.get("code")
        self.error = error


@dataclass(frozen=True)
class Answer:
    """One HTTP answer: the status, and the body as JSON (``None`` where it is none)."""

    status: int
    body: Any
    text: str
    headers: Mapping[str, str]

    @property
    def error(self) -> Mapping[str, Any] | None:
        """The first error in it: of a call, or the whole body as a problem document."""
        if not isinstance(self.body, dict):
            return None
        returned = self.body.get("return")
        for item in returned if isinstance(returned, list) else []:
            if isinstance(item, dict) and isinstance(item.get("error"), dict):
                return dict(item["error"])
        return self.body if "code" in self.body else None


@dataclass
class Api:
    """The tenants' API for one login, or for nobody."""

    url: str
    ca: str
    user: str = ""
    password: str = field(default="", repr=False)
    token: str | None = field(default=None, repr=False)

    def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        """POST JSON (or ``data=`` a form) with this login's token, unless ``token=`` says another one or ``None``."""
        return self.request("POST", path, json=body, **options)

    def request(self, method: str, path: str, **options: Any) -> Answer:
        """Any request; bounded in time, and past no proxy."""
        token = options.pop("token", self.token)
        headers = {**({"X-Auth-Token": token} if token else {}), **options.pop("headers", {})}
        if options.get("json") is None:
            options.pop("json", None)
        with requests.Session() as session:
            session.trust_env = False
            done = session.request(
                method,
                self.url + path,
                headers=headers,
                verify=self.ca,
                timeout=(10, 200),
                allow_redirects=False,
                **options,
            )
        try:
            parsed = done.json()
        except ValueError:
            parsed = None
        return Answer(done.status_code, parsed, done.text, dict(done.headers))

    def login(self) -> Api:
        """Log in; the token is kept."""
        answer = self.post("/login", {"username": self.user, "password": self.password, "eauth": "rack"}, token=None)
        if answer.status != 200:
            raise CallRefused(answer.status, answer.error or {})
        self.token = answer.body["return"][0]["token"]
        return self

    def call(self, fun: str, **kwarg: Any) -> Any:
        """One runner call; raises :class:`CallRefused` on any error."""
        answer = self.post("/", {"client": "runner", "fun": fun, "kwarg": kwarg})
        if answer.status != 200 or answer.error is not None:
            raise CallRefused(answer.status, answer.error or {"detail": answer.text[:500]})
        return answer.body["return"][0]

    def start(self, fun: str, **kwarg: Any) -> str:
        """One runner call that is not waited for; the job's id."""
        answer = self.post("/", {"client": "runner_async", "fun": fun, "kwarg": kwarg})
        if answer.status != 200 or answer.error is not None:
            raise CallRefused(answer.status, answer.error or {"detail": answer.text[:500]})
        return str(answer.body["return"][0]["jid"])

    def end_of(self, job: str, *, timeout_s: float = 60) -> dict[str, Any]:
        """What ``rack_job.show`` tells of a job once it has ended."""

        def ended() -> dict[str, Any] | None:
            told: dict[str, Any] = self.call("rack_job.show", job=job)
            return None if told["state"] == "running" else told

        return wait_for(ended, f"job {job} ends", timeout_s=timeout_s, pause_s=1)

    def attempt(self, fun: str, **kwarg: Any) -> CallRefused | None:
        """One runner call that may be refused: the refusal, or ``None`` when it was done."""
        try:
            self.call(fun, **kwarg)
        except CallRefused as refused:
            return refused
        return None

    def refusal(self, fun: str, **kwarg: Any) -> CallRefused:
        """The refusal of a call that has to be refused."""
        refused = self.attempt(fun, **kwarg)
        assert refused is not None, f"{fun} {kwarg} of {self.user or 'nobody'} was not refused"
        return refused


@dataclass(frozen=True)
class Ran:
    """What a command of the master's shell said."""

    code: int
    data: Any
    stdout: str
    stderr: str

    @property
    def error(self) -> Mapping[str, Any] | None:
        """The error that a runner told."""
        error = self.data.get("error") if isinstance(self.data, dict) else None
        return error if isinstance(error, dict) else None


#: What Salt's daemons say whatever happens.
_NOISE = re.compile(r"asyncio|^task: <Task|Task was destroyed|unclosed (Runner|Master|Local)")

_SNAPSHOT = """
for uuid in $(virsh list --all --uuid); do
    echo "domain $uuid $(virsh domstate "$uuid" | head -n 1)" \
         "$(virsh dumpxml --inactive --security-info "$uuid" | sha256sum | cut -c 1-16)"
done
find /var/lib/racksalt/volumes -mindepth 1 ! -type d -printf 'volume %P %m\\n'
grep -r . /var/lib/racksalt/leases | sed 's/^/lease /'
virsh net-dumpxml nat | sed -n 's/^ *<host /lease /p'
"""

_WIPE = """
for uuid in $(virsh list --all --uuid); do
    virsh destroy "$uuid"
    virsh undefine --managed-save --nvram "$uuid"
done
while umount /var/lib/racksalt/volumes; do :; done
virsh net-start nat
for file in /var/lib/racksalt/leases/nat/*; do
    IFS=, read -r mac address < "$file" && dhcp_release rs-nat "$address" "$mac"
done
rm -f /var/lib/racksalt/leases/nat/*
find /var/lib/racksalt/volumes -mindepth 1 -delete
pkill -HUP -F /run/libvirt/network/nat.pid
"""


@dataclass
class RealRack:
    """A deployed rackbox with the logins of its users."""

    box: Rack
    env: dict[str, str] = field(repr=False)
    kept_files: dict[str, str] = field(default_factory=dict, repr=False)
    _logins: dict[str, Api] = field(default_factory=dict, repr=False)

    @property
    def master(self) -> Node:
        return self.box.master

    @property
    def hosts(self) -> list[Node]:
        return self.box.hosts()

    def host(self, name: str) -> Node:
        return self.box.node(name)

    def api(self, role: str = "ACME") -> Api:
        """The API logged in as the user of a role: ACME alice, BETA bob, READER carol, OPERATOR olivia."""
        if role not in self._logins:
            login = self.fresh_api(self.env[f"{role}_USER"], self.env[f"{role}_PASSWORD"])
            self._logins[role] = _patiently(login.login)
        return self._logins[role]

    def fresh_api(self, user: str = "", password: str = "") -> Api:
        """The API for another login, not logged in yet."""
        return Api(self.env["RACK_URL"], self.env["RACK_CA"], user, password)

    def run(self, fun: str, *positional: str, timeout_s: float = 200, **kwarg: Any) -> Ran:
        """``salt-run FUN … --out=json`` on the master's shell, as root."""
        words = [*positional, *(f"{key}={_word(value)}" for key, value in kwarg.items())]
        return self.shell(["salt-run", "--out=json", "--no-color", fun, *words], timeout_s=timeout_s)

    def shell(self, words: list[str], *, timeout_s: float = 200, node: Node | None = None) -> Ran:
        """A command whose output is JSON, on the master or another node."""
        done = (node or self.master).run(words, timeout_s=timeout_s, check=False)
        return Ran(done.returncode, _json_in(done.stdout), done.stdout, done.stderr)

    def vm(self, title: str) -> dict[str, Any]:
        """A VM as the operator sees it."""
        told: dict[str, Any] = self.api("OPERATOR").call("rack_vm.show", name=title)
        return told

    def host_of(self, title: str) -> Node:
        """The host that a VM is on."""
        return self.host(self.vm(title)["host"])

    def guest(self, title: str) -> dict[str, Any]:
        """What the tiny guest answers over HTTP, asked from its own host, as soon as it does."""
        shown = self.vm(title)
        return self.guest_at(shown["addresses"][0], self.host(shown["host"]))

    def guest_at(self, address: str, host: Node) -> dict[str, Any]:
        """What the tiny guest at an address answers, as soon as it does."""

        def ask() -> Any:
            done = host.run(["curl", "-s", "-m", "3", f"http://{address}/cgi-bin/index.cgi"], timeout_s=10, check=False)
            return _json_in(done.stdout)

        told: dict[str, Any] = wait_for(ask, f"guest at {address} answers", timeout_s=GUEST_UP_S, pause_s=0.5)
        return told

    def snapshot(self) -> dict[str, list[str]]:
        """All that a call could change: domains with states and definitions, disks, leases, claims, rack files."""
        told = {host.name: self._lines(host, _SNAPSHOT) for host in self.hosts if host.state() == "running"}
        files = f"sha256sum {RACK_FILES}/* {HTPASSWD} /etc/salt/master.d/*; ls {CLAIMS}"
        return {**told, "master": self._lines(self.master, files)}

    def traces(self, *needles: str) -> list[str]:
        """What still names one of ``needles`` (a UUID, a MAC, an address) on any host, or in a claim."""
        script = _SNAPSHOT + "virsh net-dumpxml --inactive nat; cat /var/lib/libvirt/dnsmasq/rs-nat.*"
        found = {host.name: self._lines(host, script) for host in self.hosts if host.state() == "running"}
        claims = f"for c in {CLAIMS}/*.json; do [ -e $c ] && grep -L '\"settled_at\": [0-9]' $c | xargs -r cat; done"
        found["claim"] = self._lines(self.master, claims)
        pattern = re.compile("|".join(re.escape(needle) for needle in needles))
        return [f"{name}: {line}" for name, lines in found.items() for line in lines if pattern.search(line)]

    def edit(self, file: str, change: Callable[[str], str]) -> str:
        """Change one of the rack's files as an editor would; the new text."""
        path = file if file.startswith("/") else f"{RACK_FILES}/{file}"
        text = change(self.master.read(path))
        self.master.write(path, text, 0o600)
        return text

    def edit_yaml(self, file: str, change: Callable[[dict[str, Any]], object]) -> None:
        """Change one of the rack's files as data; its comments go."""

        def edited(text: str) -> str:
            data = yaml.safe_load(text)
            change(data)
            return str(yaml.safe_dump(data, sort_keys=False))

        self.edit(file, edited)

    def set_password(self, user: str, password: str | None) -> None:
        """Write a user into the password file, or take it out."""
        script = (
            "import sys; from passlib.apache import HtpasswdFile as F; u, p = sys.stdin.read().split(chr(10))[:2]\n"
            "f = F(sys.argv[1], default_scheme='bcrypt'); f.set_password(u, p) if p else f.delete(u); f.save()\n"
        )
        python = "/opt/racksalt-master/bin/python3"
        self.master.run([python, "-c", script, HTPASSWD], timeout_s=30, input=f"{user}\n{password or ''}\n")

    def clean(self) -> None:
        """All nodes up, no VM left, the rack's files as they were first."""
        self.revive()
        at_once([lambda host=host: host.run(["sh", "-c", _WIPE], timeout_s=90, check=False) for host in self.hosts])
        self.master.run(["sh", "-c", f"rm -f {CLAIMS}/*.json"], timeout_s=10)
        self.restore_files()

    def keep_files(self) -> None:
        """Remember the rack's files, for :meth:`restore_files`."""
        self.kept_files = self._files()

    def restore_files(self) -> None:
        """The rack's files as remembered."""
        now = self._files()
        for path in set(now) - set(self.kept_files):
            self.master.run(["rm", "-f", path], timeout_s=10)
        for path, text in self.kept_files.items():
            if now.get(path) != text:
                self.master.write(path, text, 0o600)

    def revive(self) -> None:
        """Boot, thaw and plug in what a test left otherwise, and wait until it answers."""
        broken = [node for node in self.box.nodes() if node.state() != "running"]
        for node in broken:
            node.thaw() if node.state() == "frozen" else node.heal()
            node.boot()
        for node in broken:
            node.wait_ready()
        self.master.run(["systemctl", "start", "salt-master", "salt-api"], timeout_s=60)
        if broken:
            self.await_hosts([node.name for node in self.hosts])

    def await_hosts(self, names: list[str], *, timeout_s: float = 120) -> None:
        """Wait until the rack says that these hosts answer."""

        def answering() -> bool:
            lines = (self.run("rack_host.list").data or {}).get("hosts", [])
            return {line["name"] for line in lines if line["answers"]} >= set(names)

        wait_for(answering, f"{', '.join(names)} answer", timeout_s=timeout_s, pause_s=1)

    def log_tails(self) -> list[tuple[str, str]]:
        """The end of each daemon's log, for the report of a failed test."""
        tails = [
            ("master", "journalctl --no-pager -o cat -n 40 -u salt-master -u salt-api; tail -n 60 /var/log/salt/*")
        ]
        tails += [(host.name, "tail -n 80 /var/log/salt/minion") for host in self.hosts]
        return [(name, self._tail(name, script)) for name, script in tails]

    def _tail(self, name: str, script: str) -> str:
        node = self.host(name)
        if node.state() not in ("running", "cut"):
            return f"{node.state()}"
        done = node.run(["bash", "-c", script], timeout_s=10, check=False)
        lines = [line for line in (done.stdout + done.stderr).splitlines() if not _NOISE.search(line)]
        return "\n".join(lines)[-4000:]

    def _files(self) -> dict[str, str]:
        listed = self._lines(self.master, f"ls {RACK_FILES}/*.yaml {HTPASSWD}")
        return {path: self.master.read(path) for path in listed}

    @staticmethod
    def _lines(node: Node, script: str) -> list[str]:
        done = node.run(["bash", "-c", script], timeout_s=60, check=False)
        return sorted(line.strip() for line in done.stdout.splitlines() if line.strip())


def bring_up(name: str, *, hosts: int, reuse: bool) -> RealRack:
    """A deployed rack of that name: a fresh one, unless ``reuse`` finds it up."""
    box = Rack(name)
    if not (reuse and rackbox_deploy.env_path(box).exists()):
        if box.state_dir.exists():
            box.down()
        box.up(hosts)
    else:
        box.up(hosts)
    rackbox_deploy.deploy(box)
    lines = rackbox_deploy.env_path(box).read_text().splitlines()
    return RealRack(box, dict(line.removeprefix("export ").split("=", 1) for line in lines))


def _patiently(login: Callable[[], Api]) -> Api:
    """A login that waits once, where guesses of other tests from this address slow it down."""
    try:
        return login()
    except CallRefused as refused:
        if refused.code != "login_throttled":
            raise
        time.sleep(refused.error["retry_after_s"])
        return login()


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _json_in(text: str) -> Any:
    """The JSON that a program printed, also after lines that are none."""
    for match in re.finditer(r"^\s*[\[{\"]", text, re.MULTILINE):
        try:
            return json.JSONDecoder().raw_decode(text[match.start() :].lstrip())[0]
        except ValueError:
            continue
    return None


def quoted(words: Iterable[str]) -> str:
    """Words as one line of shell."""
    return shlex.join(words)
