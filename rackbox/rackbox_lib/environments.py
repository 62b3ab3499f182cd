"""Salt's virtual environments: `hosts` for every node's minion, `master` for the master's daemons."""

from __future__ import annotations

import os
import shutil
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

from . import cache
from .commands import run
from .identity import HOSTS_PATH, MASTER_PATH
from .progress import Progress

PYTHON = "/usr/bin/python3"
SALT = "salt>=3008.3,<3009"
_WITHOUT_PROJECT = ("cherrypy", "libpass", "bcrypt", "ruamel.yaml", "numpy")
_BUILD_TOOLS = ("setuptools>=77", "wheel")


@dataclass(frozen=True)
class Requirements:
    """What the master's environment gets beyond Salt, and what building the project's wheel needs."""

    runtime: tuple[str, ...]
    build: tuple[str, ...]


def read_requirements(pyproject: Path) -> Requirements:
    """The project's dependencies, or the known ones while there is no project file."""
    if not pyproject.exists():
        return Requirements(_WITHOUT_PROJECT, _BUILD_TOOLS)
    content = tomllib.loads(pyproject.read_text())
    runtime = content.get("project", {}).get("dependencies", [])
    build = content.get("build-system", {}).get("requires", _BUILD_TOOLS)
    return Requirements(tuple(runtime), tuple(build))


def hosts_environment(progress: Progress) -> Path:
    """Salt and what it requires, nothing else."""

    def build(job: cache.Build) -> None:
        progress.say("environment hosts: building (pip install salt; about a minute and a half)")
        run([PYTHON, "-m", "venv", job.folder], timeout_s=120, options=job.options)
        _pip(job, "install", "wheel", timeout_s=300)
        # Built without the system's packages, so that pip takes none of the outer machine's for granted.
        _pip(job, "install", SALT, timeout_s=1200)
        _show_system_packages(job.folder)
        settle(job.folder, HOSTS_PATH)
        progress.say("environment hosts: built")

    return cache.entry("env-hosts", _key([SALT]), build, progress)


def master_environment(checkout: Path, progress: Progress) -> Path:
    """The hosts' environment with the dependencies of the project's wheel, and without the wheel itself."""
    hosts = hosts_environment(progress)
    wanted = read_requirements(checkout / "pyproject.toml").runtime

    def build(job: cache.Build) -> None:
        progress.say("environment master: building")
        job.folder.rmdir()
        link_tree(hosts, job.folder)
        _hide_system_packages(job.folder)
        _pip(job, "install", SALT, *wanted, timeout_s=900)
        _show_system_packages(job.folder)
        settle(job.folder, MASTER_PATH, HOSTS_PATH)
        progress.say("environment master: built")

    return cache.entry("env-master", _key([hosts.name, *wanted]), build, progress)


def build_environment(checkout: Path, progress: Progress) -> Path:
    """What building the project's wheel needs. Apart from Salt, whose pins do not suit new build tools."""
    wanted = read_requirements(checkout / "pyproject.toml").build

    def build(job: cache.Build) -> None:
        run([PYTHON, "-m", "venv", job.folder], timeout_s=120, options=job.options)
        _pip(job, "install", *wanted, timeout_s=300)

    return cache.entry("env-build", _key(list(wanted)), build, progress)


def tools_environment(checkout: Path, progress: Progress) -> Path:
    """The master's environment with what `make test` and `make lint` need besides; it is used where it lies."""
    master = master_environment(checkout, progress)
    content = tomllib.loads((checkout / "pyproject.toml").read_text())
    wanted: list[str] = content["project"]["optional-dependencies"]["dev"]

    def build(job: cache.Build) -> None:
        progress.say("environment tools: building")
        job.folder.rmdir()
        link_tree(master, job.folder)
        settle(job.folder, str(job.final), MASTER_PATH, HOSTS_PATH)
        _hide_system_packages(job.folder)
        _pip(job, "install", *wanted, timeout_s=600)
        _show_system_packages(job.folder)
        settle(job.folder, str(job.final))
        progress.say("environment tools: built")

    return cache.entry("env-tools", _key([master.name, *wanted]), build, progress)


def link_tree(source: Path, target: Path) -> None:
    """Copy a tree with hard links, or with its bytes where the two are on different file systems.

    Programs that replace files (pip does) leave the other tree as it was.
    """
    if run(["cp", "-al", source, target], timeout_s=120, check=False).returncode != 0:
        shutil.rmtree(target, ignore_errors=True)
        run(["cp", "-a", "--reflink=auto", source, target], timeout_s=600)


def settle(folder: Path, final: str, *former: str) -> None:
    """Make the environment's programs name `final`, where nodes see it, and not `folder`, where it was built."""
    for path in (folder / "bin").iterdir():
        if path.is_symlink() or not path.is_file():
            continue
        content = path.read_bytes()
        settled = content.replace(str(folder).encode(), final.encode())
        for place in former:
            settled = settled.replace(f"{place}/".encode(), f"{final}/".encode())
        if settled != content:
            _replace(path, settled)


def pip_argv(folder: Path, *words: str | Path) -> list[str]:
    """pip of an environment, run outside."""
    quiet = ("--disable-pip-version-check", "--no-input", "--quiet")
    return [str(folder / "bin/python3"), "-I", "-m", "pip", *quiet, *map(str, words)]


def _pip(job: cache.Build, *words: str, timeout_s: float) -> None:
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    run(pip_argv(job.folder, *words), timeout_s=timeout_s, options=replace(job.options, env=env))


def _replace(path: Path, content: bytes) -> None:
    # A new file, because the old one may be hard-linked into another environment.
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    part.chmod(path.stat().st_mode & 0o7777)
    part.rename(path)


def _show_system_packages(folder: Path) -> None:
    _set_system_packages(folder, "true")


def _hide_system_packages(folder: Path) -> None:
    _set_system_packages(folder, "false")


def _set_system_packages(folder: Path, value: str) -> None:
    config = folder / "pyvenv.cfg"
    lines = [line for line in config.read_text().splitlines() if "include-system-site-packages" not in line]
    _replace(config, "\n".join([*lines, f"include-system-site-packages = {value}", ""]).encode())


def _key(parts: list[str]) -> str:
    return cache.digest([*parts, Path(__file__).read_bytes()])
