"""Remove what is older than ZENITH_RETENTION_DAYS: finished tasks with everything that belongs to them, batches, workflows,
replay runs.

This needs no index on the end of tasks, which would cost every task something: tasks that ended long ago are at the beginning
of the index by creation. Tasks there that must stay (open, very long, or with a dead letter) are skipped.

Each chunk is one transaction. It locks only rows that nobody changes any more, and skips locked ones.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.utils import timezone

from tasks_app.models.places import OLDEST
from tasks_app.models.task import result_id

#: Tasks removed in one transaction, with about ten rows each.
CHUNK: Final = 500

# A task with a dead letter stays: the letter would be useless without it, and has its own retention.
_EXPIRED: Final = """created_at < %(before)s AND finished_at < %(before)s
    AND NOT EXISTS (SELECT FROM tasks_app_deadletter WHERE task_id = tasks_app_task.id)"""
_NEXT: Final = f"""
    SELECT created_at, id, text_id FROM tasks_app_task WHERE (created_at, id) > (%(after_at)s, %(after_id)s) AND {_EXPIRED}
    ORDER BY created_at, id LIMIT %(chunk)s FOR UPDATE SKIP LOCKED
"""  # noqa: S608 -- no input is in it
_DELETES: Final = (
    "DELETE FROM tasks_app_taskevent WHERE task_id = ANY(%s)",
    "DELETE FROM tasks_app_attempt WHERE task_id = ANY(%s)",
    "DELETE FROM tasks_app_tasklog WHERE task_id = ANY(%s)",
    "DELETE FROM tasks_app_taskmessage WHERE task_id = ANY(%s)",
    "DELETE FROM tasks_app_taskprogress WHERE task_id = ANY(%s)",
    "UPDATE tasks_app_task SET replay_of_id = NULL WHERE replay_of_id = ANY(%s)",
    "DELETE FROM tasks_app_task WHERE id = ANY(%s)",
)
_EMPTY_BATCH: Final = """created_at < %(before)s
    AND NOT EXISTS (SELECT FROM tasks_app_task WHERE batch_id = tasks_app_batch.id)"""
_BATCHES: Final = f"""
    WITH gone AS (SELECT id FROM tasks_app_batch WHERE id < %(boundary)s AND {_EMPTY_BATCH} ORDER BY id LIMIT %(chunk)s
        FOR UPDATE SKIP LOCKED)
    DELETE FROM tasks_app_batch USING gone WHERE tasks_app_batch.id = gone.id
"""  # noqa: S608 -- no input is in it
_LEFT_WORKFLOW: Final = """created_at < %(before)s
    AND NOT EXISTS (SELECT FROM tasks_app_task WHERE root_id = tasks_app_workflow.id)
    AND NOT EXISTS (SELECT FROM tasks_app_task WHERE id = tasks_app_workflow.id)"""
_WORKFLOWS: Final = f"""
    WITH gone AS (SELECT id FROM tasks_app_workflow WHERE {_LEFT_WORKFLOW} ORDER BY created_at, id LIMIT %(chunk)s
        FOR UPDATE SKIP LOCKED)
    DELETE FROM tasks_app_workflow USING gone WHERE tasks_app_workflow.id = gone.id
"""  # noqa: S608 -- no input is in it
_RUNS: Final = """
    WITH gone AS (SELECT id FROM tasks_app_replayrun WHERE finished_at < %(before)s LIMIT %(chunk)s FOR UPDATE SKIP LOCKED)
    DELETE FROM tasks_app_replayrun USING gone WHERE tasks_app_replayrun.id = gone.id
"""
_COUNTS: Final = {
    "tasks": f"SELECT count(*) FROM tasks_app_task WHERE {_EXPIRED}",  # noqa: S608 -- no input is in it
    "batches": f"SELECT count(*) FROM tasks_app_batch WHERE {_EMPTY_BATCH}",  # noqa: S608
    "workflows": f"SELECT count(*) FROM tasks_app_workflow WHERE {_LEFT_WORKFLOW}",  # noqa: S608
    "runs": "SELECT count(*) FROM tasks_app_replayrun WHERE finished_at < %(before)s",
}


def tasks(max_age: timedelta, chunk: int = CHUNK) -> Iterator[int]:
    """Remove tasks that ended longer ago than `max_age`, with all their rows; yield the number after each transaction."""
    after_at, after_id = OLDEST
    while True:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_NEXT, {**_parameters(max_age), "after_at": after_at, "after_id": after_id, "chunk": chunk})
            places = cursor.fetchall()
            _remove(cursor, [id_ for _, id_, _ in places], [result_id(id_, text_id) for _, id_, text_id in places])
        if not places:
            break
        after_at, after_id, _ = places[-1]
        yield len(places)


def batches(max_age: timedelta, chunk: int = CHUNK) -> Iterator[int]:
    """Remove batches older than `max_age` without tasks; yield the number after each transaction."""
    return _repeat(_BATCHES, max_age, chunk)


def workflows(max_age: timedelta, chunk: int = CHUNK) -> Iterator[int]:
    """Remove workflows older than `max_age` without tasks; yield the number after each transaction."""
    return _repeat(_WORKFLOWS, max_age, chunk)


def replay_runs(max_age: timedelta, chunk: int = CHUNK) -> Iterator[int]:
    """Remove replay runs that ended longer ago than `max_age`; yield the number after each transaction."""
    return _repeat(_RUNS, max_age, chunk)


def count(kind: str, max_age: timedelta) -> int:
    """Return how many "tasks", "batches", "workflows" or "runs" would be removed now; batches of those tasks do not count yet."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS[kind], _parameters(max_age))
        return int(cursor.fetchone()[0])


def _repeat(query: str, max_age: timedelta, chunk: int) -> Iterator[int]:
    while True:
        with connection.cursor() as cursor:
            cursor.execute(query, {**_parameters(max_age), "chunk": chunk})
            removed = int(cursor.rowcount)
        if not removed:
            return
        yield removed


def _remove(cursor: CursorWrapper, ids: list[UUID], results: list[str]) -> None:
    if ids:
        cursor.execute("DELETE FROM django_celery_results_taskresult WHERE task_id = ANY(%s)", [results])
        for query in _DELETES:
            cursor.execute(query, [ids])


def _parameters(max_age: timedelta) -> dict[str, Any]:
    before = timezone.now() - max_age
    # A UUIDv7 begins with the milliseconds of its time.
    boundary = UUID(int=int(before.timestamp() * 1000) << 80)
    return {"before": before, "boundary": boundary}
