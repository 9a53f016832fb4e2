"""The cost of tracking: a worker's throughput compared with bare Celery and with the tracking that people use today.

All sides are up for the whole benchmark, on one Redis and one PostgreSQL, and take turns round by round; while one runs, the
others' processes are stopped by SIGSTOP, so an idle side costs nothing. Ratios are formed within a round, and the figure is the
median of the rounds. A measurement during which other programs kept the machine busy is repeated, and the calmest attempt counts:
it is chosen by the load elsewhere, never by its result.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import psutil

from bench.lab import Lab
from bench.processes import CpuMeter
from bench.report import Figure, Report, Target, at_least, format_number, progress, say, table
from bench.sides import NOOP, TEXT, Bare, BareLate, OutOfTheBox, Side, Tuned, Work, Zenith

ROUND_SECONDS = 4.0
ROUNDS = 7
CALIBRATION = 600
#: Cores that the rest of the machine may use meanwhile (the benchmark itself uses a tenth), and attempts to stay below that.
CALM = 0.25
ATTEMPTS = 3
ROLES = ("worker", "pool", "engine", "flower", "postgres", "redis", "elsewhere")


@dataclass(frozen=True)
class Measurement:
    """The duration, and CPU seconds by role; `elsewhere` is the rest of the machine."""

    seconds: float
    cpu: dict[str, float]

    @property
    def cores_elsewhere(self) -> float:
        """Cores that other programs kept busy meanwhile."""
        return self.cpu["elsewhere"] / self.seconds


@dataclass
class Trial:
    """One side with one kind of work, and the measurements of each round.

    Attributes:
        rates: tasks per second.
        cpu: CPU seconds per 1,000 tasks by role.
    """

    side: Side
    work: Work
    count: int = CALIBRATION
    rates: list[float] = field(default_factory=list)
    cpu: list[dict[str, float]] = field(default_factory=list)

    def run(self) -> None:
        """Measure one round, in a calm moment if possible."""
        attempts: list[Measurement] = []
        while len(attempts) < ATTEMPTS and (not attempts or attempts[-1].cores_elsewhere > CALM):
            attempts.append(self.measure())
        calmest = min(attempts, key=lambda measured: measured.cores_elsewhere)
        self.rates.append(self.count / calmest.seconds)
        self.cpu.append({role: value * 1000 / self.count for role, value in calmest.cpu.items()})

    def calibrate(self, seconds: float) -> None:
        """Warm up, and choose how many tasks take this long."""
        self.measure()
        rate = self.count / self.measure().seconds
        self.count = max(100, 100 * round(rate * seconds / 100))

    def measure(self) -> Measurement:
        """Run the tasks once."""
        self.side.processes.resume()
        try:
            self.side.stash(self.work, self.count)
            self.side.lab.tidy()
            # Let the effects of sending settle, and timers of resumed processes catch up.
            time.sleep(0.3)
            meter, busy, started = CpuMeter(self.side.processes, self.side.lab.pids()), _busy_seconds(), time.perf_counter()
            self.side.release()
            self.side.wait()
            seconds = time.perf_counter() - started
            cpu = meter.read()
            return Measurement(seconds, cpu | {"elsewhere": max(0.0, _busy_seconds() - busy - sum(cpu.values()))})
        finally:
            self.side.processes.pause()

    def cpu_per_task(self) -> list[float]:
        """Return the CPU milliseconds per task of all the side's processes, by round."""
        return [sum(value for role, value in cpu.items() if role != "elsewhere") for cpu in self.cpu]

    def as_json(self) -> dict[str, Any]:
        """Return the trial for --json."""
        return {
            "side": self.side.name, "task": self.work.label, "count": self.count,
            "rates": self.rates, "cpu_seconds_per_1000": self.cpu,
        }  # fmt: skip


def run(*, rounds: int | None, quick: bool) -> Report:
    """Run the benchmark."""
    seconds = 1.5 if quick else ROUND_SECONDS
    with Lab() as lab, ExitStack() as stack:
        lab.load_zenith()
        trials = _start(lab, stack)
        for trial in trials:
            progress(f"tracking: warming up {trial.side.name}, {trial.work.label}")
            trial.calibrate(seconds)
        total = rounds or (3 if quick else ROUNDS)
        for number in range(total):
            _run_round(trials, number, total)
    return _report(trials)


def _start(lab: Lab, stack: ExitStack) -> list[Trial]:
    sides: list[Side] = [Bare(lab, 1), BareLate(lab, 2), Zenith(lab), OutOfTheBox(lab, 3), Tuned(lab, 4)]
    for side in sides:
        progress(f"tracking: starting {side.name}")
        stack.callback(side.stop)
        side.start()
    # Freeze only now: a side that is still starting would be frozen half-started.
    time.sleep(6)
    for side in sides:
        side.processes.check()
        side.processes.pause()
    return [Trial(side, NOOP) for side in sides] + [Trial(side, TEXT) for side in sides[:3]]


def _run_round(trials: Sequence[Trial], number: int, total: int) -> None:
    """Run each trial once; every round starts with a different one, so that none is always first."""
    start = number % len(trials)
    for index, trial in enumerate([*trials[start:], *trials[:start]]):
        progress(f"tracking: round {number + 1} of {total}, {index + 1} of {len(trials)}: {trial.side.name}, {trial.work.label}")
        trial.run()
    progress("")
    say(f"tracking: round {number + 1} of {total}: " + ", ".join(f"{trial.rates[-1]:,.0f}/s" for trial in trials))


def _report(trials: Sequence[Trial]) -> Report:
    find = {(type(trial.side), trial.work): trial for trial in trials}
    report = Report("tracking: tasks per second with 4 pool processes")
    report.notes = [
        "  Tasks per second, and CPU seconds per 1,000 tasks by process.",
        *table([("", "tasks/s", *ROLES), *map(_cells, trials)]),
        "  worker: its main process; pool: its four children; elsewhere: the rest of this machine, the benchmark included.",
    ]

    def ratio(side: type[Side], peer: type[Side], work: Work, target: Target | None = None) -> None:
        pairs = zip(find[side, work].rates, find[peer, work].rates, strict=True)
        report.figures.append(
            Figure(f"{work.label}: {side.name} / {peer.name}", [rate / peer_rate for rate, peer_rate in pairs], target=target)
        )

    ratio(Zenith, Bare, TEXT, at_least(0.90))
    ratio(Zenith, Bare, NOOP, at_least(0.80))
    ratio(Zenith, OutOfTheBox, NOOP, at_least(3.0))
    ratio(Zenith, Tuned, NOOP, at_least(1.4))
    ratio(Zenith, BareLate, TEXT)
    ratio(Zenith, BareLate, NOOP)
    ratio(OutOfTheBox, Bare, NOOP)
    ratio(Tuned, Bare, NOOP)
    for work in (TEXT, NOOP):
        pairs = zip(find[Bare, work].cpu_per_task(), find[Zenith, work].cpu_per_task(), strict=True)
        report.figures.append(
            Figure(f"{work.label}: CPU per task, bare Celery / Zenith", [bare / zenith for bare, zenith in pairs])
        )
    report.details["trials"] = [trial.as_json() for trial in trials]
    return report


def _cells(trial: Trial) -> tuple[str, ...]:
    used = {role: statistics.median(cpu.get(role, 0.0) for cpu in trial.cpu) for role in ROLES}
    rate = statistics.median(trial.rates)
    cells = (format_number(used[role]) if used[role] else "" for role in ROLES)
    return f"  {trial.work.label}: {trial.side.name}", f"{rate:,.0f}", *cells


def _busy_seconds() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))
