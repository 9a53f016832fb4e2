"""Prune a million finished tasks during dispatches: rows per second, and how long the dispatcher waits for locks."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg

from bench import tasks
from bench.fill_tasks import fill
from bench.lab import Lab
from bench.report import Figure, Report, below, progress, say

COUNT = 1_000_000
#: Events of each task; a real one has five.
EVENTS = 2
#: Seconds between two dispatches, and of measurement before pruning begins.
DISPATCH_EVERY = 0.1
ALONE = 10.0
#: Seconds between two reads of lock waits.
READ_LOCKS_EVERY = 0.01

_EVENTS = """
    INSERT INTO tasks_app_taskevent (task_id, status, position, at, worker, message)
    SELECT id, status, number, created_at, worker, '' FROM tasks_app_task, generate_series(1, %s) AS number
"""
_WAITS = """
    SELECT coalesce(max(extract(epoch FROM clock_timestamp() - waitstart)), 0)::float8 FROM pg_locks WHERE NOT granted
"""


@dataclass
class Measurements:
    """Measurements of a period: seconds of each dispatch, and the longest wait for a lock in seconds."""

    dispatches: list[float] = field(default_factory=list)
    lock_wait: float = 0.0


def run(*, rounds: int | None, quick: bool) -> Report:
    """Run the benchmark once; `quick` takes a tenth of the tasks."""
    count = COUNT // 10 if quick else COUNT
    with Lab() as lab:
        lab.load_zenith()
        progress(f"prune: writing {count:,} tasks")
        assert lab.servers
        url = lab.servers.addresses.database_url
        fill(url, count, days=60)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_EVENTS, [EVENTS])
            connection.execute("VACUUM ANALYZE")
        with _measuring(url) as before:
            time.sleep(ALONE)
        with _measuring(url) as during:
            removed, seconds = _prune()
    say(f"prune: {removed:,} tasks in {seconds:.0f} s")
    report = Report(f"prune: {count:,} tasks with their results and {EVENTS} events each")
    report.notes = [
        f"  {removed:,} tasks were old enough, {EVENTS + 2} rows each. Meanwhile a dispatcher sent one task ten times a second.",
    ]
    report.figures = [
        Figure("prune: tasks removed per second", [removed / seconds], unit="/s"),
        Figure("prune: rows removed per second", [removed * (EVENTS + 2) / seconds], unit="/s"),
        Figure("prune: longest wait for a lock, of anybody", [during.lock_wait], unit="s", target=below(0.5)),
        Figure("prune: a dispatch meanwhile, beside one without pruning", [_median(during) / _median(before)]),
        Figure("prune: the slowest of a hundred dispatches meanwhile", [_p99(during)], unit="s"),
        Figure("prune: the slowest of a hundred without pruning", [_p99(before)], unit="s"),
    ]
    return report


def _prune() -> tuple[int, float]:
    """Prune tasks as `manage.py prune` does; return how many were removed, and the seconds it took."""
    from django.conf import settings

    from tasks_app.maintenance import retention

    settings.ZENITH_RETENTION_DAYS = 1
    (rule,) = (rule for rule in retention.rules() if rule.name == "tasks")
    removed, started_at = 0, time.perf_counter()
    for rows in rule.prune():
        removed += rows
        progress(f"prune: {removed:,} tasks removed")
    return removed, time.perf_counter() - started_at


@contextmanager
def _measuring(url: str) -> Iterator[Measurements]:
    """Dispatch and watch locks in threads until the block ends."""
    measurements, stop = Measurements(), threading.Event()
    threads = [
        threading.Thread(target=_dispatch, args=(measurements, stop)),
        threading.Thread(target=_watch_locks, args=(url, measurements, stop)),
    ]
    for thread in threads:
        thread.start()
    try:
        yield measurements
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _dispatch(measurements: Measurements, stop: threading.Event) -> None:
    from django.db import connection

    from tasks_app.dispatch.create import Dispatch, Origin, dispatch

    while not stop.wait(DISPATCH_EVERY):
        started_at = time.perf_counter()
        dispatch(Dispatch(task=tasks.NAME), Origin(source="command"))
        measurements.dispatches.append(time.perf_counter() - started_at)
    connection.close()


def _watch_locks(url: str, measurements: Measurements, stop: threading.Event) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        while not stop.wait(READ_LOCKS_EVERY):
            row = connection.execute(_WAITS).fetchone()
            assert row
            measurements.lock_wait = max(measurements.lock_wait, row[0])


def _median(measurements: Measurements) -> float:
    return statistics.median(measurements.dispatches)


def _p99(measurements: Measurements) -> float:
    return statistics.quantiles(measurements.dispatches, n=100)[98]
