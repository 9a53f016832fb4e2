"""Why nothing is seen of a watched application, as a table."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tasks_app.models import Application, Task
from tasks_app.queries.applications import ApplicationView
from tasks_app.queries.silence import SETTLED, no_tasks, no_workers, unknown
from tasks_app.watching.observer_state import ObserverState
from zenith_worker.wire.heartbeat import WorkerBeat

NOW = 1_000_000.0
MUTE = WorkerBeat("c@d", 0, 0, 0, (), "", "", (), (), 1.0, watched=True, unknown=("slots",))
BEAT = WorkerBeat("a@b", 0, 0, 0, (), "", "", (), (), 1.0, watched=True)


def view(observer: ObserverState | None = None, workers: tuple[WorkerBeat, ...] = (), **row: Any) -> ApplicationView:
    return ApplicationView(Application(name="shop", kind="watched", **{"broker": "x", **row}), list(workers), observer=observer)


def listens(since: float = SETTLED + 1, **more: Any) -> ObserverState:
    return ObserverState(listens=True, since=NOW - since, **more)


@pytest.mark.parametrize(
    ("shown", "title", "text"),
    [
        (view(broker=""), "Not watched any more", "Watch it again"),
        (view(), "Nobody listens", "An engine runs it"),
        (
            view(ObserverState(listens=False, reason="it asks for a password")),
            "Its broker cannot be used",
            "it asks for a password",
        ),
        (view(listens(1)), "Listening", "within seconds"),
        (view(listens(reason="its workers cannot be asked: x")), "No worker is heard", "but its workers cannot be asked: x."),
        (view(listens(), enables_events=False), "No worker is heard", "started with -E"),
        (view(listens()), "No worker is heard", "another database, virtual host or key prefix"),
    ],
    ids=["ended", "no observer", "broker away", "just now", "cannot ask", "events off", "silent"],
)
def test_why_no_worker_is_listed(shown: ApplicationView, title: str, text: str) -> None:
    said = no_workers(shown, NOW)
    assert said.title == title
    assert text in said.text


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (view(), "does not listen"),
        (view(listens()), "none of its workers is heard"),
        (view(listens(), (BEAT,), enables_events=False), "only those started with -E"),
        (view(listens(), (BEAT,)), "have received none since Zenith listens"),
    ],
    ids=["no observer", "no worker", "events off", "idle"],
)
def test_why_no_task_is_listed(shown: ApplicationView, text: str) -> None:
    assert text in no_tasks(shown).text


@pytest.mark.parametrize(
    ("shown", "newest", "texts"),
    [
        (view(broker=""), [Task()], []),
        (view(listens(), (BEAT,)), [], []),
        (view(listens(), (BEAT, MUTE)), [], ["of 1 of its workers"]),
        (view(listens(), (BEAT,)), [Task(queue="q"), Task(queue="q")], ["task_send_sent_event"]),
        (view(listens(), (BEAT,)), [Task(queue="q", queued_at=datetime.now(UTC)), Task()], ["The queue of some tasks"]),
        (view(listens(), enables_events=False), [], ["without -E"]),
    ],
    ids=["ended", "nothing", "mute worker", "not told when sent", "no queue", "events off"],
)
def test_what_is_not_known(shown: ApplicationView, newest: list[Task], texts: list[str]) -> None:
    told = unknown(shown, newest)
    # The first one is always true while it is watched.
    assert len(told) == (len(texts) + 1 if shown.application.broker else 0)
    for text, part in zip(texts, told[1:], strict=True) if told else ():
        assert text in part
