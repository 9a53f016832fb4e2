"""Pure decisions about the rules that people make: whether one fires, when it would have fired, and what it says."""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from zenith_site.common.humanize import whole_duration
from zenith_site.notify.kinds import NotificationKind, Subject
from zenith_site.notify.measures import Point
from zenith_site.notify.models import NotificationRule

MINUTE: Final = 60
#: Seconds without a sample of a queue after which its depth is unknown.
_SAMPLED_WITHIN: Final = 180


def fires(rule: NotificationRule, points: Sequence[Point], now: float) -> bool:
    """Whether a rule fires, given the minutes of its window that ends at `now`, as Unix time in seconds."""
    if rule.subject == Subject.QUEUE_DEPTH:
        return _lasts(rule, points, now)
    count = sum(point.count for point in points)
    if rule.subject == Subject.FAILURE_SHARE:
        total = sum(point.total for point in points)
        return total >= max(1, rule.threshold) and 100 * count > rule.share * total
    return count > rule.threshold


def _lasts(rule: NotificationRule, points: Sequence[Point], now: float) -> bool:
    """Whether every sample of the window is above the threshold, and there are samples over the whole of it."""
    if not points or points[-1].minute < now - _SAMPLED_WITHIN or any(point.count <= rule.threshold for point in points):
        return False
    return points[0].minute <= points[-1].minute - (rule.minutes - 1) * MINUTE


def firings(rule: NotificationRule, points: Iterable[Point], start: int, end: int) -> list[int]:
    """Return the minutes from `start` to `end` (Unix times) in which a rule would have begun to fire."""
    begun: list[int] = []
    window: deque[Point] = deque()
    remaining = deque(points)
    was_firing = False
    for minute in range(start // MINUTE * MINUTE, end + 1, MINUTE):
        while remaining and remaining[0].minute <= minute:
            window.append(remaining.popleft())
        while window and window[0].minute <= minute - rule.minutes * MINUTE:
            window.popleft()
        is_firing = fires(rule, window, minute + MINUTE)
        if is_firing and not was_firing:
            begun.append(minute)
        was_firing = is_firing
    return begun


def body(rule: NotificationRule, points: Sequence[Point]) -> str:
    """Return what fired, with what the rule allows."""
    within = whole_duration(rule.minutes * MINUTE)
    count = sum(point.count for point in points)
    match Subject(rule.subject):
        case Subject.FAILURES:
            said = f"{_number(count, 'task')} failed for good within {within}; the rule allows {rule.threshold:,}."
        case Subject.FAILURE_SHARE:
            total = sum(point.total for point in points)
            said = (
                f"{100 * count / max(1, total):.0f} % of {total:,} tasks failed within {within}; the rule allows {rule.share} %."
            )
        case Subject.QUEUE_DEPTH:
            least = min((point.count for point in points), default=0)
            said = f"{least:,} messages or more waited for {within}; the rule allows {rule.threshold:,}."
        case Subject.KIND:
            label = NotificationKind(rule.kind).label
            said = f"{_number(count, 'notification')} “{label}” within {within}; the rule allows {rule.threshold:,}."
        case Subject.WORKER_GONE:
            said = ""
    return f"{said} {narrowed(rule)}".strip()


def condition(rule: NotificationRule) -> str:
    """Return when a rule fires, as a sentence for lists."""
    within = whole_duration(rule.minutes * MINUTE)
    match Subject(rule.subject):
        case Subject.FAILURES:
            return f"More than {_number(rule.threshold, 'task')} failed for good within {within}"
        case Subject.FAILURE_SHARE:
            return f"More than {rule.share} % of at least {_number(max(1, rule.threshold), 'task')} failed within {within}"
        case Subject.QUEUE_DEPTH:
            return f"More than {_number(rule.threshold, 'message')} waited for {within}"
        case Subject.KIND:
            label = NotificationKind(rule.kind).label
            return f"More than {_number(rule.threshold, 'notification')} “{label}” within {within}"
        case Subject.WORKER_GONE:
            return "A worker sends no heartbeat any more"


def narrowed(rule: NotificationRule) -> str:
    """Return what narrows a rule down, as a sentence; empty if nothing does."""
    names = {"task": "task", "queue": "queue", "worker": "worker", "error_type": "error", "fingerprint": "cause"}
    parts = [f"{label} {getattr(rule, name)}" for name, label in names.items() if getattr(rule, name)]
    if rule.application:
        parts.append(f"application {rule.application}")
    return f"Only {', '.join(parts)}." if parts else ""


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
