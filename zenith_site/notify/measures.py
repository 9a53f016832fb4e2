"""The registry of what rules that people make can be about: each app registers how to read its subjects.

A `Measure` counts by minute, so that the same reading decides whether a rule fires now and says when it would have fired. What is
kept for the moment only, such as heartbeats, has an `Evaluate` instead.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Final

from django.utils.module_loading import autodiscover_modules

from zenith_site.notify.decisions import Evaluation
from zenith_site.notify.kinds import Subject
from zenith_site.notify.models import NotificationRule


@dataclass(frozen=True, slots=True)
class Point:
    """One minute of a measure.

    Attributes:
        minute: Unix time in seconds of its start.
        count: what is counted.
        total: of how many, for a share.
    """

    minute: int
    count: int
    total: int = 0


@dataclass(frozen=True, slots=True)
class Measure:
    """How to read a subject.

    Attributes:
        read: returns the minutes since a moment in which there is something, in order.
        link: returns the page about the cause of a rule, as a path on this site.
    """

    read: Callable[[NotificationRule, datetime], Sequence[Point]]
    link: Callable[[NotificationRule], str]


#: Decides for one rule, given the keys of its open notifications without the rule's own part.
Evaluate = Callable[[NotificationRule, frozenset[str]], Evaluation]

_MEASURES: Final[dict[Subject, Measure]] = {}
_EVALUATES: Final[dict[Subject, Evaluate]] = {}


def register_measure(subject: Subject, measure: Measure) -> None:
    """Have a subject read by minute."""
    _MEASURES[subject] = measure


def register_evaluate(subject: Subject, evaluate: Evaluate) -> None:
    """Have a subject decided by this function; each of its alerts is a notification of its own."""
    _EVALUATES[subject] = evaluate


def measure_of(subject: Subject) -> Measure | None:
    """Return how to read a subject by minute; None if nothing is kept of it."""
    _load()
    return _MEASURES.get(subject)


def evaluate_of(subject: Subject) -> Evaluate | None:
    """Return what decides about a subject that is not read by minute."""
    _load()
    return _EVALUATES.get(subject)


@cache
def _load() -> None:
    """Import every app's `notification_rules.py`."""
    autodiscover_modules("notification_rules")
