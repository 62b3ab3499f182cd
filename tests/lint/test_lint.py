"""What every change has to keep: format, types, dependency rules, generated files, documented functions."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from racksalt import acl, acl_file

ROOT = Path(__file__).resolve().parents[2]
LOADERS = sorted(
    path
    for kind in ("modules", "runners", "states", "netapi", "auth", "pillar")
    for path in ROOT.glob(f"_{kind}/rack*.py")
)
YAML = [".yamllint", "api-config", "pillar", "states/top.sls", "tests/scenarios/cases"]


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "--no-cache", "."],
        ["ruff", "format", "--no-cache", "--check", "."],
        ["mypy", "--no-incremental"],
        ["lint-imports", "--no-cache"],
        ["yamllint", "--strict", *YAML],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_linters_find_nothing(command: list[str]) -> None:
    program = Path(sys.executable).parent / command[0]
    done = subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_acl_file_is_the_generated_one() -> None:
    assert (ROOT / "api-config/acl.conf").read_text() == acl_file.text(), "run `make acl`"


def _functions(path: Path) -> list[ast.FunctionDef]:
    body = ast.parse(path.read_text()).body
    return [node for node in body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]


@pytest.mark.parametrize("path", LOADERS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_public_function_says_how_it_is_called(path: Path) -> None:
    for function in _functions(path):
        text = ast.get_docstring(function) or ""
        assert text, f"{function.name} has no docstring"
        if path.parent.name in ("_modules", "_runners"):
            name = f"{path.stem}.{function.name.rstrip('_')}"
            assert "CLI Example:" in text and name in text, f"{name} shows no call of itself"


@pytest.mark.parametrize("path", LOADERS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_loader_files_are_thin(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            allowed = ("racksalt", "salt.exceptions", "__future__", "typing", "collections", "logging", "cherrypy")
            assert name.startswith(allowed), f"{path.name} imports {name}"


def test_every_runner_function_is_in_the_acl_or_nowhere() -> None:
    there = {
        f"{path.stem}.{function.name.rstrip('_')}"
        for path in LOADERS
        if path.parent.name == "_runners"
        for function in _functions(path)
    }
    assert there == {*acl.TENANT_CALLS, *acl.OPERATOR_CALLS}
