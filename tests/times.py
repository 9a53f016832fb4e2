"""A pytest plugin: what each part of the suite took, and the ten dearest files, at the end of a run.

Cores are busy nearly all the time, so the processor time of a part is what it adds to a run; its seconds are mostly waiting.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import psutil
import pytest

SHOWN = 10


def processor_seconds() -> float:
    """Return the processor time of this process and all below it, with those that have ended; containers are not below it."""
    this = psutil.Process()
    seconds = 0.0
    for process in (this, *this.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


@dataclass
class Spent:
    """What a group of tests took.

    Attributes:
        seconds: of all its tests, summed up, with what was set up for them.
        processor: seconds of processor time of its files, without what runs in containers.
        began, ended: when the first began and the last ended; beside it other parts may have run.
    """

    tests: int = 0
    seconds: float = 0.0
    processor: float = 0.0
    began: float = float("inf")
    ended: float = 0.0

    def add(self, report: pytest.TestReport) -> None:
        """Count one phase of one test."""
        self.tests += report.when == "call"
        self.seconds += report.duration
        self.processor += getattr(report, "processor_seconds", 0.0)
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
        terminalreporter.section("time of each part (tests, seconds summed up, processor time, from and to)")
        for name, spent in sorted(self.parts.items(), key=lambda part: part[1].began):
            span = f"{spent.began - self.began:6.0f} to {spent.ended - self.began:.0f} s"
            write(f"{name:12} {spent.tests:5} tests {spent.seconds:7.0f} s {spent.processor:7.0f} s {span}")
        terminalreporter.section("the ten files that took most processor time (and their seconds)")
        for name, spent in sorted(self.files.items(), key=lambda file: -file[1].processor)[:SHOWN]:
            write(f"{spent.processor:7.1f} s ({spent.seconds:.0f} s)  {name} ({spent.tests} tests)")


class Processor:
    """Has the last report of a file tell what processor time the file took."""

    def __init__(self) -> None:
        self._before: float | None = None
        self._is_last = False

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
        """See where a file begins and ends."""
        if self._before is None:
            self._before = processor_seconds()
        self._is_last = nextitem is None or nextitem.path != item.path
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> Iterator[Any]:
        """Add it to the report; pytest-xdist takes along what a report has beside its own."""
        report = yield
        if call.when == "teardown" and self._is_last and self._before is not None:
            report.processor_seconds = round(processor_seconds() - self._before, 2)
            self._before = None
        return report


def pytest_configure(config: pytest.Config) -> None:
    """Begin."""
    config.pluginmanager.register(Processor(), "zenith-processor")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Times(), "zenith-times")
