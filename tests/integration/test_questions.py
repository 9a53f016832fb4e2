"""Workers and producers have no database: what only PostgreSQL knows, they ask of an engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TypeVar
from uuid import UUID

import pytest
from celery import states
from celery.result import AsyncResult
from django.utils import timezone
from django_celery_results.models import TaskResult
from kombu.utils.json import dumps as json_of

from tasks_app.maintenance import answers
from tasks_app.models import Application, Task
from zenith_site.common import faults
from zenith_site.common.application import celery_app
from zenith_worker import lasting_backend
from zenith_worker.admission import _ended_before
from zenith_worker.errors import NotNow
from zenith_worker.wire import questions
from zenith_worker.wire.client import client
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.keys import QUESTIONS
from zenith_worker.wire.questions import Kind, NobodyAnswersError, ask
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db
T = TypeVar("T")


@pytest.fixture(autouse=True)
def no_database_here() -> Iterator[None]:
    client().flushdb()
    questions.answer_here(None)
    yield
    questions.answer_here(answers.answer)


@pytest.fixture
def answered() -> Iterator[Callable[[Callable[[], T]], T]]:
    """Runs something in a thread that has no database, while this one answers a question as an engine does."""
    with ThreadPoolExecutor(1) as pool:

        def run(something: Callable[[], T]) -> T:
            running = pool.submit(something)
            assert answers.answer_waiting(), "there was a question"
            return running.result(timeout=10)

        yield run


def task(id_: str, status: Status, *, application: int = 1) -> Task:
    now = timezone.now()
    ended = now if status == Status.SUCCESS else None
    key = key_of(id_) if application == 1 else key_of(id_, "shop")
    return Task.objects.create(
        id=key, text_id=id_, name="t", queue="q", status=status, source="external", created_at=now, finished_at=ended,
        application_id=application,
    )  # fmt: skip


def stored(id_: str, result: str, status: str = states.SUCCESS) -> None:
    TaskResult.objects.create(
        task_id=id_, status=status, result=result, content_type="application/json", content_encoding="utf-8"
    )


def test_it_is_told_which_tasks_have_ended(answered: Callable[[Callable[[], T]], T]) -> None:
    shop = Application.objects.create(name="shop", kind="attached")
    task("ended", Status.SUCCESS)
    task("runs", Status.STARTED)
    task("theirs", Status.SUCCESS, application=shop.pk)
    assert answered(lambda: ask(Kind.ENDED, ["ended", "runs", "theirs", "unknown"])) == {"ended": True}


def test_a_copy_of_a_message_is_not_run_and_stays_while_nobody_answers(
    answered: Callable[[Callable[[], T]], T], monkeypatch: pytest.MonkeyPatch
) -> None:
    task("ended", Status.SUCCESS)
    assert answered(lambda: _ended_before("ended")) is True
    assert answered(lambda: _ended_before("other")) is False
    monkeypatch.setattr(questions, "PATIENCE", 0.05)
    monkeypatch.setattr("zenith_worker.admission.REQUEUE_AFTER", 0.0)
    with pytest.raises(NotNow, match="no engine could be asked") as caught:
        _ended_before("ended")
    assert caught.value.requeue


def test_results_that_redis_does_not_have_come_from_postgresql(answered: Callable[[Callable[[], T]], T]) -> None:
    stored("done", '{"a": [1]}')
    stored("bad", '{"exc_type": "ValueError", "exc_message": ["no stock"], "exc_module": "builtins"}', states.FAILURE)
    task("runs", Status.STARTED)
    assert answered(lambda: AsyncResult("done", app=celery_app()).result) == {"a": [1]}
    assert answered(lambda: AsyncResult("runs", app=celery_app()).state) == states.STARTED
    with pytest.raises(ValueError, match="no stock"):
        answered(lambda: AsyncResult("bad", app=celery_app()).get(timeout=5))


def test_a_result_that_only_kombus_json_knows_arrives(answered: Callable[[Callable[[], T]], T]) -> None:
    value = {"day": date(2026, 11, 30), "at": datetime(2026, 11, 30, 12, tzinfo=UTC), "sum": Decimal("1.50"), "id": UUID(int=7)}
    stored("rich", json_of(value))
    assert answered(lambda: AsyncResult("rich", app=celery_app()).result) == value


def test_a_result_that_nobody_can_tell_is_pending_and_asked_for_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "PATIENCE", 0.05)
    backend = lasting_backend.LastingBackend(app=celery_app())
    assert backend.get_task_meta("unknown")["status"] == states.PENDING
    assert client().llen(QUESTIONS) == 1
    assert backend.get_task_meta("unknown")["status"] == states.PENDING
    assert client().llen(QUESTIONS) == 1, "not asked again at once"


def test_what_is_no_question_is_dropped_and_the_others_are_answered(answered: Callable[[Callable[[], T]], T]) -> None:
    rows = [
        "no json",
        "[]",
        "{}",
        json.dumps(["ended", "x", "t"]),
        json.dumps(["other", ["x"], "t"]),
        json.dumps(["ended", [1], "t"]),
    ]
    client().rpush(QUESTIONS, *rows)
    assert answers.answer_waiting() is False
    client().rpush(QUESTIONS, *rows)
    task("ended", Status.SUCCESS)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, Kind.ENDED, ["ended"])
        while not asked.done():
            answers.answer_waiting()
        assert asked.result() == {"ended": True}


def test_a_result_that_cannot_be_read_keeps_no_other_back(answered: Callable[[Callable[[], T]], T]) -> None:
    stored("broken", "{no json")
    stored("done", "3")
    assert answered(lambda: ask(Kind.RESULTS, ["broken", "done"])).keys() == {"done"}


def test_a_question_that_cannot_be_answered_loses_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    real = answers.answer

    def fails(question: questions.Question) -> object:
        if question.token == "bad":
            raise ValueError("no answer")
        return real(question)

    monkeypatch.setattr(answers, "answer", fails)
    task("ended", Status.SUCCESS)
    client().rpush(QUESTIONS, *(json.dumps(["ended", ["ended"], token]) for token in ("bad", "good")))
    assert answers.answer_waiting()
    assert client().keys("zenith:answer:*") == [b"zenith:answer:good"]
    assert [fault.part for fault in faults.recent()] == [answers.PART]


def test_questions_are_bounded_and_whoever_gave_up_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "PATIENCE", 0.01)
    monkeypatch.setattr(questions, "WAITING_AT_MOST", 3)
    for number in range(5):
        with pytest.raises(NobodyAnswersError):
            ask(Kind.ENDED, [str(number)])
    assert client().llen(QUESTIONS) == 3
    assert answers.answer_waiting()
    (key, *_) = keys = client().keys("zenith:answer:*")
    assert len(keys) == 3
    assert 0 < client().ttl(key) <= questions.ANSWER_KEPT


def test_a_process_with_a_database_answers_itself() -> None:
    questions.answer_here(answers.answer)
    task("ended", Status.SUCCESS)
    assert ask(Kind.ENDED, ["ended"]) == {"ended": True}
    assert not client().exists(QUESTIONS)
