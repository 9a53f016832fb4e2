"""The worker's consumer: a message that cannot run as a task is accounted for, too.

Celery drops a message that it cannot read, and some messages kill the worker, which then restarts and gets the same one. Here
each such message fails its task, with the reason; if it names no task, the message itself is set aside for a person to look at.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any, Final

from celery.app.task import Context
from celery.exceptions import InvalidTaskError, NotRegistered
from celery.utils.saferepr import saferepr
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu.transport import virtual

from zenith_worker.carried import stamp
from zenith_worker.errors import DeliveredTooOftenError
from zenith_worker.reporting import report, with_redis_retries
from zenith_worker.wire import broker_queues, heartbeat, stream
from zenith_worker.wire.client import is_text
from zenith_worker.wire.deliveries import delivery_limit, lost_count
from zenith_worker.wire.events import Event
from zenith_worker.wire.headers import REFUSED_HEADER
from zenith_worker.wire.instance import instance
from zenith_worker.wire.runs import RunNumber
from zenith_worker.wire.states import Status
from zenith_worker.wire.stream import Entry

logger = logging.getLogger(__name__)

#: Characters of a message's body that are kept with the failure.
BODY_KEPT: Final = 2000
#: Seconds that other workers have to take a task that this one does not know, unless all are busy; and between two attempts.
OTHERS_HAVE: Final = 10.0
REFUSED_FOR: Final = 2.0
#: The types of the parts of a message's body, and of the members of its third part (celery.app.amqp).
_BODY: Final[tuple[Any, ...]] = ((list, tuple), dict, (dict, type(None)))
_EMBEDDED: Final = {"callbacks": list, "errbacks": list, "chain": list, "chord": dict}
#: Headers that become part of Redis keys, which cannot hold the lone surrogates that JSON can.
_IDS: Final = ("id", "group")
#: Headers that Celery calculates with, although anybody may write them.
_COUNTS: Final = {"retries": "attempt", "replaced_task_nesting": "nesting"}


class Consumer(CeleryConsumer):
    """Celery's consumer, which fails or sets aside messages that cannot run."""

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Any], None]:
        """Return the handler of messages: Celery's own, after checks of what it takes for granted."""
        handle = super().create_task_handler(*args, **options)
        broken = (*self.connection_errors, *self.channel_errors)

        def on_task_received(message: Any) -> None:
            try:
                _repair(message)
                _check(message)
                self._bound_deliveries(message)
                handle(message)
            except broken:
                raise
            except DeliveredTooOftenError as error:
                logger.error("Task %s failed: %s.", message.headers["id"], error)
                self._fail(message, error)
            except Exception as error:
                self._bury(message, error)

        return on_task_received

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """Set aside a message that is not a task's."""
        self._bury(message, ValueError("it is not a task's message"))

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Fail a task whose message Celery does not accept."""
        self._bury(message, exc)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Fail a task whose message cannot be decoded."""
        self._bury(message, exc)

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Leave a task that this worker has no code for to another worker; fail it if there is none, or none takes it."""
        id_, name = message.headers.get("id"), str(message.headers.get("task"))
        refusals = _refusals(message)
        others = [beat for beat in self._other_consumers(message) if beat.name not in refusals]
        if not others or (self._refused_long_ago(refusals) and all(beat.busy < beat.slots for beat in others)):
            logger.error("No worker of its queue knows task %s: %r.", id_, name)
            self._fail(message, NotRegistered(name))
        elif self.hostname in refusals:
            # The others have had no chance yet: hold the message for a moment, so that it does not circulate.
            self.timer.call_after(REFUSED_FOR, self._pass_on, (message, refusals))
        else:
            logger.warning("Task %s (%s) goes back to its queue: this worker does not know it.", id_, name)
            self._pass_on(message, {**refusals, self.hostname: time.time()})

    def _bound_deliveries(self, message: Any) -> None:
        """Raise DeliveredTooOftenError if processes keep dying with this message before they reach the task's body."""
        id_ = message.headers.get("id") if isinstance(message.headers, dict) else None
        if not (isinstance(id_, str) and (message.delivery_info or {}).get("redelivered")):
            return
        run = RunNumber.of(message.headers)
        times = with_redis_retries(lambda: lost_count(id_, run))
        if times >= delivery_limit(self.app.tasks.get(message.headers.get("task")) or self.app.Task):
            raise DeliveredTooOftenError(f"{times} processes that took its message died before its body could start")

    def _other_consumers(self, message: Any) -> list[heartbeat.WorkerBeat]:
        queue = (message.delivery_info or {}).get("routing_key")
        beats = with_redis_retries(heartbeat.read_all)
        return [beat for beat in beats if beat.online and queue in beat.queues and beat.name != self.hostname]

    def _refused_long_ago(self, refusals: dict[str, float]) -> bool:
        return time.time() - refusals.get(self.hostname, time.time()) > OTHERS_HAVE

    def _pass_on(self, message: Any, refusals: dict[str, float]) -> None:
        tag = message.delivery_tag
        with_redis_retries(lambda: broker_queues.pass_on(tag, instance(), {REFUSED_HEADER: refusals}))
        # Only in this process: whether it was passed on now, or put back by another before, this worker no longer holds it.
        virtual.QoS.ack(message.channel.qos, tag)

    def _fail(self, message: Any, error: Exception) -> None:
        """Fail the task of a readable message, and keep its arguments so that it can be sent again."""
        message.reject_log_error(logger, self.connection_errors)
        self.app.backend.mark_as_failure(str(message.headers["id"]), error, request=_context(message, self.hostname))

    def _bury(self, message: Any, error: Exception) -> None:
        headers = message.headers if isinstance(message.headers, dict) else {}
        id_ = headers.get("id")
        logger.error("A message that cannot run was taken from its queue: %s: %s [task=%s]", type(error).__name__, error, id_)
        body_excerpt = saferepr(message.body, maxlen=BODY_KEPT)
        if isinstance(id_, str) and id_:
            report(
                _failure(headers, message.delivery_info or {}, error, body_excerpt, self.hostname),
                token=str(message.delivery_tag),
            )
        else:
            entry = Entry("0-0", json.dumps({"headers": saferepr(headers, maxlen=BODY_KEPT), "body": body_excerpt}).encode())
            with_redis_retries(
                lambda: stream.set_aside(entry, f"a message that is not a task's: {type(error).__name__}: {error}")
            )
        message.reject_log_error(logger, self.connection_errors)


def _repair(message: Any) -> None:
    """Correct the headers that Celery calculates with unchecked."""
    if isinstance(message.headers, dict):
        run = RunNumber.of(message.headers)
        for header, member in _COUNTS.items():
            if header in message.headers:
                message.headers[header] = getattr(run, member)


def _refusals(message: Any) -> dict[str, float]:
    """Return the workers that gave a message back because they do not know its task, with the first time (on their clocks)."""
    header = message.headers.get(REFUSED_HEADER)
    pairs = header.items() if isinstance(header, dict) else ()
    return {str(name): float(at) for name, at in pairs if isinstance(at, (int, float))}


def _check(message: Any) -> None:
    """Raise InvalidTaskError for ids that are not valid Unicode, and for an invalid body of Celery's protocol 2.

    Celery checks parts of the body only in the pool, and ids only when it stores the result.
    """
    if not (isinstance(message.headers, dict) and "task" in message.headers):
        # Protocol 1, or not a task: Celery checks the rest itself.
        _check_ids(message.payload)
        return
    _check_ids(message.headers)
    if not isinstance(message.headers.get("id"), str):
        raise InvalidTaskError(f"its id is not text: {message.headers.get('id')!r}")
    body = message.payload
    if isinstance(body, dict) and "args" in body:
        return
    if not (isinstance(body, (list, tuple)) and len(body) == len(_BODY) and all(isinstance(*part) for part in zip(body, _BODY))):
        raise InvalidTaskError("its body does not consist of arguments, named arguments and options")
    for name, kind in _EMBEDDED.items():
        if not isinstance((body[2] or {}).get(name), (kind, type(None))):
            raise InvalidTaskError(f"its {name} has the wrong type")


def _check_ids(names: Any) -> None:
    for name in _IDS:
        value = names.get(name) if isinstance(names, dict) else None
        if isinstance(value, str) and not is_text(value):
            raise InvalidTaskError(f"its {name} is not valid Unicode: {value!r}")


def _failure(headers: dict[str, Any], delivery: dict[str, Any], error: Exception, body_excerpt: str, hostname: str) -> Event:
    run = RunNumber.of(headers)
    kind = type(error).__name__
    return Event(
        task_id=headers["id"], status=Status.FAILURE, at=time.time(), nesting=run.nesting, attempt=run.attempt, worker=hostname,
        message=f"its message cannot run ({kind}: {error}); its body is stored as the traceback",
        error_type=kind, error_message=str(error), traceback=body_excerpt, name=str(headers.get("task") or ""),
        result=json.dumps({"exc_type": kind, "exc_message": [str(error)], "exc_module": type(error).__module__}),
        queue=str(delivery.get("routing_key") or ""),
    )  # fmt: skip


def _context(message: Any, hostname: str) -> Context:
    """Return a Celery request for a message of an unknown task, as far as it can be read."""
    headers = dict(message.headers)
    stamp(headers, 0)
    try:
        args, kwargs, embed = message.payload
        headers.update(args=args, kwargs=kwargs, **(embed or {}))
    except Exception:  # whatever is wrong with the body, the task is unknown in the first place
        headers.update(args=[], kwargs={})
    return Context(headers, hostname=hostname, delivery_info=message.delivery_info, properties=message.properties)
