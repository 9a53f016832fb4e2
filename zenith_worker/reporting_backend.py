"""Reports outcomes: a mixin in front of the class of whatever result backend an application or a task has.

Celery calls the backend for almost every outcome, in the pool's child or, for lost processes and hard time limits, in the
worker's main process. The mixin assumes nothing of the storage. It reports a success after the backend stored it, because an
EncodeError there turns it into a failure, and before the task returns its part of a chord. It changes neither what is stored nor
what is raised, and a report that cannot be made is logged and left out.

With the guard `claims`, an outcome of a delivery that another one took over stores nothing, and nothing follows from it; the
others are reported once everything is done (reports.py). Zenith's own backend (backend.py) does all of that in one step.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, Final

from celery import states
from celery.exceptions import TaskRevokedError

from zenith_worker import canvas, progress_reports
from zenith_worker.carried import carried
from zenith_worker.outcomes import Outcome, not_run
from zenith_worker.reports import Reports
from zenith_worker.wire.events import Event

logger = logging.getLogger(__name__)

#: Characters of JSON of a result; a longer one is reported as its representation, cut.
LARGEST_RESULT: Final = 2**20


class _Pending:
    """An outcome that Celery is storing, which is reported once."""

    def __init__(self, task_id: str, report: Callable[[], None]) -> None:
        self.task_id = task_id
        self._report: Callable[[], None] | None = report

    def report(self) -> None:
        """Report the outcome, unless that was done."""
        report, self._report = self._report, None
        if report is not None:
            quietly(report)


_pending: Final[ContextVar[_Pending | None]] = ContextVar("pending", default=None)
#: What is known of the tasks of a chord's body, by id, while Celery fails them because the header failed.
_unsent: Final[ContextVar[dict[str, dict[str, Any]] | None]] = ContextVar("unsent_body", default=None)


class ReportingMixin:
    """Reports outcomes; in front of a class of result backends (`with_reports`)."""

    reports: Reports
    app: Any

    def mark_as_done(self, task_id: str, result: Any, request: Any = None, *rest: Any, **options: Any) -> Any:
        """Report a success, also of a task whose result is ignored."""
        keeps = _is_stored(rest, options) and not getattr(request, "ignore_result", False)
        with self._reported(self._outcome(task_id, states.SUCCESS, result, request), keeps=keeps) as counts:
            return super().mark_as_done(task_id, result, request, *rest, **options) if counts else None  # type: ignore[misc]

    def mark_as_failure(
        self, task_id: str, exc: BaseException, traceback: str | None = None, request: Any = None, *rest: Any, **options: Any
    ) -> Any:
        """Report a failure, also of a task whose errors are ignored."""
        outcome = self._outcome(task_id, states.FAILURE, exc, request, traceback)
        with self._reported(outcome, keeps=_is_stored(rest, options)) as counts:
            if not counts:
                return None
            return super().mark_as_failure(task_id, exc, traceback, request, *rest, **options)  # type: ignore[misc]

    def mark_as_revoked(self, task_id: str, reason: str = "", request: Any = None, *rest: Any, **options: Any) -> Any:
        """Report a task that its worker refused or killed.

        Celery's remote control calls this without a request (since 5.6), in every worker that hears of a revocation, also while
        the task runs on: only the worker that has the task knows what becomes of it.
        """
        if request is None:
            return super().mark_as_revoked(task_id, reason, request, *rest, **options)  # type: ignore[misc]
        outcome = self._outcome(task_id, states.REVOKED, TaskRevokedError(reason), request)
        with self._reported(outcome, keeps=_is_stored(rest, options)) as counts:
            if not counts:
                return None
            return super().mark_as_revoked(task_id, reason, request, *rest, **options)  # type: ignore[misc]

    def store_result(
        self, task_id: str, result: Any, state: str, traceback: str | None = None, request: Any = None, **options: Any
    ) -> Any:
        """Store as ever; then report what this is part of: an outcome, a later task of a chain that will not run, or progress."""
        if state == states.STARTED and self.reports.claimed and carried(request).number and not carried(request).lease_until:
            return None  # a message that came again: only its claim tells whether the task has ended
        answer = super().store_result(task_id, result, state, traceback=traceback, request=request, **options)  # type: ignore[misc]
        pending = _pending.get()
        if pending is not None and pending.task_id == task_id:
            if not self.reports.claimed:
                pending.report()
        elif pending is not None and state in states.PROPAGATE_STATES:
            quietly(lambda: self._report_not_run(task_id, result, state, traceback, request))
        progress_reports.report_state(self.reports.add, task_id, result, state, request)
        return answer

    def on_chord_part_return(self, request: Any, *rest: Any, **options: Any) -> Any:
        """Report the outcome, then return the task's part of its chord."""
        pending = _pending.get()
        if pending is not None and pending.task_id == request.id and not self.reports.claimed:
            pending.report()
        return super().on_chord_part_return(request, *rest, **options)  # type: ignore[misc]

    def chord_error_from_stack(self, callback: Any, exc: BaseException | None = None) -> Any:
        """Fail a chord's body, which was never sent, as ever; its rows show what it would have run."""
        known: dict[str, dict[str, Any]] = {}
        quietly(lambda: known.update(canvas.origins(self.app, callback)))
        before = _unsent.set(known)
        try:
            return super().chord_error_from_stack(callback, exc)  # type: ignore[misc]
        finally:
            _unsent.reset(before)

    def _outcome(self, task_id: str, state: str, value: Any, request: Any, traceback: str | None = None) -> Outcome:
        error = None if state == states.SUCCESS else value
        return Outcome(task_id=task_id, state=state, value=value, error=error, traceback=traceback, request=request)

    @contextmanager
    def _reported(self, outcome: Outcome, *, keeps: bool) -> Iterator[bool]:
        """Report an outcome when it is stored; yield whether it counts. `keeps`: whether its result is kept at all."""
        if getattr(outcome.request, "is_eager", False):
            yield True  # it runs in its caller, and no worker knows it
            return
        progress_reports.end(outcome.request)
        if not self.reports.counts(outcome.request):
            yield False
            return
        pending = _Pending(outcome.task_id, lambda: self.reports.outcome(self._event(outcome), outcome.request))
        before = _pending.set(pending)
        try:
            with canvas.ending(outcome.request):
                yield True
        except BaseException:
            # A success that could not be stored becomes a failure: Celery calls again.
            if outcome.state != states.SUCCESS:
                pending.report()
            raise
        finally:
            _pending.reset(before)
        pending.report()

    def _event(self, outcome: Outcome) -> Event:
        return self._encoded(outcome).event(LARGEST_RESULT, describes=True, **unsent(outcome.task_id))

    def _encoded(self, outcome: Outcome) -> Outcome:
        if outcome.state == states.SUCCESS:
            return outcome
        return outcome.with_value(self.prepare_exception(outcome.error, serializer="json"))  # type: ignore[attr-defined]

    def _report_not_run(self, task_id: str, error: Any, state: str, traceback: str | None, request: Any) -> None:
        """Report a later task of a failed chain, or a task of a failed chord's body, which will not run."""
        origin = {**(_unsent.get() or {}), **(canvas.origins(self.app, vars(request)) if request is not None else {})}.get(
            task_id
        )
        if origin is not None:
            outcome = self._outcome(task_id, state, error, None, traceback)
            self.reports.add(not_run(self._encoded(outcome), LARGEST_RESULT, origin))


def unsent(task_id: str) -> dict[str, Any]:
    """Return the fields of a report that only the failing of a chord tells: what its body would have run."""
    return (_unsent.get() or {}).get(task_id, {})


def _is_stored(rest: tuple[Any, ...], options: dict[str, Any]) -> bool:
    """Return Celery's argument `store_result`, the first after those that are named above."""
    return bool(rest[0] if rest else options.get("store_result", True))


def with_reports(backend: Any, reports: Reports) -> Any:
    """Return the same result backend, whose class now reports outcomes; one whose class cannot be replaced stays as it is."""
    if not isinstance(backend, ReportingMixin):
        kind = type(backend)
        names = {"reports": reports, "__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
        try:
            backend.__class__ = type(kind.__name__, (ReportingMixin, kind), names)
        except TypeError as error:
            _warn_once(kind.__qualname__, str(error))
    return backend


@cache
def _warn_once(kind: str, reason: str) -> None:
    logger.warning("The outcomes of tasks with the result backend %s cannot be reported to Zenith: %s", kind, reason)


def quietly(report: Callable[[], object]) -> None:
    """Report, or log why not: a report must not change what happens to a task."""
    try:
        report()
    except Exception:
        logger.exception("A report to Zenith could not be made.")
