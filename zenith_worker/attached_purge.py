"""Removes the messages that wait in a queue at the application's broker, as Zenith asks (wire/purges.py).

Some messages at a time are removed, and only then are their tasks reported as REVOKED: a message that another worker has taken
meanwhile is neither removed nor reported. If the worker is killed between the two, the tasks of these few messages stay as they
were last heard of. With Redis each message is popped, from the lists of all priorities; with RabbitMQ it is got and acknowledged.
Messages that arrive during the purge stay.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import redis
from celery import Celery
from kombu.utils import json

from zenith_worker import broker
from zenith_worker.origin import sent
from zenith_worker.wire import purges, stream
from zenith_worker.wire.commands import Command
from zenith_worker.wire.events import Event
from zenith_worker.wire.headers import DISPATCHED_HEADER
from zenith_worker.wire.purges import PAUSE, PURGE, Purged, Request
from zenith_worker.wire.runs import RunNumber
from zenith_worker.wire.states import Status

logger = logging.getLogger(__name__)

#: Messages that are removed before their tasks are reported, and bytes of bodies in one entry of the stream.
BATCH: Final = 100
ENTRY_BYTES: Final = 2**20

#: What cannot be sent now is kept here, so that it is sent later (buffer.py).
Keep = Callable[..., None]


class _Taken(NamedTuple):
    """A removed message: kombu's Message or None if it cannot be read, its length, and whether it was delivered before."""

    message: Any
    size: int
    redelivered: bool = False


class _Queue(NamedTuple):
    """A queue at a broker: what yields its messages some at a time, each gone from the broker, and what counts the others."""

    take: Callable[[int], Iterator[list[_Taken]]]
    waiting: Callable[[], int]


def queue_commands(consumer: Any) -> tuple[str, ...]:
    """Return which commands about queues a worker obeys, for its heartbeat."""
    return (PAUSE, PURGE) if consumer.conninfo.transport.driver_type in _QUEUES else (PAUSE,)


class _NotReportedError(RuntimeError):
    """Zenith's Redis did not take the reports of what was removed; they wait in this process."""


class Purges:
    """Purges queues of an application. `keep` takes the reports that cannot be sent now."""

    def __init__(self, app: Celery, application: str, keep: Keep) -> None:
        self._app, self._application, self._keep = app, application, keep

    def run(self, command: Command) -> None:
        """Carry out a PURGE command that this worker has taken, and answer it."""
        try:
            request = purges.request_of(command.body)
        except ValueError as error:
            logger.warning("A purge that Zenith asked for was refused: %s", error)
            self.refuse(command, f"refused: {error}")
            return
        purged = self._purged(request)
        logger.warning(
            "Zenith purged the queue %r for %s: %s messages removed. %s", request.queue, request.by, purged.removed, purged.error
        )
        self._answer(command, purged)

    def refuse(self, command: Command, reason: str) -> None:
        """Answer that nothing was removed, and why."""
        self._answer(command, Purged(error=reason))

    def _answer(self, command: Command, purged: Purged) -> None:
        try:
            purges.answer(self._application, command.body.get("token"), purged)
        except redis.RedisError as error:
            logger.warning("What came of a purge could not be told: %s", error)

    def _purged(self, request: Request) -> Purged:
        done = Purged()
        try:
            connection = broker.connect(self._app, reads=True)
        except Exception as error:  # of whatever transport; the broker's address, which it may name, stays here
            return done._replace(error=f"its broker cannot be reached ({type(error).__name__})")
        try:
            make = _QUEUES.get(connection.transport.driver_type)
            if make is None:
                return done._replace(error="Zenith purges queues of Redis and RabbitMQ only")
            queue = make(connection, request.queue)
            for removed, told in self._removed(queue, request):
                done = done._replace(removed=done.removed + removed, told=done.told + told)
            return done._replace(remaining=queue.waiting())
        except _NotReportedError:
            return done._replace(error="it ended early, because Zenith's Redis cannot be reached from there")
        except Exception as error:  # of whatever transport
            logger.warning("The queue %r cannot be purged: %s", request.queue, error)
            return done._replace(error=f"its broker refused or failed ({type(error).__name__})")
        finally:
            connection.release()

    def _removed(self, queue: _Queue, request: Request) -> Iterator[tuple[int, int]]:
        """Yield how many messages were removed, and how many tasks of them were reported, some at a time.

        Ends after WITHIN seconds. Raises _NotReportedError after it has yielded what could not be reported at once.
        """
        until = time.monotonic() + purges.WITHIN
        for batch in queue.take(request.most):
            events = [(taken.size, event) for taken in batch if (event := _event(taken, request)) is not None]
            is_reported = self._report(events)
            yield len(batch), len(events)
            if not is_reported:
                raise _NotReportedError
            if time.monotonic() >= until:
                return

    def _report(self, events: Sequence[tuple[int, Event]]) -> bool:
        """Report, in entries of bounded size; keep what cannot be sent, and return False."""
        entries = list(_entries(events))
        for number, entry in enumerate(entries):
            try:
                stream.append(entry, self._application)
            except redis.RedisError:
                for kept in entries[number:]:
                    self._keep(*kept)
                return False
            except Exception as error:  # of one event that cannot be written, which is told apart and counted there
                logger.debug("An entry cannot be written: %s", error)
                self._keep(*entry)
        return True


def _entries(events: Sequence[tuple[int, Event]]) -> Iterator[list[Event]]:
    entry: list[Event] = []
    length = 0
    for size, event in events:
        if entry and length + size > ENTRY_BYTES:
            yield entry
            entry, length = [], 0
        entry.append(event)
        length += size
    if entry:
        yield entry


def _event(taken: _Taken, request: Request) -> Event | None:
    """Return the report that a message's task is REVOKED; None if the message does not say which task that is."""
    try:
        headers, body = taken.message.headers or {}, _body(taken.message)
        id_, name = headers.get("id"), headers.get("task")
        if id_ is None and isinstance(body, dict):  # Celery's protocol 1
            id_, name = body.get("id"), body.get("task")
        if not (isinstance(id_, str) and id_):
            return None
        event = _origin(id_, name, headers, body, request.queue)
    except Exception as error:  # a message may hold anything
        logger.debug("A removed message cannot be read: %s", error)
        return None
    run = RunNumber.of(headers)
    event.status, event.at, event.message = Status.REVOKED, time.time(), f"purged by {request.by}" if request.by else "purged"
    event.nesting, event.attempt, event.delivery = run.nesting, run.attempt, int(taken.redelivered)
    return event


def _origin(id_: str, name: Any, headers: dict[str, Any], body: Any, queue: str) -> Event:
    """Return a report with what the message tells of its task, which Zenith may not know yet."""
    name = name if isinstance(name, str) else ""
    if not headers.get(DISPATCHED_HEADER) and isinstance(body, (list, tuple)) and len(body) == 3:
        return sent(name, headers, body, queue=queue, priority=None)
    return Event(task_id=id_, status=Status.REVOKED, at=0.0, name=name, queue=queue)


def _body(message: Any) -> Any:
    """Return a message's body if it is JSON; nothing is unpickled here."""
    message.accept = {"application/json"}
    try:
        return message.decode()
    except Exception:  # of whatever serializer
        return None


def _redis_queue(connection: Any, name: str) -> _Queue:
    channel = connection.default_channel
    keys = [channel._q_for_pri(name, step) for step in channel.priority_steps]

    def lengths(client: Any) -> list[int]:
        with client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.llen(key)
            return [int(length) for length in pipe.execute()]

    def take(most: int) -> Iterator[list[_Taken]]:
        with channel.conn_or_acquire() as client:
            for key, length in zip(keys, lengths(client)):
                left = min(length, most)
                most -= left
                while left > 0:
                    with client.pipeline(transaction=False) as pipe:
                        for _ in range(min(BATCH, left)):
                            pipe.rpop(key)
                        found = [raw for raw in pipe.execute() if raw is not None]
                    if not found:
                        break
                    left -= len(found)
                    yield [_taken(channel, raw) for raw in found]

    def waiting() -> int:
        with channel.conn_or_acquire() as client:
            return sum(lengths(client))

    return _Queue(take, waiting)


def _taken(channel: Any, raw: Any) -> _Taken:
    try:
        message = channel.Message(json.loads(raw), channel=channel)
        redelivered = bool((message.delivery_info or {}).get("redelivered") or (message.headers or {}).get("redelivered"))
        return _Taken(message, len(raw), redelivered)
    except Exception:  # it is not kombu's
        return _Taken(None, len(raw))


def _amqp_queue(connection: Any, name: str) -> _Queue:
    channel = connection.channel()

    def waiting() -> int:
        return int(channel.queue_declare(queue=name, passive=True).message_count)

    def take(most: int) -> Iterator[list[_Taken]]:
        left = min(waiting(), most)
        while left > 0:
            found: list[Any] = []
            while len(found) < min(BATCH, left) and (raw := channel.basic_get(queue=name)) is not None:
                found.append(raw)
            if not found:
                return
            left -= len(found)
            channel.basic_ack(found[-1].delivery_tag, multiple=True)
            yield [_got(channel, raw) for raw in found]

    return _Queue(take, waiting)


def _got(channel: Any, raw: Any) -> _Taken:
    try:
        redelivered = bool((raw.delivery_info or {}).get("redelivered"))
        return _Taken(channel.message_to_python(raw), len(raw.body or ""), redelivered)
    except Exception:  # its properties may be anything
        return _Taken(None, 0)


#: By the type of kombu's transport.
_QUEUES: Final[dict[str, Callable[[Any, str], _Queue]]] = {"redis": _redis_queue, "amqp": _amqp_queue}
