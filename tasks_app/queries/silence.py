"""What is not seen of a watched application, and why: its workers, its tasks, or parts of them. Sentences for its page."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from tasks_app.models import Task
from tasks_app.queries.applications import ApplicationView

#: Seconds after which workers that run at the broker have told that they are there.
SETTLED: Final = 20.0


class Silence(NamedTuple):
    """What is not there, and why or what to do."""

    title: str
    text: str


def no_workers(view: ApplicationView, now: float | None = None) -> Silence:
    """Return why a watched application has no worker in its list."""
    row, state = view.application, view.observer
    if not row.broker:
        return Silence("Not watched any more", "Nobody listens to its workers. Watch it again to see them.")
    if state is None:
        return Silence("Nobody listens", "No observer runs, so its workers are not heard. An engine runs it: start one.")
    if not state.listens:
        return Silence("Its broker cannot be used", f"So its workers are not heard: {state.reason.rstrip('.')}.")
    if (time.time() if now is None else now) - state.since < SETTLED:
        return Silence("Listening", "Zenith has just begun to listen. Workers that run tell within seconds that they are there.")
    if state.reason:
        return Silence("No worker is heard", f"Zenith listens, but {state.reason}.")
    if not row.enables_events:
        return Silence(
            "No worker is heard",
            "None answers, and Zenith does not ask them to send events: only those that were started with -E do. Have it ask them"
            " (Change), or start them with -E.",
        )
    return Silence(
        "No worker is heard",
        "Zenith listens, and nothing answers. Either no worker runs, or its workers use another database, virtual host or key"
        " prefix than the one that was entered, or were started with remote control off and without heartbeats.",
    )


def no_tasks(view: ApplicationView) -> Silence:
    """Return why a watched application has no tasks."""
    row, title = view.application, "No tasks yet"
    if view.observer is None or not view.observer.listens:
        return Silence(title, "Zenith does not listen, so none is heard of.")
    if not view.online:
        return Silence(title, "A task is heard of once a worker receives it, and none of its workers is heard.")
    sent = "A task appears when a worker receives it; when it is sent, only if its sender has Celery's task_send_sent_event on."
    if not row.enables_events:
        return Silence(title, f"{sent} Zenith does not ask its workers to send events: only those started with -E tell of tasks.")
    return Silence(title, f"Its workers have received none since Zenith listens. {sent}")


def unknown(view: ApplicationView, newest: Sequence[Task]) -> list[str]:
    """Return what is not known of a watched application, and why, as far as its workers and its newest tasks show it."""
    row = view.application
    if not row.broker:
        return []
    parts = ["What happened before Zenith listened, and in gaps: nobody keeps events for those who do not listen."]
    silent = sum(beat.online and bool(beat.unknown) for beat in view.workers)
    if silent:
        parts.append(
            f"Slots, queues and tasks of {silent} of its workers, which did not answer yet: their remote control is off, or they"
            " are too busy."
        )
    if newest and all(task.queued_at is None for task in newest):
        parts.append(
            "Which tasks wait, and how long they waited before a worker received them: their senders do not tell. Celery's"
            " setting task_send_sent_event, where tasks are sent, changes that."
        )
    if any(not task.queue for task in newest):
        parts.append("The queue of some tasks: only their senders tell it, or a worker that consumes no other.")
    if not row.enables_events:
        parts.append("Tasks of workers that were started without -E: Zenith does not ask them to send events.")
    return parts
