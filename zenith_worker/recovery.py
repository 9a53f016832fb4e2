"""The guard `recovery`: what dead workers held goes back to its queue at once, not only after the visibility timeout.

An attached application's broker is known to its own processes alone, so its workers look after each other there, and need
neither Zenith's Redis nor an engine for it. Each worker with the guard

- notes in the broker's Redis which messages it took (recovery_transport.py) and that it lives;
- gives back what it took and has forgotten, because its connection broke, and acknowledges what it could not acknowledge then;
- looks for dead workers' messages, one worker at a time, and puts them back.

Only tasks that acknowledge late are held while they run (`acks_late`): an early acknowledgement leaves nothing to put back.
"""

from __future__ import annotations

import atexit
import logging
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from weakref import WeakValueDictionary

import redis
from celery import signals
from celery.worker import state as worker_state
from redis.backoff import NoBackoff
from redis.retry import Retry

from zenith_worker.buffer import Buffer
from zenith_worker.native_threads import start_native_thread
from zenith_worker.recovery_transport import HOLDINGS, note_owners, why_unguarded
from zenith_worker.wire import claims, heartbeat
from zenith_worker.wire.client import load
from zenith_worker.wire.deliveries import count_lost
from zenith_worker.wire.events import Event
from zenith_worker.wire.held_messages import HeldMessages, NotAMessageError, Owner, run_script
from zenith_worker.wire.instance import instance
from zenith_worker.wire.keys import recovery_keys
from zenith_worker.wire.recovery import FORGOTTEN_AFTER, WORKER_DIED, WORKER_FORGOT, MessageRecovery
from zenith_worker.wire.runs import RunNumber
from zenith_worker.wire.states import Status

logger = logging.getLogger(__name__)

#: Seconds between two looks, and for which a worker is the one that repairs; a dead one's messages settle in the meantime.
LOOK_EVERY: Final = 3.0
LEASED_FOR: Final = 10.0
#: Seconds that a command to the broker may take. Only threads of our own wait for it.
TIMEOUT: Final = 5.0
#: Tasks whose claims are to be abandoned once Zenith's Redis can be reached; beyond that the claims expire by themselves.
LOST_KEPT: Final = 10_000
_LEASE: Final = load("lease")


class Broker(NamedTuple):
    """The Redis that an application's broker is, as one connection of Celery's uses it: redis-py's parameters, and its keys."""

    parameters: dict[str, Any]
    prefix: str
    unacked: str
    unacked_index: str

    @classmethod
    def of(cls, channel: Any) -> Broker:
        """Return the broker of kombu's channel."""
        parameters = dict(channel._connparams())
        # kombu leaves it out where a connection takes none.
        if "socket_connect_timeout" in parameters:
            parameters["socket_connect_timeout"] = TIMEOUT
        parameters.update(socket_timeout=TIMEOUT, retry=Retry(NoBackoff(), retries=1), decode_responses=False)
        parameters.pop("max_connections", None)
        return cls(parameters, channel.global_keyprefix, channel.unacked_key, channel.unacked_index_key)

    def connect(self, application: str) -> HeldMessages:
        """Return what the application's workers hold there, by a client of the caller's own."""
        client, keys = redis.Redis(connection_pool=redis.ConnectionPool(**self.parameters)), recovery_keys(application)
        return HeldMessages(
            lambda: client, prefix=self.prefix, unacked=self.unacked, unacked_index=self.unacked_index,
            taken=keys.taken, alive=keys.alive,
        )  # fmt: skip


class Recovery:
    """The guard in this process's worker."""

    _running: Recovery | None = None

    def __init__(self, application: str, reports: Buffer, *, with_claims: bool) -> None:
        self.application, self.reports = application, reports
        self._with_claims = with_claims
        self._lost: deque[tuple[str, RunNumber, str]] = deque(maxlen=LOST_KEPT)
        self._consumer: Any = None
        self._broker: Broker | None = None
        self._handed_on: WeakValueDictionary[str, Any] = WeakValueDictionary()
        self._explained = self._ended = False
        self._pid = os.getpid()

    @classmethod
    def guard(cls, consumer: Any, application: str, reports: Buffer, *, with_claims: bool) -> Recovery:
        """Return the guard for a consumer that has not connected yet."""
        if cls._running is None:
            cls._running = cls(application, reports, with_claims=with_claims)
        # What Celery's own does, with one change; consumers of other classes that connect in their own way are not guarded.
        consumer.connection_for_read = lambda heartbeat=None: consumer.ensure_connected(
            note_owners(consumer.app.connection_for_read(heartbeat=heartbeat))
        )
        return cls._running

    def start(self, consumer: Any) -> None:
        """Guard the worker, or go on with a connection that was made anew, before it takes messages."""
        reason = why_unguarded(consumer.connection)
        if reason:
            if not self._explained:
                logger.warning("The guard `recovery` does nothing for this worker: %s.", reason)
            self._explained = True
            return
        is_first = self._broker is None
        self._consumer, self._broker = consumer, Broker.of(consumer.connection.default_channel)
        if is_first:
            signals.worker_shutdown.connect(self.end, weak=False)
            if not consumer.pool.uses_semaphore:
                signals.task_received.connect(self._note_handed_on, weak=False)
            # Celery sends no signal when it is told to end at once.
            atexit.register(self.end)
            start_native_thread(lambda: self._repeat(heartbeat.EVERY, _Life))
            start_native_thread(lambda: self._repeat(LOOK_EVERY, _Repair))

    def end(self, **_: Any) -> None:
        """Say that this worker lives no more, so that nobody waits for what it might still hold."""
        if self._broker is None or self._ended or os.getpid() != self._pid:
            return
        self._ended = True
        try:
            _Life(self, self._broker.connect(self.application)).end()
        except redis.RedisError as error:
            logger.info("Could not tell the broker that this worker ends: %s", error)

    def kept_tags(self) -> set[str]:
        """Return the delivery tags that this worker holds: on its connection, and of tasks of an earlier one that run or will."""
        consumer = self._consumer.task_consumer
        tags: set[str] = consumer.channel.qos.held() if consumer is not None else set()
        handed_on = [request for reference in self._handed_on.valuerefs() if (request := reference()) is not None]
        return tags.union(request.message.delivery_tag for request in [*list(worker_state.active_requests), *handed_on])

    def _note_handed_on(self, request: Any, **_: Any) -> None:
        """Remember a request for as long as anything can run it.

        Pools of threads and greenlets are handed all that a worker takes, and run it also if the connection is lost before its
        turn. A pool of processes is not: what has not started, Celery forgets.
        """
        self._handed_on[request.message.delivery_tag] = request

    def note_put_back(self, task_id: str, run: RunNumber, owner: str, reason: str, *, dead: bool) -> None:
        """Report a message that went back; never waits."""
        if dead and self._with_claims:
            self._lost.append((task_id, run, owner))
        self.reports.add(
            Event(
                # How often it was delivered before is counted in Zenith's Redis, which may be away. A number that is too great
                # would make this step look newer than the next delivery's; one that is too small is only not the newest.
                task_id=task_id, status=Status.QUEUED, at=time.time(), nesting=run.nesting, attempt=run.attempt, delivery=1,
                message=f"{reason}; the message went back to its queue",
            )
        )  # fmt: skip

    def abandon_claims(self) -> None:
        """Let the claims of dead workers go, and count what was lost with them. Raises redis.RedisError: Zenith's is away.

        One that lives for Zenith's Redis is only cut off from its broker: it keeps what it runs, and has not crashed.
        """
        while self._lost:
            task_id, run, owner = self._lost.popleft()
            try:
                if heartbeat.is_alive(owner, self.application):
                    continue  # it lost the broker only, and still runs the task
                claims.abandon(task_id, run, owner)
                count_lost(task_id, run)
            except redis.RedisError:
                self._lost.append((task_id, run, owner))
                raise

    def _repeat(self, every: float, make: Callable[[Recovery, HeldMessages], _Life | _Repair]) -> None:
        """Do something every so many seconds, in a thread of its own with a client of its own, until the worker ends."""
        broker, work, failures = self._broker, None, 0
        while broker is not None and not self._ended:
            try:
                if work is None or broker is not self._broker:
                    broker = self._broker or broker
                    work = make(self, broker.connect(self.application))
                work.run_once()
                failures = 0
            except Exception as error:
                failures += 1
                # Once is nothing: the worker's loop may have changed a set meanwhile, or the server closed an idle connection.
                if failures == 2:
                    is_known = isinstance(error, redis.RedisError)
                    logger.warning("The guard `recovery` cannot work at the moment: %s", error, exc_info=not is_known)
            time.sleep(every)


class _Life:
    """Says that this worker lives."""

    def __init__(self, recovery: Recovery, held: HeldMessages) -> None:
        self._recovery, self._held = recovery, held
        self._key = held.prefix + held.alive + instance()

    def run_once(self) -> None:
        """Say it. Raises redis.RedisError."""
        self._held.client().set(self._key, self._recovery._consumer.hostname, px=int(heartbeat.DEAD_AFTER * 1000))
        if self._recovery._ended:
            self.end()

    def end(self) -> None:
        """Take it back. Raises redis.RedisError."""
        self._held.client().delete(self._key)


class _Repair:
    """Looks after what this worker forgot, and, one worker at a time, after what dead ones held."""

    def __init__(self, recovery: Recovery, held: HeldMessages) -> None:
        self._held = held
        self._lease = held.prefix + recovery_keys(recovery.application).lease
        self._forgotten, self._of_dead = _ForgottenMessages(recovery, held), _WorkersMessages(recovery, held)

    def run_once(self) -> None:
        """Look once. Raises redis.RedisError."""
        for tag, note in list(HOLDINGS.done.items()):
            self._held.acknowledge(tag, note)
            HOLDINGS.remove(tag, note)
        if run_script(self._held.client(), _LEASE, self._lease, instance(), int(LEASED_FOR * 1000)):
            self._of_dead.run_once()
        self._forgotten.run_once()


class _WorkersMessages(MessageRecovery):
    """Puts back what dead workers of this application held."""

    def __init__(self, recovery: Recovery, held: HeldMessages) -> None:
        super().__init__(held)
        self._recovery = recovery
        self._failing: set[str] = set()

    def recover(self, tag: str, owner: str, *, dead: bool) -> bool:
        """Put a message back; a fault with one stops no other, and is logged until one succeeds."""
        try:
            done = super().recover(tag, owner, dead=dead)
        except (redis.ConnectionError, redis.TimeoutError):
            raise
        except Exception:
            if not self._failing:
                logger.exception("Message %s cannot be put back at the moment; others may be as well.", tag[:100])
            self._failing.add(tag)
            return False
        self._failing.discard(tag)
        return done

    def refuse(self, tag: str, error: NotAMessageError) -> None:
        """Leave what is no message to kombu."""
        logger.error("What a worker held under %s cannot be put back: %s.", tag[:100], error)
        self._held.forget(tag)

    def note(self, headers: dict[str, Any], owner: str, *, dead: bool) -> None:
        """Report a message that went back."""
        id_, reason = headers.get("id"), WORKER_DIED if dead else WORKER_FORGOT
        logger.warning("The message of task %s went back to its queue: %s.", id_ or "?", reason)
        if isinstance(id_, str):
            self._recovery.note_put_back(id_, RunNumber.of(headers), Owner.parse(owner).run, reason, dead=dead)


class _ForgottenMessages(_WorkersMessages):
    """Puts back what this worker took and no longer holds."""

    def run_once(self) -> int:
        """Put back what is forgotten for some time; return how many messages. Raises redis.RedisError."""
        notes, kept = dict(HOLDINGS.notes), self._recovery.kept_tags()
        suspects = ((tag, FORGOTTEN_AFTER) for tag in notes if tag not in kept and tag not in HOLDINGS.done)
        return sum(self._give_back(tag, notes[tag]) for tag, _ in self._abandoned.update(suspects))

    def _give_back(self, tag: str, note: str) -> bool:
        unrecorded, is_back = HOLDINGS.unrecorded.get(tag), self.recover(tag, note, dead=False)
        place = Owner.parse(note).place
        if unrecorded is not None and place and not is_back:
            # Redis never had the record, so the message is nowhere else.
            self._held.client().rpush(self._held.prefix + place, unrecorded)
        HOLDINGS.remove(tag, note)
        return is_back
