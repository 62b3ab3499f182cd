"""One source, two ways to install it: the wheel on the master, a sync on the hosts, and never both on one node."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from rackbox_lib.node import Node
from tests.on_rack import CHECKOUT, RealRack

EXTMODS = "/var/cache/salt/minion/extmods"
_SOURCES = """
import json, salt.config, salt.loader, racksalt, salt
opts = salt.config.master_config("/etc/salt/master")
found = {}
for kind, loader, name in (("runners", salt.loader.runner(opts), "rack_vm"), ("auth", salt.loader.auth(opts), "rack"),
                           ("netapi", salt.loader.netapi(opts), "rack_api")):
    list(loader)
    found[kind] = loader.file_mapping[name][0]
found["core"] = racksalt.__file__
print(json.dumps(found))
"""


def _ours(*folders: str) -> dict[str, str]:
    """Each Python file of these folders of the checkout with its checksum."""
    found = {}
    for folder in folders:
        for path in sorted((CHECKOUT / folder).rglob("*.py")):
            found[f"{folder}/{path.relative_to(CHECKOUT / folder)}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _theirs(node: Node, folders: dict[str, str]) -> dict[str, str]:
    """The same for folders of a node, under the names that the checkout has for them."""
    found = {}
    for name, path in folders.items():
        done = node.run(["find", path, "-name", "*.py", "-exec", "sha256sum", "{}", "+"], timeout_s=30)
        for line in done.stdout.splitlines():
            checksum, file = line.split(maxsplit=1)
            found[f"{name}/{Path(file).relative_to(path)}"] = checksum
    return found


def _without_packages(files: dict[str, str]) -> dict[str, str]:
    """Salt syncs the loader files; the empty ``__init__.py`` beside them are for the wheel."""
    return {name: checksum for name, checksum in files.items() if not _is_loaders_package(name)}


def _is_loaders_package(name: str) -> bool:
    return name.endswith("__init__.py") and name.count("/") == 1


def test_the_master_runs_the_wheel_and_it_is_the_checkouts_source(rack: RealRack) -> None:
    done = rack.master.run(["/opt/racksalt-master/bin/python3", "-c", _SOURCES], timeout_s=60)
    sources = json.loads(done.stdout.splitlines()[-1])
    assert all(path.startswith("/opt/racksalt-master/lib/") for path in sources.values()), sources
    site = str(Path(sources["core"]).parents[1])
    kinds = {
        f"_{kind}": f"{site}/racksalt_loader/{kind}" for kind in ("runners", "auth", "engines", "netapi", "pillar")
    }
    found = _theirs(rack.master, {"_utils/racksalt": f"{site}/racksalt", **kinds})
    assert found == _ours("_utils/racksalt", *kinds)


def test_hosts_run_what_the_sync_brought_and_it_is_the_checkouts_source(rack: RealRack) -> None:
    expected = _without_packages(_ours("_engines", "_grains", "_modules", "_states", "_utils"))
    for host in rack.hosts:
        found = _theirs(
            host, {f"_{kind}": f"{EXTMODS}/{kind}" for kind in ("engines", "grains", "modules", "states", "utils")}
        )
        assert _without_packages(found) == expected, host.name


def test_hosts_have_no_wheel_of_racksalt(rack: RealRack) -> None:
    for node in rack.hosts:
        found = node.run(["find", "/opt", "-iname", "racksalt*", "-not", "-path", "/opt/racksalt"], timeout_s=60).stdout
        assert found == "", f"{node.name}: {found}"
        asked = "import importlib.util, sys; sys.exit(importlib.util.find_spec('racksalt') is not None)"
        node.run(["/opt/racksalt/bin/python3", "-c", asked], timeout_s=20)


def test_a_sync_changes_nothing_when_there_is_nothing_new(rack: RealRack) -> None:
    told = rack.shell(["salt", "--static", "--out=json", "-L", "h1,h2,h3", "saltutil.sync_all"], timeout_s=120)
    assert set(told.data) == {"h1", "h2", "h3"}
    assert not [changed for host in told.data.values() for changed in host.values() if changed], told.data
