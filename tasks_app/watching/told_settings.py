"""What a watched worker answers about its settings and its tasks (`inspect conf`, `inspect registered`), as far as rules need it.

An answer to `conf` holds everything that somebody has set, with passwords among it. Only what is read here is kept, and none of
that is secret. A setting that cannot be read is as if it was not told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from tasks_app.watching.translation import NAME_KEPT
from zenith_worker.wire import worker_settings
from zenith_worker.wire.worker_settings import SCHEDULES_AT_MOST, WorkerSettings

#: Names of tasks that a worker may have; of more, none is known.
TASKS_KEPT: Final = 5_000
#: What `inspect registered` is asked for.
OPTIONS: Final = ("rate_limit", "acks_late", "time_limit", "soft_time_limit")
#: kombu's defaults for Redis.
_VISIBILITY_TIMEOUT: Final = 3600
_PRIORITY_STEPS: Final = (0, 3, 6, 9)
#: Celery's tasks of its own.
_CELERYS: Final = "celery."
#: Characters of a task's name with its options.
_DESCRIPTION_KEPT: Final = 1_000
_TIMEDELTA: Final = re.compile(r"(?:(\d{1,9}) days?, )?(\d{1,2}):(\d{2}):(\d{2}(?:\.\d{1,6})?)")
_FREQUENCY: Final = re.compile(r"<freq: ([\d.]{1,20}) (second|minute|hour|day)s?>")
_SECONDS: Final = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_CRONTAB: Final = re.compile(r"<crontab: (.{9,400}) \(m/h/dM/MY/d\)>")
_SET: Final = re.compile(r"[{\[(]([^}\])]*)[}\])]")


class TaskOptions(NamedTuple):
    """The options of a task that a worker has; limits in seconds, None for none."""

    rate_limit: str = ""
    acks_late: bool | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None


class Told(NamedTuple):
    """What a worker has answered: its settings, and its own tasks by name, None if these are not known.

    `limits_rates`: whether it heeds rate limits at all.
    """

    settings: WorkerSettings
    tasks: Mapping[str, TaskOptions] | None
    limits_rates: bool = True

    def with_tasks(self, registered: Any) -> Told:
        """Return the same with what the worker answers now about its tasks, if it does."""
        return self if registered is None else self._replace(tasks=_tasks(registered, limits_rates=self.limits_rates))


def told(conf: Any, registered: Any, *, is_redis: bool) -> Told | None:
    """Return what a worker's answers tell; None if it did not tell its settings."""
    if not isinstance(conf, dict):
        return None
    limits_rates = not conf.get("worker_disable_rate_limits")
    tasks = _tasks(registered, limits_rates=limits_rates)
    return Told(worker_settings.read(_members(conf, tasks, is_redis=is_redis)), tasks, limits_rates)


def _members(conf: Mapping[str, Any], tasks: Mapping[str, TaskOptions] | None, *, is_redis: bool) -> dict[str, Any]:
    """Return the members of WorkerSettings, to be checked."""
    return {
        "broker": "redis" if is_redis else "amqp",
        **(_of_redis(_object(conf.get("broker_transport_options"))) if is_redis else _of_rabbitmq(conf)),
        "acks_late": bool(conf.get("task_acks_late")) or any(options.acks_late for options in (tasks or {}).values()),
        "time_limit": _limit(conf.get("task_time_limit"), [options.time_limit for options in (tasks or {}).values()]),
        "soft_time_limit": _limit(conf.get("task_soft_time_limit"), [one.soft_time_limit for one in (tasks or {}).values()]),
        "prefetch_multiplier": conf.get("worker_prefetch_multiplier"),
        "result_expires": _expires(conf),
        "schedules": list(_schedules(_object(conf.get("beat_schedule")))),
        "timezone": conf.get("timezone") or "UTC",
        "sent_events": conf.get("task_send_sent_event"),
    }


def _of_redis(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "visibility_timeout": options.get("visibility_timeout", _VISIBILITY_TIMEOUT),
        "priority_steps": options.get("priority_steps", list(_PRIORITY_STEPS)),
    }


def _of_rabbitmq(conf: Mapping[str, Any]) -> dict[str, Any]:
    """Return how workers declare queues, unless they declare some otherwise."""
    kind = conf.get("task_default_queue_type") or "classic"
    queues = conf.get("task_queues")
    declared = [_object(queue.get("queue_arguments")) for queue in queues or () if isinstance(queue, dict)] if queues else [{}]
    kinds = {str(arguments.get("x-queue-type", kind)) for arguments in declared}
    return {"max_priority": conf.get("task_queue_max_priority") or 0, "queue_type": kinds.pop() if len(kinds) == 1 else None}


def _limit(general: Any, own: Sequence[float | None]) -> float | None:
    """Return the longest time limit, if every task has one."""
    general = general if _is_number(general) and general else None
    limits = [limit or general for limit in own] or [general]
    known = [float(limit) for limit in limits if limit]
    return max(known) if len(known) == len(limits) else None


def _expires(conf: Mapping[str, Any]) -> float | None:
    """Return after how many seconds results are deleted, 0 for never; None without results."""
    backend = conf.get("result_backend")
    if not isinstance(backend, str) or backend.startswith("disabled"):
        return None
    expires = conf.get("result_expires")
    return 0.0 if expires is None else _interval(expires)


def _schedules(entries: Mapping[str, Any]) -> Iterator[list[Any]]:
    for name, entry in list(entries.items())[:SCHEDULES_AT_MOST]:
        if isinstance(entry, dict):
            yield [name, entry.get("task"), _interval(entry.get("schedule")), _crontab(entry.get("schedule"))]


def _interval(value: Any) -> float | None:
    """Return the seconds of an interval: a number, a timedelta's text, or the representation of Celery's schedule."""
    if _is_number(value):
        return float(value)
    text = value if isinstance(value, str) else ""
    if match := _TIMEDELTA.fullmatch(text):
        return int(match[1] or 0) * 86_400 + int(match[2]) * 3600 + int(match[3]) * 60 + float(match[4])
    if match := _FREQUENCY.fullmatch(text):
        try:
            return float(match[1]) * _SECONDS[match[2]]
        except ValueError:
            return None
    return None


def _crontab(value: Any) -> str:
    """Return a crontab's five fields in cron's order, by its representation; empty for what is none."""
    match = _CRONTAB.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return ""
    fields = _SET.sub(lambda found: found[1].replace(" ", "").replace("'", ""), match[1]).split()
    return " ".join(fields) if len(fields) == 5 else ""


def _tasks(registered: Any, *, limits_rates: bool) -> dict[str, TaskOptions] | None:
    if not isinstance(registered, list) or len(registered) > TASKS_KEPT:
        return None
    found = (_described(item) for item in registered if isinstance(item, str) and len(item) <= _DESCRIPTION_KEPT)
    return {
        name: options if limits_rates else options._replace(rate_limit="") for name, options in found
        if 1 <= len(name) <= NAME_KEPT and not name.startswith(_CELERYS)
    }  # fmt: skip


def _described(item: str) -> tuple[str, TaskOptions]:
    """Return a task's name and options by `name [option=value option=value]`; the name may hold brackets as well."""
    name, _, text = item.rpartition(" [")
    values = dict(pair.partition("=")[::2] for pair in text.removesuffix("]").split())
    if not name or not text.endswith("]") or not values.keys() <= set(OPTIONS):
        return item, TaskOptions()
    late = {"True": True, "False": False}.get(values.get("acks_late", ""))
    limits = _number(values.get("time_limit")), _number(values.get("soft_time_limit"))
    return name, TaskOptions(values.get("rate_limit", "")[:50], late, *limits)


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None and len(text) <= 20 else None
    except ValueError:
        return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
