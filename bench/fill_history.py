"""Fill in the history of a busy month: events, failed attempts, dead letters, rollups by minute, and samples of the queues."""

from __future__ import annotations

import psycopg

from tasks_app.recording.rollups import BUCKETS
from zenith_worker.wire.states import RANKS, Status

#: As many dead letters as retention keeps by default.
LETTERS = 10_000
DAYS = 30

_STEPS = """
    INSERT INTO tasks_app_taskevent (task_id, status, position, at, worker, message)
    SELECT id, step.status, step.rank, created_at, CASE WHEN step.rank >= %(started)s THEN worker ELSE '' END, ''
    FROM tasks_app_task AS task,
        LATERAL (VALUES ('QUEUED', %(queued)s), ('STARTED', %(started)s), (task.status, %(last)s)) AS step (status, rank)
    WHERE task.status IN ('SUCCESS', 'FAILURE', 'REVOKED') ORDER BY id, step.rank
"""
_RUNS = """
    INSERT INTO tasks_app_attempt (task_id, attempt, delivery, worker, received_at, started_at, finished_at, outcome, error_type,
        error_message, traceback)
    SELECT id, 1, 0, worker, received_at, started_at, created_at, status, error_type, error_message,
        'Traceback (most recent call last):' || repeat(E'\\n  File "/srv/app/tasks.py", line 41, in run\\n    return go(on)', 12)
            || E'\\n' || error_type || ': ' || error_message
    FROM tasks_app_task WHERE status IN ('FAILURE', 'RETRY')
"""
# One in eight is resolved; about a hundred groups.
_LETTERS = """
    INSERT INTO tasks_app_deadletter (task_id, fingerprint, task_name, queue, error_type, message, frame, created_at, state,
        resolved_at, resolved_by, note)
    SELECT id, md5(name || error_type || step), name, queue, error_type, 'no answer from host <hex> within <n> s',
        'app/tasks.py step_' || step, created_at, CASE WHEN decided THEN 'DISCARDED' ELSE 'OPEN' END,
        CASE WHEN decided THEN created_at END, CASE WHEN decided THEN 'ada' ELSE '' END, ''
    FROM (
        SELECT *, ascii(substr(id::text, 36)) %% 5 AS step, substr(id::text, 35, 1) IN ('0', '1') AS decided
        FROM tasks_app_task WHERE status = 'FAILURE' ORDER BY created_at DESC LIMIT %(letters)s) AS failed
    ORDER BY id
"""
_MINUTES = """
    INSERT INTO tasks_app_minuterollup (minute, name, queue, succeeded, failed, revoked, retried, runtime_seconds,
        runtime_histogram, waiting_seconds, waiting_histogram)
    SELECT minute, name, queue, succeeded, failed, revoked, retried, 0.1 * ended,
        array_fill(0, ARRAY[15 + spread]) || ended || array_fill(0, ARRAY[%(buckets)s - 16 - spread]), 0.05 * ended,
        array_fill(0, ARRAY[10 + spread]) || ended || array_fill(0, ARRAY[%(buckets)s - 11 - spread])
    FROM (
        SELECT date_trunc('minute', created_at) AS minute, name, queue, count(*) FILTER (WHERE status = 'SUCCESS') AS succeeded,
            count(*) FILTER (WHERE status = 'FAILURE') AS failed, count(*) FILTER (WHERE status = 'REVOKED') AS revoked,
            count(*) FILTER (WHERE status = 'RETRY') AS retried, count(*)::int AS ended, length(name) %% 8 AS spread
        FROM tasks_app_task WHERE status NOT IN ('QUEUED', 'SCHEDULED') GROUP BY 1, 2, 3) AS counted
"""
_LOOKS = """
    INSERT INTO tasks_app_loadsample (minute, sampled_at, looks, workers, slots, busy)
    SELECT minute, minute, 6, 72, 288, 60 + extract(epoch FROM minute)::int / 60 %% 200
    FROM generate_series(date_trunc('minute', now()) - %(days)s * interval '1 day', now(), interval '1 minute') AS minute
"""
_DEPTHS = """
    INSERT INTO tasks_app_queuesample (minute, queue, depth, unacknowledged, oldest_seconds)
    SELECT minute, queue, extract(epoch FROM minute)::int / 60 %% 500, 40, 3.5
    FROM generate_series(date_trunc('minute', now()) - %(days)s * interval '1 day', now(), interval '1 minute') AS minute,
        unnest(ARRAY['default', 'slow', 'mail', 'reports']) AS queue
"""
# A day of it, as retention keeps.
_WORKERS = """
    INSERT INTO tasks_app_workerminute (minute, worker, succeeded, failed, memory_bytes)
    SELECT minute, 'worker-' || number || '@host', 40, extract(epoch FROM minute)::int / 60 %% 3, 200000000 + number * 1000000
    FROM generate_series(date_trunc('minute', now()) - interval '1 day', now(), interval '1 minute') AS minute,
        generate_series(1, 72) AS number
"""


def fill_history(admin_url: str) -> None:
    """Write the history of the tasks of fill_tasks.py; needs an administrator's connection."""
    values = {
        "queued": RANKS[Status.QUEUED], "started": RANKS[Status.STARTED], "last": RANKS[Status.SUCCESS],
        "letters": LETTERS, "buckets": BUCKETS, "days": DAYS,
    }  # fmt: skip
    with psycopg.connect(admin_url, autocommit=True) as connection:
        with connection.transaction():
            # Every row is derived from its task, so checking foreign keys is unnecessary.
            connection.execute("SET LOCAL session_replication_role = replica")
            for statement in (_STEPS, _RUNS, _LETTERS, _MINUTES, _LOOKS, _DEPTHS, _WORKERS):
                connection.execute(statement, values)
        connection.execute("VACUUM ANALYZE")


def compact_rollups() -> None:
    """Compact the rollups as Zenith's engine does."""
    from tasks_app.maintenance.compaction import compact

    while compact():
        pass
