"""Answers the questions of workers and producers, which have no database (zenith_worker/wire/questions.py).

Each application is told about its own tasks only. In a pass each has its share, and a pass ends after a bounded time, so that
nobody waits for another's flood.
"""

import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from celery import states
from django_celery_results.backends import DatabaseBackend
from django_celery_results.models import TaskResult

from tasks_app.models import Task
from tasks_app.models.application import NATIVE_ID
from tasks_app.models.application import Kind as ApplicationKind
from tasks_app.recording.applications import KnownApplications
from zenith_site.common.application import celery_app
from zenith_site.common.faults import isolate_faults
from zenith_site.common.loops import repeat
from zenith_worker.wire import questions
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.keys import NATIVE
from zenith_worker.wire.questions import Kind, Question
from zenith_worker.wire.states import TERMINAL, Status

PART: Final = "answers"
#: Seconds for which a pass waits for a question.
BLOCK: Final = 1.0
#: Seconds after which a pass begins no further question: whoever asks gives up after `questions.PATIENCE`.
LONGEST_PASS: Final = 0.5
#: Celery's state of a task that has not ended, by the status of its row.
_STATES: Final = {Status.STARTED: states.STARTED, Status.RETRY: states.RETRY, Status.RECEIVED: states.RECEIVED}
#: The rows' keys of applications by their name in Redis, if Zenith's own is the only one.
_NATIVE_ALONE: Final[Mapping[str, int]] = MappingProxyType({NATIVE: NATIVE_ID})


def run(stop: threading.Event) -> None:
    """Answer questions until `stop` is set."""
    # A watched application's workers know nothing of Zenith, and ask nothing.
    known = KnownApplications(is_usable=lambda _: True, kinds=(ApplicationKind.ATTACHED,))

    def once() -> bool:
        known.refresh()
        return answer_waiting(known.ids)

    repeat(stop, PART, once, every=0.0)


def answer_waiting(applications: Mapping[str, int] = _NATIVE_ALONE) -> bool:
    """Answer questions of these applications that wait, or come within BLOCK seconds; return whether there were any.

    Raises redis.RedisError or django.db.Error if either is unreachable; whoever asked then gets no answer, and asks again.
    """
    # In another order each time: if PostgreSQL is slow and a pass ends early, it is not always the same who waits.
    names = random.sample(list(applications), len(applications))
    asked = sorted(questions.take(names, BLOCK), key=lambda question: question.kind != Kind.ENDED)
    ends_at = time.monotonic() + LONGEST_PASS
    for position, question in enumerate(asked):
        if position and time.monotonic() > ends_at:
            questions.put_back(asked[position:])
            break
        with isolate_faults(PART, f"a question of {len(question.ids)} tasks"):
            questions.answer(question, answer(question, applications[question.application]))
    return bool(asked)


def answer(question: Question, application: int = NATIVE_ID) -> dict[str, Any]:
    """Return the answer to a question of an application, whose row's key is given, by id.

    One or two queries, and one for each result. Results of other applications than Zenith's own are theirs, and are not told.
    Raises django.db.Error.
    """
    if question.kind == Kind.ENDED:
        return dict.fromkeys(_ended(question, application), True)
    return dict(_metas(question.ids)) if application == NATIVE_ID else {}


def _ended(question: Question, application: int) -> Iterator[str]:
    keys = {key_of(id_, question.application): id_ for id_ in question.ids}
    own = Task.objects.filter(pk__in=keys, application=application, status__in=TERMINAL)
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
