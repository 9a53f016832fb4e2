"""The accounting table: what must be true of every task once a fault is over, whatever the fault was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

Connection = psycopg.Connection[Any]

#: Seconds by which two processes' clocks on one machine may seem to disagree.
SLACK = 0.5
#: How many culprits a problem names.
NAMED = 5


@dataclass
class Account:
    """What a case dispatched, by the rows' keys. `left` are tasks that the case leaves open on purpose.

    `sent_twice`: PostgreSQL may have forgotten that a message was sent. Then QUEUED is the time of a second one, and the first
    may have been received before. `sent_by_workers`: QUEUED has the time of a worker's clock, which may be a wrong one.
    """

    ids: set[str] = field(default_factory=set)
    foreign: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)
    foreign_lost: bool = False
    sent_twice: bool = False
    sent_by_workers: bool = False

    @property
    def expected(self) -> set[str]:
        """Every task that must be known."""
        return self.ids if self.foreign_lost else self.ids | self.foreign


def problems(
    connection: Connection, account: Account, *, left: Mapping[str, int], reports_lost: bool, wrong_clocks: Sequence[str]
) -> list[str]:
    """Return a sentence for each rule that does not hold, with examples; `left` is what lies in a stream or at a broker."""
    checks: list[Callable[[], Iterator[str]]] = [
        lambda: _everything_is_known(connection, account),
        lambda: _everything_ended(connection, account),
        lambda: _nothing_is_left(left),
        lambda: _nothing_ran_after_its_success(connection, reports_lost, wrong_clocks),
        lambda: _steps_are_in_order(connection, account, wrong_clocks),
        lambda: _what_refers_to_a_task_is_there_once(connection),
        lambda: _rollups_equal_the_rows(connection),
    ]
    return [problem for check in checks for problem in check()]


def _everything_is_known(connection: Connection, account: Account) -> Iterator[str]:
    known = {id_ for (id_,) in connection.execute("SELECT id::text FROM tasks_app_task")}
    yield from named("dispatched and not known", sorted(account.expected - known))
    allowed = account.ids | account.foreign | account.unsure
    yield from named("known and never dispatched", sorted(known - allowed))


def _everything_ended(connection: Connection, account: Account) -> Iterator[str]:
    yield from _rows(
        connection, "not at its end",
        """SELECT id::text, name, status FROM tasks_app_task
        WHERE status NOT IN ('SUCCESS', 'FAILURE', 'REVOKED', 'IGNORED') AND NOT (id = ANY(%s::uuid[]))""",
        list(account.left),
    )  # fmt: skip
    yield from _rows(
        connection, "ended as its body does not",
        """SELECT id::text, name, status, error_type, error_message FROM tasks_app_task WHERE cancel_requested_at IS NULL AND (
            (name IN ('faults.short', 'faults.long', 'faults.flaky', 'faults.noop', 'faults.body', 'faults.swap')
                AND status IN ('FAILURE', 'IGNORED'))
            OR (name = 'faults.ignored' AND status <> 'IGNORED')
            OR (name = 'faults.hopeless' AND (status = 'SUCCESS' OR error_type <> 'HopelessError')))""",
    )  # fmt: skip
    yield from _rows(
        connection, "succeeded and never ran to its end",
        """SELECT id::text, name FROM tasks_app_task AS task WHERE status = 'SUCCESS'
        AND name IN ('faults.short', 'faults.long', 'faults.flaky', 'faults.body', 'faults.swap')
        AND NOT EXISTS (SELECT FROM fault_run AS run WHERE run.task_id = task.id AND run.ended IS NOT NULL)""",
    )  # fmt: skip


def _nothing_is_left(left: Mapping[str, int]) -> Iterator[str]:
    yield from (f"{count} {what} were left" for what, count in left.items() if count)


def _nothing_ran_after_its_success(connection: Connection, reports_lost: bool, wrong_clocks: Sequence[str]) -> Iterator[str]:
    """A run may have begun before the success that counts, never after it."""
    if reports_lost:
        return
    yield from _rows(
        connection, "ran again after its success",
        """SELECT task.id::text, task.name, task.worker, run.worker, run.attempt, run.began - extract(epoch FROM task.finished_at)
        FROM tasks_app_task AS task JOIN fault_run AS run ON run.task_id = task.id
        WHERE task.status = 'SUCCESS' AND NOT (task.worker = ANY(%s))
        AND run.began > extract(epoch FROM task.finished_at) + %s""",
        list(wrong_clocks), SLACK,
    )  # fmt: skip
    yield from _rows(
        connection, "ran again after its success on a worker with a wrong clock",
        """SELECT task.id::text, task.name, run.worker FROM tasks_app_task AS task JOIN fault_run AS run ON run.task_id = task.id
        WHERE task.status = 'SUCCESS' AND task.worker = ANY(%s) AND run.began > %s + (
            SELECT max(ended) FROM fault_run AS own WHERE own.task_id = task.id AND own.worker = task.worker)""",
        list(wrong_clocks), SLACK,
    )  # fmt: skip
    yield from _rows(
        connection, "ran twice at once in one attempt on workers that both lived",
        """SELECT one.task_id::text, one.worker, other.worker FROM fault_run AS one JOIN fault_run AS other
        ON one.task_id = other.task_id AND one.attempt = other.attempt AND one.id < other.id
        WHERE one.worker = other.worker AND one.ended IS NOT NULL AND other.ended IS NOT NULL
        AND one.began < other.ended AND other.began < one.ended""",
    )  # fmt: skip


def _steps_are_in_order(connection: Connection, account: Account, wrong_clocks: Sequence[str]) -> Iterator[str]:
    yield from _rows(
        connection, "does not have one end among its steps",
        """SELECT task.id::text, task.name, task.status, count(event.id) FROM tasks_app_task AS task
        LEFT JOIN tasks_app_taskevent AS event ON event.task_id = task.id
            AND event.status IN ('SUCCESS', 'FAILURE', 'REVOKED', 'IGNORED')
        WHERE task.status IN ('SUCCESS', 'FAILURE', 'REVOKED', 'IGNORED') GROUP BY task.id HAVING count(event.id) <> 1""",
    )  # fmt: skip
    yield from _rows(
        connection, "has a status that its steps do not tell",
        """SELECT task.id::text, task.name, task.status, task.position FROM tasks_app_task AS task
        WHERE task.status IN ('SUCCESS', 'FAILURE', 'REVOKED', 'IGNORED') AND NOT EXISTS (SELECT FROM tasks_app_taskevent AS event
            WHERE event.task_id = task.id AND event.status = task.status AND event.position = task.position)""",
    )  # fmt: skip
    yield from _rows(
        connection, "has steps whose times contradict their order",
        """SELECT task_id::text, before, status, seconds FROM (
            SELECT task_id, status, lag(status) OVER steps AS before, position >> 8 AS delivery,
                lag(position >> 8) OVER steps AS delivery_before,
                extract(epoch FROM at - lag(at) OVER steps) AS seconds
            FROM tasks_app_taskevent WHERE NOT (worker = ANY(%s)) WINDOW steps AS (PARTITION BY task_id ORDER BY position)
        ) AS pair WHERE delivery = delivery_before AND seconds < -%s AND NOT (%s AND before = 'QUEUED')
            AND NOT (%s AND 'QUEUED' IN (before, status))""",
        list(wrong_clocks), SLACK, account.sent_twice, bool(wrong_clocks) and account.sent_by_workers,
    )  # fmt: skip


def _what_refers_to_a_task_is_there_once(connection: Connection) -> Iterator[str]:
    yield from _rows(
        connection, "does not have one result of its status",
        """SELECT task.id::text, task.status, count(result.id) FROM tasks_app_task AS task
        LEFT JOIN django_celery_results_taskresult AS result ON result.task_id = task.id::text AND result.status = task.status
        WHERE task.status IN ('SUCCESS', 'FAILURE', 'REVOKED') GROUP BY task.id HAVING count(result.id) <> 1""",
    )  # fmt: skip
    yield from _rows(
        connection, "is a result without an ended task",
        """SELECT result.task_id, result.status FROM django_celery_results_taskresult AS result
        LEFT JOIN tasks_app_task AS task ON task.id::text = result.task_id AND task.status = result.status
        WHERE task.id IS NULL""",
    )  # fmt: skip
    yield from _rows(
        connection, "does not have as many dead letters as it should",
        """SELECT task.id::text, task.status, count(letter.id) FROM tasks_app_task AS task
        LEFT JOIN tasks_app_deadletter AS letter ON letter.task_id = task.id
        GROUP BY task.id HAVING count(letter.id) <> (CASE task.status WHEN 'FAILURE' THEN 1 ELSE 0 END)""",
    )  # fmt: skip


def _rollups_equal_the_rows(connection: Connection) -> Iterator[str]:
    rollups = connection.execute(
        """SELECT name, sum(succeeded), sum(failed), sum(revoked), sum(retried) FROM tasks_app_minuterollup
        GROUP BY name ORDER BY name"""
    ).fetchall()
    rows = connection.execute(
        """SELECT name, count(*) FILTER (WHERE status = 'SUCCESS'), count(*) FILTER (WHERE status = 'FAILURE'),
            count(*) FILTER (WHERE status = 'REVOKED'), coalesce(sum(retries), 0)
        FROM tasks_app_task LEFT JOIN (
            SELECT task_id, count(*) AS retries FROM tasks_app_taskevent WHERE status = 'RETRY' GROUP BY task_id
        ) AS retried ON retried.task_id = id GROUP BY name ORDER BY name"""
    ).fetchall()
    told = [row for row in rows if any(row[1:])]
    if rollups != told:
        yield f"the rollups say {rollups}, the rows {told}"


def _rows(connection: Connection, what: str, statement: str, *values: Any) -> Iterator[str]:
    yield from named(what, connection.execute(statement, values).fetchall())


def named(what: str, culprits: Sequence[Any]) -> Iterator[str]:
    """Yield a sentence about what is wrong with these, if there are any."""
    if culprits:
        yield f"{len(culprits)} × {what}: {list(culprits[:NAMED])}"  # noqa: RUF001 (the sign is meant)
