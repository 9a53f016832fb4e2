"""The cost of keeping what tasks log: a worker's throughput with five lines a task, kept and not; and a task that logs 100,000.

Both workers are Zenith's own, as `manage.py up` starts them, on queues of their own, and take turns; one engine records for both.
A worker that keeps no lines does not even create them: its own log has warnings only.
"""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack

from bench.lab import Lab
from bench.processes import Processes, wait_until
from bench.report import Figure, Report, at_least, below, progress, say
from bench.sides import CONCURRENCY, NOOP, Work, Zenith
from bench.tasks import FLOOD
from bench.tracking import Trial

ROUND_SECONDS = 4.0
ROUNDS = 7
TELLS = Work("bench.tells")
#: Lines that a task of TELLS logs.
LINES = 5


class Kept(Zenith):
    """A worker that keeps what tasks log."""

    name = "lines kept"
    queue = "kept"
    level = "info"

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab)
        self.processes = Processes(lab.logs, {"BENCH_NAME": self.queue, "ZENITH_TASK_LOGS": self.level})

    def start(self) -> None:
        """Start the worker alone."""
        from zenith_site.launch import programs

        program = programs.worker(CONCURRENCY, self.queue)
        self.processes.start(program.name, [*program.command, "--hostname", f"{self.queue}@%h"], program.environment)


class Off(Kept):
    """A worker that keeps none of it."""

    name = "off"
    queue = "off"
    level = "off"


def run(*, rounds: int | None, quick: bool) -> Report:
    """Run the benchmark."""
    with Lab() as lab, ExitStack() as stack:
        lab.load_zenith()
        engine = _engine(lab, stack)
        sides = Kept(lab), Off(lab)
        for side in sides:
            stack.callback(side.processes.stop)
            side.start()
        time.sleep(6)
        for side in sides:
            side.processes.check()
            side.processes.pause()
        trials = [Trial(sides[0], TELLS), Trial(sides[1], TELLS), Trial(sides[0], NOOP)]
        for trial in trials:
            progress(f"logs: warming up {trial.side.name}, {trial.work.task}")
            trial.calibrate(1.5 if quick else ROUND_SECONDS)
        stored: list[float] = []
        floods: list[tuple[float, float, float]] = []
        for number in range(rounds or (3 if quick else ROUNDS)):
            _wait_for_lines(engine)
            for trial in [*trials[number % 3 :], *trials[: number % 3]]:
                progress(f"logs: round {number + 1}: {trial.side.name}, {trial.work.task}")
                trial.run()
                if trial is trials[0]:
                    stored.append(_stored_share(sides[0], engine))
            floods.append(_flood(sides[0], engine))
            progress("")
            say(f"logs: round {number + 1}: " + ", ".join(f"{trial.rates[-1]:,.0f}/s" for trial in trials))
    return _report(trials, stored, floods)


def _engine(lab: Lab, stack: ExitStack) -> Processes:
    from zenith_site.launch import programs

    engine = Processes(lab.logs, {"BENCH_NAME": "logs"})
    stack.callback(engine.stop)
    program = programs.engine()
    engine.start(program.name, program.command, program.environment)
    return engine


def _wait_for_lines(engine: Processes) -> None:
    from zenith_worker.wire import task_logs

    wait_until(lambda: not task_logs.length(), engine, what="recording what tasks logged", seconds=120)


def _stored_share(side: Zenith, engine: Processes) -> float:
    """Return which share of the lines of the newest tasks is stored in the end."""
    from django.db.models import Sum

    from tasks_app.models import Task, TaskLog

    # The last lines are sent a moment after their tasks have ended, by a process that is stopped now.
    side.processes.resume()
    time.sleep(1)
    side.processes.pause()
    _wait_for_lines(engine)
    tasks = Task.objects.filter(batch__in=side._batches)
    lines = TaskLog.objects.filter(task_id__in=tasks.values("pk")).aggregate(total=Sum("lines"))["total"]
    return float((lines or 0) / (LINES * tasks.count()))


def _flood(side: Zenith, engine: Processes) -> tuple[float, float, float]:
    """Run a task that logs FLOOD lines; return the microseconds of each, the seconds until they are stored, and how many are."""
    from django.db.models import Sum

    from tasks_app.dispatch.create import Dispatch, Origin, dispatch
    from tasks_app.models import Task, TaskLog

    side.processes.resume()
    try:
        (id_,) = dispatch(Dispatch(task="bench.floods", queue=side.queue), Origin(source="command")).ids
        task = Task.objects.filter(pk=id_, status="SUCCESS")
        wait_until(task.exists, engine, what="the flood", seconds=120)
        ended = time.perf_counter()
        time.sleep(0.5)
        _wait_for_lines(engine)
    finally:
        side.processes.pause()
    stored = TaskLog.objects.filter(task_id=id_).aggregate(total=Sum("lines"))["total"] or 0
    return task.get().runtime / FLOOD * 1e6, time.perf_counter() - ended, float(stored)


def _report(trials: list[Trial], stored: list[float], floods: list[tuple[float, float, float]]) -> Report:
    kept, off, silent = trials
    report = Report("logs: tasks per second with 4 pool processes, and a task that logs 100,000 lines")
    report.notes = [
        f"  Lines of short tasks that are stored in the end: {min(stored):.1%} at least.",
        f"  Of the flood, {statistics.median(lines for _, _, lines in floods):,.0f} lines are stored: the newest.",
    ]
    report.figures = [
        Figure(
            f"no-op with {LINES} lines: kept / off",
            [one / other for one, other in zip(kept.rates, off.rates, strict=True)], target=at_least(0.90),
        ),
        Figure(
            f"with {LINES} lines / without any, kept",
            [one / other for one, other in zip(kept.rates, silent.rates, strict=True)], target=at_least(0.90),
        ),
        Figure("a line of the flood", [line for line, _, _ in floods], unit="µs", target=below(50)),
        Figure("from the flood's end until its lines are stored", [late for _, late, _ in floods], unit="s", target=below(5)),
    ]  # fmt: skip
    report.details["trials"] = [trial.as_json() for trial in trials]
    return report
