"""The thread of an observer that asks: has workers send events, and makes the rounds in which their broker and they are asked.

Each round has its own interval; one that fails is made again after it, and keeps no other from being made.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from celery import Celery
from kombu.connection import Connection

from tasks_app.watching import inspection
from tasks_app.watching.brokers import Broker
from tasks_app.watching.heard_workers import HeardWorkers
from tasks_app.watching.reasons import reason_of

#: Seconds between two looks at what is due, two requests for events, and two inspections.
ROUND: Final = 2.0
ENABLE_EVERY: Final = 10.0
INSPECT_EVERY: Final = 15.0
#: Seconds after which workers have done what they were told, as a rule.
SETTLES: Final = 0.5


@dataclass(frozen=True, slots=True)
class Watched:
    """What an observer has to know of an application; a change of it needs another observer."""

    id: int
    name: str
    broker: Broker
    enables_events: bool = True


class Round(NamedTuple):
    """What is asked every so many seconds, and what to say if `ask` raises, which is whatever kombu and the drivers raise."""

    failed: str
    every: float
    ask: Callable[[Celery, Connection], object]


class Asking:
    """Asks while `listens`, until `stop` is set.

    Attributes:
        reason: what could not be asked, and why, or an empty text; shows nothing of the broker's URL.
    """

    def __init__(
        self, watched: Watched, make_app: Callable[[Broker], Celery], stop: threading.Event, rounds: Sequence[Round],
        listens: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._watched, self._make_app, self._stop, self._listens = watched, make_app, stop, listens
        enabling = (
            [Round("its workers cannot be told to send events", ENABLE_EVERY, _enable_events)] if watched.enables_events else []
        )
        self._rounds = [*enabling, *rounds]
        self._due = [0.0] * len(self._rounds)
        self._reasons: dict[str, str] = {}
        # Of this thread alone: what fails here disturbs nobody else.
        self._connection: Connection | None = None

    @property
    def reason(self) -> str:
        """What could not be asked lately, and why."""
        return "; ".join(f"{failed}: {reason}" for failed, reason in self._reasons.copy().items())

    def hurry(self, round_: Round) -> None:
        """Have a round made soon, since workers are about to change. Safe for threads."""
        self._due[self._rounds.index(round_)] = time.monotonic() + SETTLES

    def run(self) -> None:
        """Ask until the end."""
        app = self._make_app(self._watched.broker)
        try:
            while not self._stop.is_set():
                self._look(app)
                self._stop.wait(ROUND)
        finally:
            self._disconnect()
            app.close()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()

    def _look(self, app: Celery) -> None:
        for index, round_ in enumerate(self._rounds):
            if self._stop.is_set() or not self._listens() or time.monotonic() < self._due[index]:
                continue
            try:
                if self._connection is None:
                    self._connection = app.connection_for_write()
                round_.ask(app, self._connection)
                self._reasons.pop(round_.failed, None)
            except Exception as error:  # whatever kombu and the drivers raise
                self._reasons[round_.failed] = reason_of(error)
                # It may be broken, or its channel closed.
                self._disconnect()
            # Also after a failure: what takes long to fail must not keep others from being asked.
            self._due[index] = time.monotonic() + round_.every


class Inspection:
    """Asks workers what they have, for the rows of tasks that nobody heard of and for the list of workers."""

    def __init__(
        self, workers: HeardWorkers, found: deque[dict[str, Any]], priorities: Callable[[set[int]], None] = lambda _: None
    ) -> None:  # fmt: skip
        self._workers, self._found, self._take_priorities = workers, found, priorities
        self.round: Final = Round("its workers cannot be asked", INSPECT_EVERY, self._ask)

    def _ask(self, app: Celery, connection: Connection) -> None:
        answers = inspection.ask(app, connection, len(self._workers.names()))
        self._workers.take_answers(answers.by_worker, time.time(), every=INSPECT_EVERY)
        self._found.extend(answers.tasks)
        self._take_priorities(answers.priorities)


def _enable_events(app: Celery, connection: Connection) -> None:
    app.control.enable_events(connection=connection)
