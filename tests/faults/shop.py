"""Somebody's Celery application with the suite's tasks, without Django: its own broker, results and settings.

`python -m tests.faults.shop` is a program of it that sends tasks, attached as well; it is asked as the driver is (sender.py).
"""

# ruff: noqa: E402

from __future__ import annotations

import json
import os
import sys

# Nothing of the application may need them, whatever else this environment has.
sys.modules.update(dict.fromkeys(("django", "zenith_site", "tasks_app", "infra_app")))

from celery import Celery

import zenith_worker
from tests.faults.sender import VERBS, answer_all

app = Celery("shop", broker=os.environ.get("SHOP_BROKER"), backend=os.environ.get("SHOP_RESULTS"))
app.set_current()
app.conf.update(
    imports=os.environ.get("SHOP_MODULES", "").split(","), result_extended=True,
    task_acks_late=True, task_reject_on_worker_lost=True, worker_prefetch_multiplier=2,
    # Its broker may stay away for as long as a case wants.
    broker_connection_retry_on_startup=True, broker_connection_max_retries=None,
    # Else Celery fails a task whose result cannot be stored at the moment.
    result_backend_always_retry=True,
)  # fmt: skip
app.conf.update(json.loads(os.environ.get("SHOP_SETTINGS", "{}")))

if __name__ == "__main__":
    zenith_worker.attach(app)
    answer_all(VERBS)
