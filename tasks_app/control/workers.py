"""Celery's remote control: the one module that tells workers what to do.

Each verb asks one worker and waits for its answer, `PATIENCE` at most. What a worker is told holds for
its present run: pool size, limits and queues are what it was started with again once it starts anew.

1. The worker's heartbeat says whether there is such a worker, whether it is alive, and what its pool can do:
   what cannot work is refused here, with the reason, and nothing is sent.
2. The command goes over the broker (kombu's pidbox) to that worker alone.
3. An answer that says no is refused likewise; no answer at all is WorkerSilentError: the worker may be busy in a
   pool that runs tasks in the main process (solo), and do it later.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from celery.utils.time import rate

from tasks_app.control.queues import refuse_reserved
from tasks_app.errors import WorkerSilentError, WorkerUnknownError
from zenith_site.common.application import celery_app
from zenith_site.common.errors import InvalidInputError, Problem, StateConflictError
from zenith_worker.wire import clearing
from zenith_worker.wire.clearing import Clearing
from zenith_worker.wire.control import STOP_CONSUMING
from zenith_worker.wire.heartbeat import DEAD_AFTER, WorkerBeat, read_all
from zenith_worker.wire.queue_names import why_malformed

#: Seconds that a worker has to answer.
PATIENCE: Final = 2.0
#: Slots that one request may add or take away, and that a worker may be given.
MAX_STEP: Final = 100
MAX_SLOTS: Final = 1000
#: Seconds that a time limit may have.
MAX_LIMIT: Final = 5 * 3600
#: Pools that can grow and shrink while they run, be restarted, and scale by themselves.
_RESIZABLE: Final = frozenset({"prefork", "gevent", "eventlet"})
_RESTARTABLE: Final = frozenset({"prefork"})


@dataclass(frozen=True, slots=True)
class CommandReply:
    """A worker's answer: its own words, and the seconds it took."""

    worker: str
    answer: Any
    seconds: float


def find(name: str) -> WorkerBeat:
    """Return the worker of this name. Raises WorkerUnknownError or redis.RedisError."""
    for beat in read_all():
        if beat.name == name:
            return beat
    raise WorkerUnknownError(name)


def ping(name: str) -> CommandReply:
    """Ask whether it answers."""
    return _tell(_alive(name), "ping")


def configurations(names: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return the configuration of each of these workers that answers in time, secrets left out by Celery itself."""
    if not names:
        return {}
    answers = _ask("conf", {"with_defaults": True}, names)
    return {name: conf for name, conf in answers.items() if isinstance(conf, dict)}


def grow(name: str, slots: int) -> CommandReply:
    """Add slots to its pool."""
    return _resize(name, "pool_grow", slots)


def shrink(name: str, slots: int) -> CommandReply:
    """Take slots from its pool; a busy one goes once its task is over."""
    _check_range("/slots", slots, 1, MAX_STEP)
    beat = _alive(name)
    if slots >= beat.slots:
        raise StateConflictError(f"{name} has {beat.slots} slots: at least one has to stay. Drain it to stop its work.")
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
    """Have it take messages from one more queue."""
    _check_queue(queue)
    refuse_reserved(queue)
    return _tell(_alive(name), "add_consumer", queue=queue)


def cancel_queue(name: str, queue: str) -> CommandReply:
    """Have it take no more messages from a queue; what it has reserved runs."""
    _check_queue(queue)
    beat = _alive(name)
    if queue not in {*beat.queues, *beat.withheld}:
        consumed = ", ".join((*beat.queues, *beat.withheld)) or "none"
        raise StateConflictError(f"{name} does not consume the queue {queue!r}; it consumes: {consumed}.")
    return _tell(beat, STOP_CONSUMING, queues=[queue])


def drain(name: str) -> CommandReply:
    """Have it take no more messages at all. It stays, finishes what it has, and `/add-queue` brings it back.

    Returns at once; the worker is drained when its heartbeat holds no task any more.
    """
    return _tell(_alive(name), STOP_CONSUMING)


def limit_time(name: str, task: str, soft: float | None, hard: float | None) -> CommandReply:
    """Set a task's time limits, in seconds, on this worker; None lifts one.

    A limit that a message brings along counts more.
    """
    for pointer, seconds in (("/soft", soft), ("/hard", hard)):
        if seconds is not None:
            _check_range(pointer, seconds, 1, MAX_LIMIT)
    if soft is not None and hard is not None and soft >= hard:
        raise InvalidInputError(Problem("/soft", "must be shorter than hard"))
    return _tell(_alive(name), "time_limit", task_name=task, soft=soft, hard=hard)


def limit_rate(name: str, task: str, limit: str) -> CommandReply:
    """Set how often this worker starts a task, such as `10/m`; `0` lifts the limit."""
    try:
        wrong = rate(limit) < 0
    except (ValueError, KeyError, ZeroDivisionError, OverflowError):
        wrong = True
    if wrong:
        raise InvalidInputError(Problem("/rate", "must be a number of tasks per second, minute or hour: 5/s, 100/m, 2/h; or 0"))
    return _tell(_alive(name), "rate_limit", task_name=task, rate_limit=limit)


def restart_pool(name: str) -> CommandReply:
    """Replace the processes of its pool by new ones, each once its task is over."""
    beat = _alive(name)
    if beat.pool not in _RESTARTABLE:
        raise StateConflictError(f"The pool of {name} ({beat.pool or 'unknown'}) cannot be restarted; only prefork can.")
    return _tell(beat, "pool_restart")


def clear(name: str, by: str) -> None:
    """Take a worker that is gone off the list; `by` is who asks, for people to read.

    Raises StateConflictError where it is not dead, or its tasks were not given to others yet.
    """
    match clearing.clear(name, by):
        case Clearing.UNKNOWN:
            raise WorkerUnknownError(name)
        case Clearing.BEATING:
            raise StateConflictError(f"{name} was heard of within {DEAD_AFTER:.0f} s; only a worker that is gone is cleared.")
        case Clearing.HOLDING:
            raise StateConflictError(f"Tasks that {name} had taken were not given back yet; that takes an engine some seconds.")


def clear_all(by: str) -> tuple[list[str], list[str]]:
    """Clear every worker that is gone; return the names of those cleared, and of those that hold tasks still."""
    outcomes = {beat.name: clearing.clear(beat.name, by) for beat in read_all() if beat.dead}
    cleared, holding = ([name for name, seen in outcomes.items() if seen is one] for one in (Clearing.CLEARED, Clearing.HOLDING))
    return cleared, holding


def shut_down(name: str) -> None:
    """Have it stop as by SIGTERM: it takes nothing more and ends when its tasks have, or hands them back.

    A worker that stops does not answer; it is gone from the list when it has. So it is asked first whether it
    answers at all: one that has only just begun to beat may not listen yet, and what it does not hear is lost.
    It is told in any case: a solo pool hears it after its task. Raises WorkerSilentError as the others do.
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
        raise StateConflictError(f"{name} has {beat.slots} slots; it may have {MAX_SLOTS:,} at most.")
    return _tell(beat, command, n=slots)


def _alive(name: str) -> WorkerBeat:
    beat = find(name)
    if not beat.online:
        raise StateConflictError(f"{name} has not been heard of for {beat.heartbeat_age:.0f} s; it is dead or cut off.")
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
    """Send a command to these workers; return the answers that come in time, by the worker's name.

    Over a connection of its own: kombu waits for answers on one that it keeps, and where that died while it was idle
    (Redis was restarted) it fails after the command was sent, which must not be sent twice.
    """
    with celery_app().connection_for_write() as connection:
        answers = celery_app().control.broadcast(
            command, arguments, destination=list(names), reply=True, timeout=PATIENCE, limit=len(names), connection=connection
        )
    return {name: said for answer in answers or () for name, said in answer.items()}


def _check_range(pointer: str, value: float, lowest: float, highest: float) -> None:
    if not lowest <= value <= highest:
        raise InvalidInputError(Problem(pointer, f"must lie between {lowest:,} and {highest:,}"))


def _check_queue(queue: str) -> None:
    if reason := why_malformed(queue):
        raise InvalidInputError(Problem("/queue", reason))
