"""The engine's loop that evaluates the rules, opens notifications and records their end.

Each rule is evaluated under an advisory lock: one engine at a time reads, decides and writes, so none reopens what another has
just closed. If the lock ever failed, the constraint on open notifications would still admit only one of two.
"""

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from django.db import connection, transaction

from zenith_site.common.advisory_locks import AdvisoryLock, try_advisory_lock
from zenith_site.common.faults import isolate_faults
from zenith_site.common.live_updates import refresh_pages
from zenith_site.common.loops import repeat
from zenith_site.common.sql import statements
from zenith_site.notify import outbox
from zenith_site.notify.decisions import Alert, Evaluation
from zenith_site.notify.destinations import takers
from zenith_site.notify.kinds import NotificationKind
from zenith_site.notify.models import Notification
from zenith_site.notify.rules import Rule, rules
from zenith_worker.wire.debounce import Debounce

logger = logging.getLogger(__name__)

#: Seconds between two evaluations.
LOOK_EVERY: Final = 5.0
#: Seconds after the last evaluation beyond which nothing is known about the time in between.
LATE: Final = 20.0
#: Seconds without news after which an open notification is closed silently, such as that of a worker that never comes back.
FORGOTTEN_AFTER: Final = 24 * 3600.0
FORGOTTEN: Final = "There was no news of it for a day."

_SQL: Final = statements(__file__)
_REPORT: Final = _SQL["report_conditions"]
_RECOVER: Final = _SQL["recover"]
_FORGET: Final = _SQL["forget"]


class Watch:
    """Evaluates the rules, and remembers since when each condition holds; all other state is in PostgreSQL."""

    def __init__(self, watched: Sequence[Rule] | None = None) -> None:
        self._rules = rules() if watched is None else watched
        self._lasting = {rule.kind: Debounce(LATE) for rule in self._rules}

    def evaluate(self) -> None:
        """Evaluate every rule, even if one fails. Raises the first error that says that a server is unreachable."""
        errors: list[Exception] = []
        for rule in self._rules:
            try:
                with isolate_faults("notifications", f"the rule for {rule.kind}"):
                    self._evaluate(rule)
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _evaluate(self, rule: Rule) -> None:
        with try_advisory_lock(AdvisoryLock.NOTIFICATIONS + list(NotificationKind).index(rule.kind)) as acquired:
            if not acquired:
                return
            open_keys = frozenset(Notification.objects.filter(kind=rule.kind, recovered_at=None).values_list("key", flat=True))
            evaluation = rule.evaluate(open_keys)
            # Only the writes are in a transaction: one that includes the rule's reads would hold these tables for much longer.
            with transaction.atomic():
                changed = report(rule, Evaluation(self._lasted(rule, evaluation.holding, open_keys), evaluation.over))
        if changed:
            refresh_pages("notifications")

    def _lasted(self, rule: Rule, holding: Iterable[Alert], open_keys: frozenset[str]) -> list[Alert]:
        by_key = {condition.key: condition for condition in holding}
        seconds = {key: 0.0 if key in open_keys else rule.for_ for key in by_key}
        return [by_key[key] for key, _ in self._lasting[rule.kind].update(seconds.items())]


def run(stop: threading.Event) -> None:
    """Evaluate the rules until `stop` is set."""
    watch = Watch()
    repeat(stop, "notifications", watch.evaluate, every=LOOK_EVERY)


def report(rule: Rule, evaluation: Evaluation) -> bool:
    """Write the result of a rule, inside the open transaction; return whether a notification began or ended."""
    with connection.cursor() as cursor:
        opened = _opened(cursor, rule, evaluation.holding)
        outbox.tell_opened(cursor, _sent_to(rule, opened))
        recovered = _recovered(cursor, rule, evaluation.over)
        outbox.tell_recovered(cursor, recovered)
        forgotten = _ids(cursor, _FORGET, kind=rule.kind, recovery=FORGOTTEN, after=FORGOTTEN_AFTER)
        outbox.skip(cursor, forgotten)
    return bool(opened or recovered or forgotten)


class _Opened(NamedTuple):
    """A notification that was just opened."""

    id: int
    alert: Alert
    muted: bool


def _opened(cursor: Any, rule: Rule, holding: Sequence[Alert]) -> list[_Opened]:
    if not holding:
        return []
    by_key = {item.key[:255]: item for item in holding}
    rows = [
        (key, item.title[:300], item.body[:1000], item.link, item.count, item.severity or rule.severity)
        for key, item in by_key.items()
    ]
    names = ("keys", "titles", "bodies", "links", "counts", "severities")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    cursor.execute(_REPORT, {"kind": rule.kind, "gap": 3 * LOOK_EVERY, **columns})
    return [_Opened(id_, by_key[key], muted) for id_, key, is_new, muted in cursor.fetchall() if is_new]


def _sent_to(rule: Rule, opened: Sequence[_Opened]) -> list[tuple[int, str]]:
    """Return the new notifications with the keys of the channels that get them: those of the rule, or all that take it."""
    routed = {severity: takers(rule.kind, severity) for severity in {new.alert.severity or rule.severity for new in opened}}
    return [
        (new.id, key)
        for new in opened
        if not new.muted
        for key in (routed[new.alert.severity or rule.severity] if new.alert.channels is None else new.alert.channels)
    ]


def _recovered(cursor: Any, rule: Rule, over: Mapping[str, str]) -> list[int]:
    if not over:
        return []
    return _ids(
        cursor, _RECOVER, kind=rule.kind, keys=list(over), recoveries=list(over.values()), keep_firing_for=rule.keep_firing_for
    )


def _ids(cursor: Any, query: str, **parameters: Any) -> list[int]:
    cursor.execute(query, parameters)
    return [row[0] for row in cursor.fetchall()]
