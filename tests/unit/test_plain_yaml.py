"""The fast reader: what it reads, the full reader reads alike; whatever it is not sure of, it leaves."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from racksalt.adapters import plain_yaml
from tests.unit.allowed import NASTY_TEXT

EXAMPLE = Path(__file__).resolve().parents[2] / "pillar/rack"
PIECES = [
    "a", "b", "key", "x: ", "y:", "- ", "-", "\n", "\n  ", "\n    ", " ", "{", "}", "[", "]", ", ", ",", "'", '"',
    "|", "|\n", "|-\n", ">", "#", " # c", "1", "0", "10", "1.5", "true", "no", "null", "~", ":", ": ", "?", "? ", "!",
    "&a", "*a", "%", "@", "`", "\\", "\\n", "\\x41", "\\/", "...", "---", "\n---\n", "<<", "é", "\u2028", "\t", "=",
    "+", "1e3", "0x1", "010", "10.0.0.1", "10.0.0.0/8", "https://x", "a b", "''", "'a'", "'a':", '"a":',
]  # fmt: skip


def by_the_full_reader(text: str) -> Any:
    return _bare(YAML(typ="rt").load(text))


def _bare(value: Any) -> Any:
    """Without what the full reader remembers of places and quotes."""
    if isinstance(value, Mapping):
        return {_bare(key): _bare(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_bare(item) for item in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    assert value is None, value
    return None


def agree(text: str) -> bool:
    """Whether it was read; the readers agree then, down to the types."""
    try:
        found = plain_yaml.read(text)
    except plain_yaml.NotPlain:
        return False
    try:
        assert repr(found) == repr(by_the_full_reader(text)), text
    except YAMLError as error:
        raise AssertionError(f"the full reader refuses {text!r}") from error
    return True


@settings(max_examples=500)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_whatever_it_reads_the_full_reader_reads_alike(text: str) -> None:
    agree(text)


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(NASTY_TEXT, max_size=12)
_DATA = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(NASTY_TEXT, max_size=6), inner)
)


@given(_DATA, st.sampled_from([None, True, False]))
def test_what_programs_write_is_read_alike(data: Any, flow: bool | None) -> None:
    agree(yaml.safe_dump(data, default_flow_style=flow, allow_unicode=True))
    text = io.StringIO()
    YAML(typ="rt").dump(data, text)
    agree(text.getvalue())


@pytest.mark.parametrize("path", sorted(EXAMPLE.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_example_is_read_but_for_text_of_several_lines(path: Path) -> None:
    text = path.read_text()
    assert agree(text) == ("|" not in text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "---\na: b\n",
        "a: {b: [c, 'd', \"e\"], f: 1, g: -2.5, h: true, i: null, j: , k: ~}\n",
        "a: 10.80.0.0/20\nb: https://images.example.org/a.qcow2\nc: m1.tiny\nd: sudo_*\n",
        f"a: {'0' * 63}a\nb: 'ä'\n",
    ],
)
def test_what_is_plain_is_read(text: str) -> None:
    assert agree(text)


@pytest.mark.parametrize(
    "text",
    [
        "a: yes",
        "a: No",
        "a: 010",
        "a: 0x10",
        "a: 1e3",
        "a: 1_000",
        "a: 1:30",
        "a: 2024-01-01",
        f"a: 1e{'0' * 62}",
        "a: .inf",
        "a: TRUE",
        "a: &x 1\nb: *x",
        "<<: {a: 1}\nb: &y 1",
        "a: !!str 1",
        "a: !!python/object/apply:os.getcwd []",
        "a: |\n  text\n",
        "a: >\n  text\n",
        "a: b\n  c\n",
        "a: 'b\n  c'\n",
        "a: 1\na: 2",
        "1: a",
        "? [a]\n: b",
        "a: 1\n---\nb: 2\n",
        "a: 1\n...\n...\n",
        "%YAML 1.1\n---\na: b\n",
        "a: [\n",
        "\ta: 1",
        "a: '\u2028'",
        "\ufeffa: 1",
        "['a':1]",
        "[" * 3000 + "]" * 3000,
    ],
)
def test_what_is_not_surely_plain_is_left(text: str) -> None:
    with pytest.raises(plain_yaml.NotPlain):
        plain_yaml.read(text)
