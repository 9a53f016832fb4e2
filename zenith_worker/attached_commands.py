"""Carries out what Zenith asks of an attached application (wire/commands.py): a thread in the main process of each worker.

Under gevent the thread is a greenlet, so whatever it sends, it sends as the application's own code does. It waits for Zenith's
Redis and for the broker as long as they are away, and nothing else waits for it: tasks go on.

A command is confirmed once it was carried out, or once it is clear that it never will be. If only the broker is away, it is kept
and tried again. Remote control and purges (attached_control.py) are not: somebody waits for its answer.
"""

from __future__ import annotations

import logging
import signal as system_signals
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import redis
from celery import signals
from celery.worker import state as worker_state

from zenith_worker import sending
from zenith_worker.attached_control import RemoteControl
from zenith_worker.attached_purge import Keep
from zenith_worker.catalogue import PublishedCatalogue
from zenith_worker.wire import commands
from zenith_worker.wire.commands import Command, Kind
from zenith_worker.wire.events import Event
from zenith_worker.wire.heartbeat import DEAD_AFTER
from zenith_worker.wire.pauses import KnownPauses

logger = logging.getLogger(__name__)

#: Commands that are read at once, and seconds for which a read waits for the first: less than a command to Redis may take.
BATCH: Final = 50
BLOCK: Final = 2.0
#: Seconds after a read for which its commands are certainly this worker's: others take them over once its heartbeat expired.
OWNED_FOR: Final = DEAD_AFTER / 2
#: Seconds between two looks for commands that dead workers had read.
TAKE_OVER_EVERY: Final = 10.0
#: Seconds between two looks for cancelled tasks, and for which a worker's start waits for the first.
CANCELLED_EVERY: Final = 60.0
START_WAITS: Final = 1.0
#: Seconds until a failure is tried again: at first, and at most. And those after which the first command is looked for.
PAUSE: Final = 0.5
PAUSE_AT_MOST: Final = 30.0
NOTHING_YET: Final = 1.0
#: Tasks that one command revokes.
REVOKED_AT_MOST: Final = 1000
#: Seconds for which the worker's end waits for the command that is being carried out.
END_WAITS: Final = 1.0


class Pause:
    """The seconds until the next try: more after each failure."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def longer(self) -> float:
        """Return the seconds to wait now."""
        self._seconds = min(max(self._seconds * 2, PAUSE), PAUSE_AT_MOST)
        return self._seconds

    def over(self) -> None:
        """Begin with the shortest again."""
        self._seconds = 0.0


class Commands:
    """The commands to this process's worker.

    Attributes:
        catalogue: the tasks that it can send.
        pauses: the paused queues, which the heartbeats read again (worker_step.py).
    """

    _running: Commands | None = None

    def __init__(self, app: Any, application: str, keep: Keep) -> None:
        self._app, self._application = app, application
        self.pauses = KnownPauses(application)
        self.catalogue = PublishedCatalogue(app, application)
        self._control = RemoteControl(app, application, keep)
        self._stopped, self._looked_up = threading.Event(), threading.Event()
        self._at_work = threading.Lock()
        #: Ids of cancelled tasks that the worker's loop has not seen yet.
        self._cancelled: deque[str] = deque()
        self._look_up_at = self._again_at = float("-inf")
        #: Commands that wait for the broker, and those that were carried out and not confirmed, with what came of them.
        self._kept: set[str] = set()
        self._unconfirmed: deque[tuple[Command, list[Event]]] = deque()
        self._redis, self._broker = Pause(), Pause()
        self._is_reading, self._trouble = False, ""

    @classmethod
    def start(cls, app: Any, application: str, keep: Keep) -> Commands:
        """Start the thread, or go on with it once the worker's consumer was made anew.

        Waits a moment for the paused queues and the ids of cancelled tasks, so that a worker that just started runs none of them.
        `keep` takes reports that cannot be sent now.
        """
        if cls._running is None:
            cls._running = cls(app, application, keep)
            cls._running._begin()
        cls._running.refuse_cancelled()
        return cls._running

    @property
    def digest(self) -> str:
        """The digest of the catalogue for the heartbeat; empty while this worker cannot read commands."""
        return self.catalogue.digest if self._is_reading else ""

    def refuse_cancelled(self) -> None:
        """Let Celery refuse tasks that were cancelled while this worker did not listen. Only the worker's loop may call it."""
        while self._cancelled:
            worker_state.revoked.add(self._cancelled.popleft())

    def _begin(self) -> None:
        signals.worker_shutdown.connect(self._end, weak=False)
        threading.Thread(target=self._run, name="zenith-commands", daemon=True).start()
        self._looked_up.wait(START_WAITS)

    def _end(self, **_: Any) -> None:
        self._stopped.set()
        # Not given back: the thread begins nothing any more.
        self._at_work.acquire(timeout=END_WAITS)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._look_up_cancelled()
                self.catalogue.refresh()
                self._step()
            except redis.RedisError as error:
                self._wait_after(error)
            except Exception as error:
                self._is_reading = False
                self._say(f"Commands from Zenith fail ({type(error).__name__}); tasks go on.", with_traceback=True)
                self._stopped.wait(self._redis.longer())
            else:
                self._is_reading, self._trouble = True, self._trouble if self._kept else ""
                self._redis.over()

    def _wait_after(self, error: redis.RedisError) -> None:
        """Wait after a failure of Zenith's Redis; then first confirm what was carried out, and look for what was read before."""
        self._looked_up.set()
        self._again_at = float("-inf")
        # Zenith never asked for anything, or its Redis lost it.
        self._is_reading = str(error).startswith("NOGROUP")
        if self._is_reading:
            self._kept.clear()
            self._stopped.wait(NOTHING_YET)
        else:
            self._say(f"Commands from Zenith cannot be read ({error}); tasks go on.")
            self._stopped.wait(self._redis.longer())

    def _say(self, trouble: str, *, with_traceback: bool = False) -> None:
        """Log what is wrong, once until it is over or something else is."""
        if trouble != self._trouble:
            logger.warning("%s", trouble, exc_info=with_traceback)
        self._trouble = trouble

    def _look_up_cancelled(self) -> None:
        if time.monotonic() < self._look_up_at:
            return
        self.pauses.refresh()
        try:
            cancelled = commands.cancelled(self._application)
        except redis.ResponseError as error:
            # Such as a key that holds something else, which concerns nothing but this.
            logger.warning("The tasks that Zenith cancelled cannot be read: %s", error)
        else:
            # A loop that is held up by a task (solo) has not taken the last ones yet.
            if not self._cancelled:
                self._cancelled.extend(id_ for id_ in cancelled if id_ not in worker_state.revoked)
        self._look_up_at = time.monotonic() + CANCELLED_EVERY
        self._looked_up.set()

    def _step(self) -> None:
        """Carry out the next commands, or wait a while for some. Raises redis.RedisError."""
        left = self._again_at - time.monotonic()
        if left <= 0:
            self._go_on()
        elif len(self._kept) < BATCH:
            read_at = time.monotonic()
            self._carry_out_all(commands.read(self._application, count=BATCH, block=min(BLOCK, left)), read_at)
        else:
            self._stopped.wait(min(BLOCK, left))

    def _go_on(self) -> None:
        """Confirm what this worker has carried out; then carry out what it has read before, and what dead workers had."""
        self._confirm()
        commands.take_over(self._application, count=BATCH)
        self._kept.clear()
        read_at = time.monotonic()
        found = self._read_before()
        self._carry_out_all(found, read_at)
        if self._kept:
            pause = self._broker.longer()
        else:
            self._broker.over()
            pause = 0.0 if found else TAKE_OVER_EVERY
        self._again_at = time.monotonic() + pause

    def _read_before(self) -> list[Command]:
        return commands.read(self._application, count=2 * BATCH, again=True)

    def _carry_out_all(self, batch: Sequence[Command], read_at: float) -> None:
        """Carry out commands, except those that others took over because this worker stood still meanwhile."""
        _close_old_database_connections()
        own = {command.id for command in batch}
        for command in batch:
            with self._at_work:
                if self._stopped.is_set():
                    break
                if time.monotonic() - read_at > OWNED_FOR:
                    read_at = time.monotonic()
                    own = {command.id for command in self._read_before()}
                if command.id in own:
                    self._carry_out(command)
        _close_old_database_connections()

    def _carry_out(self, command: Command) -> None:
        """Carry out a command and confirm it, or keep it for later. Raises redis.RedisError if it cannot be confirmed now."""
        if command.kind in (Kind.CONTROL, Kind.PURGE):
            self._control.carry_out(command)
            return
        events = self._events_of(command)
        if events is None:
            self._kept.add(command.id)
            self._again_at = min(self._again_at, time.monotonic() + PAUSE)
            return
        self._unconfirmed.append((command, events))
        self._confirm()

    def _confirm(self) -> None:
        """Confirm what was carried out, also if Redis has lost the commands since: nobody may carry them out again."""
        while self._unconfirmed:
            command, events = self._unconfirmed[0]
            commands.confirm(self._application, [command], events)
            self._unconfirmed.popleft()

    def _events_of(self, command: Command) -> list[Event] | None:
        """Carry out a command; return what came of it, or None if the broker is away."""
        try:
            if command.kind == Kind.SEND:
                return [sending.send(self._app, command.body)]
            if command.kind == Kind.REVOKE:
                return self._revoke(command)
            raise sending.MalformedCommandError(f"this release of zenith-worker knows no command {command.kind[:50]!r}")
        except Exception as error:
            if sending.is_broker_away(self._app, error):
                self._say(f"What Zenith asks for waits, because the broker cannot be reached: {error}")
                return None
            id_ = command.body.get("id")
            logger.warning("A command from Zenith (%.50r, task %.100r) cannot be carried out: %s", command.kind, id_, error)
            return [sending.failed(id_, error)] if isinstance(id_, str) and id_ else []

    def _revoke(self, command: Command) -> list[Event]:
        ids, signal = command.body.get("ids"), command.body.get("signal")
        ids = [id_ for id_ in ids if isinstance(id_, str) and id_][:REVOKED_AT_MOST] if isinstance(ids, list) else []
        if not ids or (signal is not None and signal not in system_signals.Signals.__members__):
            raise sending.MalformedCommandError("Zenith asked to revoke no task, or with a signal that there is not")
        self._app.control.revoke(ids, terminate=signal is not None, signal=signal or "SIGTERM")
        # Where the broker carries no remote control, this worker at least knows them soon.
        self._look_up_at = float("-inf")
        return []


def _close_old_database_connections() -> None:
    """Let Django close what the application's own code opened in this thread, as it does around each task."""
    database = sys.modules.get("django.db")
    if database is not None:
        database.close_old_connections()
