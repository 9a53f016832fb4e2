"""A steady stream of task updates, in the form that workers report."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from zenith_worker.wire.events import Event

EACH_SECOND = 200
#: Stream entries per second; each holds the updates of that period.
ENTRIES = 20
#: How long a task runs, in entries (half a second).
LENGTH = 10


class Updates:
    """Reports tasks that start and end continuously, from a thread; a context manager.

    Arguments:
        watched: a task that is updated too: each second one of its attempts fails and the next one starts.

    Attributes:
        sent: the number of updates so far.
    """

    def __init__(self, watched: str) -> None:
        self.sent = 0
        self._watched = watched
        self._running: deque[str] = deque()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        from zenith_worker.wire import stream

        due, number = time.monotonic(), 0
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            events = [*self._others(), *(self._watched_steps(number // ENTRIES) if number % ENTRIES == 0 else ())]
            stream.append(events)
            self.sent += len(events)
            due, number = due + 1 / ENTRIES, number + 1

    def _others(self) -> Iterator[Event]:
        """Yield an entry's updates: half are tasks that start, half are tasks that started before and end."""
        from zenith_worker.wire.events import Event
        from zenith_worker.wire.ids import new_id
        from zenith_worker.wire.states import Status

        now, worker = time.time(), "w1@zen-01"
        for number in range(EACH_SECOND // ENTRIES // 2):
            task_id = str(new_id())
            self._running.append(task_id)
            yield Event(
                task_id=task_id, status=Status.STARTED, at=now, received_at=now, worker=worker, name="report.daily",
                queue="default", kwargs={"user": number},
            )  # fmt: skip
            if len(self._running) > LENGTH * EACH_SECOND // ENTRIES // 2:
                ended = self._running.popleft()
                yield Event(task_id=ended, status=Status.SUCCESS, at=now, worker=worker, runtime=0.5, result="1")

    def _watched_steps(self, second: int) -> Iterator[Event]:
        from zenith_worker.wire.events import Event
        from zenith_worker.wire.states import Status

        now, worker = time.time(), "w2@zen-01"
        if second:
            yield Event(
                task_id=self._watched, status=Status.RETRY, at=now, attempt=second, worker=worker, error_type="TimeoutError",
                error_message="upstream took longer than 30 s", traceback="Traceback …\nTimeoutError", not_before=now + 0.1,
            )  # fmt: skip
        yield Event(task_id=self._watched, status=Status.STARTED, at=now, attempt=second + 1, received_at=now, worker=worker)
