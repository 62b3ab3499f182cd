"""The documentation says what the code does: generated pages, error codes, the rack's files, links, fragments."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from racksalt import errors, settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "rackbox/README.md", ROOT / "pillar/README.md"])
FRAGMENT = r"\+[a-z0-9-]+\.(feature|bugfix|misc)\.md"
#: Classes of errors that are not in ``racksalt.errors``.
_MORE_STATUSES = {"Unauthorized": 401, "TooMany": 429}
#: Lines of errors.md that no code of ours raises: CherryPy's own refusals, named by their status.
_HTTP_SECTION = "## The server's own"


def _reference() -> Any:
    spec = importlib.util.spec_from_file_location("docs_reference", ROOT / "docs/reference.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REFERENCE = _reference()


def test_the_reference_is_the_generated_one() -> None:
    assert (ROOT / "docs/reference.md").read_text() == REFERENCE.text(), "run `make docs`"


def _rows(text: str) -> list[list[str]]:
    """The cells of all table rows, without heads; a bar within code is escaped as ``\\|``."""
    rows = [re.split(r"(?<!\\)\|", line.strip()[1:-1]) for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in row] for row in rows]


# Error codes.


def _class_statuses() -> dict[str, int]:
    own = {name: kind.status for name, kind in vars(errors).items() if isinstance(getattr(kind, "status", None), int)}
    return own | _MORE_STATUSES


def _raised(tree: ast.AST) -> Iterator[tuple[ast.expr, int]]:
    """Each expression that names a code, with the status of its error."""
    statuses = _class_statuses()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in statuses:
            named = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            if node.func.id == "BadInput":
                yield (named or [ast.Constant("bad_input")])[0], 400
            elif node.args and not isinstance(node.args[0], ast.Starred):
                yield node.args[0], statuses[node.func.id]


def _texts(expression: ast.expr, nouns: set[str]) -> Iterator[str]:
    """What an expression can be; a code that is put together with a noun once for each of them."""
    if isinstance(expression, ast.Constant):
        yield str(expression.value)
    elif isinstance(expression, ast.JoinedStr):
        ends = "".join(str(part.value) for part in expression.values if isinstance(part, ast.Constant))
        yield from (noun + ends for noun in nouns)
    elif isinstance(expression, ast.IfExp):
        yield from _texts(expression.body, nouns)
        yield from _texts(expression.orelse, nouns)


def _nouns(tree: ast.AST) -> set[str]:
    """What ``_known("flavor", …)`` looks up."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    firsts = [call.args[0] for call in calls if call.func.id in ("_known", "known") and call.args]  # type: ignore[attr-defined]
    return {str(first.value) for first in firsts if isinstance(first, ast.Constant)}


def _codes_in_the_code(*, with_nouns: bool) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for path in sorted((ROOT / "_utils/racksalt").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for expression, status in _raised(tree):
            for text in _texts(expression, _nouns(tree) if with_nouns else set()):
                found.setdefault(text, set()).add(status)
    return found


def _documented_codes() -> tuple[dict[str, set[int]], dict[str, set[int]]]:
    """Racksalt's own codes, and the server's."""
    ours, _, servers = (ROOT / "docs/errors.md").read_text().partition(_HTTP_SECTION)
    assert servers, f"errors.md has no section {_HTTP_SECTION!r}"
    return _codes_of(ours), _codes_of(servers)


def _codes_of(text: str) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for code, status, meaning, remedy in _rows(text):
        name = code.strip("`")
        assert name not in found, f"{name} stands in errors.md twice"
        assert meaning and remedy, f"{name} has no meaning or no remedy"
        found[name] = {int(number) for number in re.findall(r"\d{3}", status)}
    return found


def test_every_error_code_is_documented() -> None:
    documented, _ = _documented_codes()
    missing = _codes_in_the_code(with_nouns=False).keys() - documented.keys()
    assert not missing, f"docs/errors.md does not have {sorted(missing)}"


def test_every_documented_code_exists_with_its_status() -> None:
    raised = _codes_in_the_code(with_nouns=True)
    documented, servers = _documented_codes()
    for code, statuses in documented.items():
        assert code in raised, f"nothing raises {code}"
        assert statuses == raised[code], f"{code}: in the code {sorted(raised[code])}"
    for code, (status,) in servers.items():
        assert code == HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_")


# The rack's files.


def test_the_keys_of_the_racks_files_are_todays() -> None:
    text = (ROOT / "docs/files.md").read_text(encoding="utf-8")
    assert text == REFERENCE.files_text(text), "run `make docs`"


@pytest.mark.parametrize("file", settings.FILES)
def test_every_key_of_the_racks_files_has_a_meaning(file: str) -> None:
    _, _, rest = (ROOT / "docs/files.md").read_text(encoding="utf-8").partition(f"## `{file}`\n")
    rows = _rows(rest.partition("\n## ")[0])
    assert rows, f"files.md has no keys of {file}"
    assert not [key for key, meaning, *_ in rows if not meaning], "a key without its meaning"


@pytest.mark.parametrize(("file", "keys"), [("tenants.yaml", {"quota"}), ("hosts.yaml", {"accelerator", "room"})])
def test_the_defaults_are_documented(file: str, keys: set[str]) -> None:
    _, _, rest = (ROOT / "docs/files.md").read_text(encoding="utf-8").partition(f"## `{file}`\n")
    rows = _rows(rest.partition("\n## ")[0])
    assert {row[0].strip("`") for row in rows if "defaults" in row[0]} == {f"defaults.{key}" for key in keys}


# Links, fragments.


def _without_code(text: str) -> str:
    return re.sub(r"(?ms)^```.*?^```|`[^`\n]*`", "", text)


def _anchors(text: str) -> set[str]:
    heads = re.findall(r"(?m)^#+ (.*)$", re.sub(r"(?ms)^```.*?^```", "", text))
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_internal_links_resolve(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", _without_code(text)):
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name}: {target} is not there"
        if anchor:
            assert anchor in _anchors(file.read_text(encoding="utf-8")), f"{page.name}: no heading {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_in_the_text_exist(page: Path) -> None:
    """``_utils/racksalt/…``, ``tests/…`` and the like, written as code, are in the repository."""
    folders = r"(?:_[a-z]+|tests|docs|states|pillar|api-config|rackbox)/"
    for path in re.findall(rf"`({folders}[a-z0-9_./-]*)`", page.read_text(encoding="utf-8")):
        assert (ROOT / path).exists(), f"{page.name}: {path} is not there"


def test_every_file_of_the_core_is_in_the_architecture() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    files = {path.name for path in (ROOT / "_utils/racksalt").rglob("*.py")} - {"__init__.py"}
    missing = [name for name in sorted(files) if f"`{name}`" not in text]
    assert not missing, f"ARCHITECTURE.md does not have {missing}"
    gone = set(re.findall(r"`(\w+\.py)`", text)) - files - {path.name for path in ROOT.glob("*/*.py")}
    assert not gone, f"ARCHITECTURE.md speaks of {sorted(gone)}"


def test_changelog_fragments_have_a_name_that_towncrier_takes() -> None:
    wrong = [path.name for path in (ROOT / "changelog.d").glob("*.md") if not re.fullmatch(FRAGMENT, path.name)]
    assert not wrong, f"allowed: +name.feature.md, +name.bugfix.md, +name.misc.md; found {wrong}"
