"""The recorder of what tasks log: from the streams of all applications (zenith_worker/wire/task_logs.py) to PostgreSQL.

1. One engine at a time does this, under a lock, so that lines are committed in their order, and a reader that continues after the
   last one misses none.
2. It stores what an engine that died had read, and then what is new: a share of each application's, so that none waits for
   another's flood. Secrets are masked before anything is stored.
3. Only once the lines are committed are their entries removed. A line that comes again is not stored again: a row's key is the
   place of its entry.
4. Of each task the newest lines stay (log_bounds.py).

It rests at least as long as it works, so that a flood of lines leaves the processor and PostgreSQL to the recorder of steps.
"""

import json
import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple
from uuid import UUID

import redis
from django.db import connection, transaction

from tasks_app.models.application import Kind
from tasks_app.recording import log_watch
from tasks_app.recording.applications import KnownApplications
from tasks_app.recording.arrays import column
from tasks_app.recording.log_bounds import keep_newest
from zenith_site.common.advisory_locks import AdvisoryLock, try_advisory_lock
from zenith_site.common.faults import is_unreachable, record_fault
from zenith_site.common.jsonsafe import storable_text
from zenith_site.common.loops import repeat
from zenith_site.common.masking import mask_text
from zenith_site.common.sql import statements
from zenith_worker.wire import task_logs
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.keys import NATIVE
from zenith_worker.wire.stream import Entry
from zenith_worker.wire.task_logs import LogChunk, LogLine, UnreadableLogsError

logger = logging.getLogger(__name__)

PART: Final = "logs"
#: Entries that one pass takes in all, and bytes that one transaction takes, if they are more than one entry.
BATCH: Final = 400
BATCH_BYTES: Final = 2 * 2**20
#: Seconds to wait for an entry, between two passes at least, and between two tries to become the one that records.
BLOCK: Final = 1.0
REST: Final = 0.15
LEAD_EVERY: Final = 2.0
#: More than any task has. PostgreSQL would refuse the whole batch for a number out of range.
_MOST: Final = 2**31 - 2
_INSERT: Final = statements(__file__)["insert_task_logs"]
#: An entry's place in its stream: milliseconds, and a number within one of them. It becomes one number with that of the row.
_PLACE: Final = re.compile(r"(\d{1,13})-(\d{1,4})")
_NUMBERS, _ROWS = 2**13, 2**8
#: Sequences by which programs color a terminal or move in it, and all other characters that control one.
_ANSI: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])|\x9b[0-?]*[ -/]*[@-~]")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def run(stop: threading.Event) -> None:
    """Record until `stop` is set, whenever no other engine does; while PostgreSQL or Redis is unreachable, wait."""
    repeat(stop, PART, partial(_lead, stop), every=LEAD_EVERY)


def _lead(stop: threading.Event) -> None:
    with try_advisory_lock(AdvisoryLock.TASK_LOGS) as leads:
        recorder = LogRecorder()
        while leads and not stop.is_set():
            began = time.monotonic()
            if recorder.step():
                stop.wait(max(REST, time.monotonic() - began))


class Row(NamedTuple):
    """A row to insert; its members are named after the columns."""

    task_id: UUID
    application_id: int
    position: int
    nesting: int
    attempt: int
    delivery: int
    source: int
    first: int
    lines: int
    chars: int
    text: str


class LogRecorder:
    """Stores the lines of all applications, for whoever holds the lock."""

    def __init__(self) -> None:
        self._applications = KnownApplications(is_usable=_has_group, kinds=(Kind.ATTACHED,))
        self._again = True

    def step(self, block: float = BLOCK) -> int:
        """Record the available entries, waiting up to `block` seconds for one; return how many.

        Raises redis.RedisError or django.db.Error if either is unreachable; the entries are then read again.
        """
        again, self._again = self._again, True
        entries = self._read(block, again=again)
        for portion in _portions(entries):
            self._record(portion)
        # Until none is left of what was read before.
        self._again = again and bool(entries)
        return len(entries)

    def _read(self, block: float, *, again: bool) -> list[Entry]:
        if again:
            task_logs.ensure_group()
        self._applications.refresh()
        names = self._applications.names
        try:
            return task_logs.read(names, count=max(1, BATCH // len(names)), block=block, again=again)
        except redis.ResponseError as error:
            if is_unreachable(error) and "NOGROUP" not in str(error):
                raise
            # Some stream is gone, or is none: one application must not stop the others.
            logger.warning("The logs of %s applications cannot be read together: %s", len(names), error)
            self._applications.forget()
            task_logs.ensure_group()
            return task_logs.read([NATIVE], count=BATCH, block=block, again=again)

    def _record(self, entries: Sequence[Entry]) -> None:
        """Store the lines of some entries and remove them; one by one if PostgreSQL refuses what is in them."""
        rows, readable = [], []
        for entry in entries:
            try:
                # One without content was read before, and has given way to newer ones since.
                rows += rows_of(entry, self._applications.ids[entry.application]) if entry.raw is not None else []
                readable.append(entry)
            except Exception as error:  # whatever is in it: the others are recorded
                self._set_aside(entry, error)
        try:
            store(rows)
        except Exception as error:
            if is_unreachable(error):
                raise
            if len(readable) == 1:
                self._set_aside(readable[0], error)
                return
            for entry in readable:
                self._record([entry])
            return
        if readable:
            task_logs.done(readable)
        log_watch.tell_readers({row.task_id for row in rows})

    def _set_aside(self, entry: Entry, reason: Exception) -> None:
        task_logs.set_aside(entry, f"{type(reason).__name__}: {reason}")
        logger.error("Entry %s of the logs of %s was set aside: %s", entry.id, entry.application or "Zenith", reason)


def rows_of(entry: Entry, application: int) -> list[Row]:
    """Return the rows of an entry. Raises UnreadableLogsError."""
    place = _place(entry.id)
    rows: list[Row] = []
    counted: Counter[UUID] = Counter()
    for chunk in task_logs.decode(entry.raw):
        key = key_of(chunk.task_id, entry.application)
        if chunk.lines and counted[key] < _ROWS:
            rows.append(_row(chunk, key, application, place + counted[key]))
            counted[key] += 1
    return rows


def _place(id_: str) -> int:
    found = _PLACE.fullmatch(id_)
    if found is None or int(found[2]) >= _NUMBERS:
        raise UnreadableLogsError(f"{id_!r} is no place that Redis gives an entry")
    return (int(found[1]) * _NUMBERS + int(found[2])) * _ROWS


def _row(chunk: LogChunk, key: UUID, application: int, position: int) -> Row:
    text = json.dumps([_clean(line) for line in chunk.lines], ensure_ascii=False, separators=(",", ":"))
    return Row(
        key, application, position, min(chunk.nesting, _MOST), min(chunk.attempt, _MOST) + 1, min(chunk.delivery, 0xFF),
        min(chunk.source, _MOST), chunk.first, len(chunk.lines), len(text), text,
    )  # fmt: skip


def _clean(line: LogLine) -> LogLine:
    return line._replace(logger=clean_text(line.logger), message=mask_text(clean_text(line.message)))


def clean_text(text: str) -> str:
    """Return a text that can be stored, and that does nothing to the terminal in which somebody reads it."""
    if text.isprintable():
        return text
    return _CONTROLS.sub("\ufffd", _ANSI.sub("", storable_text(text).replace("\r\n", "\n")))


def store(rows: Sequence[Row]) -> None:
    """Insert rows that are not there yet, and keep the newest of each of their tasks, in one transaction.

    Raises django.db.Error; then nothing was changed.
    """
    if not rows:
        return
    columns = dict(zip(Row._fields, map(column, zip(*rows, strict=True)), strict=True))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_INSERT, columns)
        keep_newest(cursor, {(row.task_id, row.application_id) for row in rows})


def _portions(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Yield the entries in order, as many at a time as fit into one transaction."""
    portion: list[Entry] = []
    size = 0
    for entry in entries:
        length = len(entry.raw or b"")
        if portion and size + length > BATCH_BYTES:
            yield portion
            portion, size = [], 0
        portion.append(entry)
        size += length
    if portion:
        yield portion


def _has_group(name: str) -> bool:
    """Whether an application's stream has its consumer group by now; Zenith's own is read all the same."""
    try:
        task_logs.ensure_group(name)
    except redis.ResponseError as error:
        if is_unreachable(error):
            logger.warning("The logs of the application %s cannot be read yet: %s", name, error)
        else:
            record_fault(PART, error, f"the stream of the application {name}")
        return False
    return True
