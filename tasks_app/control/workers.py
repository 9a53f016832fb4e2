"""Celery's remote control: the one module that commands workers.

Each function commands one worker of an application (by default Zenith's own) and waits for its answer, at most `PATIENCE`
seconds, and some more if another worker passes the command on. A change lasts until the worker restarts: then pool size, limits
and queues are again those it was started with.

1. The worker's heartbeat tells whether the worker exists, whether it is alive, and what its pool can do. What cannot work
   is refused here, with the reason, and nothing is sent.
2. The command goes over the application's broker (kombu's pidbox) to that worker alone (remote.py). To one of a watched
   application, an observer sends it, as Celery's own command.
3. If the worker refuses, StateConflictError gives its reason. If it does not answer, WorkerSilentError is raised: a pool
   that runs tasks in the main process (solo) may be busy, and carry out the command later.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from celery.utils.time import rate

from tasks_app.control import remote
from tasks_app.control.queues import refuse_reserved
from tasks_app.control.remote import PATIENCE
from tasks_app.dispatch.create import MAX_TIME_LIMIT
from tasks_app.errors import WorkerSilentError, WorkerUnknownError
from tasks_app.models import Application
from zenith_site.common.errors import InvalidInputError, Problem, StateConflictError
from zenith_worker.wire import clearing
from zenith_worker.wire.applications import NATIVE_NAME
from zenith_worker.wire.clearing import Clearing
from zenith_worker.wire.control import STOP_CONSUMING
from zenith_worker.wire.heartbeat import DEAD_AFTER, WorkerBeat, read_all
from zenith_worker.wire.keys import NATIVE
from zenith_worker.wire.queue_names import why_malformed

#: The most slots that one request may add or remove, and that a worker may have.
MAX_STEP: Final = 100
MAX_SLOTS: Final = 1000
#: The longest time limit, in seconds.
MAX_LIMIT: Final = MAX_TIME_LIMIT
#: Characters shown of the reason why a worker refused.
MAX_REASON: Final = 500
#: Pools that can be resized while they run, and those that can be restarted.
_RESIZABLE: Final = frozenset({"prefork", "gevent", "eventlet"})
_RESTARTABLE: Final = frozenset({"prefork"})


@dataclass(frozen=True, slots=True)
class CommandReply:
    """A worker's answer, in its own words, and how many seconds it took."""

    worker: str
    answer: Any
    seconds: float


@dataclass(frozen=True, slots=True)
class _Worker:
    """A worker by its newest heartbeat, and its application's name in keys (NATIVE for Zenith's own)."""

    beat: WorkerBeat
    application: str


def ping(name: str, application: str = NATIVE_NAME) -> CommandReply:
    """Check that a worker answers."""
    return _tell(_alive(name, application), "ping")


def configurations(names: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return the Celery configuration of each of these own workers that answers in time. Celery itself leaves secrets out."""
    if not names:
        return {}
    answers = remote.ask(NATIVE, "conf", {"with_defaults": True}, names)
    return {name: conf for name, conf in answers.items() if isinstance(conf, dict)}


def grow(name: str, slots: int, application: str = NATIVE_NAME) -> CommandReply:
    """Add slots to a worker's pool."""
    return _resize(_alive(name, application), "pool_grow", slots)


def shrink(name: str, slots: int, application: str = NATIVE_NAME) -> CommandReply:
    """Remove slots from a worker's pool; a busy slot is removed once its task ends."""
    _check_range("/slots", slots, 1, MAX_STEP)
    worker = _alive(name, application)
    if slots >= _told(worker, "slots").slots:
        raise StateConflictError(
            f"{name} has {worker.beat.slots} slots, and at least one must remain. To stop its work, drain it."
        )
    return _resize(worker, "pool_shrink", slots)


def autoscale(name: str, minimum: int, maximum: int, application: str = NATIVE_NAME) -> CommandReply:
    """Change the bounds of a worker that was started with `--autoscale`."""
    _check_range("/minimum", minimum, 1, MAX_SLOTS)
    _check_range("/maximum", maximum, 1, MAX_SLOTS)
    if maximum < minimum:
        raise InvalidInputError(Problem("/maximum", "must not be smaller than minimum"))
    worker = _alive(name, application)
    if _told(worker, "slots").autoscale is None:
        raise StateConflictError(f"{name} was started without --autoscale and cannot scale by itself; grow or shrink it.")
    return _tell(worker, "autoscale", max=maximum, min=minimum)


def add_queue(name: str, queue: str, application: str = NATIVE_NAME) -> CommandReply:
    """Make a worker consume one more queue."""
    _check_queue(queue)
    if application == NATIVE_NAME:
        refuse_reserved(queue)
    return _tell(_alive(name, application), "add_consumer", queue=queue)


def cancel_queue(name: str, queue: str, application: str = NATIVE_NAME) -> CommandReply:
    """Make a worker stop consuming a queue; tasks that it has reserved still run."""
    _check_queue(queue)
    worker = _alive(name, application)
    beat = _told(worker, "queues")
    if queue not in {*beat.queues, *beat.withheld}:
        consumed = ", ".join((*beat.queues, *beat.withheld)) or "none"
        raise StateConflictError(f"{name} does not consume the queue {queue!r}; it consumes: {consumed}.")
    return _tell(worker, STOP_CONSUMING, queues=[queue])


def drain(name: str, application: str = NATIVE_NAME) -> CommandReply:
    """Make a worker stop consuming all queues. It keeps running and finishes its tasks; `/add-queue` brings it back.

    Returns at once; the worker is drained once its heartbeat reports no tasks.
    """
    worker = _alive(name, application)
    if not worker.beat.watched:
        return _tell(worker, STOP_CONSUMING)
    # Celery itself has no command for all queues.
    return _tell(worker, STOP_CONSUMING, queues=list(_told(worker, "queues").queues))


def limit_time(name: str, task: str, soft: float | None, hard: float | None, application: str = NATIVE_NAME) -> CommandReply:
    """Set a task's time limits, in seconds, on a worker; None removes the limit.

    A limit in a task's message takes precedence.
    """
    for pointer, seconds in (("/soft", soft), ("/hard", hard)):
        if seconds is not None:
            _check_range(pointer, seconds, 1, MAX_LIMIT)
    if soft is not None and hard is not None and soft >= hard:
        raise InvalidInputError(Problem("/soft", "must be shorter than hard"))
    return _tell(_alive(name, application), "time_limit", task_name=task, soft=soft, hard=hard)


def limit_rate(name: str, task: str, limit: str, application: str = NATIVE_NAME) -> CommandReply:
    """Limit how often a worker starts a task, such as `10/m`; `0` removes the limit."""
    try:
        invalid = rate(limit) < 0
    except (ValueError, KeyError, ZeroDivisionError, OverflowError):
        invalid = True
    if invalid:
        raise InvalidInputError(Problem("/rate", "must be a number of tasks per second, minute or hour: 5/s, 100/m, 2/h; or 0"))
    return _tell(_alive(name, application), "rate_limit", task_name=task, rate_limit=limit)


def restart_pool(name: str, application: str = NATIVE_NAME) -> CommandReply:
    """Replace the processes of a worker's pool, each once its task ends. Celery refuses it without `worker_pool_restarts`."""
    worker = _alive(name, application)
    if _told(worker, "slots").pool not in _RESTARTABLE:
        raise StateConflictError(f"The pool of {name} ({worker.beat.pool or 'unknown'}) cannot be restarted; only prefork can.")
    return _tell(worker, "pool_restart")


def clear(name: str, by: str) -> None:
    """Remove a lost worker from the list; `by` names who asked, for people to read.

    Raises StateConflictError if the worker is alive, or its tasks have not been returned to their queues yet.
    """
    match clearing.clear(name, by):
        case Clearing.UNKNOWN:
            raise WorkerUnknownError(name)
        case Clearing.BEATING:
            raise StateConflictError(
                f"{name} sent a heartbeat within the last {DEAD_AFTER:.0f} s; only a lost worker can be cleared."
            )
        case Clearing.HOLDING:
            raise StateConflictError(
                f"The tasks that {name} held have not been returned to their queues yet; an engine does that within seconds."
            )


def clear_all(by: str) -> tuple[list[str], list[str]]:
    """Clear every lost worker; return the names of those cleared, and of those that still hold tasks."""
    outcomes = {beat.name: clearing.clear(beat.name, by) for beat in read_all() if beat.dead}
    cleared = [name for name, outcome in outcomes.items() if outcome is Clearing.CLEARED]
    holding = [name for name, outcome in outcomes.items() if outcome is Clearing.HOLDING]
    return cleared, holding


def shut_down(name: str, application: str = NATIVE_NAME) -> None:
    """Stop a worker as SIGTERM does: it takes no more messages, and exits once its tasks end or are handed back.

    A worker does not answer a shutdown; it disappears from the list when it has stopped. So it is pinged first: a worker
    that has only just started may not listen yet, and a command that it misses is lost. The command is sent even if the
    ping is not answered, since a solo pool reads it after its task. Raises WorkerSilentError as the others do.
    """
    worker = _alive(name, application)
    try:
        _tell(worker, "ping")
    except WorkerSilentError:
        remote.shut_down(worker.application, name, watched=worker.beat.watched)
        raise
    remote.shut_down(worker.application, name, watched=worker.beat.watched)


def _resize(worker: _Worker, command: str, slots: int) -> CommandReply:
    _check_range("/slots", slots, 1, MAX_STEP)
    beat = _told(worker, "slots")
    if beat.pool not in _RESIZABLE:
        raise StateConflictError(f"The pool of {beat.name} ({beat.pool or 'unknown'}) has a fixed size.")
    if beat.autoscale is not None:
        raise StateConflictError(f"{beat.name} scales by itself; change its bounds with autoscale.")
    if command == "pool_grow" and beat.slots + slots > MAX_SLOTS:
        raise StateConflictError(f"{beat.name} has {beat.slots} slots; the maximum is {MAX_SLOTS:,}.")
    return _tell(worker, command, n=slots)


def _alive(name: str, application: str) -> _Worker:
    """Return a worker that can be told something. Raises WorkerUnknownError, StateConflictError or redis.RedisError."""
    worker = _find(name, application)
    reason = "" if worker.application == NATIVE else remote.why_not(worker.beat, application)
    # If nobody listens, nobody renews the heartbeats of watched workers either.
    if reason and worker.beat.watched:
        raise StateConflictError(reason)
    if not worker.beat.online:
        raise StateConflictError(
            f"{name} has sent no heartbeat for {worker.beat.heartbeat_age:.0f} s; it has died or lost its connection."
        )
    if reason:
        raise StateConflictError(reason)
    return worker


def _told(worker: _Worker, field: str) -> WorkerBeat:
    """Return the heartbeat of a worker that has told a field of it, and what it tells together with that.

    Raises StateConflictError for a watched one that has not.
    """
    if field in worker.beat.unknown:
        raise StateConflictError(
            f"{worker.beat.name} has not told its {field} yet. Zenith asks it every 15 s; a worker without remote control"
            " (worker_enable_remote_control) never answers."
        )
    return worker.beat


def _find(name: str, application: str) -> _Worker:
    row = Application.named(application)
    for beat in read_all(row.key_name) if row else ():
        if row and beat.name == name:
            return _Worker(beat, row.key_name)
    raise WorkerUnknownError(name)


def _tell(worker: _Worker, command: str, **arguments: Any) -> CommandReply:
    """Send a command and return the answer.

    Raises WorkerSilentError, StateConflictError with the worker's reason, or as remote.ask.
    """
    name, began = worker.beat.name, time.monotonic()
    answer = remote.ask(worker.application, command, arguments, [name], watched=worker.beat.watched).get(name)
    if answer is None:
        raise WorkerSilentError(name, PATIENCE, is_busy=worker.beat.pool == "solo" and worker.beat.busy > 0)
    if isinstance(answer, dict) and "error" in answer:
        raise StateConflictError(f"{name} refused: {str(answer['error'])[:MAX_REASON]}")
    return CommandReply(name, answer.get("ok", answer) if isinstance(answer, dict) else answer, time.monotonic() - began)


def _check_range(pointer: str, value: float, lowest: float, highest: float) -> None:
    if not lowest <= value <= highest:
        raise InvalidInputError(Problem(pointer, f"must be between {lowest:,} and {highest:,}"))


def _check_queue(queue: str) -> None:
    if reason := why_malformed(queue):
        raise InvalidInputError(Problem("/queue", reason))
