"""Racksalt on the booted nodes of a rack, as on real hosts: files, keys, highstate. A second run changes nothing."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import sys
import time
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]

from rackbox.guests import build as guests

from rackbox_lib.at_once import at_once
from rackbox_lib.errors import RackboxError
from rackbox_lib.node import Node
from rackbox_lib.rack import Rack

#: What the master serves to hosts or reads itself; the wheel brings the rest.
_SERVED = ("_engines", "_grains", "_modules", "_states", "_utils", "api-config", "states")
_SRV = "/srv/racksalt"
_STAMP = "/var/lib/rackbox-deployed"
_MINION_CONF = "/etc/salt/minion.d/racksalt.conf"
_MINION = "# Enrolled in this rack.\nmaster: salt\n"
#: Files of a host's minion that the highstate writes, and would restart it for.
_MINION_FILES = {
    "minion.conf": "/etc/salt/minion.d/racksalt-host.conf",
    "minion-priority.conf": "/etc/systemd/system/salt-minion.service.d/racksalt.conf",
}
_PASSWORDS = "/etc/racksalt/htpasswd"
_USERS = {"ACME": "alice", "BETA": "bob", "READER": "carol", "OPERATOR": "olivia"}


def deploy(rack: Rack) -> None:
    """Bring Racksalt onto every node of the rack that does not have today's."""
    _place_images(rack)
    rack.install_wheel()
    wanted = _digest(rack)
    stale = [node for node in rack.nodes() if node.state() == "running" and _stamp(node) != wanted]
    if not stale:
        rack.progress.say(f"rack {rack.name}: deployed already")
        return
    passwords = _passwords(rack)
    if any(node.name == rack.master.name for node in stale):
        _place_files(rack)
        rack.progress.say("master: applying its highstate")
        _apply_master(rack, passwords)
    _enrol(rack, [node for node in stale if not _exists(node, _MINION_CONF)])
    _bring_code(rack, stale)
    rack.progress.say("all nodes: applying the highstate")
    apply_highstate(rack, [node.name for node in stale])
    for node in stale:
        node.write(_STAMP, wanted)
    write_env(rack, passwords)
    rack.progress.say(f"rack {rack.name}: deployed")


def apply_highstate(rack: Rack, names: list[str], *, test: bool = False) -> dict[str, Any]:
    """`state.apply` on these nodes; raises where a state failed. Returns each node's states that changed."""
    words = ["salt", "--static", "--out=json", "-t", "300", "-L", ",".join(names), "state.apply"]
    done = rack.master.run(words + (["test=True"] if test else []), timeout_s=400, check=False)
    told = json.loads(done.stdout[done.stdout.index("{") :]) if "{" in done.stdout else {}
    changed = {}
    for name in names:
        states = told.get(name)
        if not isinstance(states, dict):
            raise RackboxError(f"{name}: the highstate gave no result: {states or done.stderr[-300:]}")
        failed = [f"{key}: {state['comment']}" for key, state in states.items() if state["result"] is False]
        if failed:
            raise RackboxError(f"{name}: the highstate failed: {'; '.join(failed)[:1000]}")
        changed[name] = [key for key, state in states.items() if state["changes"]]
    return changed


def write_env(rack: Rack, passwords: dict[str, str]) -> Path:
    """What a shell needs to talk to this rack, in a file that only its owner reads."""
    lines = [
        f"RACK_URL=https://{rack.master.address}:8000",
        f"RACK_CA={rack.state_dir}/api.crt",
    ]
    for role, user in _USERS.items():
        lines += [f"{role}_USER={user}", f"{role}_PASSWORD={passwords[user]}"]
    (rack.state_dir / "api.crt").write_text(rack.master.read("/etc/racksalt/tls/api.crt"))
    path = env_path(rack)
    part = path.with_name(f".{path.name}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write("".join(f"export {line}\n" for line in lines))
    part.replace(path)
    return path


def env_path(rack: Rack) -> Path:
    """`.rackbox/env` for the demo's rack, `.rackbox/NAME/env` for the others."""
    folder = rack.state_dir.parent if rack.name == "demo" else rack.state_dir
    return folder / "env"


def _place_images(rack: Rack) -> None:
    """The image store, by checksum, with manifests; files are linked from the machine-wide cache."""
    rack.images_dir.mkdir(parents=True, exist_ok=True)
    images: dict[str, Any] = {"tiny": _stored_kernel(rack, guests.build_tiny(_cache()))}
    if debian := _debian_if_built(rack):
        images["debian-12"] = debian
    (rack.state_dir / "images.json").write_text(json.dumps(images, indent=2))


def add_debian(rack: Rack) -> None:
    """Build the Debian image and let this rack know it; the next deployment writes it into images.yaml."""
    built = guests.build_debian(_cache())
    (rack.state_dir / "debian-12.json").write_text(json.dumps(built, default=str))
    _place_images(rack)
    _write_rack_files(rack)


def _debian_if_built(rack: Rack) -> dict[str, Any] | None:
    path = rack.state_dir / "debian-12.json"
    if not path.exists():
        return None
    built = json.loads(path.read_text())
    sha256 = _store(rack, Path(built["file"]))
    return {"kind": "disk", "format": "qcow2", "sha256": sha256, "min_disk_gib": built["virtual_size_gib"]}


def _stored_kernel(rack: Rack, built: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": "kernel",
        "kernel": _store(rack, Path(built["kernel"])),
        "initrd": _store(rack, Path(built["initrd"])),
        "cmdline": built["cmdline"],
    }


def _store(rack: Rack, source: Path) -> str:
    with source.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    target = rack.images_dir / sha256
    if not target.exists():
        part = target.with_name(f".{sha256}.part")
        shutil.copy2(source, part)
        part.chmod(0o444)
        part.rename(target)
    facts = {"sha256": sha256, "bytes": target.stat().st_size}
    (rack.images_dir / f"{sha256}.json").write_text(json.dumps(facts))
    return sha256


def _place_files(rack: Rack) -> None:
    master = rack.master
    for folder in _SERVED:
        master.run(["rm", "-rf", f"{_SRV}/{folder}"], timeout_s=30)
        master.push(rack.checkout / folder, f"{_SRV}/{folder}")
    _write_rack_files(rack)


def _write_rack_files(rack: Rack) -> None:
    """The example rack's files, with this rack's hosts and images; what was edited since is left alone."""
    example = rack.checkout / "pillar/rack"
    for path in sorted(example.glob("*.yaml")):
        text = path.read_text()
        if path.name == "images.yaml":
            text = "# The images of this rackbox.\n" + json.dumps({"images": _images(rack)}, indent=2) + "\n"
        elif path.name == "hosts.yaml":
            text = _hosts_yaml(rack)
        elif path.name == "profiles.yaml":
            text = "profiles:\n  tiny: {flavor: m1.tiny, image: tiny}\n"
        target = f"/etc/racksalt/rack/{path.name}"
        if path.name == "images.yaml" or not _exists(rack.master, target):
            rack.master.write(target, text, 0o600)
    _list_new_hosts(rack)


def _hosts_yaml(rack: Rack) -> str:
    """Emulated guests; each host offers as much as a small part of the one machine they share."""
    hosts = "".join(
        f"  {node.name}:\n    labels: {{zone: {'ab'[index % 2]}}}\n" for index, node in enumerate(rack.hosts())
    )
    return (
        "# The rack and its hosts, all on one machine.\n"
        f"rack: {rack.name}\nwriter: master\n\n"
        "defaults:\n  accelerator: qemu\n  room:\n"
        "    cap: {vcpus: 16, memory_mib: 2048, disk_gib: 40}\n"
        "    vm_overhead_mib: 64\n\n"
        f"hosts:\n{hosts}"
    )


def _list_new_hosts(rack: Rack) -> None:
    """Hosts that the rack got since the file was written; `hosts` is its last section."""
    target = "/etc/racksalt/rack/hosts.yaml"
    text = rack.master.read(target)
    new = [node.name for node in rack.hosts() if f"\n  {node.name}:" not in text]
    if new:
        rack.master.write(target, text.rstrip() + "\n" + "".join(f"  {name}: {{}}\n" for name in new), 0o600)


def _images(rack: Rack) -> Any:
    return json.loads((rack.state_dir / "images.json").read_text())


def _apply_master(rack: Rack, passwords: dict[str, str]) -> None:
    """The first highstate of a master is applied by itself, before there is a master to ask."""
    ran = rack.master.run(["systemctl", "is-active", "salt-master"], timeout_s=20, check=False).returncode == 0
    words = ["salt-call", "--local", "--retcode-passthrough", "--out=json", "--id=master"]
    words += [f"--file-root={_SRV}/states", "state.apply", "master"]
    done = rack.master.run(words, timeout_s=240, check=False)
    if done.returncode != 0:
        raise RackboxError(f"master: the highstate failed: {done.stdout[-1500:]} {done.stderr[-500:]}")
    script = (
        "import sys, json; from passlib.apache import HtpasswdFile as F\n"
        "f = F(sys.argv[1], default_scheme='bcrypt')\n"
        "[f.set_password(u, p) for u, p in json.load(sys.stdin).items() if not f.check_password(u, p)]\n"
        "f.save()\n"
    )
    python = "/opt/racksalt-master/bin/python3"
    rack.master.run([python, "-c", script, _PASSWORDS], timeout_s=60, input=json.dumps(passwords))
    if ran:
        # The wheel may be newer than they are.
        rack.master.run(["systemctl", "restart", "salt-master", "salt-api"], timeout_s=60)


def _enrol(rack: Rack, nodes: list[Node]) -> None:
    """Start the minions, and accept exactly the keys that the nodes themselves show."""
    if not nodes:
        return
    rack.progress.say("new nodes: starting minions, accepting their keys")
    for node in nodes:
        for name, path in _MINION_FILES.items() if node.name != rack.master.name else ():
            node.write(path, (rack.checkout / "states/hypervisor/files" / name).read_text())
        node.write(_MINION_CONF, _MINION)
        node.run(["systemctl", "daemon-reload"], timeout_s=60)
        node.run(["systemctl", "--no-block", "start", "salt-minion"], timeout_s=60)
    waiting = {node.name: node for node in nodes}
    deadline = time.monotonic() + 90
    while waiting:
        if time.monotonic() > deadline:
            raise RackboxError(f"no key from {', '.join(waiting)} within 90 s")
        for name in [name for name, node in waiting.items() if _accept(rack, node)]:
            del waiting[name]
        time.sleep(0.2)


def _bring_code(rack: Rack, nodes: list[Node]) -> None:
    """Racksalt's modules by `saltutil.sync_all`; then each minion is restarted, as its engines start with it."""
    names = [node.name for node in nodes]
    _await_minions(rack, names)
    rack.progress.say("all nodes: bringing the code")
    words = ["salt", "--static", "--out=json", "-t", "60", "-L", ",".join(names), "saltutil.sync_all"]
    rack.master.run(words, timeout_s=120)
    at_once(
        [lambda node=node: node.run(["systemctl", "restart", "salt-minion"], timeout_s=60) for node in nodes], limit=4
    )
    _await_minions(rack, names)


def _accept(rack: Rack, node: Node) -> bool:
    """Whether the master has accepted this very node's key by now; one of a former node of its name goes."""
    shown = node.run(["cat", "/etc/salt/pki/minion/minion.pub"], timeout_s=10, check=False).stdout.strip()
    if not shown:
        return False
    for state, verb in (("minions", "-d"), ("minions_pre", "-a")):
        key = f"/etc/salt/pki/master/{state}/{node.name}"
        found = rack.master.run(["cat", key], timeout_s=10, check=False).stdout.strip()
        if found == shown and state == "minions":
            return True
        if found and (found == shown) == (verb == "-a"):
            rack.master.run(["salt-key", "-y", verb, node.name], timeout_s=60)
        elif found:
            raise RackboxError(f"{node.name}: the key that waits on the master is not this node's")
    return False


def _await_minions(rack: Rack, names: list[str]) -> None:
    """Until each answers; a call that goes out before a minion listens would be waited for in vain, for 15 s."""
    deadline = time.monotonic() + 120
    listens = ["sh", "-c", "ss -Htn state established '( dport = :4505 )' | grep -q ."]
    for node in (node for node in rack.nodes() if node.name in names):
        while node.run(listens, timeout_s=10, check=False).returncode != 0 and time.monotonic() < deadline:
            time.sleep(0.2)
    missing = set(names)
    while missing:
        if time.monotonic() > deadline:
            raise RackboxError(f"minions silent: {', '.join(sorted(missing))}")
        words = ["salt", "--static", "--out=json", "-t", "5", "-L", ",".join(sorted(missing)), "test.ping"]
        told = rack.master.run(words, timeout_s=60, check=False).stdout
        answers = json.loads(told[told.index("{") :]) if "{" in told else {}
        missing -= {name for name, answer in answers.items() if answer is True}


def _passwords(rack: Rack) -> dict[str, str]:
    """The demo users' passwords: random, made once."""
    path = rack.state_dir / "passwords.json"
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump({user: secrets.token_urlsafe(12) for user in _USERS.values()}, file)
    found: dict[str, str] = json.loads(path.read_text())
    return found


def _digest(rack: Rack) -> str:
    """Changes with everything that a deployment brings to the nodes."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for folder in (*_SERVED, "_runners", "_auth", "_engines", "_netapi", "_pillar", "pillar"):
        for path in sorted((rack.checkout / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(str(path.relative_to(rack.checkout)).encode() + path.read_bytes())
    digest.update((rack.state_dir / "images.json").read_bytes())
    return digest.hexdigest()


def _stamp(node: Node) -> str:
    done = node.run(["cat", _STAMP], timeout_s=10, check=False)
    return done.stdout


def _exists(node: Node, path: str) -> bool:
    return node.run(["test", "-e", path], timeout_s=10, check=False).returncode == 0


def _cache() -> Path:
    return Path(os.environ.get("RACKBOX_CACHE", "/var/cache/rackbox"))
