"""The guards of an attached application's tasks: a class in front of each task's own, and a wrapper around its body.

Celery's tracer looks at a task's class, so a hook that is only an attribute of the task would be ignored. The new class has the
name and the module of the task's own, which Celery writes into settings and messages.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache, wraps
from typing import Any, Final
from weakref import WeakSet

from celery import Celery, states
from celery.app import trace
from celery.exceptions import Ignore, Reject, Retry
from celery.utils.imports import symbol_by_name

from zenith_worker.admission import admit, still_holds
from zenith_worker.autoretry import add_retries
from zenith_worker.carried import carried, due_at
from zenith_worker.crashes import ClaimReleasing
from zenith_worker.errors import NotThisDelivery
from zenith_worker.guards import Guards

logger = logging.getLogger(__name__)

#: Celery's attribute for the body of a task with `autoretry_for`, whose `run` retries it.
_BODY: Final = "_orig_run"


class ClaimedTask:
    """In front of a task's class: claims the task before anything of it runs."""

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Let this delivery run only if it should; admission.py describes what is raised."""
        request = self.request  # type: ignore[attr-defined]
        if not request.is_eager:
            admit(self)
            if carried(request).number and self.track_started and not self.ignore_result:  # type: ignore[attr-defined]
                # Before it was admitted, this could have replaced a result (reporting_backend.py).
                self.backend.store_result(task_id, {"hostname": request.hostname}, states.STARTED, request=request)  # type: ignore[attr-defined]
        super().before_start(task_id, args, kwargs)  # type: ignore[misc]


def guard_tasks(app: Celery, guards: Guards) -> None:
    """Guard every task of an app, once; one whose class cannot be replaced stays as it is."""
    for task in list(app.tasks.values()):
        if task in _guarded:
            continue
        _guarded.add(task)
        try:
            if guards.claims:
                _claim(task)
            if guards.retries:
                add_retries(task)
            _trace_anew(task)
        except Exception as error:
            # Whatever the application's own classes do about it: the others are guarded all the same.
            logger.warning("Task %s cannot be guarded: %s: %s", task.name, type(error).__name__, error)


#: The tasks that are guarded.
_guarded: Final[WeakSet[Any]] = WeakSet()


def _trace_anew(task: Any) -> None:
    """Have Celery look at a task again, if it has done so already: a process of a pool that was spawned."""
    if task.__trace__ is not None:
        hostname = trace._localized[1] if trace._localized else None
        task.__trace__ = trace.build_tracer(task.name, task, task.app.loader, hostname, app=task.app)


def _claim(task: Any) -> None:
    kind = type(task)
    names = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    try:
        task.__class__ = type(kind.__name__, (ClaimedTask, kind), names)
    except TypeError as error:
        logger.warning("Task %s cannot be claimed, so it runs as often as it is delivered: %s", task.name, error)
        return
    task.Request = _request_class(task.Request)
    task.retry = _noting_next(task, task.retry)
    body = _BODY if hasattr(task, _BODY) else "run"
    setattr(task, body, _fenced(task, getattr(task, body)))


@cache
def _request_class(kind: Any) -> type:
    own = symbol_by_name(kind)
    return type(own.__name__, (ClaimReleasing, own), {"__module__": own.__module__, "__qualname__": own.__qualname__})


def _noting_next(task: Any, retry: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a task's `retry` to note that the next attempt was sent: its body may go on to its end, which is not the task's."""

    @wraps(retry)
    def noted(*args: Any, **options: Any) -> Any:
        delivery = carried(task.request)
        try:
            answer = retry(*args, **options)
        except Retry as again:
            delivery.next_sent, delivery.retry_at = True, due_at(again.when)
            raise
        delivery.next_sent, delivery.retry_at = True, due_at(getattr(answer, "when", None))
        return answer

    return noted


def _fenced(task: Any, body: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a body: one whose worker was taken for dead meanwhile sends nothing on, and stores nothing."""

    @wraps(body)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            result = body(*args, **kwargs)
        except (Ignore, Reject, Retry):
            raise
        except Exception as error:
            if _is_fenced(task):
                raise NotThisDelivery from error
            raise
        if _is_fenced(task):
            raise NotThisDelivery
        return result

    return run


def _is_fenced(task: Any) -> bool:
    request = task.request
    if request.called_directly or request.is_eager or still_holds(request):
        return False
    logger.warning("The outcome of task %s was dropped: another worker took the task over.", request.id)
    return True
