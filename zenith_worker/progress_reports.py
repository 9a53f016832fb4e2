"""Reports how far a task is, as it tells by `update_state` or by `zenith_worker.progress`.

A million steps must cost little, so reports are coalesced: the first goes at once, then at most two a second for each task, and
the newest before the task's outcome. What was told in between waits until its time has come. Then the next step sends it, or, if
the task says nothing more for a while, a thread that lives only as long as something waits.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from operator import length_hint
from typing import Any, Final

from celery import current_task, states
from celery.exceptions import SoftTimeLimitExceeded

from zenith_worker.carried import carried
from zenith_worker.origin import origin
from zenith_worker.wire.events import Event
from zenith_worker.wire.progress import STATE_KEPT, Progress, counts, meta_text
from zenith_worker.wire.runs import RunNumber
from zenith_worker.wire.states import Status

logger = logging.getLogger(__name__)

#: Seconds between two reports of a task.
EVERY: Final = 0.5
#: Reports over which a task's rate is measured.
SAMPLES: Final = 20
#: Other tasks whose state one task (or a process outside of tasks) sets and whose reports are still coalesced.
OTHERS: Final = 1_000
#: Intervals without anything to send after which the thread ends.
_IDLE: Final = 20
#: Celery's own states, which are no progress.
_CELERYS: Final = states.ALL_STATES | {states.REJECTED, states.IGNORED}


@contextmanager
def _quietly() -> Iterator[None]:
    """Log what fails: a report must not change what happens to a task. A soft time limit is the task's own."""
    try:
        yield
    except SoftTimeLimitExceeded:
        raise
    except Exception:
        logger.exception("A task's progress could not be reported to Zenith.")


class ProgressReport:
    """What one task told last, and what of it is reported. Safe for threads.

    Attributes:
        current: steps that are done; a loop may write it, and then sets `changed`.
        due: from when on the next report may go, on the monotonic clock.
        is_tracked: whether a loop (`tracked`) counts the steps.
    """

    __slots__ = (
        "_about", "_add", "_by", "_clock", "_lock", "_meta", "_samples", "_state", "_total", "changed", "current", "due",
        "is_tracked",
    )  # fmt: skip

    def __init__(
        self, add: Callable[[Event], object], about: dict[str, Any], by: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._add, self._about, self._by, self._clock = add, about, by, clock
        self._lock = threading.Lock()
        self._samples: deque[tuple[float, float]] = deque(maxlen=SAMPLES)
        self.current: float | None = None
        self._total: float | None = None
        self._state, self._meta = "", "null"
        self.changed = self.is_tracked = False
        self.due = float("-inf")

    def tell(self, current: object, total: object, state: str = "", meta: str = "null") -> None:
        """Take what the task tells; `meta` is JSON text. Report it now if its time has come."""
        with self._lock:
            done, all_ = counts(current, total)
            if state != self._state:
                self._samples.clear()  # another part of its work, with a pace of its own
            self.current, self._total, self._state, self._meta = done, all_, state[:STATE_KEPT], meta
            self.changed = True
        if not self.send_if_due():
            _flusher.follow(self)

    def track(self, total: object) -> None:
        """Begin to count the steps of a loop."""
        self.is_tracked = True
        self.tell(0, total)
        _flusher.follow(self)

    def send_if_due(self) -> bool:
        """Report what is new if its time has come; return whether nothing waits any more."""
        if self.changed and self._clock() >= self.due:
            self.send()
        return not self.changed

    def send(self) -> None:
        """Report what is new, if anything. A report that cannot be made is logged and left out."""
        with _quietly(), self._lock:
            if not self.changed:
                return
            # Before the count is read: a loop writes both without the lock.
            self.changed = False
            self.due = self._clock() + EVERY
            self._add(self._event())

    def _event(self) -> Event:
        now, done = time.time(), self.current
        if done is None or (self._samples and done < self._samples[-1][1]):
            self._samples.clear()
        if done is not None:
            self._samples.append((now, float(done)))
        is_known = len(self._samples) > 1
        progress = Progress(
            current=done, total=self._total, state=self._state, meta=json.loads(self._meta),
            earlier=self._samples[0] if is_known else None, samples=len(self._samples) if is_known else 0, by=self._by,
        )  # fmt: skip
        event = Event(status=Status.STARTED, at=now, progress=progress.as_dict(), **self._about)
        # Only the first tells again what the task was sent with.
        self._about = {name: value for name, value in self._about.items() if name in _ESSENTIAL}
        return event


#: What every report of a run tells of it.
_ESSENTIAL: Final = {"task_id", "nesting", "attempt", "delivery", "worker", "received_at", "started_at"}


class _Flusher:
    """The thread that sends what waits. A forked child begins without one."""

    def __init__(self) -> None:
        self._begin()
        if hasattr(os, "register_at_fork"):  # Windows has none, and no forks
            os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._followed: set[ProgressReport] = set()
        self._thread: threading.Thread | None = None

    def follow(self, report: ProgressReport) -> None:
        """Send what is new of a report once its time has come."""
        with self._lock:
            self._followed.add(report)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="zenith-progress", daemon=True)
                self._thread.start()

    def leave(self, report: ProgressReport) -> None:
        """No longer look after a report."""
        with self._lock:
            self._followed.discard(report)

    def _run(self) -> None:
        idle = 0
        while idle < _IDLE:
            time.sleep(EVERY)
            with self._lock:
                followed = list(self._followed)
            idle = 0 if followed else idle + 1
            for report in followed:
                if report.send_if_due() and not report.is_tracked:
                    self.leave(report)
        with self._lock:
            # What was followed meanwhile needs a new thread.
            self._thread = None
            if self._followed:
                self._thread = threading.Thread(target=self._run, name="zenith-progress", daemon=True)
                self._thread.start()


_flusher: Final = _Flusher()
#: The reports of processes that set a task's state outside of any task.
_outside: Final[dict[str, ProgressReport]] = {}


def report_state(add: Callable[[Event], object], task_id: str, meta: Any, state: object, request: Any) -> None:
    """Report a custom state that was set by `update_state`, perhaps by another task; anything else is no progress.

    Costs nothing for Celery's own states. `request` is that of the task which sets it, None outside of tasks.
    """
    if not isinstance(state, str) or state in _CELERYS or getattr(request, "is_eager", False):
        return
    with _quietly():
        told = meta if isinstance(meta, dict) else {}
        _report_of(add, task_id, request).tell(told.get("current"), told.get("total"), state, meta_text(meta))


def end(request: Any) -> None:
    """Report what a delivery's task told last, before its outcome."""
    reports = carried(request).progress
    if reports:
        carried(request).progress = None
        for report in reports.values():
            report.is_tracked = False
            report.send()
            _flusher.leave(report)


def tracked(iterable: Iterable[Any], total: float | None) -> Iterator[Any]:
    """Yield the items, and report how many the running task has handled; outside of a task, or without Zenith, only yield."""
    report = None
    with _quietly():
        report = _begin_tracking(_length(iterable) if total is None else total)
    if report is None:
        yield from iterable
        return
    clock, done = time.monotonic, 0
    try:
        for item in iterable:
            yield item
            done += 1
            report.current, report.changed = done, True
            if clock() >= report.due:
                report.send()
    finally:
        report.is_tracked = False


def _begin_tracking(total: object) -> ProgressReport | None:
    """Begin to count the steps of the running task; return None if there is none, or if a loop around this one counts them."""
    task = current_task._get_current_object() if current_task else None
    request = getattr(task, "request", None)
    reports = getattr(getattr(task, "backend", None), "reports", None)
    if request is None or reports is None or request.is_eager or carried(request).started_at is None:
        return None
    report = _report_of(reports.add, request.id, request)
    if report.is_tracked:
        return None
    report.track(total)
    return report


def _report_of(add: Callable[[Event], object], task_id: str, request: Any) -> ProgressReport:
    """Return the report of a task as the one with this request tells it."""
    is_own = request is not None and getattr(request, "id", None) == task_id
    if request is None:
        reports = _outside
    elif (own := carried(request).progress) is not None:
        reports = own
    else:
        reports = carried(request).progress = {}
    report = reports.get(task_id)
    if report is None:
        while len(reports) > OTHERS:
            oldest = reports.pop(next(iter(reports)))
            oldest.send()
        by = None if is_own else str(getattr(request, "id", None) or "")
        report = reports[task_id] = ProgressReport(add, _about(task_id, request if is_own else None), by)
    return report


def _about(task_id: str, request: Any) -> dict[str, Any]:
    """Return what an event tells of the run; nothing is known of another task's."""
    if request is None:
        return {"task_id": task_id}
    delivery = carried(request)
    return {
        "task_id": task_id, **RunNumber.of_request(request)._asdict(), "delivery": delivery.number,
        "worker": request.hostname or "", "received_at": delivery.received_at, "started_at": delivery.started_at,
        **origin(request),
    }  # fmt: skip


def _length(iterable: Iterable[Any]) -> int | None:
    try:
        return length_hint(iterable, 0) or None
    except Exception:  # somebody else's `__len__` may raise anything
        return None
