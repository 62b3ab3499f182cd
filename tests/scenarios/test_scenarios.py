"""Every case in ``cases``: what is done, what goes wrong, and how the rack stands at the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios import story

FOLDER = Path(__file__).parent / "cases"
CASES = sorted(FOLDER.glob("*/*.yaml"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_story_goes_as_it_is_told(path: Path) -> None:
    story.play(story.read(path.read_text(encoding="utf-8")))


def test_there_are_cases() -> None:
    """A folder that was not found would pass without a word."""
    assert len(CASES) >= 60
