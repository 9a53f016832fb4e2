"""Figures with their targets, and how to print them."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Target:
    """A bound, such as at least 0.9 or under 100."""

    bound: float
    at_least: bool

    def is_met_by(self, value: float) -> bool:
        """Whether a value meets the target."""
        return value >= self.bound if self.at_least else value < self.bound


def at_least(bound: float) -> Target:
    """Return a lower bound."""
    return Target(bound, at_least=True)


def below(bound: float) -> Target:
    """Return an upper bound."""
    return Target(bound, at_least=False)


@dataclass(frozen=True)
class Figure:
    """One line of the final table.

    Arguments:
        values: one per round; their median is the figure.
        target: the value to reach; None for an informative figure.
    """

    name: str
    values: Sequence[float]
    unit: str = "×"  # noqa: RUF001 (the sign is meant)
    target: Target | None = None

    @property
    def median(self) -> float:
        """The median of all rounds."""
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        """Whether the target is reached, in a word; empty without a target."""
        if self.target is None:
            return ""
        return "reached" if self.target.is_met_by(self.median) else "MISSED"

    def as_json(self) -> dict[str, Any]:
        """Return the figure for --json."""
        target = self.target and {"bound": self.target.bound, "at_least": self.target.at_least}
        return {
            "name": self.name, "median": self.median, "low": min(self.values), "high": max(self.values), "unit": self.unit,
            "target": target, "reached": self.target.is_met_by(self.median) if self.target else None,
        }  # fmt: skip


@dataclass
class Report:
    """The result of one benchmark: figures for the table, and notes that explain them."""

    name: str
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)


def say(text: str) -> None:
    """Print a line of progress, apart from the result."""
    print(text, file=sys.stderr, flush=True)


def progress(text: str) -> None:
    """Show progress on a single line of a terminal; show nothing elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text[:110]}", end="", file=sys.stderr, flush=True)


def print_reports(reports: Sequence[Report]) -> None:
    """Print notes, then one table."""
    progress("")
    for report in reports:
        print(f"\n== {report.name}")
        print("\n".join(report.notes))
    print("\n== in short (median, lowest to highest round)")
    rows = [_row(figure) for report in reports for figure in report.figures]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_json(reports: Sequence[Report]) -> None:
    """Print everything as JSON."""
    print(json.dumps({r.name: {"figures": [f.as_json() for f in r.figures], **r.details} for r in reports}, indent=1))


def format_number(value: float) -> str:
    """Format a number with about three significant digits."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table, with names left-aligned and numbers right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]


def _row(figure: Figure) -> tuple[str, str, str, str, str]:
    target = ""
    if figure.target:
        target = f"target {'≥' if figure.target.at_least else '<'} {format_number(figure.target.bound)}"
    spread = f"({format_number(min(figure.values))}-{format_number(max(figure.values))})" if len(figure.values) > 1 else ""
    return figure.name, f"{format_number(figure.median)} {figure.unit}", spread, target, figure.verdict
