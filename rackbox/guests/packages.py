"""Debian packages: installing the tools that a build needs, and unpacking packages that only go into an image."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from rackbox.guests.command import GuestError, run

NO_QUESTIONS = {"DEBIAN_FRONTEND": "noninteractive"}
UNSANDBOXED = ("-o", "APT::Sandbox::User=root")


def ensure_tools(packages: Mapping[str, str]) -> None:
    """Install what is missing of `packages`, a map of program to the package that holds it."""
    missing = sorted({package for program, package in packages.items() if shutil.which(program) is None})
    if missing:
        _with_fresh_lists(["apt-get", "install", "-y", "--no-install-recommends", *missing], timeout_s=900)


def kernel_package(meta_package: str) -> str:
    """Name the package that holds the kernel which `meta_package` (such as linux-image-cloud-amd64) depends on now."""
    arguments = ["apt-cache", "show", "--no-all-versions", meta_package]
    try:
        shown = run(arguments)
    except GuestError:
        run(["apt-get", "update"], timeout_s=300)
        shown = run(arguments)
    found = re.search(r"^Depends:.*?(linux-image-[0-9]\S+)", shown, re.MULTILINE)
    if found is None:
        raise GuestError(f"{meta_package} depends on no kernel image: check the machine's apt sources")
    return found[1]


def debian_sources(release: str) -> list[str]:
    """Return the machine's own apt sources of Debian `release` (and no other origin's) as sources.list lines."""
    lines = _known_sources(release)
    if not lines:
        # The origin stands in the package lists, so without those there is none.
        run(["apt-get", "update"], timeout_s=300)
        lines = _known_sources(release)
    if not lines:
        raise GuestError(f"apt on this machine has no source of Debian {release}: add one")
    return lines


def _known_sources(release: str) -> list[str]:
    layout = "$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)"
    rows = run(["apt-get", "indextargets", "--format", layout, "Created-By: Packages"]).splitlines()
    entries = [row.split("|") for row in dict.fromkeys(rows)]
    return [
        f"deb {uri} {suite} {component}"
        for origin, uri, suite, component in entries
        if origin == "Debian" and re.match(rf"{release}(-|$)", suite)
    ]


def unpack(packages: Sequence[str], folder: Path) -> dict[str, str]:
    """Download `packages` and unpack them into `folder`/root, installing nothing; returns each one's version."""
    downloads = folder / "downloads"
    downloads.mkdir(parents=True)
    _with_fresh_lists(["apt-get", *UNSANDBOXED, "download", *packages], timeout_s=600, cwd=downloads)
    versions = {}
    for archive in sorted(downloads.glob("*.deb")):
        name, version = run(["dpkg-deb", "-W", "--showformat=${Package} ${Version}", archive]).split()
        versions[name] = version
        run(["dpkg-deb", "-x", archive, folder / "root"])
    return versions


def _with_fresh_lists(arguments: Sequence[str], *, timeout_s: float, cwd: Path | None = None) -> None:
    """Try an apt command; on a machine with no or old package lists, fetch them and try once more."""
    try:
        run(arguments, timeout_s=timeout_s, cwd=cwd, environment=NO_QUESTIONS)
    except GuestError:
        run(["apt-get", "update"], timeout_s=300)
        run(arguments, timeout_s=timeout_s, cwd=cwd, environment=NO_QUESTIONS)
