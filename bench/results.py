"""Waiting for results: how soon `.get()` returns, and how many chords of a hundred parts run per second.

Compared with Celery with its Redis backend and Zenith's delivery settings. The sides take turns; the idle one is stopped by
SIGSTOP.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

from bench.lab import Lab
from bench.processes import run_quietly
from bench.report import Figure, Report, at_least, below, percentile, progress, say
from bench.sides import BareLate, Side, Zenith

ROUNDS = 5
WAITS = 100
CHORDS = 20


class Stock(BareLate):
    """Celery with results in Redis, and Zenith's delivery settings."""

    name = "Celery with Redis results"

    def __init__(self, lab: Lab, number: int) -> None:
        super().__init__(lab, number)
        self.environment["BENCH_RESULTS"] = self.broker_url
        self.processes.environment["BENCH_RESULTS"] = self.broker_url


@dataclass
class Trial:
    """One side, the module of its application, and the measurements of each round."""

    side: Side
    module: str
    environment: dict[str, str]
    waits: list[float] = field(default_factory=list)
    chords: list[float] = field(default_factory=list)

    def run(self, waits: int, chords: int) -> None:
        """Measure one round."""
        self.side.processes.resume()
        try:
            self.side.lab.tidy()
            time.sleep(1.0)
            self.waits.append(percentile(self._ask("waits", waits), 0.5) * 1000)
            self.chords.append(chords / self._ask("chords", chords)[0])
        finally:
            self.side.processes.pause()

    def _ask(self, what: str, count: int) -> list[float]:
        command = [sys.executable, "-m", "bench.peers.chords", self.module, what, str(count)]
        return list(map(float, json.loads(run_quietly(command, self.environment).splitlines()[-1])))


def run(*, rounds: int | None, quick: bool) -> Report:
    """Run the benchmark."""
    waits, chords = (30, 5) if quick else (WAITS, CHORDS)
    total = rounds or (2 if quick else ROUNDS)
    with Lab() as lab, ExitStack() as stack:
        lab.load_zenith()
        trials = _start(lab, stack)
        for trial in trials:
            progress(f"results: warming up {trial.side.name}")
            trial.run(10, 2)
            trial.waits.clear()
            trial.chords.clear()
        for number in range(total):
            for trial in trials if number % 2 else reversed(trials):
                progress(f"results: round {number + 1} of {total}: {trial.side.name}")
                trial.run(waits, chords)
            progress("")
            summary = (f"{trial.side.name} {trial.waits[-1]:.1f} ms, {trial.chords[-1]:.2f} chords/s" for trial in trials)
            say(f"results: round {number + 1} of {total}: {'; '.join(summary)}")
    return _report(*trials)


def _start(lab: Lab, stack: ExitStack) -> list[Trial]:
    zenith, stock = Zenith(lab), Stock(lab, 1)
    for side in (zenith, stock):
        progress(f"results: starting {side.name}")
        stack.callback(side.stop)
        side.start()
    time.sleep(6)
    for side in (zenith, stock):
        side.processes.check()
        side.processes.pause()
    settings = {"DJANGO_SETTINGS_MODULE": "zenith_site.settings"}
    return [Trial(zenith, "zenith_site.celery", settings), Trial(stock, "bench.peers.bare", stock.environment)]


def _report(zenith: Trial, stock: Trial) -> Report:
    report = Report("results: waiting for them, and chords of a hundred parts")
    report.figures = [
        Figure("end of a task to .get() returning, p50, Zenith", zenith.waits, unit="ms", target=below(15)),
        Figure(f"the same, {stock.side.name}", stock.waits, unit="ms"),
        Figure(
            f"chords of 100 a second: Zenith / {stock.side.name}",
            [rate / stock_rate for rate, stock_rate in zip(zenith.chords, stock.chords, strict=True)],
            target=at_least(0.8),
        ),
    ]
    rates = (f"{trial.side.name} {statistics.median(trial.chords):.2f}" for trial in (zenith, stock))
    report.notes = [f"  Chords of 100 a second, median: {', '.join(rates)}."]
    return report
