"""What the notification rules that people make count: failures, shares of failures, depths of queues, and silent workers."""

import math
import re
from collections.abc import Collection
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Final

from django.conf import settings
from django.db import connection

from tasks_app.models import Application
from tasks_app.models.application import NATIVE_ID
from tasks_app.search.conditions import like_pattern
from tasks_app.watching import observer_state
from zenith_site.common.sql import statements
from zenith_site.notify.measures import Point
from zenith_site.notify.models import NotificationRule
from zenith_worker.wire import clearing
from zenith_worker.wire.applications import NATIVE_NAME
from zenith_worker.wire.heartbeat import read_several

#: Between an application's name and a worker's, in the key of a worker.
OF: Final = "/"
#: The longest key of a worker, beside a rule's number: longer names are cut, as the key of a notification is.
_LONGEST: Final = 230

_SQL: Final = statements(__file__)


def failures(rule: NotificationRule, since: datetime) -> list[Point]:
    """Return how many tasks failed for good, minute by minute."""
    return _points("rule_failures", rule, since)


def shares(rule: NotificationRule, since: datetime) -> list[Point]:
    """Return how many tasks failed, and how many succeeded or failed, minute by minute."""
    return _points("rule_shares", rule, since)


def depths(rule: NotificationRule, since: datetime) -> list[Point]:
    """Return how many messages waited in the queues of a rule, in each minute that has a sample."""
    return _points("rule_depths", rule, since)


def worker_ages(rule: NotificationRule, most: int) -> dict[str, float]:
    """Return the seconds since the heartbeats of the workers of a rule, by key; of silent ones the first `most`.

    Raises django.db.Error or redis.RedisError.
    """
    rows = {row.key_name: row for row in Application.objects.order_by("id") if rule.application in ("", row.name)}
    ages: dict[str, float] = {}
    for key_name, beats in read_several(rows).items():
        row = rows[key_name]
        silent_since = _heard_since(row)
        for beat in beats:
            is_meant = fnmatchcase(beat.name, _literal_brackets(rule.worker or "*"))
            if is_meant and (beat.heartbeat_age < settings.ZENITH_NOTIFY_WORKER_GONE or beat.heartbeat_age >= silent_since):
                ages[f"{row.name}{OF}{beat.name}"[:_LONGEST]] = beat.heartbeat_age
    silent = sorted(key for key, age in ages.items() if age >= settings.ZENITH_NOTIFY_WORKER_GONE)
    return {key: age for key, age in ages.items() if key not in set(silent[most:])}


def _heard_since(row: Application) -> float:
    """Return the seconds of silence from which on a worker is known to be gone; infinite if nobody would have heard it.

    What workers of a watched application say is heard by its observer only, whose own end shows after a while.
    """
    if not row.is_watched:
        return 0.0
    state = observer_state.read(row.name)
    gone = settings.ZENITH_NOTIFY_WORKER_GONE
    if state is None or not state.listens or observer_state.now() - state.since < gone:
        return math.inf
    return float(gone + observer_state.KEPT)


def cleared_workers(keys: Collection[str]) -> dict[str, str]:
    """Return who cleared these workers of Zenith's own from the list, by key. Raises redis.RedisError."""
    own = {worker_name(key): key for key in keys if key.startswith(f"{NATIVE_NAME}{OF}")}
    return {own[name]: by for name, by in clearing.cleared_by(own).items()}


def worker_name(key: str) -> str:
    """Return the name in the key of a worker."""
    return key.partition(OF)[2]


def _points(statement: str, rule: NotificationRule, since: datetime) -> list[Point]:
    with connection.cursor() as cursor:
        cursor.execute(_SQL[statement], {"since": since, **_filters(rule)})
        return [Point(*map(int, row)) for row in cursor.fetchall()]


def _filters(rule: NotificationRule) -> dict[str, Any]:
    """Return the filters of a rule for its statement; NULL does not narrow it down."""
    application = None
    if rule.application:
        # An application that was removed has nothing.
        row = Application.named(rule.application)
        application = 0 if row is None else row.pk or NATIVE_ID
    return {
        **{name: like_pattern(getattr(rule, name)) or None for name in ("task", "queue", "error_type")},
        "fingerprint": rule.fingerprint or None, "application": application,
    }  # fmt: skip


def _literal_brackets(pattern: str) -> str:
    """Return a pattern for fnmatch in which only `*` is special."""
    return re.sub(r"([\[?])", r"[\1]", pattern)
