"""The rounds in which an observer asks workers for their settings and tasks, and the broker how it keeps messages.

What they find goes into the workers' heartbeats, and into what is observed of the application (observed.py).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

import redis
from celery import Celery
from kombu.connection import Connection

from tasks_app.watching import inspection, observed
from tasks_app.watching.asking import Round, Watched
from tasks_app.watching.heard_workers import HeardWorkers
from tasks_app.watching.observed import NAMES_KEPT, Observed
from tasks_app.watching.redis_health import RedisHealth, ask
from tasks_app.watching.told_settings import OPTIONS, TaskOptions, Told, told
from tasks_app.watching.urls import is_redis

#: Seconds between two rounds, and workers that are asked in one: an answer has some 10 kB.
SETTINGS_EVERY: Final = 5.0
BROKER_EVERY: Final = 30.0
ASKED_AT_ONCE: Final = 50
#: Seconds for which a priority counts that a task was seen to have.
PRIORITIES_FOR: Final = 3600.0
#: Seconds between two writes of what is known.
WRITE_EVERY: Final = 5.0


class FactRounds:
    """Asks for the facts of one application, and writes what is known of it besides its workers' heartbeats."""

    def __init__(self, watched: Watched, workers: HeardWorkers) -> None:
        self._watched, self._workers, self._is_redis = watched, workers, is_redis(watched.broker.url)
        self._early: dict[str, bool] = {}
        self._priorities: dict[int, float] = {}
        self._redis: RedisHealth | None = None
        self._next_write = 0.0
        #: Whether an event of a sent task has arrived.
        self.has_sent_events = False
        self.rounds: Final = [
            Round("its workers' settings cannot be asked", SETTINGS_EVERY, self._ask_workers),
            *([Round("its Redis cannot be asked", BROKER_EVERY, self._ask_redis)] if self._is_redis else []),
        ]

    def take_priorities(self, priorities: set[int]) -> None:
        """Take in the priorities of tasks that workers have."""
        self._priorities = {**self._priorities, **dict.fromkeys(priorities, time.time())}

    def write(self) -> None:
        """Write what is known, if it is time to. Raises redis.RedisError."""
        if time.monotonic() >= self._next_write:
            self._next_write = time.monotonic() + WRITE_EVERY
            observed.write(self._watched.name, self._observed(time.time()))

    def _observed(self, now: float) -> Observed:
        by_worker = self._workers.tasks(now)
        known = _together([tasks for tasks in by_worker if tasks is not None])
        self._note_early(known)
        is_complete = bool(by_worker) and None not in by_worker and len(known) <= NAMES_KEPT
        return Observed(
            at=now,
            names=tuple(known) if is_complete else None,
            limits={name: options.rate_limit for name, options in known.items() if options.rate_limit} if is_complete else None,
            early=tuple(name for name, early in self._early.items() if early),
            priorities=tuple(sorted(value for value, at in self._priorities.items() if now - at < PRIORITIES_FOR)),
            sent_events=self.has_sent_events or None,
            redis=self._redis,
        )

    def _note_early(self, known: Mapping[str, TaskOptions]) -> None:
        """Remember which tasks are acknowledged before they run, also after their worker is gone."""
        for name, options in known.items():
            if options.acks_late is not None and (name in self._early or len(self._early) < NAMES_KEPT):
                self._early[name] = not options.acks_late

    def _ask_workers(self, app: Celery, connection: Connection) -> None:
        workers = self._workers.to_ask(time.time(), ASKED_AT_ONCE)
        new = [name for name, known in workers.items() if known is None]
        if new and self._watched.enables_events:
            # A worker that waits for a rate limit tells of what it received by events only, so these must not begin late.
            app.control.enable_events(destination=new, connection=connection)
        # Celery writes a line into the worker's log for this question.
        confs = _answers(app, connection, new, "conf", {"with_defaults": True})
        names = [name for name, known in workers.items() if known is not None or name in confs]
        registered = _answers(app, connection, names, "registered", {"taskinfoitems": list(OPTIONS)})
        answers: dict[str, Told] = {}
        for name in names:
            known, tasks = workers[name], registered.get(name)
            answer = told(confs[name], tasks, is_redis=self._is_redis) if known is None else known.with_tasks(tasks)
            if answer is not None:
                answers[name] = answer
        self._workers.take_settings(answers)

    def _ask_redis(self, _: Celery, connection: Connection) -> None:
        self._redis = None
        channel: Any = connection.default_channel
        self._redis = ask(redis.Redis(connection_pool=channel.pool))


def _answers(app: Celery, connection: Connection, names: list[str], question: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Ask these workers; return the answer of each that answers in time. Raises what kombu raises."""
    if not names:
        return {}
    replies = app.control.broadcast(
        question,
        connection=connection,
        arguments=arguments,
        destination=names,
        reply=True,
        timeout=inspection.TIMEOUT,
        limit=len(names),
    )
    asked = set(names)
    return {
        name: answer for reply in (replies or ())[: len(names)] if isinstance(reply, dict)
        for name, answer in reply.items() if name in asked
    }  # fmt: skip


def _together(all_tasks: list[Mapping[str, TaskOptions]]) -> dict[str, TaskOptions]:
    found: dict[str, TaskOptions] = {}
    for tasks in all_tasks:
        found.update(tasks)
    return found
