"""What a worker of an attached application does with Zenith's commands, without one."""

from __future__ import annotations

import threading
import time
from typing import Any

import redis

from tasks_app import catalog
from tasks_app.models import Application, Catalogue, Task
from tasks_app.models.task_keys import forget_applications
from tasks_app.recording.recorder import Recorder
from zenith_worker.wire import commands, heartbeat, stream
from zenith_worker.wire.commands import Command, Kind
from zenith_worker.wire.events import Event
from zenith_worker.wire.heartbeat import About
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.states import Status

#: What the application's workers have told that they can run.
TASKS = {
    "shop.charge": {
        "doc": "Charge.", "queue": "payments", "max_retries": 5, "drill": False,
        "parameters": [
            {"name": "amount", "kind": "positional_or_keyword", "required": True, "schema": {}},
            {"name": "who", "kind": "positional_or_keyword", "required": False, "schema": {}},
        ],
    },
    "shop.tidy": {"doc": "", "queue": None, "max_retries": None, "drill": False, "parameters": []},
}  # fmt: skip


def attach(name: str, tasks: dict[str, Any] | None = None) -> Application:
    """An attached application whose workers have told what they can run."""
    from django.utils import timezone

    application = Application.objects.create(name=name, kind="attached")
    now = timezone.now()
    Catalogue.objects.create(
        application=application, digest="d", tasks=TASKS if tasks is None else tasks, first_seen_at=now, last_seen_at=now
    )
    forget_applications()
    catalog.forget()
    return application


def beat(name: str, catalogue: str = "d") -> None:
    """A worker of the application is online, and takes commands if it has a catalogue."""
    heartbeat.write(f"celery@{name}", slots=1, busy=0, queues=[], application=name, about=About(catalogue=catalogue))


def asked(name: str) -> list[Command]:
    """The commands that nobody has read yet."""
    try:
        return commands.read(name, count=1000, block=0.001)
    except redis.ResponseError:  # before the first command there is no group
        return []


def send(name: str, queue: str = "payments") -> list[str]:
    """Carry out all commands to send a task; return Celery's ids."""
    read = [command for command in asked(name) if command.kind == Kind.SEND]
    for command in read:
        body = command.body
        report = Event(
            task_id=body["id"], status=Status.QUEUED, at=time.time(), name=body["task"], queue=queue, args=list(body["args"]),
            kwargs=dict(body["kwargs"]),
        )  # fmt: skip
        commands.confirm(name, [command], [report])
    return [command.body["id"] for command in read]


def report(application: str, task_id: str, status: Status, /, **more: Any) -> None:
    """Report a step of a task."""
    stream.append([Event(task_id=task_id, status=status, at=more.pop("at", None) or time.time(), **more)], application)


def record() -> None:
    """Record everything that was reported."""
    one = Recorder(threading.Event())
    while one.step(block=0.01):
        pass


def task_of(name: str, celery_id: str) -> Task:
    """The row of a task by Celery's id."""
    return Task.objects.get(id=key_of(celery_id, name))
