"""No reader of `/ws/tasks` ever misses an event, however recorders commit and however often it comes and goes."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from django.db import connection, transaction

from tasks_app.models import TaskEvent
from tasks_app.queries import feed
from tasks_app.recording import live
from tasks_app.recording.apply import apply
from tests.integration import test_live
from tests.integration.test_live import Open, ask, heard, ready
from tests.waiting import eventually
from zenith_worker.wire.events import Event
from zenith_worker.wire.ids import new_id
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)

module_web = test_live.module_web
port, token, opened = test_live.port, test_live.token, test_live.opened

COMMITS = 120


def recording(seed: int) -> Callable[[], None]:
    """A recorder: it applies batch after batch, and each of its commits takes as long as chance wants."""
    choice = random.Random(seed)

    def record() -> None:
        try:
            for _ in range(COMMITS):
                # One event for each task: a frame has the newest step of a task only.
                batch = [Event(task_id=str(new_id()), status=Status.QUEUED, at=time.time(), name="t", queue="q")
                         for _ in range(choice.randint(1, 4))]  # fmt: skip
                with transaction.atomic():
                    newest = apply(batch)
                    time.sleep(choice.random() * 0.02)
                    lost = choice.random() < 0.1
                    transaction.set_rollback(lost)
                if not lost and choice.random() < 0.8:  # a poke may get lost, too
                    live.poke(newest)
        finally:
            connection.close()

    return record


class Reader:
    """A client that keeps what it heard of, and where it stands."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.seen: set[str] = set()
        self.sessions = 0

    def hear(self, socket: Any) -> None:
        """Take one frame."""
        frame = heard(socket)
        assert frame["type"] == "TASK_UPDATE", frame
        self.seen |= {task["task_id"] for task in frame["tasks"]}
        if frame["after"] <= self.after:  # it goes on from where this reader stands
            self.after = max(self.after, frame["event_id"])


def test_two_recorders_at_once_and_no_reader_misses_an_event(opened: Open) -> None:
    apply([Event(task_id=str(new_id()), status=Status.QUEUED, at=time.time(), name="t", queue="q")])
    start = feed.newest_id()
    written, stop = threading.Event(), [0]

    def done(reader: Reader) -> bool:
        return written.is_set() and reader.after >= stop[0]

    def follow(reader: Reader) -> None:
        with opened() as socket:
            ready(socket)
            reader.sessions += 1
            while not done(reader):
                with suppress(TimeoutError):
                    reader.hear(socket)

    def come_and_go(reader: Reader) -> None:
        choice = random.Random("comes and goes")
        while not done(reader):
            with opened() as socket:
                reader.sessions += 1
                ask(socket, {"type": "RESUME", "after": reader.after})
                for _ in range(choice.randint(1, 3)):
                    if not done(reader):
                        reader.hear(socket)
            time.sleep(choice.random() * 0.05)

    steady, restless = Reader(start), Reader(start)
    with ThreadPoolExecutor(max_workers=4) as pool:
        readers: list[Future[None]] = [pool.submit(follow, steady), pool.submit(come_and_go, restless)]
        eventually(lambda: (steady.sessions and restless.sessions) or any(reader.done() for reader in readers))
        for writer in [pool.submit(recording(seed)) for seed in (1, 2)]:
            writer.result(90)
        stop[0] = feed.newest_id()
        written.set()
        # One more, so that whoever waits for a frame gets one.
        live.poke(apply([Event(task_id=str(new_id()), status=Status.QUEUED, at=time.time(), name="t", queue="q")]))
        for reader in readers:
            reader.result(60)
    events = TaskEvent.objects.filter(id__gt=start, id__lte=stop[0])
    everything = {str(task_id) for task_id in events.values_list("task_id", flat=True)}
    assert len(everything) > COMMITS
    assert everything - steady.seen == set()
    assert everything - restless.seen == set()
    assert restless.sessions > 5, "it hardly came back: nothing was proved"
