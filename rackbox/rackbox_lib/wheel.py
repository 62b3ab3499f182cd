"""The project's wheel in the rack's own copy of the master environment."""

from __future__ import annotations

import configparser
import shutil
import tempfile
from pathlib import Path

from . import cache
from .commands import run
from .environments import link_tree, pip_argv, settle
from .errors import RackboxError
from .identity import MASTER_PATH

_NOT_PACKAGED = {"build", "changelog.d", "dist", "docs", "rackbox", "states", "tests"}


def source_digest(checkout: Path) -> str:
    """One digest for everything the wheel can be made from."""
    parts: list[str | bytes] = []
    for path in _sources(checkout):
        parts += [path.name, cache.tree_digest(path) if path.is_dir() else path.read_bytes()]
    return cache.digest(parts)


def install(checkout: Path, builder: Path, environment: Path) -> bool:
    """Build the wheel of `checkout` with `builder`'s tools and install it into `environment`, made by `ensure_copy`.

    Returns False when that was already so. Raises RackboxError when the checkout has no project file.
    """
    if not (checkout / "pyproject.toml").exists():
        raise RackboxError(f"no wheel: {checkout} has no pyproject.toml")
    stamp = environment.with_name(f"{environment.name}.stamp")
    wanted = f"{builder.name} {source_digest(checkout)}"
    if stamp.exists() and stamp.read_text() == wanted:
        return False
    with tempfile.TemporaryDirectory(prefix=".wheel-", dir=environment.parent) as name:
        wheel = _build(checkout, builder, Path(name))
        run(pip_argv(environment, "install", "--no-index", "--no-deps", "--force-reinstall", wheel), timeout_s=120)
    settle(environment, MASTER_PATH)
    stamp.write_text(wanted)
    return True


def ensure_copy(master: Path, environment: Path) -> None:
    """Make the rack's copy of the master environment, or one anew when `master` is another now.

    The folder itself stays, since running nodes have it bound.
    """
    origin = environment.with_name(f"{environment.name}.origin")
    if origin.exists() and origin.read_text() == master.name:
        return
    environment.with_name(f"{environment.name}.stamp").unlink(missing_ok=True)
    part = environment.with_name(f"{environment.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    link_tree(master, part)
    environment.mkdir(parents=True, exist_ok=True)
    for path in environment.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for path in part.iterdir():
        path.rename(environment / path.name)
    part.rmdir()
    origin.write_text(master.name)


def scripts(environment: Path, project: str = "racksalt") -> list[str]:
    """Names of the programs that the wheel brought."""
    names: list[str] = []
    for path in environment.glob(f"lib/python3*/site-packages/{project}-*.dist-info/entry_points.txt"):
        parser = configparser.ConfigParser(delimiters=("=",))
        parser.read_string(path.read_text())
        names += parser.options("console_scripts") if parser.has_section("console_scripts") else []
    return sorted(names)


def _build(checkout: Path, builder: Path, scratch: Path) -> Path:
    # From a copy, since a build leaves its traces in the source tree.
    source = scratch / "source"
    source.mkdir()
    for path in _sources(checkout):
        if path.is_dir():
            shutil.copytree(path, source / path.name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy2(path, source / path.name)
    build = ("wheel", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", scratch, source)
    run(pip_argv(builder, *build), timeout_s=180)
    return next(scratch.glob("*.whl"))


def _sources(checkout: Path) -> list[Path]:
    return sorted(
        path
        for path in checkout.iterdir()
        if not path.name.startswith(".") and path.name not in _NOT_PACKAGED and not path.name.endswith(".egg-info")
    )
