"""The settings of Celery's that a worker tells in its heartbeat, for the diagnosis: none of them is secret.

What is told is as odd as whoever writes it: a field that cannot be read is left out, and only that one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from zenith_worker.wire.compat import dataclass

#: The most entries of beat's schedule, and steps of priorities, that are told; and the characters of a name.
SCHEDULES_AT_MOST: Final = 50
STEPS_AT_MOST: Final = 256
NAME_AT_MOST: Final = 255
#: Greater than every valid number; also excludes NaN and infinities.
_BEYOND: Final = 2**53


class Schedule(NamedTuple):
    """An entry of beat's schedule: its interval in seconds, or its crontab's five fields in cron's order; else neither."""

    name: str
    task: str
    every: float | None
    crontab: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """A worker's settings. Times in seconds.

    Attributes:
        broker: the type of kombu's transport, such as redis or amqp.
        visibility_timeout, priority_steps: of Redis' transport.
        max_priority, queue_type: with which it declares queues of RabbitMQ.
        acks_late: whether tasks, or some of them, are acknowledged after they ran.
        time_limit, soft_time_limit: None if a task may run without one.
        prefetch_multiplier: 0 for no limit.
        result_expires: 0 for never; None without results.
        schedules: beat's, as this worker's code has it.
        timezone: in which beat reads crontabs.
        sent_events: whether its producers send an event for each task that they send; only observers tell.
    """

    broker: str = ""
    visibility_timeout: float | None = None
    priority_steps: tuple[int, ...] = ()
    max_priority: int | None = None
    queue_type: str = ""
    acks_late: bool = False
    time_limit: float | None = None
    soft_time_limit: float | None = None
    prefetch_multiplier: int | None = None
    result_expires: float | None = None
    schedules: tuple[Schedule, ...] = ()
    timezone: str = ""
    sent_events: bool | None = None


def as_json(settings: WorkerSettings) -> dict[str, Any]:
    """Return the settings as a JSON object, without those that are not set."""
    values = {name: getattr(settings, name) for name in _MEMBERS}
    # A server of an older release reads no crontabs.
    values["schedules"] = [entry if entry.crontab else entry[:3] for entry in settings.schedules]
    return {name: value for name, value in values.items() if value is not None and value not in ("", (), [])}


def read(value: Any) -> WorkerSettings:
    """Return the settings that a heartbeat tells. Raises TypeError if it is no object."""
    if type(value) is not dict:
        raise TypeError(f"{value!r:.50} is not an object")
    members = {}
    for name, check in _MEMBERS.items():
        if value.get(name) is not None:
            try:
                members[name] = check(value[name])
            except (TypeError, ValueError):
                continue
    return WorkerSettings(**members)


def _text(value: Any) -> str:
    if type(value) is not str or "\x00" in value or len(value) > NAME_AT_MOST:
        raise TypeError("not a text that can be stored")
    value.encode()
    return value


def _seconds(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < _BEYOND:
        raise TypeError("not a number of seconds")
    return float(value)


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < _BEYOND:
        raise TypeError("not a count")
    return value


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise TypeError("not a boolean")
    return value


def _steps(value: Any) -> tuple[int, ...]:
    if type(value) is not list or len(value) > STEPS_AT_MOST:
        raise TypeError("not a list of steps")
    return tuple(map(_count, value))


def _schedules(value: Any) -> tuple[Schedule, ...]:
    """Return the entries that can be read."""
    if type(value) is not list:
        raise TypeError("not a list of schedules")
    found = []
    for entry in value[:SCHEDULES_AT_MOST]:
        try:
            name, task, every, *crontab = entry
            found.append(Schedule(_text(name), _text(task), None if every is None else _seconds(every), *map(_text, crontab)))
        except (TypeError, ValueError):
            continue
    return tuple(found)


_MEMBERS: Final[dict[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(("broker", "queue_type", "timezone"), _text),
    **dict.fromkeys(("visibility_timeout", "time_limit", "soft_time_limit", "result_expires"), _seconds),
    **dict.fromkeys(("max_priority", "prefetch_multiplier"), _count),
    "priority_steps": _steps,
    **dict.fromkeys(("acks_late", "sent_events"), _flag),
    "schedules": _schedules,
}
