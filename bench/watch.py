"""Watching beside Flower: how fast the events of a busy application are taken in, at what cost, and how soon something is shown.

Both sides hear the same events of 20 workers from the same Redis. Flower keeps and counts them in memory; Zenith records every
step in PostgreSQL. Events are told while all sides are stopped by SIGSTOP, and wait in Redis, which is told to keep them
whatever they take; so telling them is not measured. Then one side after the other goes on, and is measured until it has taken in
the last event. Ratios are formed within a round; every round begins with another side.

Afterwards, an observer hears two million events while they are told, and its memory is looked at on the way.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import psutil

from bench.first_rows import first_rows
from bench.lab import Lab
from bench.processes import CpuMeter
from bench.report import Figure, Report, at_least, below, format_number, progress, say, table
from bench.watchers import NAME, Apart, Flower, Recorded, Told, Watcher, Zenith, tell

ROUNDS = 5
#: Events of one round, and of the look at the memory, which are told in portions.
EVENTS = 60_000
MANY, PORTION = 2_000_000, 100_000
#: Bytes that Redis holds for the observer when its memory is looked at.
PACE = 4 * 2**20
#: Percent of those events after which the memory is told.
SHARES = (10, 50, 100)
ROLES = ("flower", "observer", "recorder", "engine", "postgres", "redis")


@dataclass
class Trial:
    """One side, with its measurements by round: events per second, and CPU seconds per 1,000 events by role."""

    side: Watcher
    rates: list[float] = field(default_factory=list)
    cpu: list[dict[str, float]] = field(default_factory=list)

    def run(self, told: Told) -> None:
        """Let the side go on until it has taken in what was told."""
        self.side.lab.tidy()
        meter, began = CpuMeter(self.side.processes, self.side.lab.pids()), time.perf_counter()
        self.side.processes.resume()
        try:
            self.side.wait(told)
            seconds = time.perf_counter() - began
            self.rates.append(told.events / seconds)
            self.cpu.append({role: value * 1000 / told.events for role, value in meter.read().items()})
            self.side.note(told)
            self.side.check()
        finally:
            self.side.processes.pause()

    def cpu_of(self, role: str) -> float:
        """Return the median of a role's CPU seconds per 1,000 events."""
        return statistics.median(cpu.get(role, 0.0) for cpu in self.cpu)


@dataclass(frozen=True)
class Memory:
    """A long stream of events: their rate, memory in MB by role after each part, delays in seconds, and lengths of the stream."""

    events: int
    rate: float
    megabytes: dict[str, list[float]]
    delays: list[float]
    lengths: list[float]

    def after(self, role: str, share: int) -> float:
        """Return the MB of a process after so many percent of the events."""
        sizes = self.megabytes[role]
        return sizes[max(0, len(sizes) * share // 100 - 1)]

    def growth(self, role: str) -> float:
        """Return how many times as much memory a process has at the end as after a tenth of the events."""
        return self.after(role, 100) / self.after(role, 10)


def run(*, rounds: int | None, quick: bool) -> Report:
    """Run the benchmark."""
    total, count = rounds or (2 if quick else ROUNDS), EVENTS // 3 if quick else EVENTS
    with Lab() as lab, ExitStack() as stack:
        lab.load_zenith()
        # By default, Redis ends the connection of whoever is 32 MiB behind.
        lab.redis(0).config_set("client-output-buffer-limit", "pubsub 0 0 0")
        flower, expected = Flower(lab), Recorded()
        stack.callback(flower.stop)
        _start(flower)
        pairs = []
        for side in (Zenith(lab, expected), apart := Apart(lab, expected)):
            stack.callback(side.stop)
            _start(side)
            pairs.append((Trial(flower), Trial(side)))
            _rounds(pairs[-1], total, count, seed=1000 * len(pairs))
            if side is not apart:
                side.stop()
        flower.stop()
        apart.processes.resume()
        memory = _look_at_memory(apart, MANY // 10 if quick else MANY)
        apart.stop()
    return _report(pairs, memory, first_rows(rounds or (1 if quick else 3)))


def _start(side: Watcher) -> None:
    progress(f"watch: starting {side.name}")
    side.start()
    # Freeze only once everything has come to rest: a side that is still starting would be frozen half-started.
    time.sleep(5)
    side.processes.check()
    side.processes.pause()


def _rounds(trials: Sequence[Trial], total: int, count: int, seed: int) -> None:
    """Run all rounds, after one to warm up; every round begins with another side."""
    for number in range(-1, total):
        progress(f"watch: {trials[-1].side.name}, round {number + 1} of {total}")
        told = tell(trials[0].side.lab, count if number >= 0 else count // 4, seed + number)
        for trial in trials if number % 2 else reversed(trials):
            trial.run(told)
        if number < 0:
            for trial in trials:
                trial.rates.clear()
                trial.cpu.clear()
            continue
        progress("")
        rates = ", ".join(f"{trial.side.name} {trial.rates[-1]:,.0f}/s" for trial in trials)
        say(f"watch: round {number + 1} of {total}: {told.events:,} events, {told.tasks:,} tasks; {rates}")


def _look_at_memory(side: Apart, events: int) -> Memory:
    """Tell many events in portions, and look at the memory of the observer and the recorder after each."""
    portion = max(1, min(PORTION, events // 10))
    pids = {role: pid for pid, role in side.processes.roles().items()}
    megabytes: dict[str, list[float]] = {"observer": [], "recorder": []}
    told, began = 0, time.perf_counter()
    with _Lag(side) as lag:
        for number in range(events // portion):
            progress(f"watch: {told:,} of {events:,} events")
            part = tell(side.lab, portion, 5000 + number, pace=PACE)
            told += part.events
            side.wait(part)
            side.note(part)
            for role, sizes in megabytes.items():
                sizes.append(psutil.Process(pids[role]).memory_info().rss / 1e6)
        seconds = time.perf_counter() - began
    side.check()
    return Memory(told, told / seconds, megabytes, lag.delays, lag.lengths)


class _Lag:
    """A thread that notes twice a second how late events are, and how many entries wait for the recorder."""

    def __init__(self, side: Apart) -> None:
        self._side, self._stop = side, threading.Event()
        self.delays: list[float] = []
        self.lengths: list[float] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> _Lag:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        from zenith_worker.wire import stream

        while not self._stop.wait(0.5):
            state = self._side.state()
            if state is not None:
                self.delays.append(state.delay)
            self.lengths.append(stream.length(NAME))


def _report(pairs: Sequence[tuple[Trial, Trial]], memory: Memory, waits: Sequence[float]) -> Report:
    report = Report("watch: events of 20 workers, recorded in PostgreSQL, and counted by Flower")
    report.notes = [
        "  Events per second, and CPU seconds per 1,000 events by process.",
        *table([("", "events/s", *ROLES), *(_cells(trial) for pair in pairs for trial in pair)]),
        f"  {memory.events:,} events one after the other, told by a process beside it: {memory.rate:,.0f} per second.",
        f"  The newest was {format_number(max(memory.delays, default=0))} s old at most when the observer had it, and at most"
        f" {max(memory.lengths, default=0):,.0f} entries waited for the recorder.",
    ]
    for flower, zenith in pairs:
        ratios = [rate / peer for rate, peer in zip(zenith.rates, flower.rates, strict=True)]
        report.figures.append(Figure(f"{zenith.side.name} / Flower, events per second", ratios, target=at_least(1.0)))
    flower, apart = pairs[-1]
    observer = [own["observer"] / peer["flower"] for own, peer in zip(apart.cpu, flower.cpu, strict=True)]
    report.figures += [
        Figure("CPU per event, observer / Flower", observer),
        Figure(
            "CPU per event, observer, recorder, PostgreSQL and Redis / Flower and Redis",
            [sum(own.values()) / sum(peer.values()) for own, peer in zip(apart.cpu, flower.cpu, strict=True)],
        ),
        Figure("observer's memory at the end / after a tenth of the events", [memory.growth("observer")], target=below(1.1)),
        Figure("recorder's memory at the end / after a tenth of the events", [memory.growth("recorder")]),
        *(
            Figure(f"observer's memory after {share} % of the events", [memory.after("observer", share)], "MB")
            for share in SHARES
        ),
        Figure("from a web process that is up to the first rows", list(waits), unit="s", target=below(5)),
    ]
    report.details = {
        "trials": [{"side": trial.side.name, "rates": trial.rates, "cpu": trial.cpu} for pair in pairs for trial in pair],
        "megabytes": memory.megabytes, "delays": memory.delays, "entries": memory.lengths,
    }  # fmt: skip
    return report


def _cells(trial: Trial) -> tuple[str, ...]:
    used = {role: trial.cpu_of(role) for role in ROLES}
    return (
        f"  {trial.side.name}", f"{statistics.median(trial.rates):,.0f}",
        *(format_number(used[role]) if used[role] else "" for role in ROLES),
    )  # fmt: skip
