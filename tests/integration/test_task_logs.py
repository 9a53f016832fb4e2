"""What tasks log is stored once, masked and bounded, whatever comes in the stream, and shown to whoever may see the task."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import DataError, OperationalError, connection
from django.test import Client
from django.utils import timezone

from tasks_app.maintenance import task_logs as retention
from tasks_app.models import Application, Task, TaskLog
from tasks_app.models.application import NATIVE_ID
from tasks_app.models.task_keys import forget_applications
from tasks_app.queries.task_logs import LogFilter, read_forward, read_newest
from tasks_app.recording import log_bounds, log_recorder, log_watch
from tasks_app.recording.apply import apply
from tasks_app.recording.log_recorder import LogRecorder
from tests.integration.conftest import ApiClient
from zenith_site.common.advisory_locks import AdvisoryLock, try_advisory_lock
from zenith_worker.wire import keys, stream, task_logs
from zenith_worker.wire.events import Event
from zenith_worker.wire.ids import key_of, new_id
from zenith_worker.wire.states import Status
from zenith_worker.wire.stream import Entry
from zenith_worker.wire.task_logs import LogChunk, LogLine

pytestmark = pytest.mark.django_db(transaction=True)
START = 1_800_000_000.0


@pytest.fixture(autouse=True)
def empty_streams() -> None:
    stream.client().flushdb()
    forget_applications()


def record() -> int:
    """Record what there is, as one engine does; return how many entries it handled."""
    recorder, handled = LogRecorder(), 0
    for _ in range(2):  # first what was read before
        while count := recorder.step(block=0.01):
            handled += count
    return handled


def a_task(name: str = "shop.pay", application: str = "", **more: Any) -> Task:
    """A task that runs."""
    id_ = str(new_id())
    row = NATIVE_ID if not application else Application.objects.get_or_create(name=application, kind="attached")[0].pk
    apply(
        [Event(task_id=id_, status=Status.STARTED, at=time.time(), name=name, application=application, **more)],
        {application: row},
    )
    return Task.objects.get(id=key_of(id_, application))


def line(message: str, level: int = 20, at: float = START, logger: str = "shop") -> LogLine:
    return LogLine(at, level, logger, message)


def logged(task: Task, *messages: str, first: int = 0, application: str = "", **more: Any) -> None:
    """Append lines to the stream as a worker does."""
    task_logs.append([LogChunk(task_id=task.celery_id, lines=list(map(line, messages)), first=first, **more)], application)


def messages(task: Task, **only: Any) -> list[str]:
    return [each.message for each in read_forward(task, only=LogFilter(**only)).lines]


# --- What is stored ---


def test_lines_are_stored_in_order_with_where_they_come_from() -> None:
    task = a_task()
    logged(task, "one", "two", attempt=1, delivery=2, nesting=3)
    logged(task, "three", first=2, attempt=1, delivery=2, nesting=3)
    assert record() == 2
    lines = read_forward(task).lines
    assert [each.message for each in lines] == ["one", "two", "three"]
    assert {(each.attempt, each.delivery, each.nesting, each.level, each.logger) for each in lines} == {(2, 2, 3, "info", "shop")}
    assert lines[0].at.timestamp() == START
    assert task_logs.length() == 0
    assert TaskLog.objects.count() == 2, "a row for each batch"


def test_secrets_are_masked_before_they_are_stored() -> None:
    task = a_task()
    logged(task, "login with password=hunter2 worked")
    record()
    assert "hunter2" not in TaskLog.objects.get().text
    assert messages(task) == ["login with password=*** worked"]
    assert messages(task, q="hunter2") == []


def test_a_recorder_that_dies_before_it_confirms_stores_no_line_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    task = a_task()
    logged(task, "one", "two")

    def die(_: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(task_logs, "done", die)
        with pytest.raises(SystemExit):
            record()
    assert messages(task) == ["one", "two"]
    logged(task, "three", first=2)
    assert record() == 2
    assert messages(task) == ["one", "two", "three"]
    assert TaskLog.objects.count() == 2
    assert task_logs.length() == 0


def test_what_a_recorder_had_read_when_postgresql_went_away_is_recorded_first(monkeypatch: pytest.MonkeyPatch) -> None:
    task = a_task()
    logged(task, "one")
    recorder = LogRecorder()
    assert recorder.step(block=0.01) == 0, "nothing was read before"

    def away(_: Any) -> None:
        raise OperationalError("the connection is closed")

    with monkeypatch.context() as patch:
        patch.setattr(log_recorder, "store", away)
        with pytest.raises(OperationalError):
            recorder.step(block=0.01)
    logged(task, "two", first=1)
    assert (recorder.step(block=0.01), recorder.step(block=0.01), recorder.step(block=0.01)) == (1, 0, 1)
    assert messages(task) == ["one", "two"]


def test_lines_that_a_worker_sent_twice_are_shown_once() -> None:
    task = a_task()
    logged(task, "one", "two")
    logged(task, "one", "two", "three")
    logged(task, "four", first=3)
    record()
    assert messages(task) == ["one", "two", "three", "four"]


def test_two_runs_of_one_delivery_are_told_apart() -> None:
    task = a_task()
    logged(task, "here", source=1)
    logged(task, "there", source=2)
    record()
    assert messages(task) == ["here", "there"]


def test_lines_of_a_task_that_nobody_knows_yet_are_its_own_once_it_is() -> None:
    id_ = str(new_id())
    task_logs.append([LogChunk(task_id=id_, lines=[line("early")])])
    record()
    apply([Event(task_id=id_, status=Status.STARTED, at=time.time(), name="late")])
    assert messages(Task.objects.get(id=id_)) == ["early"]


def test_an_application_logs_only_for_its_own_tasks() -> None:
    native, own = a_task(), a_task("florist.water", "florist")
    logged(own, "own", application="florist")
    # Its own task of the same id is another one.
    logged(native, "foreign", application="florist")
    assert record() == 2
    assert (messages(native), messages(own)) == ([], ["own"])
    # A task of Zenith's whose id is the key of another application's.
    task_logs.append([LogChunk(task_id=str(own.id), lines=[line("native")])])
    record()
    assert messages(own) == ["own"]


@pytest.mark.parametrize("raw", [b"x", b"{}", b'[{"t":"a","l":[[1,20,"l",3]]}]', b""])
def test_what_cannot_be_read_is_set_aside_and_stops_nothing_else(raw: bytes) -> None:
    task = a_task()
    stream.client().xadd(keys.LOGS, {"l": raw})
    stream.client().xadd(keys.LOGS, {"other": "field"}, id="*")
    logged(task, "good")
    record()
    assert messages(task) == ["good"]
    assert (task_logs.length(), stream.unreadable_count()) == (0, 1)


def test_an_entry_at_a_place_that_redis_gives_none_is_set_aside() -> None:
    task = a_task()
    raw = task_logs.encode([LogChunk(task_id=task.celery_id, lines=[line("odd")])])
    with pytest.raises(task_logs.UnreadableLogsError):
        log_recorder.rows_of(Entry("99999999999999999-5", raw), NATIVE_ID)
    stream.client().xadd(keys.LOGS, {"l": raw}, id="1-9999")
    logged(task, "good")
    record()
    assert (messages(task), stream.unreadable_count()) == (["good"], 1)


def test_what_postgresql_refuses_is_set_aside_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    task, bad = a_task(), a_task()
    logged(task, "one")
    logged(bad, "bad")
    logged(task, "two", first=1)
    store = log_recorder.store

    def refuse(rows: Any) -> None:
        if any(row.task_id == bad.id for row in rows):
            raise DataError("refused")
        store(rows)

    monkeypatch.setattr(log_recorder, "store", refuse)
    record()
    assert messages(task) == ["one", "two"]
    assert (messages(bad), task_logs.length(), stream.unreadable_count()) == ([], 0, 1)


def test_an_application_that_broke_its_own_stream_stops_nobody() -> None:
    task = a_task()
    a_task("florist.water", "florist")
    stream.client().set(keys.application_keys("florist").logs, "no stream")
    logged(task, "one")
    record()
    assert messages(task) == ["one"]


def test_hostile_text_is_stored_harmless() -> None:
    task = a_task()
    logged(task, "a\x00b", "\ud800", "\x1b[31mred\x1b[0m\x07", '{"quoted\\', "é" * 9000)
    record()
    stored = messages(task)
    assert stored[:4] == ["a\ufffdb", "\ufffd", "red\ufffd", '{"quoted\\']
    assert len(stored[4]) == task_logs.MESSAGE_KEPT


def test_a_stream_that_nobody_reads_keeps_its_newest_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_logs, "ENTRIES_KEPT", 100)
    task = a_task()
    for number in range(500):
        logged(task, str(number), first=number)
    assert task_logs.length() < 500
    record()
    lines = read_forward(task).lines
    assert lines[-1].message == "499"
    assert lines[0].left_out == 500 - len(lines)


# --- Bounds ---


def test_the_newest_lines_of_a_task_stay_and_the_rest_is_counted(settings: Any) -> None:
    settings.ZENITH_TASK_LOG_LINES = 100
    task, other = a_task(), a_task()
    logged(other, "other")
    for start in range(0, 1000, 30):
        logged(task, *map(str, range(start, start + 30)), first=start)
    record()
    lines = read_forward(task).lines
    assert [each.message for each in lines] == [str(number) for number in range(1020 - len(lines), 1020)]
    assert 70 < len(lines) <= 100
    assert lines[0].left_out == 1020 - len(lines)
    assert messages(other) == ["other"]


def test_what_earlier_attempts_logged_is_counted_when_it_goes(settings: Any) -> None:
    settings.ZENITH_TASK_LOG_LINES = 100
    task = a_task()
    for attempt in range(5):
        logged(task, *["x"] * 60, attempt=attempt)
        record()
    lines = read_forward(task).lines
    assert {each.attempt for each in lines} == {5}
    assert lines[0].left_out == 240


def test_a_task_is_bounded_by_characters_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_bounds, "CHARS_KEPT", 10_000)
    task = a_task()
    for number in range(10):
        logged(task, "x" * 3000, first=number)
    record()
    assert len(messages(task)) == 3


def test_old_lines_go_and_the_oldest_if_there_are_too_many() -> None:
    tasks = [a_task() for _ in range(5)]
    for task in tasks:
        logged(task, "x" * 1000)
        record()
    week = timedelta(days=7)
    TaskLog.objects.filter(task_id=tasks[0].id).update(recorded_at=timezone.now() - week * 2)
    size = TaskLog.objects.all()[0].chars
    assert retention.count(week, 10 * size) == 1
    assert sum(retention.prune(week, 10 * size)) == 1
    assert retention.count(week, 2 * size) == 2
    assert sum(retention.prune(week, 2 * size)) == 2
    assert [bool(messages(task)) for task in tasks] == [False, False, False, True, True]
    assert sum(retention.prune(week, 2 * size)) == 0


def test_only_one_engine_records_at_a_time() -> None:
    with try_advisory_lock(AdvisoryLock.TASK_LOGS) as leads:
        assert leads
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        assert cursor.fetchone() == (0,)


# --- What is shown ---


def filled() -> Task:
    """A task with ten lines of two attempts."""
    task = a_task(attempt=1)
    for attempt in range(2):
        chunk = [line(f"line {number}", level) for number, level in enumerate((10, 20, 30, 40, 50))]
        task_logs.append([LogChunk(task_id=task.celery_id, lines=chunk, attempt=attempt)])
    record()
    return task


def test_lines_are_filtered_and_paged() -> None:
    task = filled()
    assert messages(task, level="warning") == ["line 2", "line 3", "line 4"] * 2
    assert messages(task, level="error", attempt=2) == ["line 3", "line 4"]
    assert messages(task, q="LINE 1") == ["line 1"] * 2
    page = read_forward(task, limit=4)
    seen = [*page.lines]
    while page.more:
        page = read_forward(task, page.after, limit=4)
        seen += page.lines
    assert [each.message for each in seen] == messages(task)
    assert read_forward(task, page.after).after == page.after
    newest = read_newest(task, limit=3)
    assert ([each.attempt for each in newest.lines], newest.more) == ([2, 2, 2], True)
    before = read_newest(task, newest.lines[0].cursor, limit=100)
    assert (len(before.lines), before.more) == (7, False)
    for cursor in ("x", "1", "1.x", f"{2**64}.1"):
        with pytest.raises(ValueError, match="no line's cursor"):
            read_forward(task, cursor)


def test_the_api_returns_pages(api: ApiClient) -> None:
    task, client = filled(), api("read")
    path = f"/api/v1/tasks/{task.celery_id}/logs"
    first = client.get(f"{path}?limit=6&level=info")
    assert [each["message"] for each in first.json()["lines"]] == [f"line {number}" for number in (1, 2, 3, 4, 1, 2)]
    assert set(first.json()["lines"][0]) == {"cursor", "at", "level", "logger", "message", "attempt", "delivery", "left_out"}
    address = first["Link"].partition(">")[0][1:]
    second = client.get(address)
    assert [each["level"] for each in second.json()["lines"]] == ["error", "critical"]
    assert "Link" not in second
    assert client.get(f"{path}?after={second.json()['after']}").json() == {"lines": [], "after": second.json()["after"]}
    assert [len(client.get(f"{path}?{query}").json()["lines"]) for query in ("attempt=1", "q=line+3", "q=nothing")] == [5, 2, 0]
    for wrong in ("after=x", "after=1", "level=loud", "attempt=0", "limit=0", "other=1"):
        assert client.get(f"{path}?{wrong}").status_code == 422, wrong
    assert client.get("/api/v1/tasks/nobody/logs").status_code == 404


def test_the_page_shows_the_newest_lines_and_filters(person: Client) -> None:
    task = filled()
    html = person.get(f"/tasks/{task.id}/").content.decode()
    # Its script asks for the lines; without scripts a link leads to them.
    assert f'data-topic="task-log-{task.id}"' in html
    assert f'href="/tasks/{task.id}/log/"' in html
    assert person.get(f"/tasks/{task.id}/log/").content.decode().count("line 4") == 2
    alone = person.get(f"/tasks/{task.id}/log/?level=error&attempt=2&q=line").content.decode()
    assert (alone.count(">line 3<") + alone.count("</span> line 3<"), alone.count("line 2")) == (1, 0)
    assert "No line matches" in person.get(f"/tasks/{task.id}/log/?q=nothing").content.decode()
    text = b"".join(person.get(f"/tasks/{task.id}/log/?format=text")).decode()  # type: ignore[arg-type]
    assert len(text.splitlines()) == 10
    assert "ERROR    [2] shop: line 3" in text
    for wrong in ("after=x", "before=x"):
        assert person.get(f"/tasks/{task.id}/log/?{wrong}").status_code == 404
    assert person.get(f"/tasks/{UUID(int=0)}/log/").status_code == 404


def test_an_open_page_is_told_of_new_lines_and_continues_after_the_last(person: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(log_watch, "refresh_pages", lambda *topics: told.extend(topics))
    task, unread = a_task(), a_task()
    empty = person.get(f"/tasks/{task.id}/log/?after=")
    assert (empty["X-Log-After"], empty.content.strip()) == ("", b"")
    logged(task, "one")
    logged(unread, "nobody reads it")
    record()
    assert told == [log_watch.topic(task.id)]
    first = person.get(f"/tasks/{task.id}/log/?after=")
    assert b"one" in first.content
    logged(task, "two", first=1)
    record()
    second = person.get(f"/tasks/{task.id}/log/?after={first['X-Log-After']}")
    assert (b"one" in second.content, b"two" in second.content) == (False, True)


def test_what_is_left_out_is_said(person: Client) -> None:
    task = a_task()
    logged(task, "late", first=1234)
    record()
    assert "1234 lines left out here" in person.get(f"/tasks/{task.id}/log/").content.decode()


def test_what_is_logged_is_no_markup(person: Client) -> None:
    task = a_task()
    logged(task, "<script>alert(1)</script>")
    record()
    html = person.get(f"/tasks/{task.id}/log/").content.decode()
    assert "<script>alert(1)" not in html
    assert "&lt;script&gt;alert(1)" in html


def test_a_watched_application_has_no_logs_and_its_tasks_page_says_why(person: Client) -> None:
    task = a_task("florist.water", "florist")
    Application.objects.filter(name="florist").update(kind="watched")
    for path in (f"/tasks/{task.id}/", f"/tasks/{task.id}/log/"):
        html = person.get(path).content.decode()
        assert "Zenith only listens to this application" in html
        assert "data-log=" not in html


def test_the_command_prints_lines_and_follows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    task = filled()

    def printed(*arguments: str) -> list[str]:
        output = io.StringIO()
        call_command("logs", task.celery_id, *arguments, stdout=output)
        return output.getvalue().splitlines()

    assert len(printed()) == 10
    assert printed("--level", "error", "--attempt", "1")[0].endswith("ERROR    [1] shop: line 3")
    (newest,) = printed("--lines", "1", "--json")
    assert (json.loads(newest)["message"], json.loads(newest)["level"]) == ("line 4", "critical")
    with pytest.raises(CommandError, match="there is no task 'nobody'"):
        call_command("logs", "nobody")
    follow(task, monkeypatch)
    assert printed("--follow", "--lines", "1")[-1].endswith("shop: the last")


def follow(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the task end, and log once more, while the command waits for the first time."""
    from tasks_app.management.commands import logs

    def end(_: float, pause: Callable[[float], None] = time.sleep) -> None:
        if not Task.objects.filter(id=task.id, finished_at__isnull=False).exists():
            apply([Event(task_id=task.celery_id, status=Status.SUCCESS, at=time.time(), attempt=1)])
            logged(task, "the last", first=5, attempt=1)
            record()
        pause(0.01)

    monkeypatch.setattr(logs, "_TRAILING", 0.1)
    monkeypatch.setattr(logs.time, "sleep", end)
