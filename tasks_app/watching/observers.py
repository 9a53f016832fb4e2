"""The engine's part `observer`: an observer for each watched application whose lease this process holds.

A lease is a PostgreSQL advisory lock of one connection, so a killed engine's applications are taken over at once, and several
engines share them. If the connection is lost, another engine may observe the same application for a moment: both tell the same
steps, which are recorded once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import redis
from django.db import Error, connection, transaction

from tasks_app.models import Application
from tasks_app.models.application import Kind
from tasks_app.watching import observer_state
from tasks_app.watching.asking import Watched
from tasks_app.watching.brokers import BrokerUnknownError, broker_of
from tasks_app.watching.connection_tests import ConnectionTester
from tasks_app.watching.observer import Gap, Observer
from tasks_app.watching.observer_state import ObserverState
from tasks_app.watching.runs import Known
from tasks_app.watching.translation import REMEMBERED, LookUp
from zenith_site.common.advisory_locks import AdvisoryLock
from zenith_site.common.faults import isolate_faults
from zenith_site.common.loops import repeat, with_fresh_connection
from zenith_site.common.sessions import require_own_session
from zenith_site.common.sql import statements
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.states import OPEN

logger = logging.getLogger(__name__)

PART: Final = "observer"
#: Seconds between two looks for connections to test, for new applications, and between two writes of when one was heard.
TEST_EVERY: Final = 0.5
LOOK_EVERY: Final = 2.0
NOTE_EVERY: Final = 5.0
#: Gaps that an application's row keeps.
GAPS_KEPT: Final = 20

_SQL: Final = statements(__file__)


def run(stop: threading.Event) -> None:
    """Observe until `stop` is set."""
    observers, tester = Observers(), ConnectionTester()
    next_look = 0.0

    def step() -> None:
        nonlocal next_look
        tester.run_once()
        if time.monotonic() >= next_look:
            observers.run_once()
            next_look = time.monotonic() + LOOK_EVERY

    try:
        repeat(stop, PART, step, every=TEST_EVERY)
    finally:
        observers.stop()


class Observers:
    """The observers of this process. Used by a single thread: the leases belong to its connection."""

    def __init__(
        self, make: Callable[..., Observer] = Observer, clock: Callable[[], float] = time.monotonic
    ) -> None:  # fmt: skip
        self._make, self._clock = make, clock
        self._leases = Leases()
        self.running: dict[int, Observer] = {}
        self._next_note = 0.0

    def run_once(self) -> None:
        """Begin to observe new applications and end with others. Raises django.db.Error or SharedSessionError."""
        rows = {row.pk: row for row in Application.objects.filter(kind=Kind.WATCHED).exclude(broker="").order_by("name")}
        self._leases.renew()
        wanted: dict[int, tuple[Application, Watched]] = {}
        for row in rows.values():
            with isolate_faults(PART, f"the application {row.name}"):
                if self._leases.hold(row.pk) and (watched := _watched(row)) is not None:
                    wanted[row.pk] = row, watched
        self._end(id_ for id_, observer in self.running.items() if not self._is_current(observer, wanted.get(id_)))
        for id_, (row, watched) in wanted.items():
            if id_ not in self.running:
                listened_at = row.listened_at.timestamp() if row.listened_at else None
                self.running[id_] = self._make(
                    watched, listened_at=listened_at, look_up=known_tasks_of(watched.name), open_tasks=open_tasks_of(row)
                )  # fmt: skip
                self.running[id_].start()
        self._leases.keep_only(rows)
        if self._clock() >= self._next_note:
            self._next_note = self._clock() + NOTE_EVERY
            self.note()

    def note(self) -> None:
        """Write when each application was heard, and the gaps. Raises django.db.Error."""
        for id_, observer in self.running.items():
            with isolate_faults(PART, f"the application {observer.name}"):
                _note(id_, observer)

    def stop(self) -> None:
        """End all observers; what they know is written if PostgreSQL can be reached."""
        observers = list(self.running.values())
        for observer in observers:
            observer.ask_to_stop()
        for observer in observers:
            observer.stop()
        try:
            with with_fresh_connection():
                self.note()
        except (Error, redis.RedisError) as error:
            logger.warning("When applications were heard could not be written: %s", type(error).__name__)
        self.running.clear()

    def _is_current(self, observer: Observer, wanted: tuple[Application, Watched] | None) -> bool:
        return wanted is not None and observer.watched == wanted[1] and observer.is_alive

    def _end(self, ids: Iterable[int]) -> None:
        for id_ in list(ids):
            observer = self.running.pop(id_)
            observer.stop()
            _note(id_, observer)


class Leases:
    """The leases that this thread's connection holds."""

    def __init__(self) -> None:
        self._session: Any = None
        self._held: set[int] = set()

    def renew(self) -> None:
        """Notice a new connection, which holds nothing. Raises django.db.Error or SharedSessionError."""
        connection.ensure_connection()
        if connection.connection is not self._session:
            require_own_session()
            self._session, self._held = connection.connection, set()

    def hold(self, id_: int) -> bool:
        """Return whether the lease is held, taking it if nobody else holds it. Raises django.db.Error."""
        if id_ not in self._held:
            with connection.cursor() as cursor:
                cursor.execute(_SQL["try_lease"], [AdvisoryLock.OBSERVER_LEASE, id_])
                if cursor.fetchone()[0]:
                    self._held.add(id_)
        return id_ in self._held

    def keep_only(self, ids: Iterable[int]) -> None:
        """Release the leases of all others. Raises django.db.Error."""
        for id_ in self._held - set(ids):
            with connection.cursor() as cursor:
                cursor.execute(_SQL["release_lease"], [AdvisoryLock.OBSERVER_LEASE, id_])
            self._held.discard(id_)


def open_tasks_of(application: Application) -> dict[str, Known]:
    """Return what is recorded of an application's newest tasks that have not ended, oldest first. Raises django.db.Error."""
    with connection.cursor() as cursor:
        cursor.execute(_SQL["open_tasks"], [application.pk, [status.value for status in OPEN], REMEMBERED])
        return {id_: Known(*values) for id_, *values in reversed(cursor.fetchall())}


def known_tasks_of(name: str) -> LookUp:
    """Return a function that looks up what is recorded of an application's tasks; of none while PostgreSQL is away."""

    def look_up(ids: Sequence[str]) -> Mapping[str, Known]:
        keys = {str(key_of(id_, name)): id_ for id_ in ids}
        try:
            with with_fresh_connection(), connection.cursor() as cursor:
                cursor.execute(_SQL["known_tasks"], [list(keys)])
                return {keys[key]: Known(*values) for key, *values in cursor.fetchall()}
        except Error as error:
            logger.debug("Tasks of %s could not be looked up: %s", name, type(error).__name__)
            return {}
        finally:
            # It is needed seldom, and each observer has a thread of its own.
            connection.close()

    return look_up


def _watched(row: Application) -> Watched | None:
    """Return what an observer has to know; None, after saying why, if the broker's URL cannot be read."""
    try:
        return Watched(row.pk, row.name, broker_of(row), row.enables_events)
    except BrokerUnknownError as error:
        observer_state.write(row.name, ObserverState(listens=False, reason=str(error), since=time.time()))
        return None


def _note(id_: int, observer: Observer) -> None:
    versions = observer.workers.versions()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            _SQL["update_heard"],
            {
                "id": id_, "first": observer.first_heard_at, "last": observer.heard_at, "listened": observer.listened_at,
                "version": max(versions, default=""),
            },
        )  # fmt: skip
        gaps = observer.take_gaps()
        row = Application.objects.select_for_update().filter(pk=id_).first() if gaps else None
        if row is not None:
            kept = [_as_json(gap) for gap in reversed(gaps)] + (row.gaps if isinstance(row.gaps, list) else [])
            Application.objects.filter(pk=id_).update(gaps=kept[:GAPS_KEPT])


def _as_json(gap: Gap) -> list[Any]:
    return [gap.start, gap.end, gap.reason]
