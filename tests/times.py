"""A pytest plugin: what each part of the suite took, and the ten slowest files, at the end of a run."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import PurePosixPath

import pytest

SLOWEST = 10


@dataclass
class Spent:
    """What a group of tests took.

    Attributes:
        seconds: of all its tests, summed up, with what was set up for them.
        began, ended: when the first began and the last ended; beside it other parts may have run.
    """

    tests: int = 0
    seconds: float = 0.0
    began: float = float("inf")
    ended: float = 0.0

    def add(self, report: pytest.TestReport) -> None:
        """Count one phase of one test."""
        self.tests += report.when == "call"
        self.seconds += report.duration
        self.began = min(self.began, report.start)
        self.ended = max(self.ended, report.stop)


class Times:
    """Collects what tests took; under pytest-xdist in the process that hands them out."""

    def __init__(self) -> None:
        self.began = time.time()
        self.parts: dict[str, Spent] = defaultdict(Spent)
        self.files: dict[str, Spent] = defaultdict(Spent)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a report."""
        file = report.nodeid.partition("::")[0]
        self.files[file].add(report)
        self.parts[PurePosixPath(file).parent.name].add(report)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print both tables."""
        if len(self.files) < 2:
            return
        write = terminalreporter.write_line
        terminalreporter.section("time of each part (tests, seconds summed up, from and to)")
        for name, spent in sorted(self.parts.items(), key=lambda part: part[1].began):
            span = f"{spent.began - self.began:6.0f} to {spent.ended - self.began:.0f} s"
            write(f"{name:12} {spent.tests:5} tests {spent.seconds:7.0f} s {span}")
        terminalreporter.section("the ten slowest files")
        for name, spent in sorted(self.files.items(), key=lambda file: -file[1].seconds)[:SLOWEST]:
            write(f"{spent.seconds:7.1f} s  {name} ({spent.tests} tests)")


def pytest_configure(config: pytest.Config) -> None:
    """Begin."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Times(), "zenith-times")
