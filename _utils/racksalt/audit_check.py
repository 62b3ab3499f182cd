"""Whether the audit's lines are all there, in their order, and as they were written.

Each line holds the hash of the one before, so a line that was changed, taken out or moved shows in the lines around
it. That the last ones are missing shows nowhere in the lines; the hosts know it, as each change brings them the
newest head.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from racksalt import audit
from racksalt.audit import Line
from racksalt.model import Head

#: So many problems are told one by one.
MOST_TOLD = 100


@dataclass(frozen=True, slots=True)
class Raw:
    """A line as it stands in its file, without the newline; the first row is 1."""

    file: str
    row: int
    text: bytes

    @property
    def place(self) -> str:
        return f"{self.file}:{self.row}"


def check(lines: Iterable[Raw], heads: Mapping[str, Head]) -> dict[str, Any]:
    """What is wrong with ``lines``, oldest first, by themselves and against the ``heads`` that hosts know.

    ``ok`` holds where ``problems`` is empty. ``torn`` are ends that a power cut left and that a later line closed off;
    ``unfinished`` are intents without an outcome: still running, or cut off with their runner. Neither is a break.
    """
    chain, witnesses, acts = _Chain(), _Witnesses(heads), _Acts()
    for raw in lines:
        read = chain.add(raw)
        if read is not None:
            witnesses.see(read)
            acts.see(read)
    problems = chain.close() + witnesses.problems(chain.top)
    problems.sort(key=lambda problem: problem.get("n", audit.MOST_LINES))
    left = len(problems) - MOST_TOLD
    return {
        "ok": not problems,
        "lines": chain.lines,
        "head": {"count": chain.top, "sha256": chain.top_hash} if chain.top else None,
        "hosts": {host: head.count for host, head in sorted(heads.items())},
        "problems": problems[:MOST_TOLD] + ([{"what": "more", "detail": f"{left} more problems"}] if left > 0 else []),
        "torn": chain.torn,
        "unfinished": acts.unfinished(),
    }


@dataclass(slots=True)
class _Move:
    """Lines that stand behind later ones, from one place in the files on."""

    numbers: list[int] = field(default_factory=list)
    behind: int = 0


@dataclass(slots=True)
class _Gap:
    """Numbers ``first`` to ``last`` that were skipped, with the hash that each side knows of its neighbour."""

    first: int
    last: int
    before: str | None
    after: str | None
    move: _Move


@dataclass(slots=True)
class _Chain:
    """The lines up to here: the highest number with its hash, and what is missing below it."""

    top: int = 0
    top_hash: str | None = audit.BEGINNING
    lines: int = 0
    torn: list[dict[str, Any]] = field(default_factory=list)
    _gaps: list[_Gap] = field(default_factory=list)
    _moves: list[_Move] = field(default_factory=list)
    _changed: set[int] = field(default_factory=set)
    _problems: list[dict[str, Any]] = field(default_factory=list)
    _unreadable: list[Raw] = field(default_factory=list)

    def add(self, raw: Raw) -> Line | None:
        """The next line; ``None`` where it cannot be read."""
        line = audit.read(raw.text)
        if line is None:
            self._unreadable.append(raw)
            return None
        if self._unreadable:
            self._settle_unreadable(line)
        self.lines += 1
        if not line.is_whole:
            line = self._placed(line)
            self._change(line.n, f"{raw.place}: the text of line {line.n} is not the one that its hash was made of")
        if line.n > self.top:
            self._go_on(line)
        else:
            self._go_back(line, raw)
        return line

    def close(self) -> list[dict[str, Any]]:
        """All problems, once every line was added."""
        for raw in self._unreadable:
            self._torn(raw, "the end is torn; the next line that is written closes it off")
        for gap in self._gaps:
            says = f"lines {gap.first} to {gap.last} are not there"
            self._problems.append({"what": "missing", "n": gap.first, "to": gap.last, "detail": says})
        for move in self._moves:
            if move.numbers:
                self._problems.append(_reordered(move))
        return self._problems

    def _placed(self, line: Line) -> Line:
        """A line that was changed, whose number may be a lie too, with the number that its place has."""
        is_missing = any(gap.first <= line.n <= gap.last for gap in self._gaps)
        return line if is_missing else replace(line, n=self.top + 1)

    def _go_on(self, line: Line) -> None:
        """A line above all others; the numbers that it skips are missing, or come later."""
        if line.n > self.top + 1:
            self._moves.append(_Move())
            self._gaps.append(_Gap(self.top + 1, line.n - 1, self.top_hash, line.prev, self._moves[-1]))
        elif self.top_hash not in (None, line.prev) and line.is_whole:
            self._deny(self.top, line.n)
        self.top, self.top_hash = line.n, line.hash

    def _go_back(self, line: Line, raw: Raw) -> None:
        """A line below others: it was moved, or is there twice."""
        gap = next((gap for gap in self._gaps if gap.first <= line.n <= gap.last), None)
        if gap is None:
            says = f"{raw.place}: there is a line {line.n} before"
            self._problems.append({"what": "repeated", "n": line.n, "detail": says})
            return
        gap.move.numbers.append(line.n)
        gap.move.behind = self.top
        if line.n == gap.first and gap.before not in (None, line.prev) and line.is_whole:
            self._deny(line.n - 1, line.n)
        if line.n == gap.last and gap.after not in (None, line.hash):
            self._deny(line.n, line.n + 1)
        left = _Gap(gap.first, line.n - 1, gap.before, line.prev, gap.move)
        right = _Gap(line.n + 1, gap.last, line.hash, gap.after, gap.move)
        self._gaps.remove(gap)
        self._gaps.extend(part for part in (left, right) if part.first <= part.last)

    def _settle_unreadable(self, line: Line) -> None:
        """Before a line that can be read: a torn end that it closes off, or lines that somebody spoiled."""
        pieces, self._unreadable = self._unreadable, []
        found = b"\n".join(piece.text for piece in pieces)
        follows = line.n == self.top + 1 and line.prev == self.top_hash
        if follows and line.data["kind"] == "torn" and line.data.get("sha256") == hashlib.sha256(found).hexdigest():
            says = f"{pieces[0].place}: {len(found)} bytes of a line that was never finished; line {line.n} says so"
            self.torn.append({"n": line.n, "time": line.data["time"], "detail": says})
            return
        hidden = max(0, line.n - self.top - 1)
        for piece in pieces[:hidden]:
            self.top, self.top_hash = self.top + 1, None
            self._change(self.top, f"{piece.place}: line {self.top} cannot be read any more")
        for piece in pieces[hidden:]:
            self._torn(piece, f"no line of the audit, before line {line.n}")

    def _change(self, number: int, says: str) -> None:
        if number not in self._changed:
            self._changed.add(number)
            self._problems.append({"what": "changed", "n": number, "detail": says})

    def _deny(self, number: int, follower: int) -> None:
        """``follower`` holds another hash of the line ``number`` than that one has."""
        if number == 0:
            self._change(1, "line 1 says that there was one before it")
        else:
            self._change(number, f"line {number} is not the one that line {follower} was written after")

    def _torn(self, raw: Raw, says: str) -> None:
        self._problems.append({"what": "torn", "n": self.top + 1, "detail": f"{raw.place}: {says}"})


def _reordered(move: _Move) -> dict[str, Any]:
    names = ", ".join(map(str, move.numbers[:20])) + (", …" if len(move.numbers) > 20 else "")
    lines = "line" if len(move.numbers) == 1 else "lines"
    says = f"{lines} {names} stood before line {move.behind} and now stand behind it"
    return {"what": "reordered", "n": min(move.numbers), "to": move.behind, "detail": says}


class _Witnesses:
    """The heads that hosts know, beside the lines of these numbers."""

    def __init__(self, heads: Mapping[str, Head]) -> None:
        self._heads = heads
        self._found: dict[int, str | None] = dict.fromkeys(head.count for head in heads.values())

    def see(self, line: Line) -> None:
        """A line; of two with one number the first counts."""
        if line.n in self._found and self._found[line.n] is None:
            self._found[line.n] = line.hash

    def problems(self, top: int) -> list[dict[str, Any]]:
        """Heads beyond the last line, and heads that are not those of their line."""
        beyond = {host: head for host, head in sorted(self._heads.items()) if head.count > top}
        problems: list[dict[str, Any]] = []
        if beyond:
            last = max(head.count for head in beyond.values())
            told = ", ".join(f"{host} line {head.count}" for host, head in beyond.items())
            says = f"the lines end with {top}, and hosts were told of more: {told}"
            problems.append({"what": "cut", "n": top + 1, "to": last, "hosts": list(beyond), "detail": says})
        other: dict[int, list[str]] = {}
        for host, head in sorted(self._heads.items()):
            if self._found[head.count] not in (None, head.sha256):
                other.setdefault(head.count, []).append(host)
        for number, hosts in other.items():
            says = f"line {number} is not the one that was there when {', '.join(hosts)} were told of it"
            problems.append({"what": "replaced", "n": number, "hosts": hosts, "detail": says})
        return problems


@dataclass(slots=True)
class _Acts:
    """Intents whose outcome was not seen yet, by their job."""

    _open: dict[str, dict[str, Any]] = field(default_factory=dict)

    def see(self, line: Line) -> None:
        """An intent opens its job, an outcome closes it."""
        job = str(line.data.get("job"))
        if line.data["kind"] == "intent":
            shown = {key: line.data.get(key) for key in ("n", "time", "user", "fun", "tenant", "object", "job")}
            self._open[job] = shown
        elif line.data["kind"] == "outcome":
            self._open.pop(job, None)

    def unfinished(self) -> list[dict[str, Any]]:
        """The newest of them."""
        return list(self._open.values())[-MOST_TOLD:]
