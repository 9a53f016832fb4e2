"""The recorder: from the stream to PostgreSQL.

1. Read the available entries: one when idle, up to `BATCH` under load, so batches grow when commits are slower than tasks.
2. Apply them in one transaction (apply.py).
3. Only then remove them from the stream, and notify live pages.

Any number of recorders may run: the consumer group gives each entry to one of them, and after `CLAIM_AFTER` another recorder
claims the entries of a dead one. An entry that cannot be read or applied is set aside with the reason; the rest of its batch
is recorded.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Sequence
from typing import Final
from uuid import uuid4

from tasks_app.recording import live
from tasks_app.recording.apply import apply
from zenith_site.common.faults import is_unreachable
from zenith_site.common.loops import Backoff, with_fresh_connection
from zenith_worker.wire import spans, stream
from zenith_worker.wire.events import Event, UnreadableEntryError, core, decode, salvage
from zenith_worker.wire.stream import Entry

logger = logging.getLogger(__name__)

BATCH: Final = 2000
#: Seconds to wait for an entry, and so how long stopping may take.
BLOCK: Final = 1.0
CLAIM_AFTER: Final = 15.0
#: Seconds between commits under load: a pause makes larger batches, and those give more throughput.
COMMIT_EVERY: Final = 0.1
#: Up to this many entries, a batch means that there is no load.
IDLE_BATCH: Final = 8
FORGET_AFTER: Final = 3600.0


def run(stop: threading.Event) -> None:
    """Record until `stop` is set; while PostgreSQL or Redis is unreachable, wait and retry."""
    Recorder(stop).run()


class Recorder:
    """One consumer of the stream's consumer group."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._place = socket.gethostname()
        self._name = f"{self._place}-{os.getpid()}-{uuid4().hex[:8]}"
        self._backoff = Backoff(stop)
        self._next_claim = 0.0
        self._committed_at = float("-inf")

    def run(self) -> None:
        """Read, apply and remove entries until stopped; failed entries are tried again."""
        while not self._stop.is_set():
            try:
                stream.ensure_group()
                while not self._stop.is_set():
                    self.step()
                    self._backoff.reset()
            except Exception as error:
                if not is_unreachable(error):
                    raise
                # Entries that were read but not removed are claimed again, including our own.
                self._next_claim = 0.0
                self._backoff.wait_after("recorder", error)

    def step(self, block: float = BLOCK) -> int:
        """Record the available entries, waiting up to `block` seconds for one; return how many."""
        entries = self._claim() or stream.read(self._name, count=BATCH, block=block)
        if entries:
            # Small batches in quick succession are load as well: tasks of a few milliseconds each.
            is_soon = time.monotonic() - self._committed_at < COMMIT_EVERY
            self._handle(entries)
            self._committed_at = time.monotonic()
            if is_soon or len(entries) > IDLE_BATCH:
                self._stop.wait(COMMIT_EVERY)
        return len(entries)

    def _claim(self) -> list[Entry]:
        """Every few seconds, report being alive and claim the entries of dead recorders."""
        now = time.monotonic()
        if now < self._next_claim:
            return []
        stream.note_recorder(self._place)
        entries = stream.claim(self._name, idle=CLAIM_AFTER, count=BATCH)
        stream.forget_idle_consumers(idle=FORGET_AFTER)
        if not entries:
            self._next_claim = now + CLAIM_AFTER / 3
        return entries

    def _handle(self, entries: Sequence[Entry]) -> None:
        readable, events = self._decode(entries)
        with spans.span("record", zenith__entries=len(entries), zenith__events=len(events)):
            newest = self._record(readable, events)
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("Recorded steps of %s", ", ".join(sorted({event.task_id for event in events})))
        if newest is not None:
            live.poke(newest)

    def _record(self, readable: list[Entry], events: list[Event]) -> int | None:
        """Apply a batch and remove it from the stream."""
        try:
            newest = _apply(events)
        except Exception as error:
            if is_unreachable(error):
                raise
            newest = self._handle_singly(readable, error)
        else:
            stream.done(readable)
        return newest

    def _decode(self, entries: Sequence[Entry]) -> tuple[list[Entry], list[Event]]:
        readable, events = [], []
        for entry in entries:
            try:
                events += decode(entry.raw)
                readable.append(entry)
            except UnreadableEntryError as error:
                events += salvage(entry.raw)
                self._set_aside(entry, error)
        return readable, events

    def _handle_singly(self, entries: Sequence[Entry], error: Exception) -> int | None:
        """Apply entries one by one, so that only those that cannot be applied are set aside."""
        logger.warning("A batch of %s entries was refused (%s); trying each.", len(entries), error)
        newest = None
        for entry in entries:
            try:
                newest = _apply(decode(entry.raw)) or newest
                stream.done([entry])
            except Exception as reason:
                if is_unreachable(reason):
                    raise
                newest = self._salvage(entry) or newest
                self._set_aside(entry, reason)
        return newest

    def _salvage(self, entry: Entry) -> int | None:
        """Record at least the steps of an entry that PostgreSQL refuses, one by one, since any of them may be the bad one."""
        newest = None
        for event in salvage(entry.raw):
            try:
                newest = _apply([core(event)]) or newest
            except Exception as error:
                if is_unreachable(error):
                    raise
                logger.error("A step of task %s could not be recorded at all: %s", event.task_id[:100], error)
        return newest

    def _set_aside(self, entry: Entry, reason: Exception) -> None:
        stream.set_aside(entry, f"{type(reason).__name__}: {reason}")
        logger.error("Entry %s of the event stream was set aside: %s", entry.id, reason)


def _apply(events: Sequence[Event]) -> int | None:
    with with_fresh_connection():
        return apply(events)
