"""Workers and producers have no database: what only PostgreSQL knows, they ask of an engine."""

from __future__ import annotations

import json
import threading
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
from zenith_worker.wire import keys, questions
from zenith_worker.wire.client import client
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.keys import NATIVE, QUESTIONS, application_keys
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
    key = key_of(id_, Application.objects.get(pk=application).key_name)
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

    def fails(question: questions.Question, application: int) -> object:
        if question.token == "bad":
            raise ValueError("no answer")
        return real(question, application)

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


# --- Attached applications ---


@pytest.fixture
def others() -> dict[str, int]:
    """The applications that an engine knows: Zenith's own, shop and clinic."""
    made = {name: Application.objects.create(name=name, kind="attached").pk for name in ("shop", "clinic")}
    return {NATIVE: 1, **made}


def question(token: str, *ids: str, kind: str = "ended") -> str:
    return json.dumps([kind, ids, token])


def replies() -> dict[str, object]:
    """The answers that lie in Redis, by key."""
    found = [key.decode() for key in client().keys("zenith:*answer:*")]
    return {key: json.loads(client().lindex(key, 0) or b"null") for key in found if client().type(key) == b"list"}


def test_an_attached_application_is_told_about_its_own_tasks_only(
    others: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, pk in others.items():
        task(f"of-{name or 'zenith'}", Status.SUCCESS, application=pk)
        task("runs" if name == "shop" else "same-id", Status.STARTED if name == "shop" else Status.SUCCESS, application=pk)
    stored("of-shop", "1")
    monkeypatch.setattr(keys._Own, "name", "shop")
    monkeypatch.setattr(answers, "BLOCK", 0.05)
    ids = ["of-zenith", "of-shop", "of-clinic", "runs", "same-id"]
    with ThreadPoolExecutor(1) as pool:
        for kind, told in ((Kind.ENDED, {"of-shop": True}), (Kind.RESULTS, {})):
            asked = pool.submit(ask, kind, ids)
            while not asked.done():
                answers.answer_waiting(others)
            assert asked.result() == told


@pytest.mark.django_db(transaction=True)
def test_an_engine_that_runs_answers_an_application_that_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks_app.recording.applications.REFRESH_EVERY", 0.0)
    stop = threading.Event()

    def ask_and_stop() -> object:
        try:
            return ask(Kind.ENDED, ["done"])
        finally:
            stop.set()

    monkeypatch.setattr(keys._Own, "name", "shop")
    real = answers.answer_waiting
    passes: list[list[str]] = []

    def once(applications: dict[str, int]) -> bool:
        passes.append(list(applications))
        if len(passes) == 1:
            shop = Application.objects.create(name="shop", kind="attached")
            task("done", Status.SUCCESS, application=shop.pk)
            return False
        return real(applications)

    monkeypatch.setattr(answers, "answer_waiting", once)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask_and_stop)
        answers.run(stop)
        assert asked.result() == {"done": True}
    assert passes[:2] == [[NATIVE], [NATIVE, "shop"]]


def test_a_flood_of_one_application_keeps_no_other_waiting(others: dict[str, int]) -> None:
    flooded = application_keys("shop")
    client().rpush(flooded.questions, *(question(f"n{number}", "x") for number in range(3000)))
    for name in (NATIVE, "clinic"):
        client().rpush(application_keys(name).questions, question("mine", "x"))
    assert answers.answer_waiting(others)
    assert {"zenith:answer:mine", "zenith:app:clinic:answer:mine"} <= replies().keys(), "in the first pass"
    taken = questions.TAKEN_AT_ONCE // 3
    assert len(replies()) == taken + 2
    assert client().llen(flooded.questions) == questions.WAITING_AT_MOST - taken
    assert f"{flooded.answer}n2000" in replies(), "the oldest were forgotten"


def test_what_is_no_list_keeps_no_other_waiting_and_is_removed(others: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    client().set(application_keys("shop").questions, "x")
    client().sadd(QUESTIONS, "x")
    client().rpush(application_keys("clinic").questions, question("mine", "x"))
    assert answers.answer_waiting(others)
    assert list(replies()) == ["zenith:app:clinic:answer:mine"]
    assert not client().exists(QUESTIONS, application_keys("shop").questions)
    # The same while an engine waits, and in the place of an answer.
    monkeypatch.setattr(questions, "script", lambda *_: [])
    client().hset(application_keys("shop").questions, "x", "x")
    assert not answers.answer_waiting({"shop": others["shop"], "clinic": others["clinic"]})
    monkeypatch.undo()
    client().hset(application_keys("clinic").answer + "taken", "x", "x")
    client().rpush(application_keys("clinic").questions, question("taken", "x"))
    assert answers.answer_waiting(others)
    assert replies()["zenith:app:clinic:answer:taken"] == {}
    assert faults.recent() == []


def test_strange_questions_of_an_application_are_dropped(others: dict[str, int]) -> None:
    own = application_keys("shop")
    client().rpush(
        own.questions,
        question("long", "x" * 2**18), question("x" * 65, "x"), question("", "x"), question("../x", "x"), question("\ud800", "x"),
        b"\xff\xfe", "[" * 100_000, question("other", "x", kind="other"),
        json.dumps(["ended", ["ok", "\ud800", "a\x00b", ""], "mine"]), json.dumps(["ended", ["x"] * 1000, "many", "more"]),
        json.dumps(["ended", [f"{number}" for number in range(1000)], "many"]),
    )  # fmt: skip
    task("ok", Status.SUCCESS, application=others["shop"])
    task("999", Status.SUCCESS, application=others["shop"])
    assert answers.answer_waiting(others)
    assert replies() == {f"{own.answer}mine": {"ok": True}, f"{own.answer}many": {}}
    assert faults.recent() == []


def test_a_slow_pass_leaves_the_rest_to_the_next_one(others: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "LONGEST_PASS", -1.0)
    client().rpush(QUESTIONS, *(question(f"n{number}", "x", kind="results") for number in range(3)))
    client().rpush(application_keys("clinic").questions, question("mine", "x"))
    answered_keys = []
    for _ in range(4):
        assert answers.answer_waiting(others)
        answered_keys += [key for key in replies() if key not in answered_keys]
    assert answered_keys == ["zenith:app:clinic:answer:mine", *(f"zenith:answer:n{number}" for number in range(3))]
