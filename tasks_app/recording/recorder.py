"""The recorder: from the streams of all applications to PostgreSQL.

1. Read the available entries: one when idle, up to `BATCH` under load, so batches grow when commits are slower than tasks.
   Each application gets its share of a batch, so that none waits for another's flood.
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
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final
from uuid import uuid4

import redis

from tasks_app.recording import live
from tasks_app.recording.applications import KnownApplications
from tasks_app.recording.apply import apply
from tasks_app.recording.entries import events_of, salvaged
from zenith_site.common.faults import is_unreachable
from zenith_site.common.loops import Backoff, with_fresh_connection
from zenith_worker.wire import spans, stream
from zenith_worker.wire.events import Event, UnreadableEntryError, core
from zenith_worker.wire.keys import NATIVE
from zenith_worker.wire.stream import Entry

logger = logging.getLogger(__name__)

BATCH: Final = 2000
#: The most entries in one batch, if all applications begin to send at once.
LARGEST_BATCH: Final = 10 * BATCH
#: Bytes of entries that one transaction takes, if they are more than one: other programs gather many steps in each.
BATCH_BYTES: Final = 4 * 2**20
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
    """One consumer of the streams' consumer groups."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._place = socket.gethostname()
        self._name = f"{self._place}-{os.getpid()}-{uuid4().hex[:8]}"
        self._backoff = Backoff(stop)
        self._next_claim = 0.0
        self._applications = KnownApplications()
        # How many applications had entries the last time.
        self._active = 1
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
        entries = self._claim() or self._read(block)
        if entries:
            # Small batches in quick succession are load as well: tasks of a few milliseconds each.
            began = time.monotonic()
            is_soon = began - self._committed_at < COMMIT_EVERY
            for portion in _portions(entries):
                self._handle(portion)
            self._committed_at = time.monotonic()
            # What takes longer than that is a large batch already.
            if self._committed_at - began < COMMIT_EVERY and (is_soon or len(entries) > IDLE_BATCH):
                self._stop.wait(COMMIT_EVERY)
        return len(entries)

    def _read(self, block: float) -> list[Entry]:
        """Read new entries of all known applications."""
        self._applications.refresh()
        names = self._applications.names
        # A limit is for each stream.
        share = max(1, min(BATCH // self._active, LARGEST_BATCH // len(names)))
        try:
            entries = stream.read(self._name, count=share, block=block, applications=names)
        except redis.ResponseError as error:
            if len(names) == 1:
                raise
            # Some stream is gone, or is none: one application must not stop the others.
            logger.warning("The streams of %s applications cannot be read together: %s", len(names), error)
            self._applications.forget()
            stream.ensure_group()
            return stream.read(self._name, count=BATCH, block=block)
        self._active = len({entry.application for entry in entries}) or 1
        return entries

    def _claim(self) -> list[Entry]:
        """Every few seconds, report being alive and claim the entries of dead recorders."""
        now = time.monotonic()
        if now < self._next_claim:
            return []
        stream.note_recorder(self._place)
        entries = [entry for name in self._applications.names for entry in self._claim_of(name)]
        if not entries:
            self._next_claim = now + CLAIM_AFTER / 3
        return entries

    def _claim_of(self, application: str) -> list[Entry]:
        try:
            entries = stream.claim(self._name, idle=CLAIM_AFTER, count=BATCH, application=application)
            stream.forget_idle_consumers(idle=FORGET_AFTER, application=application)
        except redis.ResponseError as error:
            if application == NATIVE:
                raise
            logger.warning("Nothing can be claimed of the application %s: %s", application, error)
            return []
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
            newest = self._apply(events)
        except Exception as error:
            if is_unreachable(error):
                raise
            newest = self._handle_apart(readable, error)
        else:
            stream.done(readable)
        return newest

    def _decode(self, entries: Sequence[Entry]) -> tuple[list[Entry], list[Event]]:
        readable, events = [], []
        for entry in entries:
            try:
                events += events_of(entry)
                readable.append(entry)
            except UnreadableEntryError as error:
                events += salvaged(entry)
                self._set_aside(entry, error)
        return readable, events

    def _handle_apart(self, entries: Sequence[Entry], error: Exception) -> int | None:
        """Apply the entries of each application by themselves, or those of a single one entry by entry."""
        by_application: dict[str, list[Entry]] = defaultdict(list)
        for entry in entries:
            by_application[entry.application].append(entry)
        if len(by_application) <= 1:
            return self._handle_singly(entries, error)
        newest = None
        for own in by_application.values():
            newest = self._record(own, [event for entry in own for event in events_of(entry)]) or newest
        return newest

    def _handle_singly(self, entries: Sequence[Entry], error: Exception) -> int | None:
        """Apply entries one by one, so that only those that cannot be applied are set aside."""
        logger.warning("A batch of %s entries was refused (%s); trying each.", len(entries), error)
        newest = None
        for entry in entries:
            try:
                newest = self._apply(events_of(entry)) or newest
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
        for event in salvaged(entry):
            try:
                newest = self._apply([core(event)]) or newest
            except Exception as error:
                if is_unreachable(error):
                    raise
                logger.error("A step of task %s could not be recorded at all: %s", event.task_id[:100], error)
        return newest

    def _set_aside(self, entry: Entry, reason: Exception) -> None:
        stream.set_aside(entry, f"{type(reason).__name__}: {reason}")
        logger.error("Entry %s of the event stream %swas set aside: %s", entry.id, _of(entry.application), reason)

    def _apply(self, events: Sequence[Event]) -> int | None:
        with with_fresh_connection():
            return apply(events, self._applications.ids)


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


def _of(application: str) -> str:
    return f"of {application} " if application != NATIVE else ""
