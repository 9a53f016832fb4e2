"""Celery's remote control: the one module that commands workers.

Each function commands one worker and waits for its answer, at most `PATIENCE` seconds. A change lasts until the worker
restarts: then pool size, limits and queues are again those it was started with.

1. The worker's heartbeat tells whether the worker exists, whether it is alive, and what its pool can do. What cannot work
   is refused here, with the reason, and nothing is sent.
2. The command goes over the broker (kombu's pidbox) to that worker alone.
3. If the worker refuses, StateConflictError gives its reason. If it does not answer, WorkerSilentError is raised: a pool
   that runs tasks in the main process (solo) may be busy, and carry out the command later.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from celery.utils.time import rate

from tasks_app.control.queues import refuse_reserved
from tasks_app.dispatch.create import MAX_TIME_LIMIT
from tasks_app.errors import WorkerSilentError, WorkerUnknownError
from zenith_site.common.application import celery_app
from zenith_site.common.errors import InvalidInputError, Problem, StateConflictError
from zenith_worker.wire import clearing
from zenith_worker.wire.clearing import Clearing
from zenith_worker.wire.control import STOP_CONSUMING
from zenith_worker.wire.heartbeat import DEAD_AFTER, WorkerBeat, read_all
from zenith_worker.wire.queue_names import why_malformed

#: Seconds within which a worker must answer.
PATIENCE: Final = 2.0
#: The most slots that one request may add or remove, and that a worker may have.
MAX_STEP: Final = 100
MAX_SLOTS: Final = 1000
#: The longest time limit, in seconds.
MAX_LIMIT: Final = MAX_TIME_LIMIT
#: Pools that can be resized while they run, and those that can be restarted.
_RESIZABLE: Final = frozenset({"prefork", "gevent", "eventlet"})
_RESTARTABLE: Final = frozenset({"prefork"})


@dataclass(frozen=True, slots=True)
class CommandReply:
    """A worker's answer, in its own words, and how many seconds it took."""

    worker: str
    answer: Any
    seconds: float


def find(name: str) -> WorkerBeat:
    """Return the worker with this name. Raises WorkerUnknownError or redis.RedisError."""
    for beat in read_all():
        if beat.name == name:
            return beat
    raise WorkerUnknownError(name)


def ping(name: str) -> CommandReply:
    """Check that a worker answers."""
    return _tell(_alive(name), "ping")


def configurations(names: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return the Celery configuration of each of these workers that answers in time. Celery itself leaves secrets out."""
    if not names:
        return {}
    answers = _ask("conf", {"with_defaults": True}, names)
    return {name: conf for name, conf in answers.items() if isinstance(conf, dict)}


def grow(name: str, slots: int) -> CommandReply:
    """Add slots to a worker's pool."""
    return _resize(name, "pool_grow", slots)


def shrink(name: str, slots: int) -> CommandReply:
    """Remove slots from a worker's pool; a busy slot is removed once its task ends."""
    _check_range("/slots", slots, 1, MAX_STEP)
    beat = _alive(name)
    if slots >= beat.slots:
        raise StateConflictError(f"{name} has {beat.slots} slots, and at least one must remain. To stop its work, drain it.")
    return _resize(name, "pool_shrink", slots)


def autoscale(name: str, minimum: int, maximum: int) -> CommandReply:
    """Change the bounds of a worker that was started with `--autoscale`."""
    _check_range("/minimum", minimum, 1, MAX_SLOTS)
    _check_range("/maximum", maximum, 1, MAX_SLOTS)
    if maximum < minimum:
        raise InvalidInputError(Problem("/maximum", "must not be smaller than minimum"))
    beat = _alive(name)
    if beat.autoscale is None:
        raise StateConflictError(f"{name} was started without --autoscale and cannot scale by itself; grow or shrink it.")
    return _tell(beat, "autoscale", max=maximum, min=minimum)


def add_queue(name: str, queue: str) -> CommandReply:
    """Make a worker consume one more queue."""
    _check_queue(queue)
    refuse_reserved(queue)
    return _tell(_alive(name), "add_consumer", queue=queue)


def cancel_queue(name: str, queue: str) -> CommandReply:
    """Make a worker stop consuming a queue; tasks that it has reserved still run."""
    _check_queue(queue)
    beat = _alive(name)
    if queue not in {*beat.queues, *beat.withheld}:
        consumed = ", ".join((*beat.queues, *beat.withheld)) or "none"
        raise StateConflictError(f"{name} does not consume the queue {queue!r}; it consumes: {consumed}.")
    return _tell(beat, STOP_CONSUMING, queues=[queue])


def drain(name: str) -> CommandReply:
    """Make a worker stop consuming all queues. It keeps running and finishes its tasks; `/add-queue` brings it back.

    Returns at once; the worker is drained once its heartbeat reports no tasks.
    """
    return _tell(_alive(name), STOP_CONSUMING)


def limit_time(name: str, task: str, soft: float | None, hard: float | None) -> CommandReply:
    """Set a task's time limits, in seconds, on a worker; None removes the limit.

    A limit in a task's message takes precedence.
    """
    for pointer, seconds in (("/soft", soft), ("/hard", hard)):
        if seconds is not None:
            _check_range(pointer, seconds, 1, MAX_LIMIT)
    if soft is not None and hard is not None and soft >= hard:
        raise InvalidInputError(Problem("/soft", "must be shorter than hard"))
    return _tell(_alive(name), "time_limit", task_name=task, soft=soft, hard=hard)


def limit_rate(name: str, task: str, limit: str) -> CommandReply:
    """Limit how often a worker starts a task, such as `10/m`; `0` removes the limit."""
    try:
        invalid = rate(limit) < 0
    except (ValueError, KeyError, ZeroDivisionError, OverflowError):
        invalid = True
    if invalid:
        raise InvalidInputError(Problem("/rate", "must be a number of tasks per second, minute or hour: 5/s, 100/m, 2/h; or 0"))
    return _tell(_alive(name), "rate_limit", task_name=task, rate_limit=limit)


def restart_pool(name: str) -> CommandReply:
    """Replace the processes of a worker's pool, each once its task ends."""
    beat = _alive(name)
    if beat.pool not in _RESTARTABLE:
        raise StateConflictError(f"The pool of {name} ({beat.pool or 'unknown'}) cannot be restarted; only prefork can.")
    return _tell(beat, "pool_restart")


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


def shut_down(name: str) -> None:
    """Stop a worker as SIGTERM does: it takes no more messages, and exits once its tasks end or are handed back.

    A worker does not answer a shutdown; it disappears from the list when it has stopped. So it is pinged first: a worker
    that has only just started may not listen yet, and a command that it misses is lost. The command is sent even if the
    ping fails, since a solo pool reads it after its task. Raises WorkerSilentError as the others do.
    """
    beat = _alive(name)
    try:
        _tell(beat, "ping")
    finally:
        celery_app().control.broadcast("shutdown", destination=[beat.name])


def _resize(name: str, command: str, slots: int) -> CommandReply:
    _check_range("/slots", slots, 1, MAX_STEP)
    beat = _alive(name)
    if beat.pool not in _RESIZABLE:
        raise StateConflictError(f"The pool of {name} ({beat.pool or 'unknown'}) has a fixed size.")
    if beat.autoscale is not None:
        raise StateConflictError(f"{name} scales by itself; change its bounds with autoscale.")
    if command == "pool_grow" and beat.slots + slots > MAX_SLOTS:
        raise StateConflictError(f"{name} has {beat.slots} slots; the maximum is {MAX_SLOTS:,}.")
    return _tell(beat, command, n=slots)


def _alive(name: str) -> WorkerBeat:
    beat = find(name)
    if not beat.online:
        raise StateConflictError(
            f"{name} has sent no heartbeat for {beat.heartbeat_age:.0f} s; it has died or lost its connection."
        )
    return beat


def _tell(beat: WorkerBeat, command: str, **arguments: Any) -> CommandReply:
    """Send a command and return the answer.

    Raises WorkerSilentError, StateConflictError with the worker's reason, or kombu's OperationalError.
    """
    began = time.monotonic()
    answer = _ask(command, arguments, [beat.name]).get(beat.name)
    if answer is None:
        raise WorkerSilentError(beat.name, PATIENCE)
    if isinstance(answer, dict) and "error" in answer:
        raise StateConflictError(f"{beat.name} refused: {answer['error']}")
    return CommandReply(beat.name, answer.get("ok", answer) if isinstance(answer, dict) else answer, time.monotonic() - began)


def _ask(command: str, arguments: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Send a command to these workers; return the answers that arrive in time, by the worker's name.

    It uses a connection of its own. kombu would wait for answers on a pooled one; if that died while idle (Redis was
    restarted), kombu fails after sending the command, which must not be sent twice.
    """
    with celery_app().connection_for_write() as connection:
        answers = celery_app().control.broadcast(
            command, arguments, destination=list(names), reply=True, timeout=PATIENCE, limit=len(names), connection=connection
        )
    return {name: reply for answer in answers or () for name, reply in answer.items()}


def _check_range(pointer: str, value: float, lowest: float, highest: float) -> None:
    if not lowest <= value <= highest:
        raise InvalidInputError(Problem(pointer, f"must be between {lowest:,} and {highest:,}"))


def _check_queue(queue: str) -> None:
    if reason := why_malformed(queue):
        raise InvalidInputError(Problem("/queue", reason))
