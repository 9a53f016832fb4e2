"""The notification rules about faults and of the rules that people made, and what those may be about notifications."""

from datetime import datetime
from urllib.parse import urlencode

from django.db.models import Count
from django.db.models.functions import TruncMinute

from zenith_site.common import faults
from zenith_site.common.site_paths import page_path
from zenith_site.notify import decisions
from zenith_site.notify.decisions import Evaluation
from zenith_site.notify.kinds import NotificationKind, Severity, Subject
from zenith_site.notify.measures import Measure, Point, register_measure
from zenith_site.notify.models import Notification, NotificationRule
from zenith_site.notify.rule_evaluation import RuleEvaluator
from zenith_site.notify.rules import Rule, register


def _faults(open_keys: frozenset[str]) -> Evaluation:
    by_part = {fault.part: (fault.item, fault.error) for fault in faults.recent()}
    return decisions.faults(by_part, open_keys, page_path("notifications"))


def _opened(rule: NotificationRule, since: datetime) -> list[Point]:
    """Return how many notifications of a rule's kind were opened, minute by minute."""
    opened = Notification.objects.filter(kind=rule.kind, opened_at__gt=since).order_by()
    minutes = opened.annotate(minute=TruncMinute("opened_at")).values_list("minute").annotate(Count("id")).order_by("minute")
    return [Point(int(minute.timestamp()), count) for minute, count in minutes]


def _notifications_of(rule: NotificationRule) -> str:
    return f"{page_path('notifications')}?{urlencode({'kind': rule.kind})}"


register(
    Rule(NotificationKind.FAULT, Severity.CRITICAL, _faults, for_=0.0, keep_firing_for=faults.RECENT),
    # Each of its alerts has a severity of its own.
    Rule(NotificationKind.RULE, Severity.WARNING, RuleEvaluator().evaluate, for_=0.0),
)
register_measure(Subject.KIND, Measure(_opened, _notifications_of))
