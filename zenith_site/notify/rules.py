"""The registry of rules: what is looked at for each kind of notification, how much it matters, and when it counts.

A further rule is a kind in kinds.py, a decision in decisions.py, and a `Rule` that reads what it decides about; each app
registers its own in `notification_rules.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

from django.utils.module_loading import autodiscover_modules

from zenith_site.common.site_paths import page_path
from zenith_site.notify.decisions import Link, Look
from zenith_site.notify.kinds import NotificationKind, Severity


@dataclass(frozen=True, slots=True)
class Rule:
    """What is looked at for one kind.

    Attributes:
        look: reads and decides; it is given the keys of the notifications of this kind that are open.
        lasting: seconds for which a condition has to hold at every look of one engine until it counts. Right after an outage
            of Redis every heartbeat is old and every report late, for a moment.
        settles: seconds for which a condition has to be away until it is over, so that one that comes and goes is one.
    """

    kind: NotificationKind
    severity: Severity
    look: Callable[[frozenset[str]], Look]
    lasting: float = 10.0
    settles: float = 60.0


_RULES: Final[list[Rule]] = []


def register(*rules: Rule) -> None:
    """Have engines look at these."""
    _RULES.extend(rules)


@cache
def rules() -> tuple[Rule, ...]:
    """Return all rules. The first call imports every app's `notification_rules.py`."""
    autodiscover_modules("notification_rules")
    return tuple(_RULES)


def page(name: str) -> Link:
    """Return what leads from a key to its page."""
    return lambda key: page_path(name, key)
