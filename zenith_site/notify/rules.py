"""The registry of rules: one for each kind of notification, with its severity and timing.

To add a rule, add a kind in kinds.py, a decision in decisions.py, and a `Rule` that reads the decision's data; each app registers
its own in `notification_rules.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

from django.utils.module_loading import autodiscover_modules

from zenith_site.common.site_paths import page_path
from zenith_site.notify.decisions import Evaluation, Link
from zenith_site.notify.kinds import NotificationKind, Severity


@dataclass(frozen=True, slots=True)
class Rule:
    """The rule of one kind of notifications.

    Attributes:
        evaluate: reads and decides, given the keys of this kind's open notifications.
        for_: seconds that a condition must hold without interruption before it counts. Right after an outage of Redis, every
            heartbeat is old and every report late for a moment.
        keep_firing_for: seconds that a condition must be absent before it is over, so that a flapping one is one notification.
    """

    kind: NotificationKind
    severity: Severity
    evaluate: Callable[[frozenset[str]], Evaluation]
    for_: float = 10.0
    keep_firing_for: float = 60.0


_RULES: Final[list[Rule]] = []


def register(*rules: Rule) -> None:
    """Register rules for the engine."""
    _RULES.extend(rules)


@cache
def rules() -> tuple[Rule, ...]:
    """Return all rules. The first call imports every app's `notification_rules.py`."""
    autodiscover_modules("notification_rules")
    return tuple(_RULES)


def page(name: str) -> Link:
    """Return a function from a key to the path of its page."""
    return lambda key: page_path(name, key)
