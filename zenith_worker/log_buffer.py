"""What the tasks of this process logged and nobody has sent yet. A thread sends it; whoever logs waits for nobody.

Each run keeps its newest lines: at most LINES_KEPT and CHARS_KEPT between two sends, and all runs of a process together
ALL_CHARS_KEPT. That bounds the memory, and how much a task in a tight loop sends. Lines are numbered, so whoever reads them can
tell how many are missing. While Zenith's Redis is away, the newest lines wait within the same bounds.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections import deque
from typing import Final

import redis

from zenith_worker.wire import task_logs
from zenith_worker.wire.task_logs import ENTRY_BYTES, LogChunk, LogLine

logger = logging.getLogger(__name__)

LINES_KEPT: Final = 500
CHARS_KEPT: Final = 256 * 2**10
ALL_CHARS_KEPT: Final = 4 * 2**20
#: Characters that a line costs besides its message.
_LINE_COSTS: Final = 60
#: Seconds for which the thread gathers lines before it sends them, and that it pauses at most after a failure.
GATHER: Final = 0.1
PAUSE_AT_MOST: Final = 5.0
#: Seconds for which the end of a process waits for what is left.
FLUSHED_WITHIN: Final = 1.0


class Run:
    """One run of a task in this process, with its lines that are not sent yet."""

    __slots__ = ("attempt", "chars", "delivery", "lines", "logged", "nesting", "source", "task_id")

    def __init__(self, task_id: str, nesting: int = 0, attempt: int = 0, delivery: int = 0) -> None:
        self.task_id, self.nesting, self.attempt, self.delivery = task_id, nesting, attempt, delivery
        self.source = (time.time_ns() ^ os.getpid() << 12) & 0x7FFF_FFFF
        #: Each with its number.
        self.lines: deque[tuple[int, LogLine]] = deque()
        self.logged = self.chars = 0


class LogBuffer:
    """The lines of this process. Safe for threads; a forked child begins with none.

    Attributes:
        dropped: how many lines gave way to newer ones before they could be sent.
    """

    def __init__(self) -> None:
        self._waiting: dict[Run, None] = {}
        self._begin()
        if hasattr(os, "register_at_fork"):  # Windows has none, and no forks
            os.register_at_fork(after_in_child=self._begin)
        atexit.register(self.flush)

    def _begin(self) -> None:
        for run in self._waiting:
            # A body that forks goes on in both; what waits is its parent's to send.
            run.lines.clear()
            run.chars = 0
        # Reentrant, since a signal's handler may log at any moment.
        self._lock = threading.RLock()
        self._news, self._hurry, self._idle = threading.Event(), threading.Event(), threading.Event()
        # The runs with lines, in the order in which they are sent.
        self._waiting = {}
        self._chars = self.dropped = self._dropped_told = 0
        self._thread: threading.Thread | None = None
        self._is_failing = False

    def add(self, run: Run, line: LogLine) -> None:
        """Add a line, to be sent soon; the oldest give way. Never waits."""
        with self._lock:
            run.lines.append((run.logged, line))
            run.logged += 1
            self._count(run, _size(line))
            self._waiting.setdefault(run)
            self._make_room(run)
        if self._thread is None or not self._news.is_set():
            self._start()
            self._news.set()

    def _make_room(self, newest: Run) -> None:
        """Drop the oldest lines of the newest run, and then of whatever run has waited longest, until all bounds are kept."""
        while len(newest.lines) > LINES_KEPT or (newest.chars > CHARS_KEPT and len(newest.lines) > 1):
            self._drop(newest)
        while self._chars > ALL_CHARS_KEPT:
            oldest = next(iter(self._waiting))
            if oldest is newest and len(newest.lines) == 1:
                return
            self._drop(oldest)
            if not oldest.lines:
                del self._waiting[oldest]

    def flush(self, within: float = FLUSHED_WITHIN) -> None:
        """Wait until everything is sent, for at most `within` seconds; at a process's end."""
        if self._waiting and not self._is_failing:
            self._start()
            self._idle.clear()
            self._hurry.set()
            self._news.set()
            self._idle.wait(within)

    def _count(self, run: Run, chars: int) -> None:
        run.chars += chars
        self._chars += chars

    def _drop(self, run: Run) -> None:
        self._remove(run)
        self.dropped += 1

    def _remove(self, run: Run) -> None:
        self._count(run, -_size(run.lines.popleft()[1]))

    def _start(self) -> None:
        """Start this process's thread: a fork keeps none."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="zenith-logs", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        pause = GATHER
        while True:
            if not self._waiting:
                self._hurry.clear()
                self._idle.set()
                self._news.wait()
            self._hurry.wait(pause)
            self._news.clear()
            try:
                # What comes meanwhile waits for the next turn, which bounds what a task in a tight loop sends.
                for _ in range(len(self._waiting)):
                    self._send()
                if self._is_failing:
                    self._tell_dropped()
                pause, self._is_failing = GATHER, False
            except Exception as error:
                if not self._is_failing:
                    self._dropped_told = self.dropped
                    told = None if isinstance(error, redis.RedisError) else error
                    logger.warning("What tasks log cannot be sent to Zenith (%s); tasks go on.", error, exc_info=told)
                pause, self._is_failing = min(max(pause * 2, 0.2), PAUSE_AT_MOST), True
                self._hurry.clear()
                self._idle.set()

    def _tell_dropped(self) -> None:
        dropped, self._dropped_told = self.dropped - self._dropped_told, self.dropped
        logger.warning("Zenith's Redis answers again; %s lines that tasks logged meanwhile were dropped.", dropped)

    def _send(self) -> None:
        """Send the oldest lines of the first runs as one entry. Raises redis.RedisError; then they stay."""
        with self._lock:
            batch = self._oldest()
        if not batch:
            return
        task_logs.append([_chunk(run, lines) for run, lines in batch])
        with self._lock:
            for run, lines in batch:
                while run.lines and run.lines[0][0] <= lines[-1][0]:
                    self._remove(run)
                self._waiting.pop(run, None)
                if run.lines:
                    self._waiting[run] = None  # behind the others

    def _oldest(self) -> list[tuple[Run, list[tuple[int, LogLine]]]]:
        batch: list[tuple[Run, list[tuple[int, LogLine]]]] = []
        room = ENTRY_BYTES
        for run in self._waiting:
            lines: list[tuple[int, LogLine]] = []
            for line in run.lines:
                room -= _bytes(line[1])
                if room < 0 and (batch or lines):
                    break
                lines.append(line)
            if lines:
                batch.append((run, lines))
            if room < 0:
                break
        return batch


def _size(line: LogLine) -> int:
    return len(line.message) + _LINE_COSTS


def _bytes(line: LogLine) -> int:
    message = line.message
    return (len(message) if message.isascii() else len(message.encode("utf-8", "replace"))) + len(line.logger) + _LINE_COSTS


def _chunk(run: Run, lines: list[tuple[int, LogLine]]) -> LogChunk:
    return LogChunk(
        task_id=run.task_id, first=lines[0][0], lines=[line for _, line in lines], nesting=run.nesting, attempt=run.attempt,
        delivery=run.delivery, source=run.source,
    )  # fmt: skip
