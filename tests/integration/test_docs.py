"""The how-tos work: what their ``console`` blocks show is run in order, as whoever the prompt says.

``$ `` is a shell of the machine that has the rack's ``env`` file, the same one for a whole page; ``master# `` and
``h1# `` are shells of these nodes; ``> `` continues a command. Each command has to exit with 0, and the words of the
output that the page shows have to be in the real one. Numbers, UUIDs, addresses and tokens differ from run to run.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.on_rack import CHECKOUT, RealRack

PAGES = ("tenants.md", "operators.md")
_PROMPT = re.compile(r"(?P<where>\$|[a-z][a-z0-9]*#) (?P<text>.*)")
_VARIES = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{32,}\b|([0-9a-f]{2}:){5}[0-9a-f]{2}")
_WORD = re.compile(r"[A-Za-z_][\w.-]*\w")
_TIMEOUT_S = 600


@dataclass
class Step:
    """One command of a page with the output that the page shows."""

    line: int
    where: str
    command: str
    shown: list[str] = field(default_factory=list)

    def script(self) -> str:
        """The command as the page's shell runs it."""
        if self.where == "$":
            return self.command
        return shlex.join([str(CHECKOUT / "rackbox/rackbox"), "exec", self.where[:-1], "bash", "-c", self.command])

    def words(self) -> set[str]:
        """What the real output has to say too."""
        return set(_WORD.findall(_VARIES.sub(" ", "\n".join(self.shown))))


def steps(text: str) -> Iterator[Step]:
    """Every command in the ``console`` blocks of a page, in order."""
    inside, step = False, None
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            if step:
                yield step
            inside, step = line == "```console", None
        elif inside and (found := _PROMPT.fullmatch(line)):
            if step:
                yield step
            step = Step(number, found["where"], found["text"])
        elif step and line.startswith("> ") and not step.shown:
            step.command += "\n" + line[2:]
        elif step:
            step.shown.append(line)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_what_happens(page: str, clean_rack: RealRack, tmp_path: Path) -> None:
    found = list(steps((CHECKOUT / "docs" / page).read_text(encoding="utf-8")))
    assert found, f"{page} has no console blocks"
    _run(found, clean_rack, tmp_path)
    failures = []
    for number, step in enumerate(found):
        code = _read(tmp_path / f"{number}.code").strip() or "never run"
        real = _read(tmp_path / f"{number}.out")
        missing = sorted(word for word in step.words() if word not in real)
        if code != "0" or missing:
            failures.append(
                f"{page}:{step.line}: {step.command}\nexit code {code}, not said: {missing}\n{real[-1500:]}"
            )
    assert not failures, "\n\n".join(failures)


def _run(found: list[Step], rack: RealRack, folder: Path) -> None:
    """One bash for the page: what an earlier command has set is there for the later ones."""
    (folder / ".rackbox").mkdir()
    (folder / ".rackbox/env").write_text("".join(f"export {key}={value}\n" for key, value in rack.env.items()))
    parts = []
    for number, step in enumerate(found):
        parts.append(f"{{ {step.script()}\n}} < /dev/null > {number}.out 2>&1; echo $? > {number}.code")
    (folder / "page.sh").write_text("\n".join(parts) + "\n")
    environment = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    environment |= {"RACKBOX": rack.box.name, "LC_ALL": "C.UTF-8"}
    subprocess.run(["bash", "page.sh"], cwd=folder, env=environment, timeout=_TIMEOUT_S, check=False)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
