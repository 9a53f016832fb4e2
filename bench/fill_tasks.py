"""Fill in a million tasks of a busy month: nearly all succeeded, and what people search for is rare and old."""

from __future__ import annotations

import psycopg

#: Tasks per mille in each status; the rest is SUCCESS.
FAILED, REVOKED, RETRYING, QUEUED, SCHEDULED = 14, 3, 1, 1, 1
PER_BATCH = 1_000
#: Values that only the oldest tasks have, each a few dozen times.
RARE_NAME, RARE_QUEUE, RARE_WORKER, RARE_USER, RARE_ERROR = (
    "billing.rare",
    "rare",
    "ghost@host",
    "nobody",
    "the disk of node 7 is full",
)

_BATCHES = """
    INSERT INTO tasks_app_batch (id, task_name, size, source, sent_by, created_at)
    SELECT (lpad(to_hex(ms), 12, '0') || '70008000000000000000')::uuid, 'report.daily', %(per_batch)s, 'api', 'bench',
        to_timestamp(ms / 1000.0)
    FROM (SELECT %(start)s + number::bigint * %(per_batch)s * %(step)s AS ms
        FROM generate_series(0, (%(count)s - 1) / %(per_batch)s) AS number) AS batch
"""

_TASKS = """
    INSERT INTO tasks_app_task (id, name, queue, status, position, args, kwargs, batch_id, source, worker, error_type,
        error_message, created_at, queued_at, received_at, started_at, finished_at, not_before, runtime, held, max_retries)
    SELECT (lpad(to_hex(ms), 12, '0') || '7' || substr(hash, 1, 3) || '8' || substr(hash, 4, 15))::uuid,
        CASE WHEN old AND number %% 50 = 0 THEN %(rare_name)s ELSE (ARRAY['report.daily', 'report.weekly', 'mail.send',
            'mail.bounce', 'image.resize', 'billing.charge', 'search.index', 'cache.warm', 'export.csv', 'import.csv', 'sync.crm',
            'analyze_text'])[1 + number %% 12] END,
        CASE WHEN old AND number %% 70 = 0 THEN %(rare_queue)s WHEN number %% 12 < 6 THEN 'default' ELSE 'slow' END,
        status, 7, jsonb_build_array(hash),
        jsonb_build_object('user',
            CASE WHEN old AND number %% 60 = 0 THEN to_jsonb(%(rare_user)s::text) ELSE to_jsonb(number %% 50000) END,
            'region', CASE WHEN number %% 2 = 0 THEN 'eu' ELSE 'us' END),
        (lpad(to_hex(%(start)s + (number / %(per_batch)s)::bigint * %(per_batch)s * %(step)s), 12, '0')
            || '70008000000000000000')::uuid, 'api',
        CASE WHEN status IN ('QUEUED', 'SCHEDULED') THEN '' WHEN old AND number %% 80 = 0 THEN %(rare_worker)s
            ELSE 'worker-' || (1 + number %% 12) || '@host' END,
        CASE WHEN status NOT IN ('FAILURE', 'RETRY') THEN '' WHEN number %% 3 = 0 THEN 'TimeoutError' ELSE 'ValueError' END,
        CASE WHEN status NOT IN ('FAILURE', 'RETRY') THEN '' WHEN old THEN %(rare_error)s || ' (' || number || ')'
            ELSE 'no answer from host ' || hash || ' within 30 s' END,
        at, at, at, at, CASE WHEN status IN ('SUCCESS', 'FAILURE', 'REVOKED') THEN at END,
        CASE WHEN status = 'SCHEDULED' THEN now() + interval '1 day' END, 0.1, false, 3
    FROM (
        SELECT number, %(start)s + number::bigint * %(step)s AS ms,
            to_timestamp((%(start)s + number::bigint * %(step)s) / 1000.0) AS at,
            md5(number::text) AS hash, number < %(count)s / 400 AS old,
            CASE WHEN md5('s' || number) < 'fae1' THEN 'SUCCESS'
                WHEN number %% 20 < 14 THEN 'FAILURE' WHEN number %% 20 < 17 THEN 'REVOKED' WHEN number %% 20 = 17 THEN 'RETRY'
                WHEN number %% 20 = 18 THEN 'QUEUED' ELSE 'SCHEDULED' END AS status
        FROM generate_series(0, %(count)s - 1) AS number
    ) AS row
"""

_RESULTS = """
    INSERT INTO django_celery_results_taskresult (task_id, status, content_type, content_encoding, result, date_created,
        date_done, date_started, task_name, task_args, task_kwargs, worker, meta, traceback, periodic_task_name)
    SELECT id::text, status, 'application/json', 'utf-8', '{"word_count": 120, "unique_words": 80}', created_at, created_at,
        created_at, name, '', '', worker, '{}', NULL, '' FROM tasks_app_task WHERE status = 'SUCCESS'
"""


def fill(database_url: str, count: int, *, days: float = 30.0) -> None:
    """Insert tasks with their batches and results, spread evenly over the last days."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        row = connection.execute("SELECT (date_part('epoch', now()) * 1000)::bigint").fetchone()
        assert row
        step = max(1, int(days * 86_400_000 / count))
        values = {
            "start": row[0] - count * step, "step": step, "count": count, "per_batch": PER_BATCH, "rare_name": RARE_NAME,
            "rare_queue": RARE_QUEUE, "rare_worker": RARE_WORKER, "rare_user": RARE_USER, "rare_error": RARE_ERROR,
        }  # fmt: skip
        with connection.transaction():
            connection.execute(_BATCHES, values)
            connection.execute(_TASKS, values)
            connection.execute(_RESULTS)
        connection.execute("VACUUM ANALYZE")
