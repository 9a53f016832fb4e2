"""Celery alone: no Django, no tracking, and no results unless BENCH_RESULTS names a backend.

`BENCH_DELIVERY=late` selects Zenith's delivery settings.
"""

import os

from celery import Celery

app = Celery("bare", broker=os.environ["BENCH_BROKER"])
app.conf.update(
    imports=["bench.tasks", "tasks_app.builtin_tasks"],
    task_ignore_result="BENCH_RESULTS" not in os.environ,
    result_backend=os.environ.get("BENCH_RESULTS"),
    broker_connection_retry_on_startup=True,
)
if os.environ.get("BENCH_DELIVERY") == "late":
    app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True, worker_prefetch_multiplier=1)
