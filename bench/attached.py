"""The cost of attaching: a worker's throughput with `zenith_worker.auto`, without guards, compared with the same worker without;
and with all guards, compared with a worker of Zenith's own.

All run from the same Redis in turns, as in tracking.py; the attached ones are of an application that knows nothing of Zenith.
The engine, which in practice runs elsewhere, is stopped meanwhile, and records afterwards what was reported; the time of that is
told. One more worker has a Redis of Zenith's that takes connections and never answers.
"""

from __future__ import annotations

import socket
import statistics
import time
from contextlib import ExitStack

from bench.lab import Lab
from bench.processes import Processes, wait_until
from bench.report import Figure, Report, Target, at_least, progress, say
from bench.sides import CONCURRENCY, NOOP, TEXT, Bare, BareLate, Side, Work, Zenith
from bench.tracking import Trial
from zenith_worker.wire.keys import EVENTS, application_keys

ROUND_SECONDS = 4.0
ROUNDS = 7
APPLICATION, GUARDED = "bare", "guarded"


class Attached(Bare):
    """The same worker, attached; with an engine that records."""

    name = "attached Celery"

    def __init__(self, lab: Lab, number: int) -> None:
        super().__init__(lab, number, {"ZENITH_URL": lab.redis_url(0), "ZENITH_APPLICATION": APPLICATION})
        self.engine = Processes(lab.logs, {"BENCH_NAME": "attached"})
        self._recorded = 0

    def start(self) -> None:
        """Start the worker and the engine, which is stopped until `record`."""
        from zenith_site.launch import programs

        self._start_worker("bench.peers.bare", "--include", "zenith_worker.auto")
        program = programs.engine()
        self.engine.start(program.name, program.command, program.environment)

    def record(self) -> float:
        """Let the engine record everything; return the tasks per second."""
        from tasks_app.models import Task
        from zenith_worker.wire import stream

        self.processes.resume()
        self.engine.resume()
        began = time.perf_counter()
        wait_until(lambda: not stream.length(APPLICATION), self.engine, what="recording", seconds=300)
        seconds = time.perf_counter() - began
        self.engine.pause()
        self.processes.pause()
        before, self._recorded = self._recorded, Task.objects.count()
        return (self._recorded - before) / seconds

    def stop(self) -> None:
        """Stop all processes."""
        self.engine.stop()
        super().stop()


class Away(Bare):
    """The same worker, attached, while Zenith's Redis hangs: its reports wait, and then are dropped."""

    name = "attached Celery, Zenith's Redis away"

    def __init__(self, lab: Lab, number: int) -> None:
        self._silent = socket.create_server(("127.0.0.1", 0))
        port = self._silent.getsockname()[1]
        super().__init__(lab, number, {"ZENITH_URL": f"redis://127.0.0.1:{port}/0", "ZENITH_APPLICATION": APPLICATION})

    def start(self) -> None:
        """Start the worker."""
        self._start_worker("bench.peers.bare", "--include", "zenith_worker.auto")

    def stop(self) -> None:
        """Stop the worker, and close the place where nobody answers."""
        super().stop()
        self._silent.close()


class Guarded(BareLate):
    """The same worker with all guards, which waits for Redis and acknowledges late, as Zenith's own do. Nothing is recorded."""

    name = "attached Celery, all guards"

    def __init__(self, lab: Lab, number: int) -> None:
        super().__init__(lab, number)
        self.environment |= {
            "ZENITH_URL": lab.redis_url(0), "ZENITH_APPLICATION": GUARDED, "ZENITH_GUARD": "claims:closed,recovery,retries",
        }  # fmt: skip
        self.processes = Processes(lab.logs, self.environment)

    def start(self) -> None:
        """Start the worker."""
        self._start_worker("bench.peers.bare", "--include", "zenith_worker.auto")

    def wait(self) -> None:
        """Wait until everything is done, and forget the reports."""
        super().wait()
        self.lab.redis(0).delete(application_keys(GUARDED).events)


class Own(Zenith):
    """A worker of Zenith's own application. Nothing is recorded."""

    name = "Zenith's own worker"

    def start(self) -> None:
        """Start the worker."""
        from zenith_site.launch import programs

        program = programs.worker(CONCURRENCY, self.queue)
        self.processes.start(program.name, program.command, program.environment)

    def stored(self) -> bool:
        """Nothing is to be stored: forget the reports."""
        self.lab.redis(0).delete(EVENTS)
        return True


def run(*, rounds: int | None, quick: bool) -> Report:
    """Run the benchmark."""
    with Lab() as lab, ExitStack() as stack:
        lab.load_zenith()
        bare, attached, guarded, own = Bare(lab, 1), Attached(lab, 2), Guarded(lab, 3), Own(lab, 0)
        sides: list[Side] = [bare, attached, Away(lab, 4), guarded, own]
        for side in sides:
            stack.callback(side.stop)
            side.start()
        # Freeze only now: a side that is still starting would be frozen half-started.
        time.sleep(6)
        attached.engine.check()
        attached.engine.pause()
        for side in sides:
            side.processes.check()
            side.processes.pause()
        trials = [Trial(side, work) for work in (NOOP, TEXT) for side in sides]
        for trial in trials:
            progress(f"attached: warming up {trial.side.name}, {trial.work.label}")
            trial.calibrate(1.5 if quick else ROUND_SECONDS)
        attached.record()
        recording = [_round(trials, attached, number) for number in range(rounds or (3 if quick else ROUNDS))]
    return _report(trials, recording)


def _round(trials: list[Trial], attached: Attached, number: int) -> float:
    start = number % len(trials)
    for trial in [*trials[start:], *trials[:start]]:
        progress(f"attached: round {number + 1}: {trial.side.name}, {trial.work.label}")
        trial.run()
    recorded = attached.record()
    progress("")
    say(f"attached: round {number + 1}: " + ", ".join(f"{trial.rates[-1]:,.0f}/s" for trial in trials))
    return recorded


def _report(trials: list[Trial], recording: list[float]) -> Report:
    find = {(type(trial.side), trial.work): trial for trial in trials}
    report = Report("attached: tasks per second with 4 pool processes, attached and not attached")
    report.notes = [f"  Recorded afterwards: {statistics.median(recording):,.0f} tasks per second."]

    def ratio(work: Work, side: type[Side], other: type[Side], target: Target) -> None:
        pairs = zip(find[side, work].rates, find[other, work].rates, strict=True)
        values = [rate / others for rate, others in pairs]
        report.figures.append(Figure(f"{work.label}: {side.name} / {other.name}", values, target=target))

    ratio(NOOP, Attached, Bare, at_least(0.90))
    ratio(TEXT, Attached, Bare, at_least(0.95))
    ratio(NOOP, Away, Bare, at_least(0.90))
    ratio(TEXT, Away, Bare, at_least(0.90))
    ratio(NOOP, Guarded, Own, at_least(1.0))
    ratio(TEXT, Guarded, Own, at_least(1.0))
    report.details["trials"] = [trial.as_json() for trial in trials]
    return report
