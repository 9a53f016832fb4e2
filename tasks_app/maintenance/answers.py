"""Answers the questions of workers and producers, which have no database (zenith_worker/wire/questions.py)."""

import threading
from collections.abc import Iterator, Sequence
from typing import Any, Final

from celery import states
from django_celery_results.backends import DatabaseBackend
from django_celery_results.models import TaskResult

from tasks_app.models import Task
from tasks_app.models.application import NATIVE_ID
from zenith_site.common.application import celery_app
from zenith_site.common.faults import isolate_faults
from zenith_site.common.loops import repeat
from zenith_worker.wire import questions
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.questions import Kind, Question
from zenith_worker.wire.states import TERMINAL, Status

PART: Final = "answers"
#: Seconds for which a pass waits for a question.
BLOCK: Final = 1.0
#: Celery's state of a task that has not ended, by the status of its row.
_STATES: Final = {Status.STARTED: states.STARTED, Status.RETRY: states.RETRY, Status.RECEIVED: states.RECEIVED}


def run(stop: threading.Event) -> None:
    """Answer questions until `stop` is set."""
    repeat(stop, PART, answer_waiting, every=0.0)


def answer_waiting() -> bool:
    """Answer the questions that wait, or come within BLOCK seconds; return whether there were any.

    Raises redis.RedisError or django.db.Error if either is unreachable; whoever asked then gets no answer, and asks again.
    """
    asked = questions.take(BLOCK)
    for question in asked:
        with isolate_faults(PART, f"a question of {len(question.ids)} tasks"):
            questions.answer(question, answer(question))
    return bool(asked)


def answer(question: Question) -> dict[str, Any]:
    """Return the answer to a question, by id. One or two queries, and one for each result. Raises django.db.Error."""
    if question.kind == Kind.ENDED:
        return dict.fromkeys(_ended(question.ids), True)
    return dict(_metas(question.ids))


def _ended(ids: Sequence[str]) -> Iterator[str]:
    keys = {key_of(id_): id_ for id_ in ids}
    own = Task.objects.filter(pk__in=keys, application=NATIVE_ID, status__in=TERMINAL)
    return (keys[key] for key in own.order_by().values_list("pk", flat=True))


def _metas(ids: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the metadata of the tasks that are known, by id: of a result, or of a task that has not ended."""
    stored = set(TaskResult.objects.filter(task_id__in=list(ids)).order_by().values_list("task_id", flat=True))
    backend = _Undecoded(app=celery_app())
    for id_ in stored:
        with isolate_faults(PART, f"the result of task {id_}"):
            yield id_, backend.meta_of(id_)
    keys = {key_of(id_): id_ for id_ in ids if id_ not in stored}
    rows = Task.objects.filter(pk__in=keys, application=NATIVE_ID, status__in=_STATES).order_by().values_list("pk", "status")
    for key, status in rows if keys else ():
        yield keys[key], {"task_id": keys[key], "status": _STATES[Status(status)], "result": None}


class _Undecoded(DatabaseBackend):
    """django-celery-results' backend, which leaves exceptions as they are stored: whoever asked makes them anew."""

    def meta_of(self, task_id: str) -> dict[str, Any]:
        """Return a stored result's metadata as JSON can hold it."""
        meta: dict[str, Any] = self._get_task_meta_for(task_id)
        return {**meta, "date_done": meta["date_done"] and meta["date_done"].isoformat()}

    def meta_from_decoded(self, meta: dict[str, Any]) -> dict[str, Any]:
        """Return it as it is."""
        return meta
