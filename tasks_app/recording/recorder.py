"""The recorder: from the stream to PostgreSQL.

1. Read what is there: one entry when idle, up to `BATCH` under load, so that batches grow by
   themselves when commits are slower than tasks.
2. Apply it in one transaction (apply.py).
3. Only then remove it from the stream, and tell the live pages.

Any number of recorders may run: the consumer group gives each entry to one of them, and what a
dead one held is claimed by another after `CLAIM_AFTER`. An entry that cannot be read or applied
is set aside with the reason; the rest of its batch goes on.
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
#: Seconds to wait for an entry; also how long a stop may take.
BLOCK: Final = 1.0
CLAIM_AFTER: Final = 15.0
#: Under load, commits are at least this far apart: it makes batches, and batches make throughput.
COMMIT_EVERY: Final = 0.1
#: A batch this small means that there is no load.
IDLE_BATCH: Final = 8
FORGET_AFTER: Final = 3600.0


def run(stop: threading.Event) -> None:
    """Record until `stop` is set, waiting out a database or Redis that is away."""
    Recorder(stop).run()


class Recorder:
    """One consumer of the group."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._place = socket.gethostname()
        self._name = f"{self._place}-{os.getpid()}-{uuid4().hex[:8]}"
        self._backoff = Backoff(stop)
        self._next_claim = 0.0
        self._committed_at = float("-inf")

    def run(self) -> None:
        """Read, apply, remove, until stopped; whatever fails is tried again."""
        while not self._stop.is_set():
            try:
                stream.ensure_group()
                while not self._stop.is_set():
                    self.step()
                    self._backoff.reset()
            except Exception as error:
                if not is_unreachable(error):
                    raise
                # What was read and not removed is claimed back from ourselves, too.
                self._next_claim = 0.0
                self._backoff.wait_after("recorder", error)

    def step(self, block: float = BLOCK) -> int:
        """Handle what is there, waiting up to `block` seconds; return how many entries."""
        entries = self._claimed() or stream.read(self._name, count=BATCH, block=block)
        if entries:
            # Small batches in quick succession are load as well: tasks that take some milliseconds each.
            soon = time.monotonic() - self._committed_at < COMMIT_EVERY
            self._handle(entries)
            self._committed_at = time.monotonic()
            if soon or len(entries) > IDLE_BATCH:
                self._stop.wait(COMMIT_EVERY)
        return len(entries)

    def _claimed(self) -> list[Entry]:
        """Give a sign of life and take over what a dead recorder left, every few seconds."""
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
        """Find the entry that cannot be applied, whatever it raises, so that it alone is set aside."""
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
        """Record of an entry that PostgreSQL refuses which tasks took which steps, one by one: any may be the culprit."""
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
