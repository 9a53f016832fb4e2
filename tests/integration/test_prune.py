"""Retention: what is over goes with all that belongs to it, what is not stays, and nobody waits for it."""

from __future__ import annotations

import io
import json
import threading
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone
from django_celery_results.models import TaskResult

from tasks_app.maintenance import expired, retention
from tasks_app.models import Attempt, Batch, DeadLetter, IdempotencyKey, ReplayRun, Task, TaskEvent, TaskLog
from tasks_app.models.replay_run import RunState
from tests.rollups import ended
from zenith_site.common.retention import Rule, registered
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)
MONTH = timedelta(days=30)


def id_at(moment: datetime) -> UUID:
    """An id as a dispatch at that time made it."""
    return UUID(int=int(moment.timestamp() * 1000) << 80 | uuid4().int & (1 << 76) - 1)


def a_task(age: timedelta, **values: Any) -> Task:
    """A task that ended so long ago, with an event, a failed attempt and a result."""
    at = timezone.now() - age
    fields = {"id": id_at(at), "name": "t", "queue": "default", "status": Status.SUCCESS, "source": "api", "finished_at": at}
    task = Task.objects.create(**{**fields, "created_at": at, **values})
    TaskEvent.objects.create(task=task, status=task.status, position=1, at=at)
    Attempt.objects.create(task=task, attempt=1, finished_at=at, outcome=Status.RETRY)
    TaskResult.objects.create(task_id=str(task.id))
    TaskLog.objects.create(
        task_id=task.id, application_id=1, position=1, attempt=1, lines=0, chars=2, text="[]", recorded_at=timezone.now()
    )
    return task


def prune(*arguments: str) -> dict[str, Any]:
    out = io.StringIO()
    call_command("prune", "--json", *arguments, stdout=out)
    answer: dict[str, Any] = json.loads(out.getvalue())
    return answer


def test_an_old_task_goes_with_all_that_belongs_to_it_and_a_young_one_stays() -> None:
    a_task(MONTH + timedelta(hours=1))
    young = a_task(MONTH - timedelta(hours=1))
    assert prune("--yes")["rows"]["tasks"] == 1
    for model in (Task, TaskEvent, Attempt, TaskResult, TaskLog):
        assert model.objects.count() == 1, model
    assert Task.objects.get() == young
    assert TaskResult.objects.get().task_id == str(young.id)


def test_what_is_not_over_stays_however_old_it_is() -> None:
    a_task(MONTH * 2, status=Status.SCHEDULED, finished_at=None)
    a_task(MONTH * 2, finished_at=timezone.now())
    assert sum(expired.tasks(MONTH)) == 0
    assert Task.objects.count() == 2


def test_a_task_with_a_dead_letter_stays_until_the_letter_is_gone(settings: Any) -> None:
    settings.ZENITH_DEAD_LETTER_DAYS = 90
    dead = a_task(MONTH * 2, status=Status.FAILURE)
    DeadLetter.objects.create(
        task=dead, fingerprint="f", task_name="t", queue="q", error_type="E", created_at=timezone.now() - MONTH * 2
    )
    with pytest.raises(CommandError, match="nothing is past its retention"):
        prune("--yes")
    settings.ZENITH_DEAD_LETTER_DAYS = 40
    removed = prune("--yes")["rows"]
    assert (removed["dead letters"], removed["tasks"]) == (1, 1)
    assert not Task.objects.exists()


def test_tasks_of_other_programs_go_whatever_their_ids_are() -> None:
    for number in range(3):
        a_task(MONTH * 2, id=UUID(int=(2**128 - 1) >> number), source="external")
    a_task(MONTH / 2, id=UUID(int=1), source="external")
    assert list(expired.tasks(MONTH, chunk=2)) == [2, 1]
    assert Task.objects.get().id == UUID(int=1)


def test_a_replay_forgets_what_it_was_sent_in_place_of() -> None:
    dead = a_task(MONTH * 2, status=Status.FAILURE)
    replay = a_task(MONTH / 2, replay_of=dead)
    assert sum(expired.tasks(MONTH)) == 1
    replay.refresh_from_db()
    assert replay.replay_of_id is None


def test_a_batch_goes_once_its_last_task_has_gone() -> None:
    old = timezone.now() - MONTH * 2
    batches = [Batch.objects.create(id=id_at(old), task_name="t", size=2, source="api", created_at=old) for _ in range(2)]
    a_task(MONTH * 2, batch=batches[0])
    a_task(MONTH * 2, batch=batches[1])
    a_task(MONTH / 2, batch=batches[1])
    assert prune("--yes")["rows"]["batches"] == 1
    assert Batch.objects.get() == batches[1]


def test_replays_that_ended_long_ago_go_and_those_under_way_stay() -> None:
    old = timezone.now() - MONTH * 2
    common = {"newest": 1, "total": 1, "source": "api", "next_at": old, "created_at": old}
    ReplayRun.objects.create(**common, state=RunState.DONE, finished_at=old)
    running = ReplayRun.objects.create(**common)
    assert sum(expired.replay_runs(MONTH)) == 1
    assert ReplayRun.objects.get() == running


def test_a_dry_run_counts_and_removes_nothing() -> None:
    for _ in range(3):
        a_task(MONTH * 2)
    a_task(MONTH * 2, source="external", id=uuid4())
    IdempotencyKey.objects.create(key="k", digest=b"", created_at=timezone.now() - timedelta(days=2))
    ended((timezone.now() - MONTH * 3).timestamp(), succeeded=1)
    answer = prune("--dry-run")
    assert answer["dry_run"] is True
    assert answer["rows"] | {"figures": 0} == {
        "dead letters": 0, "tasks": 4, "batches": 0, "workflows": 0, "replays": 0, "figures": 0, "workers' minutes": 0,
        "idempotency keys": 1, "task logs": 0,
        **{rule.name: answer["rows"][rule.name] for rule in registered()},
    }  # fmt: skip
    assert Task.objects.count() == 4


def test_only_what_is_asked_for_is_removed() -> None:
    a_task(MONTH * 2)
    IdempotencyKey.objects.create(key="k", digest=b"", created_at=timezone.now() - timedelta(days=2))
    assert prune("--yes", "--only", "idempotency keys")["rows"] == {"idempotency keys": 1}
    assert Task.objects.count() == 1


def test_without_a_terminal_it_wants_to_be_told_yes() -> None:
    a_task(MONTH * 2)
    with pytest.raises(CommandError, match="add --yes") as refused:
        prune()
    assert refused.value.returncode == 2
    assert Task.objects.count() == 1


def test_the_words_say_which_rows_and_why() -> None:
    a_task(MONTH * 2)
    out = io.StringIO()
    call_command("prune", "--dry-run", stdout=out)
    assert "1 tasks would be removed  (that ended more than ZENITH_RETENTION_DAYS ago" in out.getvalue()


def test_nothing_to_remove_is_told_by_the_exit_status() -> None:
    with pytest.raises(CommandError) as error:
        prune("--yes")
    assert error.value.returncode == 1


def test_a_row_that_somebody_holds_is_left_for_the_next_time() -> None:
    held, free = a_task(MONTH * 2), a_task(MONTH * 2)
    removed: list[int] = []

    def elsewhere() -> None:
        removed.extend(expired.tasks(MONTH))
        connection.close()

    with transaction.atomic():
        Task.objects.select_for_update().get(pk=held.pk)
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join(10)
        assert not thread.is_alive(), "it waits for the row"
    assert removed == [1]
    assert Task.objects.get() == held
    assert free not in Task.objects.all()


def test_the_engine_follows_the_same_rules_and_stops_when_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_OWN", (Rule("tasks", "", lambda: expired.tasks(MONTH, chunk=1)),))
    for _ in range(5):
        a_task(MONTH * 2)
    stop = threading.Event()
    stop.set()
    retention._prune(stop)
    assert Task.objects.count() == 4
    retention._prune()
    assert not Task.objects.exists()
