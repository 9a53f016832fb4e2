"""What a task's body logs is kept in its worker, within bounds, and the task and the application's own logs notice nothing."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextvars import copy_context
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from billiard.exceptions import SoftTimeLimitExceeded
from celery.utils.log import LoggingProxy, get_task_logger
from hypothesis import given
from hypothesis import strategies as st

from tasks_app.recording.log_bounds import Cut, StoredChunk, cut_of
from tasks_app.recording.log_recorder import clean_text
from tests.waiting import eventually
from zenith_worker import log_buffer, task_logs
from zenith_worker.log_buffer import LogBuffer, Run
from zenith_worker.task_logs import TaskLogs, let_pass, parse_level
from zenith_worker.wire import task_logs as wire
from zenith_worker.wire.task_logs import LOGGER_KEPT, LogChunk, LogLine, UnreadableLogsError, decode, encode

logger = logging.getLogger("tests.body")


class Kept:
    """Stands for the buffer."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, LogLine]] = []

    def add(self, run: Run, line: LogLine) -> None:
        """Keep it all."""
        self.lines.append((run.task_id, line))

    @property
    def messages(self) -> list[str]:
        """What was logged."""
        return [line.message for _, line in self.lines]

    @property
    def tasks(self) -> list[str]:
        """Which task logged each line."""
        return [task for task, _ in self.lines]


class Body:
    """Begins and ends bodies of tasks in the calling context."""

    def __init__(self, logs: TaskLogs) -> None:
        self._logs = logs

    def begin(self, id_: str | None = "one", *, eager: bool = False, **options: Any) -> Any:
        """Begin the body of a task."""
        request = SimpleNamespace(id=id_, is_eager=eager, retries=0, replaced_task_nesting=0)
        task = SimpleNamespace(request=request, **options)
        self._logs._began(task)
        return task

    def end(self, task: Any) -> None:
        """End it."""
        self._logs._ended(task)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Kept:
    return Kept()


@pytest.fixture
def body(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> Iterator[Body]:
    monkeypatch.setattr(logging.Logger, "callHandlers", logging.Logger.callHandlers)
    logs = TaskLogs(logging.INFO, kept)  # type: ignore[arg-type]
    logs._hook()
    before = logger.level
    logger.setLevel(logging.DEBUG)
    yield Body(logs)
    logger.setLevel(before)
    task_logs._running.set(None)


def test_only_what_a_body_logs_is_kept_from_its_level_on(body: Body, kept: Kept) -> None:
    logger.warning("before")
    task = body.begin()
    logger.info("hello %s", "you")
    logger.debug("too low")
    body.end(task)
    logger.warning("after")
    ((task_id, line),) = kept.lines
    assert (task_id, line.level, line.logger, line.message) == ("one", logging.INFO, "tests.body", "hello you")


def test_what_does_not_propagate_is_kept_and_no_handler_is_added(body: Body, kept: Kept) -> None:
    own = logging.getLogger("tests.alone")
    own.propagate = False
    before = list(logging.getLogger().handlers)
    body.begin()
    own.warning("alone")
    get_task_logger("tests.shop").warning("celery's")
    assert kept.messages == ["alone", "celery's"]
    assert (own.handlers, logging.getLogger().handlers) == ([], before)


def test_what_is_printed_is_kept_as_celery_logs_it(body: Body, kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", LoggingProxy(logging.getLogger("celery.redirected"), logging.WARNING))
    body.begin()
    print("printed")  # noqa: T201
    assert [(line.logger, line.level, line.message) for _, line in kept.lines] == [("celery.redirected", 30, "printed")]


def test_what_a_handler_writes_to_the_redirected_output_is_not_a_line_more(body: Body, kept: Kept) -> None:
    echo = logging.StreamHandler(LoggingProxy(logging.getLogger("celery.redirected")))
    logger.addHandler(echo)
    try:
        body.begin()
        logger.warning("once")
        logging.getLogger("celery.redirected").warning("printed")
    finally:
        logger.removeHandler(echo)
    assert kept.messages == ["once", "printed"]


def test_a_body_in_each_thread_and_each_context_is_told_apart(body: Body, kept: Kept) -> None:
    barrier = threading.Barrier(2)

    def run(id_: str) -> None:
        task = body.begin(id_)
        barrier.wait(10)
        logger.info("of %s", id_)
        barrier.wait(10)
        body.end(task)

    threads = [threading.Thread(target=run, args=(id_,)) for id_ in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    logger.info("of none")
    assert sorted(zip(kept.tasks, kept.messages, strict=True)) == [("a", "of a"), ("b", "of b")]


def test_greenlets_are_told_apart(body: Body, kept: Kept) -> None:
    greenlet = pytest.importorskip("greenlet")

    def run(id_: str) -> None:
        task = body.begin(id_)
        greenlet.getcurrent().parent.switch()
        logger.info("of %s", id_)
        body.end(task)

    greenlets = [greenlet.greenlet(run) for _ in range(2)]
    for one, id_ in zip(greenlets, "ab", strict=True):
        one.switch(id_)
    for one in greenlets:
        one.switch()
    assert list(zip(kept.tasks, kept.messages, strict=True)) == [("a", "of a"), ("b", "of b")]


def test_what_runs_in_the_bodys_context_is_the_bodys(body: Body, kept: Kept) -> None:
    body.begin()

    async def inside() -> None:
        await asyncio.sleep(0)
        logger.info("asynchronous")

    context = copy_context()
    context.run(asyncio.run, inside())
    assert kept.messages == ["asynchronous"]


def test_a_task_that_is_called_in_a_body_is_a_part_of_it(body: Body, kept: Kept) -> None:
    outer = body.begin("outer")
    inner = body.begin("inner", eager=True)
    logger.info("inner")
    body.end(inner)
    logger.info("outer")
    body.end(outer)
    assert kept.tasks == ["outer", "outer"]


def test_a_task_may_be_left_out(body: Body, kept: Kept) -> None:
    body.begin(zenith_logs=False)
    logger.warning("secret")
    body.begin("two", zenith_logs=True)
    logger.warning("open")
    body.begin(None)
    logger.warning("of a message without an id")
    assert kept.tasks == ["two"]


@pytest.mark.parametrize("name", ["celery.app.trace", "zenith_worker.reporting"])
def test_what_celery_and_zenith_say_of_the_task_is_not_the_bodys(body: Body, kept: Kept, name: str) -> None:
    body.begin()
    logging.getLogger(name).error("raised unexpected")
    assert kept.lines == []


class Odd:
    """Cannot be printed in any way."""

    def __str__(self) -> str:
        raise ValueError("no")

    __repr__ = __str__


@pytest.mark.parametrize(("message", "arguments"), [("%d", ("text",)), ("%s %s", (1,)), ("%s", (Odd(),)), (Odd(), ())])
def test_what_cannot_be_formatted_reaches_nobody(
    body: Body, kept: Kept, monkeypatch: pytest.MonkeyPatch, message: Any, arguments: tuple[Any, ...]
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    monkeypatch.setattr(logger, "propagate", False)
    body.begin()
    logger.warning(message, *arguments)
    logger.warning("next")
    assert kept.messages[-1] == "next"
    assert len(kept.messages) == (1 if isinstance(message, Odd) else 2)
    assert all("cannot be formatted" in text for text in kept.messages[:-1])


def test_a_soft_time_limit_that_passes_meanwhile_is_the_bodys(body: Body, monkeypatch: pytest.MonkeyPatch) -> None:
    class Late:
        def __str__(self) -> str:
            raise SoftTimeLimitExceeded

    monkeypatch.setattr(logger, "propagate", False)
    body.begin()
    with pytest.raises(SoftTimeLimitExceeded):
        logger.warning("%s", Late())


def test_a_long_message_is_cut_and_a_traceback_keeps_its_end(body: Body, kept: Kept) -> None:
    body.begin()
    logger.warning("x" * 2**20)
    try:
        raise ValueError("y" * 20_000)
    except ValueError:
        logger.exception("failed")
    cut, failed = kept.messages
    assert len(cut) == wire.MESSAGE_KEPT
    assert cut.endswith("… (cut; 1,048,576 characters)")
    assert failed.startswith("failed\n")
    assert failed.endswith("y" * 100)
    assert len(failed) <= wire.MESSAGE_KEPT


# --- The levels of Zenith's own workers ---


def test_lower_levels_pass_without_being_written_where_they_were_not() -> None:
    written: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(record.getMessage())

    top = logging.getLogger("tests.top")
    top.propagate, top.handlers = False, [Handler()]
    top.setLevel(logging.WARNING)
    chatty = logging.getLogger("tests.top.chatty")
    chatty.setLevel(logging.INFO)
    let_pass(top, logging.INFO)
    plain = logging.getLogger("tests.top.plain")
    assert plain.isEnabledFor(logging.INFO)
    plain.info("quiet")
    plain.warning("loud")
    chatty.info("asked for")
    assert written == ["loud", "asked for"]
    let_pass(top, logging.ERROR)
    assert top.level == logging.INFO


def test_levels_have_names() -> None:
    assert (parse_level("INFO"), parse_level("off")) == (logging.INFO, None)
    with pytest.raises(ValueError, match=r"ZENITH_TASK_LOGS='loud': it takes debug, info, warning, error, off"):
        parse_level("loud")


# --- What waits in the worker ---


class Sent:
    """Stands for Redis."""

    def __init__(self) -> None:
        self.entries: list[list[LogChunk]] = []
        self.is_away = False

    def append(self, chunks: list[LogChunk]) -> None:
        """Take an entry."""
        if self.is_away:
            raise redis.ConnectionError("away")
        self.entries.append(decode(encode(chunks)))

    def lines(self, task_id: str = "one") -> list[str]:
        """The messages of a task, in order."""
        return [line.message for entry in self.entries for chunk in entry if chunk.task_id == task_id for line in chunk.lines]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    stub = Sent()
    monkeypatch.setattr(wire, "append", stub.append)
    monkeypatch.setattr(log_buffer, "GATHER", 0.005)
    return stub


@pytest.fixture
def buffer(sent: Sent) -> Iterator[LogBuffer]:
    """A buffer whose thread has nothing left to send once the test is over."""
    made = LogBuffer()
    yield made
    atexit.unregister(made.flush)
    with made._lock:
        made._waiting.clear()
    eventually(made._idle.is_set)


def line(message: str) -> LogLine:
    return LogLine(1.5, 20, "tests", message)


def test_lines_are_sent_in_order_in_batches_and_numbered(sent: Sent, buffer: LogBuffer) -> None:
    run = Run("one", 1, 2, 3)
    for number in range(300):
        buffer.add(run, line(str(number)))
    eventually(lambda: len(sent.lines()) == 300)
    assert sent.lines() == [str(number) for number in range(300)]
    chunks = [chunk for entry in sent.entries for chunk in entry]
    assert len(chunks) < 100
    assert [chunk.first for chunk in chunks] == [sum(len(each.lines) for each in chunks[:n]) for n in range(len(chunks))]
    assert {(chunk.nesting, chunk.attempt, chunk.delivery, chunk.source) for chunk in chunks} == {(1, 2, 3, run.source)}


def test_the_newest_lines_of_a_run_win_and_the_number_tells_how_many_are_missing(sent: Sent, buffer: LogBuffer) -> None:
    sent.is_away = True
    run = Run("one")
    for number in range(10_000):
        buffer.add(run, line(str(number)))
    sent.is_away = False
    eventually(lambda: sent.lines()[-1:] == ["9999"])
    assert len(sent.lines()) == log_buffer.LINES_KEPT
    assert sent.entries[0][0].first == 10_000 - log_buffer.LINES_KEPT
    assert buffer.dropped == 9_500


def test_long_lines_are_bounded_by_their_size_and_those_of_all_runs_together(
    sent: Sent, buffer: LogBuffer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent.is_away = True
    monkeypatch.setattr(log_buffer, "ALL_CHARS_KEPT", 500_000)
    runs = [Run(str(number)) for number in range(20)]
    for run in runs:
        for number in range(100):
            buffer.add(run, line(f"{number:7,}" * 1000))
        assert run.chars <= log_buffer.CHARS_KEPT
    assert buffer._chars <= 500_000
    assert runs[-1].lines[-1][0] == 99
    assert not runs[0].lines


def test_an_entry_is_bounded(sent: Sent, buffer: LogBuffer) -> None:
    run = Run("one")
    for _ in range(60):
        buffer.add(run, line("\N{SNOWMAN}" * 1500))
    buffer.flush(10)
    assert len(sent.lines()) == 60
    assert all(len(encode(entry)) < wire.ENTRY_BYTES * 1.1 for entry in sent.entries)


def test_whoever_logs_waits_for_nobody_and_what_waited_arrives(
    sent: Sent, buffer: LogBuffer, caplog: pytest.LogCaptureFixture
) -> None:
    sent.is_away = True
    run = Run("one")
    buffer.add(run, line("waits"))
    eventually(lambda: buffer._is_failing)
    buffer.flush(60)  # returns at once
    sent.is_away = False
    eventually(lambda: sent.lines() == ["waits"])
    assert "What tasks log cannot be sent to Zenith (away)" in caplog.text


def test_a_forked_child_sends_only_its_own(sent: Sent, buffer: LogBuffer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_buffer, "GATHER", 60)
    run = Run("one")
    buffer.add(run, line("parent's"))
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            buffer.add(run, line("child's"))
            buffer.flush(5)
            os.write(writer, ",".join(sent.lines()).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 100) == b"child's"
    buffer.flush(10)
    assert sent.lines() == ["parent's"]


# --- On the wire ---

texts = st.text(st.characters(codec=None))
lines = st.builds(LogLine, st.floats(0, 4e9), st.integers(0, 60), st.text(st.characters(codec=None), max_size=LOGGER_KEPT), texts)
chunks = st.builds(
    LogChunk, task_id=texts, lines=st.lists(lines, max_size=3), first=st.integers(0, 2**37), nesting=st.integers(0, 9),
    attempt=st.integers(0, 2**15), delivery=st.integers(0, 300), source=st.integers(0, 2**31 - 1),
)  # fmt: skip


@given(st.lists(chunks, max_size=3))
def test_chunks_survive_the_stream_unchanged(written: list[LogChunk]) -> None:
    assert decode(encode(written)) == written


@pytest.mark.parametrize(
    "raw",
    [
        None, b"", b"x", b"{}", b"[1]", b"[{}]", b'[{"t":1,"l":[]}]', b'[{"t":"a","l":{}}]', b'[{"t":"a","l":[[1]]}]',
        b'[{"t":"a","l":[[1,20,"l",3]]}]', b'[{"t":"a","l":[["x",20,"l","m"]]}]', b'[{"t":"a","l":[],"f":-1}]',
        b'[{"t":"a","l":[],"f":1e400}]', b'[{"t":"a","l":[],"a":true}]', b'[{"t":"a","l":[[NaN,20,"l","m"]]}]', b"[" * 100_000,
    ],
)  # fmt: skip
def test_anything_else_is_refused(raw: bytes | None) -> None:
    with pytest.raises(UnreadableLogsError):
        decode(raw)


def test_what_is_too_long_on_the_wire_is_cut() -> None:
    (chunk,) = decode(encode([LogChunk(task_id="a", lines=[LogLine(1.0, 20, "l" * 1000, "m" * 100_000)])]))
    assert (len(chunk.lines[0].logger), len(chunk.lines[0].message)) == (wire.LOGGER_KEPT, wire.MESSAGE_KEPT)


# --- What is stored ---


@pytest.mark.parametrize(
    ("logged", "stored"),
    [
        ("plain", "plain"), ("two\nlines\tand a tab", "two\nlines\tand a tab"), ("a\x00b", "a\ufffdb"), ("\ud800", "\ufffd"),
        ("\x1b[31mred\x1b[0m", "red"), ("\x1b]0;title\x07text", "text"), ("\x1b]52;c;aGk=\x1b\\text", "text"),
        ("\x9b31mred", "red"),
        ("bell\x07 back\x08 \x1b", "bell\ufffd back\ufffd \ufffd"), ("windows\r\n", "windows\n"),
        ("over\rwritten", "over\ufffdwritten"),
        ("\N{SNOWMAN} 日本", "\N{SNOWMAN} 日本"),
    ],
)  # fmt: skip
def test_nothing_that_controls_a_terminal_is_stored(logged: str, stored: str) -> None:
    assert clean_text(logged) == stored


def chunk(id_: int, lines: int, run: str = "1", left_out: int = 0, chars: int = 10) -> StoredChunk:
    return StoredChunk("task", id_, run, lines, chars, left_out)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("stored", "cut"),
    [
        ([chunk(1, 10)], None),
        ([chunk(1, 50), chunk(2, 50)], None),
        # Lines of the same run are numbered, so what is missing of them needs no note.
        ([chunk(1, 50), chunk(2, 50), chunk(3, 1)], Cut([1], 2, 0)),
        ([chunk(1, 50, "0", 7), chunk(2, 30, "1"), chunk(3, 100, "1")], Cut([1, 2], 3, 57)),
        ([chunk(1, 50, "0"), chunk(2, 30, "1", 5), chunk(3, 100, "1", 2)], Cut([1, 2], 3, 57)),
        ([chunk(1, 1000)], None),
        ([chunk(1, 1), chunk(2, 1000)], Cut([1], 2, 0)),
        ([chunk(1, 1, chars=600), chunk(2, 1, chars=600)], Cut([1], 2, 0)),
    ],
)  # fmt: skip
def test_the_newest_rows_of_a_task_stay(stored: list[StoredChunk], cut: Cut | None) -> None:
    assert cut_of(stored, lines=100, chars=1000) == cut
