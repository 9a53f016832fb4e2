"""The pages over a million tasks and 30 days: the server's time, queries and bytes for each; in a browser, the cost of the first
load, and the effect of 200 task updates a second on open pages."""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bench.fill_history import compact_rollups, fill_history
from bench.fill_tasks import fill
from bench.lab import Lab
from bench.processes import CpuMeter, Processes, run_quietly
from bench.report import Figure, Report, below, percentile, progress, say, table
from bench.screen import measure_pages
from bench.visits import Visit, visits
from bench.web import Web

COUNT, FEW = 1_000_000, 10_000
#: Requests for each address of each page.
TIMES = 20
WARM_UP = 2
MOST_QUERIES = 12
KILOBYTE = 1000


@dataclass
class Cost:
    """The cost of a page: milliseconds of each request, and average CPU milliseconds (web process and PostgreSQL).

    `queries` and `size` are the maxima over the page's addresses.
    """

    milliseconds: list[float] = field(default_factory=list)
    cpu: float = 0.0
    queries: int = 0
    size: int = 0


def run(*, rounds: int | None, quick: bool) -> Report:
    """Run the benchmark; `rounds` multiplies the samples, `quick` takes a tenth of the tasks."""
    count, times = COUNT // 10 if quick else COUNT, (5 if quick else TIMES) * (rounds or 1)
    with Lab() as lab:
        os.environ.update(ZENITH_RATE_LIMIT="1000000/1s", ZENITH_READ_RATE_LIMIT="1000000/1s", ZENITH_API_KEY="")
        lab.load_zenith()
        run_quietly([sys.executable, "manage.py", "collectstatic", "--no-input", "--verbosity", "0"], {})
        few, _ = _measure(lab, FEW, times)
        many, screen = _measure(lab, count, times, seconds=4.0 if quick else 12.0)
    report = _report(count, few, many)
    report.notes += screen.notes
    report.figures += screen.figures
    report.details["screen"] = screen.details
    return report


def _measure(lab: Lab, count: int, times: int, *, seconds: float = 0.0) -> tuple[dict[str, Cost], Report]:
    """Fill the tables, request every page, and, if `seconds` is given, open the pages in a browser for that long each."""
    from django.core.management import call_command

    from tests.browser.sample import fill as fill_sample
    from zenith_worker.wire import stream

    url = os.environ["DATABASE_URL"]
    progress(f"pages: filling in {count:,} tasks")
    call_command("flush", interactive=False, verbosity=0)
    stream.client().flushdb()
    fill(url, count)
    assert lab.servers
    fill_history(lab.servers.admin_url)
    compact_rollups()
    sample = fill_sample()
    cookie = _session()
    processes = Processes(lab.logs, {"BENCH_NAME": "pages"})
    try:
        web = Web(processes, {"Cookie": f"sessionid={cookie}"})
        costs = {}
        for visit in visits(sample, count):
            costs[visit.name] = _cost(
                web, cookie, visit, times, lambda: CpuMeter(processes, {"postgres": lab.pids()["postgres"]})
            )
        screen = measure_pages(web, processes, cookie, sample, seconds) if seconds else Report("")
    finally:
        processes.stop()
    return costs, screen


def _session() -> str:
    from django.contrib.auth.models import User
    from django.test import Client

    client = Client()
    client.force_login(User.objects.get_or_create(username="bench", is_superuser=True, is_staff=True)[0])
    return client.cookies["sessionid"].value


def _cost(web: Web, cookie: str, visit: Visit, times: int, meter: Callable[[], CpuMeter]) -> Cost:
    progress(f"pages: {visit.name}")
    cost = Cost()
    for path in visit.paths:
        queries, size = _weigh(cookie, path, visit.headers)
        cost.queries, cost.size = max(cost.queries, queries), max(cost.size, size)
        for _ in range(WARM_UP):
            web.ask("GET", path, headers=visit.headers)
        used = meter()
        cost.milliseconds += [web.ask("GET", path, headers=visit.headers) for _ in range(times)]
        cost.cpu += 1000 * sum(used.read().values()) / times / len(visit.paths)
    say(f"pages: {visit.name}: p95 {percentile(cost.milliseconds, 0.95):.1f} ms, {cost.queries} queries, {_kb(cost.size):.0f} KB")
    return cost


def _weigh(cookie: str, path: str, headers: Mapping[str, str]) -> tuple[int, int]:
    """Return the numbers of queries and bytes of a page, requested in this process."""
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    client = Client(headers=dict(headers), SERVER_NAME="localhost")
    client.cookies["sessionid"] = cookie
    with CaptureQueriesContext(connection) as queries:
        response = client.get(path)
    assert response.status_code == 200, path
    return len(queries), len(response.content)


def _kb(size: int) -> float:
    return size / KILOBYTE


def _report(count: int, few: Mapping[str, Cost], many: Mapping[str, Cost]) -> Report:
    report = Report(f"pages: over {count:,} tasks and 30 days")
    slower = {name: _median(cost) / _median(few[name]) for name, cost in many.items() if name in few}
    rows = [
        (
            f"    {name}", f"{_median(cost):.1f}", f"{percentile(cost.milliseconds, 0.95):.1f}", f"{cost.cpu:.0f}",
            f"{slower[name]:.1f}", str(cost.queries), f"{_kb(cost.size):.0f}",
        )
        for name, cost in many.items()
    ]  # fmt: skip
    report.notes = [
        "  Through daphne, milliseconds; `CPU` is the CPU time of the web process and PostgreSQL per request, whatever else the",
        f"  machine does; `growth` is p50 relative to the same page with {FEW:,} tasks; KB uncompressed:",
        *table([("    page", "p50", "p95", "CPU", "growth", "queries", "KB"), *rows]),
    ]
    every = [value for cost in many.values() for value in cost.milliseconds]
    slowest = max(many, key=lambda name: percentile(many[name].milliseconds, 0.95))
    busiest = max(many, key=lambda name: many[name].queries)
    heaviest = max(many, key=lambda name: many[name].size)
    dearest = max(many, key=lambda name: many[name].cpu)
    grown = max(slower, key=lambda name: slower[name])
    report.figures = [
        Figure("pages p50", [percentile(every, 0.5)], unit="ms"),
        Figure("pages p95", [percentile(every, 0.95)], unit="ms", target=below(100)),
        Figure(
            f"pages p95, the slowest ({slowest})", [percentile(many[slowest].milliseconds, 0.95)], unit="ms", target=below(100)
        ),
        Figure(f"pages CPU of a request, the most ({dearest})", [many[dearest].cpu], unit="ms"),
        Figure(f"pages p50 / with {FEW:,} tasks, the median page", [statistics.median(slower.values())]),
        Figure(f"pages p50 / with {FEW:,} tasks, the most grown ({grown})", [slower[grown]]),
        Figure(f"queries, the most ({busiest})", [many[busiest].queries], unit="", target=below(MOST_QUERIES + 1)),
        Figure(f"HTML, the heaviest ({heaviest})", [_kb(many[heaviest].size)], unit="KB", target=below(150)),
    ]
    report.details = {
        name: {"milliseconds": cost.milliseconds, "cpu": cost.cpu, "queries": cost.queries, "bytes": cost.size}
        for name, cost in many.items()
    }
    return report


def _median(cost: Cost) -> float:
    return statistics.median(cost.milliseconds)
