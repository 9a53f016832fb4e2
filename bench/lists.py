"""The API over a million tasks: lists at any depth and filter, one task, and a trigger, each against its target."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable
from urllib.parse import urlencode

import psycopg

from bench.fill_tasks import RARE_ERROR, RARE_NAME, RARE_QUEUE, RARE_USER, RARE_WORKER, fill
from bench.lab import Lab
from bench.processes import Processes
from bench.report import Figure, Report, below, percentile, progress, say, table
from bench.web import Web

COUNT = 1_000_000
#: Requests for each filter at each depth, and for a single task; triggers.
LISTS, SINGLES, TRIGGERS = 10, 300, 200
WARM_UP = 2
#: Where a list begins, as a share of all tasks counted from the newest.
DEPTHS = (0.0, 0.5, 0.95)
#: The query parameters of each list, in addition to `limit=100`.
FILTERS: dict[str, dict[str, str]] = {
    "nothing": {},
    "status, nearly all": {"status": "SUCCESS"},
    "status, few": {"status": "FAILURE"},
    "status, very few": {"status": "SCHEDULED"},
    "task": {"task": "report.daily"},
    "task, rare": {"task": RARE_NAME},
    "task and status": {"task": "report.daily", "status": "FAILURE"},
    "name:*": {"q": "name:report*"},
    "queue": {"q": "queue:default"},
    "queue, rare": {"q": f"queue:{RARE_QUEUE}"},
    "worker": {"q": "worker:worker-3"},
    "worker, rare": {"q": f"worker:{RARE_WORKER}"},
    "worker, rare, and status": {"q": f"worker:{RARE_WORKER} status:FAILURE"},
    "worker and status": {"q": "worker:worker-3 status:REVOKED"},
    "argument": {"q": "args.region:eu"},
    "argument, rare": {"q": f"args.user:{RARE_USER}"},
    "argument, and a rare one": {"q": f"args.region:eu args.user:{RARE_USER}"},
    "argument, nowhere": {"q": "args.region:none"},
    "error": {"q": "error:Timeout"},
    "error, rare": {"q": f'error:"{RARE_ERROR}"'},
    "error and queue": {"q": "error:Timeout queue:slow"},
    "text": {"q": "answer"},
    "text, nowhere": {"q": "nonsense"},
    "since": {"q": "since:20d"},
    "until": {"q": "until:20d status:FAILURE"},
    "not": {"q": "-status:SUCCESS -name:mail*"},
    "everything at once": {
        "q": "status:FAILURE name:report* queue:default worker:worker-1 args.region:eu error:Timeout since:29d"
    },
}


def run(*, rounds: int | None, quick: bool) -> Report:
    """Run the benchmark; `rounds` multiplies the samples, `quick` takes a tenth of the tasks."""
    count, times = COUNT // 10 if quick else COUNT, rounds or 1
    with Lab() as lab:
        os.environ.update(ZENITH_RATE_LIMIT="1000000/1s", ZENITH_READ_RATE_LIMIT="1000000/1s", ZENITH_API_KEY="")
        lab.load_zenith()
        progress(f"lists: filling in {count:,} tasks")
        fill(os.environ["DATABASE_URL"], count)
        cursors = cursors_of(count)
        key = _key()
        processes = Processes(lab.logs, {"BENCH_NAME": "lists"})
        try:
            web = Web(processes, {"X-API-Key": key, "Content-Type": "application/json"})
            lists = _lists(web, cursors, LISTS * times)
            singles = _singles(key, SINGLES * times)
            triggers = _triggers(web, TRIGGERS * times)
        finally:
            processes.stop()
    return _report(count, lists, singles, triggers)


def _key() -> str:
    from django.contrib.auth.models import User

    from zenith_site.auth.tokens import create_token

    return create_token(User.objects.create_superuser("bench"), "bench", ("read", "dispatch"))[1]


def cursors_of(count: int) -> dict[float, str]:
    """Return a cursor for each depth."""
    cursors = {}
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        for depth in DEPTHS:
            query = "SELECT id FROM tasks_app_task ORDER BY id DESC OFFSET %s LIMIT 1"
            row = connection.execute(query, [int(depth * count)]).fetchone()
            cursors[depth] = base64.urlsafe_b64encode(row[0].bytes).decode().rstrip("=") if row and depth else ""
    return cursors


def _lists(web: Web, cursors: dict[float, str], times: int) -> dict[str, list[float]]:
    milliseconds: dict[str, list[float]] = {}
    for name, parameters in FILTERS.items():
        progress(f"lists: {name}")
        milliseconds[name] = []
        for cursor in cursors.values():
            path = "/tasks/all?" + urlencode({"limit": "100", **parameters, "cursor": cursor})
            milliseconds[name] += _timed(lambda path=path: web.ask("GET", path), times)  # type: ignore[misc]
        say(f"lists: {name}: p95 {percentile(milliseconds[name], 0.95):.1f} ms")
    return milliseconds


def _singles(key: str, times: int) -> list[float]:
    """Request one task after the other in this process: the application without its server."""
    from django.test import Client

    from tasks_app.models import Task

    client = Client(headers={"X-API-Key": key}, SERVER_NAME="localhost")
    ids = iter(list(Task.objects.filter(status="SUCCESS").order_by("?").values_list("id", flat=True)[: times + WARM_UP]))

    def ask() -> float:
        started = time.perf_counter()
        response = client.get(f"/task-status/{next(ids)}")
        milliseconds = (time.perf_counter() - started) * 1000
        assert response.status_code == 200
        return milliseconds

    progress("lists: one task")
    return _timed(ask, times)


def _triggers(web: Web, times: int) -> list[float]:
    progress("lists: triggers")
    body = json.dumps({"count": 10}).encode()
    return _timed(lambda: web.ask("POST", "/tasks/trigger", body), times)


def _timed(ask: Callable[[], float], times: int) -> list[float]:
    for _ in range(WARM_UP):
        ask()
    return [ask() for _ in range(times)]


def _report(count: int, lists: dict[str, list[float]], singles: list[float], triggers: list[float]) -> Report:
    report = Report(f"lists: the API over {count:,} tasks")
    rows = [
        (f"    {name}", f"{percentile(values, 0.5):.1f}", f"{percentile(values, 0.95):.1f}") for name, values in lists.items()
    ]
    report.notes = [
        "  GET /tasks/all?limit=100 through daphne, from the newest, the middle and the last twentieth, milliseconds:",
        *table([("    filter", "p50", "p95"), *rows]),
    ]
    every = [value for values in lists.values() for value in values]
    worst = max(lists, key=lambda name: percentile(lists[name], 0.95))
    report.figures = [
        Figure("GET /tasks/all p50, all filters and depths", [percentile(every, 0.5)], unit="ms"),
        Figure("GET /tasks/all p95, all filters and depths", [percentile(every, 0.95)], unit="ms", target=below(50)),
        Figure(
            f"GET /tasks/all p95, the slowest filter ({worst})", [percentile(lists[worst], 0.95)], unit="ms", target=below(50)
        ),
        Figure("GET /task-status/{id} p50, in the application", [percentile(singles, 0.5)], unit="ms"),
        Figure("GET /task-status/{id} p95, in the application", [percentile(singles, 0.95)], unit="ms", target=below(10)),
        Figure("POST /tasks/trigger of ten p50", [percentile(triggers, 0.5)], unit="ms"),
        Figure("POST /tasks/trigger of ten p99", [percentile(triggers, 0.99)], unit="ms", target=below(60)),
    ]
    report.details = {"lists": lists, "task_status": singles, "trigger": triggers}
    return report
