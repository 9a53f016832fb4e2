"""Tests of connections: web asks whether a broker can be watched, and an engine tries.

Only engines read brokers' URLs, and web may not reach brokers at all. A question is a row in PostgreSQL, with the URL encrypted
for engines; not in Redis, where whoever runs code in a worker could read and answer it (docs/decisions/0023-entering-urls.md).

1. `ask` inserts the row, and waits for its answer within a bound.
2. An engine's `ConnectionTester` takes it, tries the broker in a thread, and writes why it cannot be watched, or nothing.
3. `ask` deletes the row; an engine deletes those whose asker is gone.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID, uuid4

from django.db import connection
from django.utils import timezone

from tasks_app.models import Application, ConnectionTest
from tasks_app.watching import engine_key
from tasks_app.watching.applications import why_unreachable
from tasks_app.watching.brokers import Broker, BrokerUnknownError, broker_of, readable
from zenith_site.common.encryption import DecryptionError, decrypt
from zenith_site.common.errors import StateConflictError
from zenith_site.common.sql import statements

logger = logging.getLogger(__name__)

#: Seconds within which an engine ends a test, and within which `ask` gets an answer.
TEST_WITHIN: Final = 12.0
ANSWER_WITHIN: Final = 20.0
#: Seconds between two looks of `ask` for its answer.
LOOK_EVERY: Final = 0.2
#: Tests that an engine makes at the same time, and that may wait in all.
AT_ONCE: Final = 4
WAITING_AT_MOST: Final = 6
#: Seconds after which a row is deleted, and between two looks for such rows and for the public key.
KEPT: Final = 60.0
_SQL: Final = statements(__file__)
_SILENT: Final = f"it does not answer within {TEST_WITHIN:.0f} s"


class NotTestedError(StateConflictError):
    """No engine made the test in time, so nothing is known of the broker."""


def ask(application: Application | None, url: str | None, key_prefix: str, serializers: tuple[str, ...]) -> str:
    """Have an engine try a broker; return why it cannot be watched, or an empty text.

    Arguments:
        application: whose stored URL is tried if `url` is None.

    Raises NoEngineError, NotTestedError, or django.db.Error.
    """
    if ConnectionTest.objects.count() >= WAITING_AT_MOST:
        raise NotTestedError("Too many connections are being tested; try again in a minute.")
    id_ = uuid4()
    ConnectionTest.objects.create(
        id=id_, application=application if url is None else None,
        url="" if url is None else engine_key.seal_for_engines(url, _purpose(id_)),
        key_prefix=key_prefix, serializers=",".join(serializers), asked_at=timezone.now(),
    )  # fmt: skip
    try:
        return _answer_to(id_)
    finally:
        ConnectionTest.objects.filter(pk=id_).delete()


def _answer_to(id_: UUID) -> str:
    ends_at = time.monotonic() + ANSWER_WITHIN
    row = None
    while time.monotonic() < ends_at:
        time.sleep(LOOK_EVERY)
        row = ConnectionTest.objects.filter(pk=id_).first()
        if row is None:
            break
        if row.ended_at is not None:
            return row.reason
    if row is not None and row.taken_at is None:
        raise NotTestedError(
            "No engine tested the connection: none runs that observes (`manage.py run_engine`, or with `--only observer`)."
        )
    raise NotTestedError("The engine that tested the connection did not answer in time; try again.")


def _purpose(id_: UUID) -> str:
    return f"the connection test {id_}"


@dataclass(frozen=True, slots=True)
class _Test:
    started_at: float
    answers: queue.SimpleQueue[str]


class ConnectionTester:
    """Makes the tests that nobody has taken yet. Used by a single thread; each test has another one.

    Arguments:
        why: tries a broker and returns why it cannot be watched.
    """

    def __init__(
        self, why: Callable[[Broker], str] = why_unreachable, clock: Callable[[], float] = time.monotonic
    ) -> None:  # fmt: skip
        self._why, self._clock = why, clock
        self._running: dict[UUID, _Test] = {}
        self._has_told = False
        self._next_upkeep = 0.0

    def run_once(self) -> None:
        """Write the answers that are there, and begin new tests. Raises django.db.Error."""
        if self._clock() >= self._next_upkeep:
            self._next_upkeep = self._clock() + KEPT
            # Again only if it is gone, such as in a restored database: engines with different keys must not take turns.
            engine_key.tell(only_if_missing=self._has_told)
            self._has_told = True
            ConnectionTest.objects.filter(asked_at__lt=timezone.now() - timedelta(seconds=KEPT)).delete()
        for id_, test in list(self._running.items()):
            self._end(id_, test)
        while len(self._running) < AT_ONCE and (row := _take()) is not None:
            self._begin(row)

    def _begin(self, row: ConnectionTest) -> None:
        answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        try:
            broker = _broker_of(row)
        except BrokerUnknownError as error:
            answers.put(str(error))
        else:
            thread = threading.Thread(target=self._try, args=(broker, answers), name="connection test", daemon=True)
            thread.start()
        self._running[row.id] = _Test(self._clock(), answers)

    def _try(self, broker: Broker, answers: queue.SimpleQueue[str]) -> None:
        try:
            answers.put(self._why(broker))
        except Exception as error:  # its text may hold the URL
            logger.error("A connection test failed: %s", type(error).__name__)
            answers.put(f"it cannot be used ({type(error).__name__})")

    def _end(self, id_: UUID, test: _Test) -> None:
        """Write the answer of a test that has ended, or that takes too long; nobody waits for its thread."""
        try:
            reason = test.answers.get_nowait()
        except queue.Empty:
            if self._clock() - test.started_at < TEST_WITHIN:
                return
            reason = _SILENT
        del self._running[id_]
        ConnectionTest.objects.filter(pk=id_).update(url="", reason=reason, ended_at=timezone.now())


def _take() -> ConnectionTest | None:
    """Take the oldest test that no engine has taken."""
    with connection.cursor() as cursor:
        cursor.execute(_SQL["take_connection_test"])
        taken = cursor.fetchone()
    return None if taken is None else ConnectionTest.objects.select_related("application").filter(pk=taken[0]).first()


def _broker_of(row: ConnectionTest) -> Broker:
    """Return the broker that is to be tried. Raises BrokerUnknownError."""
    if row.application is not None:
        url = broker_of(row.application).url
    else:
        try:
            url = decrypt(row.url, _purpose(row.id))
        except DecryptionError:
            raise BrokerUnknownError(
                "its URL was encrypted for engines with another ZENITH_SECRET_KEY: restart the engines"
            ) from None
    return Broker(url, row.key_prefix, readable(row.serializers))
