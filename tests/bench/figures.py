"""One measured figure, and the table of all."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """Ours beside the other's; ``holds`` is whether the goal is met, ``None`` where there is none."""

    id: str
    case: str
    ours: float
    other: float | None
    other_is: str
    unit: str
    goal: str
    holds: bool | None

    @property
    def ratio(self) -> float | None:
        return self.ours / self.other if self.other else None

    def as_dict(self) -> dict[str, Any]:
        """As ``bench-results.json`` has it."""
        return {**asdict(self), "ratio": self.ratio}


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which ``percent`` of them lie."""
    return statistics.quantiles(values, n=1000, method="inclusive")[int(percent * 10) - 1]


def show(figures: Sequence[Figure]) -> str:
    """The table that people read."""
    rows = [("", "what", "ours", "other", "ratio", "goal", "holds")]
    for figure in figures:
        other = "-" if figure.other is None else f"{figure.other:.4g} {figure.unit} ({figure.other_is})"
        ratio = "-" if figure.ratio is None else f"{figure.ratio:.3g}"
        holds = {True: "yes", False: "NO", None: "-"}[figure.holds]
        rows.append((figure.id, figure.case, f"{figure.ours:.4g} {figure.unit}", other, ratio, figure.goal, holds))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
