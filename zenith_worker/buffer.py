"""Reports of an attached application, which wait for nobody: a thread sends them, and a bound keeps those that it cannot send.

`add` encodes a report and returns. While Zenith's Redis is unreachable, up to EVENTS_KEPT reports (and BYTES_KEPT of JSON) wait
in this process; what is beyond that is counted and dropped. The count is written as soon as Redis can be reached.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Final

import redis

from zenith_worker.wire import applications
from zenith_worker.wire.client import command
from zenith_worker.wire.events import Event, encode
from zenith_worker.wire.instance import instance
from zenith_worker.wire.keys import application_keys

logger = logging.getLogger(__name__)

#: Reports that wait in one process, and characters of their JSON.
EVENTS_KEPT: Final = 10_000
BYTES_KEPT: Final = 32 * 2**20
#: Reports, and characters of JSON, that one entry of the stream holds.
BATCH: Final = 200
BATCH_BYTES: Final = 2**20
#: Seconds for which the thread gathers reports before it sends them: the first after a rest, and those that follow, since each
#: entry costs the process that runs the tasks. And that it pauses at most after a failure.
GATHER: Final = 0.02
GATHER_UNDER_LOAD: Final = 0.1
#: Seconds without a report after which the thread sleeps until one comes. Until then it looks by itself: to be woken costs the
#: process that runs the tasks more than the report.
RESTS_AFTER: Final = 1.0
PAUSE_AT_MOST: Final = 5.0
#: Seconds between two announcements of the application, so that a Redis that lost its data knows it again.
ANNOUNCE_EVERY: Final = 30.0
#: The suffix of a child's reports that are written to their end.
_COMPLETE: Final = ".rows"
#: Seconds for which the end of a process waits for what is left.
FLUSHED_WITHIN: Final = 3.0


class Buffer:
    """The reports of this process that are not sent yet. Safe for threads; a forked child begins with an empty one.

    Attributes:
        dropped: how many reports this process has dropped.
    """

    def __init__(self, application: str, main: str) -> None:
        self._application, self._main = application, main
        # Nobody can guess the name of a run, so nobody else can have made this directory.
        self._left = Path(tempfile.gettempdir()) / f"zenith-reports-{instance()}"
        self._begin()
        if hasattr(os, "register_at_fork"):  # Windows has none, and no forks
            os.register_at_fork(after_in_child=self._begin)
        atexit.register(self.flush)

    def _begin(self) -> None:
        self._lock, self._sending, self._news = threading.Lock(), threading.Lock(), threading.Event()
        self._rows: deque[bytes] = deque()
        self._bytes = self.dropped = self._dropped_written = 0
        self._thread: threading.Thread | None = None
        self._announced_at = float("-inf")
        self._is_failing = False
        #: Whether the thread sleeps until it is woken.
        self._rests = True

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, *events: Event) -> None:
        """Add reports, to be sent soon. Never raises and never waits: whoever reports has a task to run."""
        rows: list[bytes] = []
        for event in events:
            try:
                row = encode([event])[1:-1]
            except Exception:
                logger.exception("A report of task %s could not be encoded.", event.task_id)
                continue
            rows.append(row)
        self._take(rows)

    def _take(self, rows: Iterable[bytes]) -> None:
        for row in rows:
            with self._lock:
                if len(self._rows) >= EVENTS_KEPT or self._bytes + len(row) > BYTES_KEPT:
                    self.dropped += 1
                    continue
                self._rows.append(row)
                self._bytes += len(row)
        self._start()
        if self._rests:
            self._news.set()

    def flush(self, within: float = FLUSHED_WITHIN, *, in_pool: bool = False) -> None:
        """Send what is left, for at most `within` seconds; at a process's end.

        What a process of a pool (`in_pool`) cannot send, it leaves to the worker's main process, which adopts it. What any other
        process cannot send is lost with it.
        """
        deadline = time.monotonic() + within
        error: Exception | None = None
        try:
            while self._rows and not self._is_failing and time.monotonic() < deadline:
                self._send_batch()
        except Exception as reason:
            error = reason
        if not self._rows:
            return
        if in_pool and self._leave():
            return
        logger.warning("%s reports to Zenith are lost with this process: %s", len(self._rows), error or "Redis does not answer")

    def adopt(self) -> None:
        """Take over the reports that this process's children left. Never raises."""
        try:
            left = sorted(self._left.iterdir()) if self._left.is_dir() else []
            for path in left:
                rows = path.read_bytes().splitlines() if path.suffix == _COMPLETE else []
                if rows:
                    path.unlink()
                    self._take(rows)
        except OSError as error:
            logger.warning("Reports that a child left cannot be read: %s", error)

    def close(self) -> None:
        """Remove the place where children left their reports."""
        shutil.rmtree(self._left, ignore_errors=True)

    def _leave(self) -> bool:
        """Leave the reports of a child that ends to the main process; return whether that worked."""
        try:
            self._left.mkdir(mode=0o700, exist_ok=True)
            path = self._left / str(os.getpid())
            path.write_bytes(b"\n".join(self._rows))
            path.rename(path.with_suffix(_COMPLETE))
        except OSError:
            return False
        self._rows.clear()
        return True

    def announce(self) -> None:
        """Announce the application, now and then. Raises redis.RedisError."""
        if time.monotonic() - self._announced_at < ANNOUNCE_EVERY:
            return
        try:
            applications.announce(self._application, self._main)
        except applications.TooManyApplicationsError as error:
            logger.error("Zenith does not take in %s: %s.", self._application, error)
        self._announced_at = time.monotonic()

    def _start(self) -> None:
        """Start this process's thread: a fork keeps none, and a worker forks after its modules are loaded."""
        if self._thread is not None and self._thread.is_alive():
            return
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="zenith-reports", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        pause, sent_at = GATHER, time.monotonic()
        while True:
            if not self._rows and time.monotonic() - sent_at > RESTS_AFTER:
                self._rest()
                pause = GATHER
            time.sleep(pause)
            try:
                while self._rows:
                    self._send_batch()
                    sent_at = time.monotonic()
                pause, self._is_failing = GATHER_UNDER_LOAD, False
            except redis.RedisError as error:
                if not self._is_failing:
                    logger.warning("Zenith's Redis does not answer (%s); reports wait, and tasks go on.", error)
                self._is_failing, pause = True, min(max(pause * 2, 0.1), PAUSE_AT_MOST)
            except Exception:
                if not self._is_failing:
                    logger.exception("Reports to Zenith cannot be sent; they wait, and tasks go on.")
                self._is_failing, pause = True, PAUSE_AT_MOST

    def _rest(self) -> None:
        """Sleep until there is a report."""
        self._news.clear()
        self._rests = True
        # Whoever added one before that did not wake this thread.
        if not self._rows:
            self._news.wait()
        self._rests = False

    def _send_batch(self) -> None:
        """Send the oldest reports as one entry. Raises redis.RedisError; then they stay."""
        with self._sending:
            batch = self._oldest()
            if not batch:
                return
            self.announce()
            command("XADD", application_keys(self._application).events, "*", "e", b"[" + b",".join(batch) + b"]")
            with self._lock:
                for _ in batch:
                    self._rows.popleft()
                self._bytes -= sum(map(len, batch))
        if self.dropped != self._dropped_written:
            self._write_dropped()

    def _oldest(self) -> list[bytes]:
        batch: list[bytes] = []
        size = 0
        with self._lock:
            for row in islice(self._rows, BATCH):
                size += len(row)
                if batch and size > BATCH_BYTES:
                    break
                batch.append(row)
        return batch

    def _write_dropped(self) -> None:
        """Write how many reports this process has dropped: a total, so that a repetition counts nothing twice."""
        dropped = self.dropped
        command("HSET", application_keys(self._application).dropped, f"{instance()}:{os.getpid()}", dropped)
        self._dropped_written = dropped
        logger.error("%s reports to Zenith were dropped while its Redis did not answer; their tasks ran all the same.", dropped)
