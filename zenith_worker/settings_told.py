"""What a worker tells of its settings (wire/worker_settings.py), read once from its Celery app."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final

from celery import Celery
from celery.schedules import crontab

from zenith_worker.wire.worker_settings import NAME_AT_MOST, SCHEDULES_AT_MOST, Schedule, WorkerSettings

logger = logging.getLogger(__name__)

#: kombu's defaults for Redis.
VISIBILITY_TIMEOUT: Final = 3600.0
PRIORITY_STEPS: Final = (0, 3, 6, 9)


@lru_cache(maxsize=1)
def settings_of(app: Celery) -> WorkerSettings | None:
    """Return an app's settings; None if they cannot be read, which is nobody's fault who runs tasks."""
    try:
        return _settings(app)
    except Exception:
        logger.debug("The settings cannot be told", exc_info=True)
        return None


def _settings(app: Celery) -> WorkerSettings:
    conf = app.conf
    broker = str(app.connection_for_read().get_transport_cls().driver_type)
    options = conf.broker_transport_options or {}
    is_redis = broker == "redis"
    return WorkerSettings(
        broker=broker,
        visibility_timeout=float(options.get("visibility_timeout", VISIBILITY_TIMEOUT)) if is_redis else None,
        priority_steps=tuple(options.get("priority_steps", PRIORITY_STEPS)) if is_redis else (),
        max_priority=None if is_redis else int(conf.task_queue_max_priority or 0),
        queue_type="" if is_redis else str(conf.get("task_default_queue_type") or "classic"),
        acks_late=bool(conf.task_acks_late) or any(task.acks_late for task in _own_tasks(app)),
        time_limit=_limit(app, "time_limit"),
        soft_time_limit=_limit(app, "soft_time_limit"),
        prefetch_multiplier=conf.worker_prefetch_multiplier,
        result_expires=_expires(conf) if conf.result_backend else None,
        schedules=tuple(_schedules(conf)),
        timezone=str(app.timezone),
    )


def _own_tasks(app: Celery) -> Iterator[Any]:
    for name, task in list(app.tasks.items()):
        if not name.startswith("celery."):
            yield task


def _limit(app: Celery, name: str) -> float | None:
    """Return the longest time limit, if every task has one."""
    general = app.conf[f"task_{name}"]
    limits = [getattr(task, name, None) or general for task in _own_tasks(app)]
    if not limits:
        return float(general) if general else None
    return float(max(limits)) if all(limits) else None


def _expires(conf: Any) -> float:
    expires = conf.result_expires
    return expires.total_seconds() if isinstance(expires, timedelta) else float(expires or 0)


def _schedules(conf: Any) -> Iterator[Schedule]:
    for name, entry in list((conf.beat_schedule or {}).items())[:SCHEDULES_AT_MOST]:
        task, every = entry.get("task"), entry.get("schedule")
        if isinstance(task, str) and len(task) <= NAME_AT_MOST:
            yield Schedule(str(name)[:NAME_AT_MOST], task, _interval(every), _crontab(every))


def _interval(every: Any) -> float | None:
    """Return the seconds of an interval, which may be a number, a timedelta or Celery's schedule; None for a crontab."""
    every = getattr(every, "run_every", every)
    if isinstance(every, timedelta):
        return every.total_seconds()
    return float(every) if isinstance(every, (int, float)) else None


def _crontab(every: Any) -> str:
    """Return a crontab's five fields in cron's order; empty for what is none."""
    if not isinstance(every, crontab):
        return ""
    fields = (every._orig_minute, every._orig_hour, every._orig_day_of_month, every._orig_month_of_year, every._orig_day_of_week)
    text = " ".join(map(_field, fields))
    return text if len(text) <= NAME_AT_MOST else ""


def _field(value: Any) -> str:
    """Return a crontab's field, which may be a number, a text or a set of numbers."""
    return "".join(str(value).split()) if isinstance(value, (int, str)) else ",".join(map(str, sorted(value)))
