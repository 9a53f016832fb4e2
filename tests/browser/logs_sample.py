"""What the sample's tasks logged."""

from __future__ import annotations

import time

from tasks_app.models import Task
from tasks_app.models.application import NATIVE_ID
from tasks_app.recording.log_recorder import rows_of, store
from zenith_worker.wire.stream import Entry
from zenith_worker.wire.task_logs import LogChunk, LogLine, encode

_TRACEBACK = """upstream did not answer
Traceback (most recent call last):
  File "/srv/app/pdf.py", line 112, in load
    return session.get(source, timeout=30).content
TimeoutError: upstream took longer than 30 s"""


def fill_logs(*ids: str) -> None:
    """Write lines of all levels for these tasks; of the first one, many are missing."""
    now = time.time() - 60
    lines = [
        LogLine(now + 0.021, 20, "shop.orders", "order 4711 of customer 7 is read, with password=hunter2"),
        LogLine(now + 0.094, 10, "shop.http", "GET /prices/4711 200 in 62 ms"),
        LogLine(now + 1.2, 30, "celery.redirected", "this was printed"),
        LogLine(now + 31.4, 40, "shop.pdf", _TRACEBACK),
        LogLine(now + 31.5, 50, "shop.pdf", "giving up: " + "a very long word " * 20),
    ]
    for number, task in enumerate(Task.objects.filter(pk__in=ids)):
        chunk = LogChunk(task_id=task.celery_id, lines=lines, first=0 if number else 94_995, attempt=max(0, task.attempt - 1))
        store(rows_of(Entry(f"{int(now * 1000)}-{number}", encode([chunk])), NATIVE_ID))
