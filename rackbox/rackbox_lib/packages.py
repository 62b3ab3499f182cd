"""Debian packages of the outer machine: what the rackbox needs, and where the machine gets its own from."""

from __future__ import annotations

import os
from collections.abc import Iterable

from . import locks
from .cache import cache_dir
from .commands import Options, run
from .errors import RackboxError
from .progress import Progress

NEEDED = (
    "debian-archive-keyring",
    "iproute2",
    "mmdebstrap",
    "python3-venv",
    "systemd-container",
    "util-linux",
)
_APT_OPTIONS = ("-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0")
_SOURCE_FORMAT = "$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)"


def ensure(names: Iterable[str], progress: Progress) -> None:
    """Install those of the packages that the machine lacks; no others are touched."""
    with locks.held(cache_dir() / ".apt.lock", waiting=lambda: progress.say("packages: waiting for another rackbox")):
        missing = sorted(set(names) - installed(names))
        if not missing:
            return
        progress.say(f"packages: installing {' '.join(missing)}")
        _update_lists()
        options = Options(env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
        install = ["apt-get", *_APT_OPTIONS, "install", "-y", "-qq", "--no-install-recommends", *missing]
        run(install, timeout_s=900, options=options)


def installed(names: Iterable[str]) -> set[str]:
    """Those of the packages that are installed."""
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package}\n", *names]
    lines = run(query, timeout_s=30, check=False).stdout.splitlines()
    return {line.split()[1] for line in lines if line.startswith("installed ")}


def debian_sources() -> str:
    """The machine's own Debian package sources, as one-line entries; other vendors' sources are left out."""
    sources = _read_sources()
    if not sources:
        _update_lists()
        sources = _read_sources()
    if not sources:
        raise RackboxError("apt knows no source with Origin: Debian; add Debian's own to /etc/apt/sources.list")
    return sources


def parse_sources(targets: str) -> str:
    """Lines `origin|uri|release|component` to one-line apt entries, Debian's only."""
    found = set()
    for line in targets.splitlines():
        origin, uri, release, component = line.split("|")
        if origin == "Debian":
            found.add(f"deb {uri} {release} {component}\n")
    return "".join(sorted(found))


def _read_sources() -> str:
    query = ["apt-get", "indextargets", "--format", _SOURCE_FORMAT, "Created-By: Packages"]
    return parse_sources(run(query, timeout_s=60).stdout)


def _update_lists() -> None:
    run(["apt-get", *_APT_OPTIONS, "update", "-qq"], timeout_s=600)
