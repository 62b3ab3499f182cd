"""The demonstration: a rack, a VM for tenant acme through REST, and what to try next."""

from __future__ import annotations

import json
import ssl
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent)]

import deploy
from rackbox_lib.errors import RackboxError
from rackbox_lib.rack import Rack

_HOSTS = 3
_VM = "web1"


@dataclass(frozen=True)
class Tenant:
    """A login over REST, as any client would do it."""

    url: str
    ca: Path
    token: str

    @classmethod
    def log_in(cls, url: str, ca: Path, user: str, password: str) -> Tenant:
        """Name and password for a token."""
        given = {"username": user, "password": password, "eauth": "rack"}
        _, answer = _post(f"{url}/login", given, ca, {})
        return cls(url, ca, answer["return"][0]["token"])

    def call(self, function: str, **kwarg: Any) -> Any:
        """One runner call; raises RackboxError with what the rack says."""
        body = {"client": "runner", "fun": function, "kwarg": kwarg}
        _, answer = _post(self.url, body, self.ca, {"X-Auth-Token": self.token})
        result = answer["return"][0]
        if "error" in result:
            raise RackboxError(f"{function}: {result['error']['code']}: {result['error']['detail']}")
        return result


def main(rack: Rack) -> None:
    """Bring the rack up, create the VM unless it is there, wait until the guest answers, and tell."""
    rack.up(_HOSTS if not rack.hosts() else len(rack.hosts()))
    deploy.deploy(rack)
    env = _read_env(deploy.env_path(rack))
    tenant = Tenant.log_in(env["RACK_URL"], Path(env["RACK_CA"]), env["ACME_USER"], env["ACME_PASSWORD"])
    vm = _ensure_vm(rack, tenant)
    answer = _await_guest(rack, vm)
    _tell(rack, tenant, answer)


def _ensure_vm(rack: Rack, tenant: Tenant) -> dict[str, Any]:
    found = [vm for vm in tenant.call("rack_vm.list")["vms"] if vm["name"] == _VM]
    if not found:
        rack.progress.say(f"acme: creating {_VM} (flavor m1.tiny, image tiny) through REST")
        return dict(tenant.call("rack_vm.create", name=_VM, flavor="m1.tiny", image="tiny")["vm"])
    if found[0]["state"] != "running":
        rack.progress.say(f"acme: starting {_VM} through REST")
        tenant.call("rack_vm.start", name=_VM)
    return dict(found[0])


def _await_guest(rack: Rack, vm: dict[str, Any]) -> dict[str, Any]:
    """Ask the guest's own web server, from the host that runs it: tenants' ways in come later."""
    rack.progress.say(f"acme: waiting for {_VM} itself to answer at {vm['addresses'][0]}")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for host in rack.hosts():
            if host.state() != "running":
                continue
            asked = ["curl", "-s", "--max-time", "2", f"http://{vm['addresses'][0]}/"]
            done = host.run(asked, timeout_s=10, check=False)
            if done.returncode == 0 and vm["uuid"] in done.stdout:
                return {**json.loads(done.stdout), "host": host.name}
        time.sleep(0.3)
    raise RackboxError(f"{_VM} did not answer within 60 s; see `virsh console` on its host")


def _tell(rack: Rack, tenant: Tenant, answer: dict[str, Any]) -> None:
    box = "./rackbox/rackbox" if rack.name == "demo" else f"RACKBOX={rack.name} ./rackbox/rackbox"
    env = deploy.env_path(rack).relative_to(rack.checkout)
    print(f"\n{'TENANT':<8} {'VM':<8} {'STATE':<9} {'FLAVOR':<9} {'IMAGE':<10} {'ADDRESS':<13} {'SAYS OF ITSELF'}")
    for vm in tenant.call("rack_vm.list")["vms"]:
        says = f"up for {answer['uptime_s']:.0f} s, boot {answer['boots']}" if vm["name"] == _VM else ""
        print(
            f"{vm['tenant']:<8} {vm['name']:<8} {vm['state']:<9} {vm['flavor']:<9} {vm['image']:<10} "
            f"{vm['addresses'][0]:<13} {says}"
        )
    print(
        f"""
Try next, as the operator:
  {box} exec master salt-run rack_vm.list --out=json
  {box} exec master salt-run rack_host.list
  {box} exec {answer["host"]} curl -s http://{answer["address"]}/

As tenant acme, with curl:
  source {env}
  TOKEN=$(curl -s --cacert $RACK_CA $RACK_URL/login -d eauth=rack -d username=$ACME_USER \\
    --data-urlencode password=$ACME_PASSWORD | grep -oP '"token": "\\K[^"]+')
  curl -s --cacert $RACK_CA $RACK_URL -H "X-Auth-Token: $TOKEN" -H 'Content-Type: application/json' \\
    -d '{{"client": "runner", "fun": "rack_vm.show", "kwarg": {{"name": "{_VM}"}}}}'

When done: make demo-down"""
    )


def _read_env(path: Path) -> dict[str, str]:
    lines = [line.removeprefix("export ") for line in path.read_text().splitlines()]
    return dict(line.split("=", 1) for line in lines)


def _post(url: str, body: Any, ca: Path, headers: dict[str, str]) -> tuple[int, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=90, context=ssl.create_default_context(cafile=ca)) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        told = json.loads(error.read() or b"{}")
        if "return" in told:
            return error.code, told
        raise RackboxError(f"{url}: {error.code}: {told.get('detail', '')}") from error
    except OSError as error:
        raise RackboxError(f"{url}: {error}") from error
