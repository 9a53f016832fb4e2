"""Evaluates the rules that people made, for the engine's part `notifications`, and says when one would have fired.

1. A rule is read again after a fiftieth of its window, between LOOK_EVERY and a minute; until then its last result counts.
2. Each reading has a time limit in PostgreSQL, and all readings of one pass together have BUDGET; the rules that do not fit come
   first in the next pass.
3. A rule that fails is skipped, and the fault is recorded. A muted rule opens nothing.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from django.db import OperationalError, connection, transaction
from django.utils import timezone
from psycopg.errors import QueryCanceled

from zenith_site.common.faults import isolate_faults
from zenith_site.common.site_paths import page_path
from zenith_site.notify import rule_decisions
from zenith_site.notify.decisions import Alert, Evaluation
from zenith_site.notify.kinds import Severity, Subject
from zenith_site.notify.measures import evaluate_of, measure_of
from zenith_site.notify.models import NotificationRule

#: Rules at most.
MAX_RULES: Final = 100
#: Seconds for all readings of one pass, and for one reading.
BUDGET: Final = 3.0
READING: Final = 2.0
#: Seconds after which a rule is read again, at least and at most.
_SOONEST: Final = 4.0
_LATEST: Final = 60.0
#: Between the number of a rule and the rest of a notification's key.
_OF: Final = "/"
#: How far back a preview looks.
PREVIEWED: Final = timedelta(hours=24)


class TooSlowError(Exception):
    """A rule could not be read within READING: an error of the rule, not of PostgreSQL, so the others go on."""


@dataclass(frozen=True, slots=True)
class _Result:
    changed_at: datetime
    due_at: float
    evaluation: Evaluation


class RuleEvaluator:
    """Evaluates all rules; remembers their last results until they are due again."""

    def __init__(self) -> None:
        self._results: dict[int, _Result] = {}

    def evaluate(self, open_keys: frozenset[str]) -> Evaluation:
        """Return which conditions of which rules hold, and which are over. A rule that was removed is over."""
        rules = {rule.id: rule for rule in NotificationRule.objects.order_by("id")[:MAX_RULES]}
        self._results = {id_: result for id_, result in self._results.items() if id_ in rules}
        self._read_due(rules, open_keys)
        found = Evaluation(over={key: "The rule was removed." for key in open_keys if _rule_of(key) not in rules})
        for id_, result in self._results.items():
            if not rules[id_].muted:
                found.holding.extend(result.evaluation.holding)
            found.over.update({key: end for key, end in result.evaluation.over.items() if key in open_keys})
        return found

    def _read_due(self, rules: dict[int, NotificationRule], open_keys: frozenset[str]) -> None:
        now = time.monotonic()
        deadline = now + BUDGET
        for rule in sorted(rules.values(), key=self._due_at):
            if self._due_at(rule) > now or time.monotonic() > deadline:
                continue
            with isolate_faults("notifications", f"the rule {rule.name}"):
                self._results[rule.id] = _Result(rule.changed_at, now + _pause(rule), evaluate_rule(rule, open_keys))

    def _due_at(self, rule: NotificationRule) -> float:
        """Return when a rule is due; at once if it is new or was changed."""
        result = self._results.get(rule.id)
        return result.due_at if result is not None and result.changed_at == rule.changed_at else 0.0


def evaluate_rule(rule: NotificationRule, open_keys: frozenset[str] = frozenset()) -> Evaluation:
    """Return which conditions of a rule hold and which are over, now.

    Raises TooSlowError, django.db.Error or redis.RedisError.
    """
    subject = Subject(rule.subject)
    if decide := evaluate_of(subject):
        own = frozenset(key.partition(_OF)[2] for key in open_keys if _rule_of(key) == rule.id and _OF in key)
        return _of_rule(rule, decide(rule, own))
    key = str(rule.id)
    measure = measure_of(subject)
    if measure is None:
        return Evaluation()
    since = timezone.now() - timedelta(minutes=rule.minutes)
    with _time_limit():
        points = measure.read(rule, since)
    if not rule_decisions.fires(rule, points, time.time()):
        return Evaluation(over={key: "It is within what the rule allows."})
    count = max(1, sum(point.count for point in points)) if subject is Subject.FAILURES else 1
    return Evaluation([_alert(rule, key, rule.name, rule_decisions.body(rule, points), measure.link(rule), count)])


def preview(rule: NotificationRule) -> list[int] | None:
    """Return the minutes (Unix times) of the last 24 hours in which a rule would have begun to fire; None if that is not known.

    Raises TooSlowError.
    """
    measure = measure_of(Subject(rule.subject))
    if measure is None:
        return None
    end = timezone.now()
    start = end - PREVIEWED
    with _time_limit():
        points = measure.read(rule, start - timedelta(minutes=rule.minutes))
    return rule_decisions.firings(rule, points, int(start.timestamp()), int(end.timestamp()))


def rule_page(rule: NotificationRule) -> str:
    """Return the path of a rule's page."""
    return page_path("notification_rule", rule.id)


def _of_rule(rule: NotificationRule, found: Evaluation) -> Evaluation:
    """Return what was found with the rule's number in the keys, its severity and its channels."""
    return Evaluation(
        [_alert(rule, f"{rule.id}{_OF}{item.key}", f"{rule.name}: {item.title}", item.body, item.link) for item in found.holding],
        {f"{rule.id}{_OF}{key}": end for key, end in found.over.items()},
    )


def _alert(rule: NotificationRule, key: str, title: str, body: str, link: str, count: int = 1) -> Alert:
    alert = Alert(key, title, body, link, min(count, 2**31 - 1))
    return replace(alert, severity=Severity(rule.severity), channels=tuple(rule.channels))


def _rule_of(key: str) -> int:
    number = key.partition(_OF)[0]
    return int(number) if number.isascii() and number.isdigit() else 0


def _pause(rule: NotificationRule) -> float:
    return min(max(rule.minutes * rule_decisions.MINUTE / 50, _SOONEST), _LATEST)


@contextmanager
def _time_limit() -> Iterator[None]:
    """Have PostgreSQL end a statement in the block that takes longer than READING. Raises TooSlowError then."""
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(int(READING * 1000))])
            yield
    except OperationalError as error:
        if isinstance(error.__cause__, QueryCanceled):
            raise TooSlowError(f"It could not be read within {READING:.0f} s. Narrow it down, or shorten its window.") from error
        raise
