"""Begin to watch an application, change how, or end it. Nothing here returns or raises a broker's URL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from django.db import transaction

from tasks_app.models import Application, Task
from tasks_app.models.application import Kind
from tasks_app.models.task_keys import forget_applications
from tasks_app.watching import observed, observer_state, queue_state
from tasks_app.watching.brokers import SERIALIZERS, Broker, celery_of, sealed
from tasks_app.watching.reasons import reason_of
from tasks_app.watching.receiver import Receiver
from tasks_app.watching.urls import check_url, is_redis, name_of
from zenith_site.common.errors import InvalidInputError, Problem, StateConflictError
from zenith_worker.wire.applications import ANNOUNCED_AT_MOST, NATIVE_NAME, is_name
from zenith_worker.wire.client import client, text
from zenith_worker.wire.keys import application_keys

#: Encrypts the URL of the broker of the application with a name.
Seal = Callable[[str, str], str]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Watch:
    """How to watch an application; what is None stays as it is. Its representation does not show the URL."""

    url: str | None = None
    key_prefix: str | None = None
    serializers: Sequence[str] | None = None
    enables_events: bool | None = None

    def __repr__(self) -> str:
        return "Watch(…)"


def check(name: str, changes: Watch) -> str | None:
    """Return the new URL, if there is one. Raises InvalidInputError for what cannot be watched in this way."""
    url = None if changes.url is None else check_url(changes.url)
    _check(name, changes, url)
    return url


def watch(name: str, changes: Watch, seal: Seal = sealed, *, only_new: bool = False) -> tuple[Application, bool]:
    """Watch an application, or change how it is watched; return its row, and whether it is new.

    An engine begins within seconds. Raises InvalidInputError, or StateConflictError for an application of another kind, and with
    `only_new` for one that is watched already.

    Arguments:
        seal: encrypts the URL of the broker of the application with a name.
    """
    url = check(name, changes)
    with transaction.atomic():
        row = Application.objects.select_for_update().filter(name=name).first()
        if url is None and (row is None or (row.is_watched and not row.broker)):
            raise InvalidInputError(Problem("/url", f"is missing: {name} is not watched yet"))
        if row is None and Application.objects.filter(kind=Kind.WATCHED).count() >= ANNOUNCED_AT_MOST:
            raise StateConflictError(f"{ANNOUNCED_AT_MOST} applications are watched; that is the most.")
        if row is not None and not row.is_watched:
            raise StateConflictError(f"{name} is {row.kind}: its workers report to Zenith themselves, so it need not be watched.")
        if only_new and row is not None and row.broker:
            raise StateConflictError(f"{name} is watched already. Change how, or choose another name.")
        is_new = row is None
        row = row or Application(name=name, kind=Kind.WATCHED)
        if url is not None:
            row.broker = seal(name, url)
        row.key_prefix = row.key_prefix if changes.key_prefix is None else changes.key_prefix
        row.serializers = row.serializers if changes.serializers is None else ",".join(changes.serializers)
        row.enables_events = row.enables_events if changes.enables_events is None else changes.enables_events
        row.save()
    forget_applications()
    return row, is_new


def free_name(url: str) -> str:
    """Return a name for the application at a URL: that of the row that has this URL's place, or the next free one."""
    base = name_of(url)
    taken = set(Application.objects.filter(name__startswith=base[:40]).exclude(kind=Kind.WATCHED).values_list("name", flat=True))
    return next(name for name in (base, *(f"{base[:46]}-{number}" for number in range(2, 1000))) if name not in taken)


@dataclass(frozen=True, slots=True)
class Removal:
    """What ends with the watching of an application, and what stays.

    Attributes:
        unread: entries of its stream that no recorder has read yet.
        workers: workers in its list.
        row: whether its row goes as well: nothing was ever recorded for it.
    """

    name: str
    unread: int
    workers: int
    row: bool

    def lines(self, tense: str) -> list[str]:
        """Return what happens, for people; `tense` is how a removal is told of: "Would be", "To be" or "Was"."""
        lines = [f"{tense} removed: the URL of the broker of {self.name}, and its {self.workers} listed workers."]
        if self.row:
            lines.append(f"{tense} removed: the application {self.name} itself, for which nothing was ever recorded.")
        else:
            lines.append(f"Stays until it is older than ZENITH_RETENTION_DAYS: what was recorded of {self.name}.")
        if self.unread:
            lines.append(f"Stays: {self.unread} reports that are still to be recorded.")
        lines.append("Its broker and its workers stay as they are; they go on sending events until they are restarted.")
        return lines


def removal(name: str) -> Removal:
    """Return what `remove` would remove. Raises InvalidInputError for an application that is not watched, or redis.RedisError."""
    row = _watched_row(name)
    keys = application_keys(name)
    unread, workers = int(client().xlen(keys.events)), int(client().scard(keys.workers))
    return Removal(name, unread, workers, row=not (unread or Task.objects.filter(application=row).exists()))


def remove(name: str) -> Removal:
    """Stop watching an application: forget its broker's URL, and remove its workers; what was recorded stays until it is old.

    Raises as `removal`.
    """
    told = removal(name)
    row = _watched_row(name)
    if told.row:
        row.delete()
    else:
        row.broker = ""
        row.save(update_fields=["broker"])
    forget_applications()
    keys = application_keys(name)
    names: Any = client().smembers(keys.workers)
    client().delete(keys.workers, *(keys.worker.encode() + text(worker).encode() for worker in names))
    observer_state.forget(name)
    queue_state.forget(name)
    observed.forget(name)
    return told


def why_unreachable(broker: Broker) -> str:
    """Try a broker as an observer would; return why it cannot be used, or an empty text. Shows nothing of the URL."""
    app = celery_of(broker)
    could_listen = False
    try:
        with app.connection_for_read() as connection:
            connection.connect()
            # Listening needs more rights than connecting.
            with Receiver(app, connection, f"zenith.{uuid4().hex}", lambda _: None, lambda *_: None):
                app.control.broadcast("ping", connection=connection)
                could_listen = True
    except Exception as error:  # whatever kombu and the drivers raise
        # When it is closed, a channel of kombu's for Redis iterates over a dictionary that those of other threads share.
        return "" if could_listen and isinstance(error, RuntimeError) else reason_of(error)
    finally:
        app.close()
    return ""


def _check(name: str, changes: Watch, url: str | None) -> None:
    problems = []
    if not is_name(name):
        reason = f"has at most 50 lower-case letters, digits, and hyphens between them, and is not {NATIVE_NAME}"
        problems.append(Problem("/name", reason))
    if changes.key_prefix and (len(changes.key_prefix) > 100 or not changes.key_prefix.isprintable()):
        problems.append(Problem("/key_prefix", "has at most 100 printable characters"))
    if changes.key_prefix and url is not None and not is_redis(url):
        problems.append(Problem("/key_prefix", "is for Redis only"))
    if changes.serializers is not None:
        unknown = [name for name in changes.serializers if name not in SERIALIZERS]
        if unknown or not changes.serializers:
            detail = f"takes {', '.join(SERIALIZERS)}; pickle is refused, since whoever writes it runs code here"
            problems.append(Problem("/serializers", detail))
    if problems:
        raise InvalidInputError(*problems)


def _watched_row(name: str) -> Application:
    row = Application.objects.filter(name=name, kind=Kind.WATCHED).first()
    if row is None:
        known = Application.objects.filter(kind=Kind.WATCHED).order_by("name").values_list("name", flat=True)
        raise InvalidInputError(
            Problem("/name", f"no watched application has this name; there are: {', '.join(known) or 'none'}")
        )
    return row
