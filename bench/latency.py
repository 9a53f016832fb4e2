"""End-to-end latency on an idle system: from a trigger request to SUCCESS on an open page.

A client opens the Overview's socket as a browser does and triggers one no-op at a time through the API. The client's monotonic
clock measures the whole way, the rows' timestamps (one machine, one wall clock) the steps in between.
"""

from __future__ import annotations

import http.client
import json
import random
import re
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import psycopg
import redis
from channels_redis.serializers import registry
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from bench import tasks
from bench.lab import Lab
from bench.processes import BenchError
from bench.report import Figure, Report, below, percentile, progress, table
from bench.stack import Stack

SAMPLES = 150
WARM_UP = 10
#: Seconds between a row's SUCCESS and the next trigger.
GAP = (0.2, 0.5)
TIMEOUT = 10.0
STEPS = (
    "POST sent to HTTP answer",
    "POST sent to row written",
    "row written to message queued",
    "message queued to received",
    "received to started",
    "started to finished",
    "finished to recorder's commit told",
    "commit told to frame with SUCCESS",
)
_ROW = re.compile(r'id="task-([0-9a-f-]{36})"\s+data-status="SUCCESS"')


@dataclass(frozen=True)
class Moments:
    """One task as the client saw it. `sent` is wall-clock time; the others are seconds after it."""

    task_id: str
    sent: float
    answered_after: float
    shown_after: float


class Page:
    """The Overview's socket, read by a thread that records when a row first shows SUCCESS."""

    def __init__(self, stack: Stack) -> None:
        address = f"ws://127.0.0.1:{stack.port}/ws/page/overview"
        self._socket: ClientConnection = connect(address, additional_headers={"X-API-Key": stack.api_key}, max_size=None)
        self._seen: dict[str, float] = {}
        self._news = threading.Condition()
        self.frames = 0
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def shown_at(self, task_id: str) -> float:
        """Wait for a row, and return when it was shown (time.perf_counter()).

        Raises:
            BenchError: if it is not shown in time.
        """
        with self._news:
            if not self._news.wait_for(lambda: task_id in self._seen, TIMEOUT):
                raise BenchError(f"the page did not show {task_id} as SUCCESS within {TIMEOUT:.0f} s")
            return self._seen[task_id]

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _read(self) -> None:
        try:
            for frame in self._socket:
                now = time.perf_counter()
                task_ids = _ROW.findall(frame if isinstance(frame, str) else frame.decode())
                with self._news:
                    self.frames += 1
                    for task_id in task_ids:
                        self._seen.setdefault(task_id, now)
                    self._news.notify_all()
        except ConnectionClosed:
            return


class CommitHints:
    """Listens to the channel layer: a hint says that events up to its number are committed."""

    def __init__(self, stack: Stack) -> None:
        self.received: list[tuple[float, int]] = []
        self._pubsub = redis.Redis.from_url(stack.redis_url).pubsub()
        self._pubsub.psubscribe(**{"*__group__tasks": self._note})
        self._thread = self._pubsub.run_in_thread(sleep_time=1.0, daemon=True)

    def committed_at(self, event_id: int) -> float | None:
        """Return the wall-clock time of the first hint that an event is committed; None if there was none."""
        return next((at for at, newest in self.received if newest >= event_id), None)

    def close(self) -> None:
        """Stop listening."""
        self._thread.stop()
        self._thread.join()

    def _note(self, message: dict[str, Any]) -> None:
        now = time.time()
        # The format of RedisPubSubChannelLayer.
        body = registry.get_serializer("msgpack", symmetric_encryption_keys=None).deserialize(message["data"])
        self.received.append((now, body["newest"]))


def run(*, rounds: int | None, quick: bool) -> Report:
    """Run the benchmark; `rounds` multiplies the samples."""
    samples = (30 if quick else SAMPLES) * (rounds or 1)
    with Lab(servers=False) as lab, Stack(lab) as stack:
        page, hints = Page(stack), CommitHints(stack)
        try:
            for number in range(WARM_UP):
                progress(f"latency: warming up, {number + 1} of {WARM_UP}")
                _sample(stack, page)
            frames = page.frames
            moments = []
            for number in range(samples):
                progress(f"latency: {number + 1} of {samples}")
                moments.append(_sample(stack, page))
            frames = page.frames - frames
            steps = _steps(stack, hints, moments)
        finally:
            page.close()
            hints.close()
    return _report(moments, steps, frames)


def _sample(stack: Stack, page: Page) -> Moments:
    time.sleep(random.uniform(*GAP))
    connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=TIMEOUT)
    try:
        body = json.dumps({"task": tasks.NAME, "count": 1})
        headers = {"X-API-Key": stack.api_key, "Content-Type": "application/json"}
        sent, started = time.time(), time.perf_counter()
        connection.request("POST", "/tasks/trigger", body, headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
        answered_after = time.perf_counter() - started
    finally:
        connection.close()
    if response.status != 200:
        raise BenchError(f"POST /tasks/trigger was answered by {response.status}: {answer}")
    task_id = answer["ids"][0]
    return Moments(task_id, sent, answered_after, page.shown_at(task_id) - started)


def _steps(stack: Stack, hints: CommitHints, moments: Sequence[Moments]) -> dict[str, list[float]]:
    """Return the milliseconds of each step, one value per sample."""
    query = "SELECT task_id::text, status, date_part('epoch', at), id FROM tasks_app_taskevent WHERE task_id = ANY(%s::uuid[])"
    events: dict[str, dict[str, tuple[float, int]]] = {}
    with psycopg.connect(stack.database_url) as connection:
        for task_id, status, at, event_id in connection.execute(query, [[item.task_id for item in moments]]):
            events.setdefault(task_id, {})[status] = (at, event_id)
    milliseconds: dict[str, list[float]] = {name: [] for name in STEPS}
    for item in moments:
        step = events[item.task_id]
        committed = hints.committed_at(step["SUCCESS"][1])
        times = [item.sent, *(step[status][0] for status in ("PENDING", "QUEUED", "RECEIVED", "STARTED", "SUCCESS"))]
        times += [committed or times[-1], item.sent + item.shown_after]
        durations = [item.answered_after, *(later - earlier for earlier, later in pairwise(times))]
        for name, seconds in zip(STEPS, durations, strict=True):
            milliseconds[name].append(seconds * 1000)
    return milliseconds


def _report(moments: Sequence[Moments], steps: dict[str, list[float]], frames: int) -> Report:
    whole = sorted(item.shown_after * 1000 for item in moments)
    report = Report(f"latency: POST /tasks/trigger to SUCCESS on the open page, {len(moments)} times")
    report.notes = [
        *_histogram(whole),
        "  Where the time goes, milliseconds:",
        *_split({**steps, "POST sent to frame with SUCCESS": whole}),
        f"  {frames / len(moments):.1f} frames per task; {GAP[0]}-{GAP[1]} s between two tasks.",
    ]
    report.figures = [
        Figure("latency p50", [percentile(whole, 0.50)], unit="ms", target=below(100)),
        Figure("latency p90", [percentile(whole, 0.90)], unit="ms"),
        Figure("latency p99", [percentile(whole, 0.99)], unit="ms", target=below(300)),
    ]
    report.details = {"milliseconds": whole, "steps": {name: statistics.median(values) for name, values in steps.items()}}
    return report


def _histogram(values: Sequence[float], bins: int = 12) -> list[str]:
    """Return one line per range of milliseconds; the last includes everything above."""
    width = max(5.0, 5.0 * round(percentile(values, 0.95) / bins / 5 + 0.5))
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, int(value / width))] += 1
    longest = max(counts)
    ends = [f"{index * width:>5.0f} ms{'+' if index == bins - 1 else ' '}" for index in range(bins)]
    return [f"  {end} {count:>4}  {'#' * round(50 * count / longest)}" for end, count in zip(ends, counts, strict=True) if count]


def _split(steps: dict[str, list[float]]) -> list[str]:
    shares = (0.5, 0.9, 0.99)
    rows = [(f"    {name}", *(f"{percentile(values, share):.1f}" for share in shares)) for name, values in steps.items()]
    return table([("", "p50", "p90", "p99"), *rows])
