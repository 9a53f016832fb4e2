"""The observer of one application: its threads receive events, ask workers and the broker, carry out what servers ask for, and
say how it goes.

1. A connection to the application's broker is opened. If it cannot be, or is lost, the next try comes after a growing pause.
2. Events are gathered for a moment, translated, and appended to the application's stream in entries of bounded size.
3. What cannot be appended waits within a bound; then events are counted and dropped. The same is done if recorders fall behind.
4. Every few seconds another thread asks the workers to send events, and sometimes what they have, and measures the queues.
5. One has workers obey remote control, and looks into queues for whoever wants to see (answering.py).
6. One writes the workers' heartbeats and the observer's own state.

Nothing that a thread meets ends it. No error is logged as it came: some contain the broker's URL.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import uuid4

import redis
from celery import Celery

from tasks_app.watching import asking, inspection, observed, observer_state
from tasks_app.watching.answering import Answering
from tasks_app.watching.asking import Asking, Inspection, Watched
from tasks_app.watching.brokers import Broker, celery_of
from tasks_app.watching.fact_rounds import FactRounds
from tasks_app.watching.folding import folded
from tasks_app.watching.heard_workers import HeardWorkers
from tasks_app.watching.observer_state import ObserverState
from tasks_app.watching.queues import Queues
from tasks_app.watching.reasons import reason_of
from tasks_app.watching.receiver import Received, Receiver
from tasks_app.watching.runs import Known
from tasks_app.watching.translation import ASKED, OLDEST, LookUp, OddEventError, Translator
from zenith_worker.wire import heartbeat, stream
from zenith_worker.wire.client import command
from zenith_worker.wire.events import Event, encode
from zenith_worker.wire.keys import application_keys

logger = logging.getLogger(__name__)

#: Seconds for which events are gathered, and most of them that are.
GATHER: Final = 0.1
MOST_GATHERED: Final = 2000
#: Seconds for which a receiver waits for an event, and so how long stopping takes.
BLOCK: Final = 1.0
#: Steps, and bytes of JSON, that one entry of the stream holds, as in zenith_worker/buffer.py.
BATCH: Final = 200
BATCH_BYTES: Final = 2**20
#: Bytes of encoded steps that wait while Zenith's Redis is away.
PENDING_BYTES: Final = 32 * 2**20
#: Entries of the stream that wait for recorders, and about their bytes, beyond which events are dropped.
BEHIND: Final = 100_000
BEHIND_BYTES: Final = 128 * 2**20
#: Seconds of the longest pause between two tries to connect.
LONGEST_PAUSE: Final = 30.0
#: Seconds that a connection must have lasted for the next try to come at once.
LASTED: Final = 10.0
#: Seconds for which whoever ends takes in what has arrived already, at most.
DRAIN: Final = 1.0
#: How often workers are told to send events once one of them has started, and the seconds in between: the first time, it may not
#: listen yet.
GREETINGS: Final = 2
GREET_EVERY: Final = 1.0
#: Seconds for which a task that was rejected for good may still be told to have failed.
REJECTED_FOR: Final = 2.0
#: Seconds within which workers tell of themselves what they would say when they are asked.
TOLD_WITHIN: Final = 2.0
#: Seconds for which a task may have run that a worker names when it is asked.
FOUND_OLDEST: Final = 90 * 86_400.0
#: Odd events that are set aside in one round; others are only counted.
ODD_KEPT: Final = 10


@dataclass(frozen=True, slots=True)
class Gap:
    """When nobody listened, in Unix time, and why: what happened meanwhile is not known."""

    start: float
    end: float
    reason: str


class Observer:
    """Observes one application from `start` until `stop`.

    Arguments:
        listened_at: when an observer listened last, as Unix time; None if none ever did.
        look_up: looks up tasks that are seen from the middle on.
        open_tasks: what is recorded of those that have not ended, by id.
    """

    def __init__(
        self, watched: Watched, *, listened_at: float | None = None, look_up: LookUp = lambda _: {},
        open_tasks: Mapping[str, Known] | None = None, make_app: Callable[[Broker], Celery] = celery_of,
    ) -> None:  # fmt: skip
        self.watched, self.name = watched, watched.name
        self.workers = HeardWorkers()
        self.queues = Queues(watched.name, self.workers)
        self.translator = Translator(look_up, open_tasks=open_tasks)
        self.heard_at: float | None = None
        self.first_heard_at: float | None = None
        self.listened_at = listened_at
        self.state = ObserverState(listens=False, reason="it is about to connect", since=time.time())
        self._gaps: deque[Gap] = deque(maxlen=20)
        self._make_app = make_app
        self._stop = threading.Event()
        # The queue's name stays the same, so that a lost connection leaves no queue behind.
        self._queue = f"zenith.{uuid4().hex}"
        self._received: list[Received] = []
        self._due = float("inf")
        self._greetings, self._next_greeting = 0, 0.0
        self._found: deque[dict[str, Any]] = deque(maxlen=inspection.TASKS_KEPT)
        self._pending: deque[tuple[bytes, int]] = deque()
        self._pending_bytes = 0
        # Of an entry lately.
        self._mean_bytes = 0.0
        self._is_behind = self._was_connected = False
        self._lost = self._odd = self._events = self._odd_kept = 0
        self._delay = 0.0
        self._facts = FactRounds(watched, self.workers)
        inspecting = Inspection(self.workers, self._found, self._facts.take_priorities).round
        rounds = [inspecting, self.queues.round, *self._facts.rounds]
        self._asking = Asking(watched, make_app, self._stop, rounds, self._listens)
        self._answering = Answering(
            watched, make_app, self._stop, self.queues.separator_of, changed=lambda: self._asking.hurry(inspecting)
        )
        self._threads = [
            threading.Thread(target=self._run, args=(step,), name=f"observer {self.name}", daemon=True)
            for step in (self._receive, self._asking.run, self._answering.run, self._report)
        ]

    def start(self) -> None:
        """Start all threads."""
        for thread in self._threads:
            thread.start()

    def ask_to_stop(self) -> None:
        """Have all threads end soon."""
        self._stop.set()

    def stop(self, within: float = 10.0) -> None:
        """End all threads, waiting for them for some seconds."""
        self._stop.set()
        ends_at = time.monotonic() + within
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, ends_at - time.monotonic()))

    @property
    def is_alive(self) -> bool:
        """Whether all threads run."""
        return all(thread.is_alive() for thread in self._threads)

    @property
    def odd(self) -> int:
        """How many events were not as Celery writes them."""
        return self._odd

    def take_gaps(self) -> list[Gap]:
        """Return the gaps since the last call, oldest first."""
        gaps = []
        while self._gaps:
            gaps.append(self._gaps.popleft())
        return gaps

    def _run(self, step: Callable[[], None]) -> None:
        while not self._stop.is_set():
            try:
                step()
            except Exception as error:  # a thread of its own, and errors that may hold the broker's URL
                logger.error("The observer of %s failed: %s", self.name, type(error).__name__)
                self._stop.wait(BLOCK)

    # --- Receiving ---

    def _receive(self) -> None:
        pause = 0.1
        while not self._stop.is_set():
            try:
                self._listen()
            except Exception as error:  # whatever kombu and the drivers raise
                if self.state.listens and time.time() - self.state.since > LASTED:
                    pause = 0.1
                self._flush(everything=True)
                self._disconnected(reason_of(error))
            self._stop.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _listen(self) -> None:
        with closing(self._make_app(self.watched.broker)) as app:
            self._listen_to(app)
        self._flush(everything=True)

    def _listen_to(self, app: Celery) -> None:
        with app.connection_for_read() as connection:
            connection.connect()
            with Receiver(app, connection, self._queue, self._take, self._set_aside) as receiver:
                self._connected()
                while not self._stop.is_set():
                    self._hear(receiver, max(0.01, min(BLOCK, self._due - time.monotonic())))
                    if time.monotonic() >= self._due or len(self._received) >= MOST_GATHERED or self.translator.has_rejected:
                        self._flush()
                    if self._found:
                        self._take_found()
                    self._greet(receiver)
                ends_at = time.monotonic() + DRAIN
                while self._hear(receiver, 0.01) and time.monotonic() < ends_at:
                    pass

    def _hear(self, receiver: Receiver, seconds: float) -> bool:
        """Wait for events; return whether there were any. What was told before `listened_at` has been heard."""
        before = time.time()
        heard = receiver.wait(seconds)
        self.listened_at = before
        return heard

    def _greet(self, receiver: Receiver) -> None:
        """Have workers that have just started send events: what they do before is not heard."""
        if self.workers.take_started() and self.watched.enables_events:
            self._greetings = GREETINGS
        if self._greetings and time.monotonic() >= self._next_greeting:
            receiver.enable_events()
            self._greetings, self._next_greeting = self._greetings - 1, time.monotonic() + GREET_EVERY

    def _connected(self) -> None:
        now = time.time()
        if self.listened_at is not None:
            self._gaps.append(Gap(self.listened_at, now, self.state.reason if self._was_connected else "no observer ran"))
        self.listened_at, self._was_connected, self.translator.listens_since = now, True, now
        self.state = replace(self.state, listens=True, reason="", since=now)
        logger.info("Watching %s.", self.name)

    def _listens(self) -> bool:
        return self.state.listens

    def _disconnected(self, reason: str) -> None:
        if self.state.listens or self.state.reason != reason:
            logger.warning("The broker of %s cannot be watched: %s.", self.name, reason)
            self.state = replace(self.state, listens=False, reason=reason, since=time.time())

    def _take(self, events: Iterable[Received]) -> None:
        """Take events from the receiver; the rest is done for many at once."""
        if not self._received:
            self._due = time.monotonic() + GATHER
        self._received += events

    def _take_found(self) -> None:
        """Tell what workers have that was never heard of: it was received or began before anybody listened.

        What they told of it themselves has come first, as far as it was told.
        """
        now, translator = time.time(), self.translator
        found = []
        while self._found and now - self._found[0][ASKED] >= TOLD_WITHIN:
            found.append(self._found.popleft())
        if found:
            self._flush()
        unheard = [item for item in found if not translator.knows(item["uuid"]) or self._started_unheard(item)]
        if unheard:
            translator.look_up(unheard)
            # What is reserved and recorded already has told its attempt, which no answer does.
            new = [item for item in unheard if item["type"] == "task-started" or not translator.knows(item["uuid"])]
            self._append([step for item in new for step in self._steps(Received(item, now), item["queue"], asked=True)])

    def _started_unheard(self, item: Mapping[str, Any]) -> bool:
        """Whether a worker runs a task that it has begun before anybody listened. What it begins later, it tells by itself."""
        is_before = item["type"] == "task-started" and item["timestamp"] < self.state.since
        return is_before and not self.translator.runs_at(item["uuid"], item["hostname"])

    def _flush(self, *, everything: bool = False) -> None:
        received, self._received, self._due = self._received, [], float("inf")
        if received:
            self.heard_at = received[-1].at
            self.first_heard_at = self.first_heard_at or received[0].at
            self.translator.look_up([item.event for item in received])
            self._append(folded([step for item in received for step in self._steps(item)]))
            self._events += len(received)
        before = float("inf") if everything else time.time() - REJECTED_FOR
        self._append(self.translator.rejected(before))

    def _steps(self, item: Received, queue: Any = None, *, asked: bool = False) -> list[Event]:
        """Return the steps of an event, or of what a worker says that was asked. An odd one is set aside."""
        event, at, waited = item
        try:
            if event["type"].startswith("worker-"):
                self.workers.note(event, at, waited=waited)
                return []
            steps = self.translator.steps(event, at, FOUND_OLDEST if asked else OLDEST)
        except OddEventError as odd:
            self._set_aside(repr(event)[:2000].encode(errors="replace"), str(odd))
            return []
        except Exception as error:  # an event that nobody thought of must not take the others with it
            self._set_aside(repr(event)[:2000].encode(errors="replace"), f"it cannot be understood: {type(error).__name__}")
            return []
        if not steps:
            return steps
        worker = steps[-1].worker
        if worker:
            self.workers.heard(worker, at, by_itself=not asked)
            if self.workers.is_attached(worker):
                return []
            if not steps[-1].queue:
                steps[-1].queue = queue if isinstance(queue, str) else self.workers.only_queue(worker)
        else:
            # Only an event of a sent task names no worker.
            self._facts.has_sent_events = True
            if steps[-1].queue:
                # Of what a worker has, the queue is among those that it consumes.
                self.queues.hear(steps[-1].queue)
        self._delay = max(0.0, at - steps[-1].at)
        return steps

    def _set_aside(self, raw: bytes, reason: str) -> None:
        self._odd += 1
        if self._odd_kept < ODD_KEPT:
            self._odd_kept += 1
            try:
                stream.set_aside_unsent(raw, f"an event of {self.name}: {reason}", self.name)
            except redis.RedisError:
                logger.debug("An odd event of %s could not be set aside.", self.name)

    def _append(self, steps: list[Event]) -> None:
        """Append steps to the stream, after those that wait."""
        if self._is_behind:
            self._lost += len(steps)
            steps = []
        for raw, number in _portions(steps):
            if self._pending_bytes + len(raw) > PENDING_BYTES:
                self._lost += number
                continue
            self._pending.append((raw, number))
            self._pending_bytes += len(raw)
            self._mean_bytes += (len(raw) - self._mean_bytes) / 100
        try:
            while self._pending:
                raw, _ = self._pending[0]
                command("XADD", application_keys(self.name).events, "*", "e", raw)
                self._pending.popleft()
                self._pending_bytes -= len(raw)
        except redis.RedisError as error:
            logger.debug("Steps of %s wait: %s", self.name, type(error).__name__)

    # --- Reporting ---

    def _report(self) -> None:
        told_events, told_at = self._events, time.monotonic()
        while not self._stop.wait(asking.ROUND):
            rate = (self._events - told_events) / max(0.1, time.monotonic() - told_at)
            told_events, told_at = self._events, time.monotonic()
            self._tell(rate)
        self._forget()

    def _tell(self, per_second: float) -> None:
        """Write the workers' heartbeats and the observer's own state, and look how far recorders are behind."""
        self._odd_kept = 0
        try:
            own = {beat.name for beat in heartbeat.read_all(self.name) if beat.online and not beat.watched}
            self.workers.note_attached(own)
            beats, gone = self.workers.beats(time.time())
            heartbeat.write_heard(beats, self.name)
            for name in gone - own:
                heartbeat.forget_heard(name, self.name)
            self._facts.write()
            waiting = stream.length(self.name)
            self._is_behind = waiting > BEHIND or waiting * self._mean_bytes > BEHIND_BYTES
            state = self.state
            observer_state.write(
                self.name,
                replace(
                    state, reason=state.reason or self._asking.reason, events=self._events, lost=self._lost, odd=self._odd,
                    delay=self._delay, per_second=per_second,
                ),
            )  # fmt: skip
        except redis.RedisError as error:
            logger.debug("Zenith's Redis does not answer: %s", type(error).__name__)

    def _forget(self) -> None:
        try:
            observer_state.forget(self.name)
            observed.forget(self.name)
        except redis.RedisError:
            logger.debug("The state of the observer of %s expires by itself.", self.name)


def _portions(steps: Sequence[Event]) -> Iterator[tuple[bytes, int]]:
    """Yield steps as entries of bounded size, each with how many it holds. One that cannot be encoded is left out."""
    for start in range(0, len(steps), BATCH):
        yield from _entries(steps[start : start + BATCH])


def _entries(steps: Sequence[Event]) -> Iterator[tuple[bytes, int]]:
    """Yield steps as one entry; as several if it would be too large, or if one of them cannot be encoded."""
    try:
        raw = encode(steps)
    except Exception as error:  # whatever a stranger's value makes an encoder raise
        if len(steps) == 1:
            logger.warning("A step could not be encoded: %s", type(error).__name__)
            return
    else:
        if len(raw) <= BATCH_BYTES or len(steps) == 1:
            yield raw, len(steps)
            return
    middle = len(steps) // 2
    yield from _entries(steps[:middle])
    yield from _entries(steps[middle:])
