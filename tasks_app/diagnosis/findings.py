"""What a rule finds, and what a rule is."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tasks_app.diagnosis.facts import Facts


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"

    @property
    def sentence(self) -> str:
        """What it means, for people."""
        return _SENTENCES[self]


_SENTENCES = {
    Severity.ERROR: "Tasks do not run, are lost, or run twice.",
    Severity.WARNING: "Tasks are slower than they could be, or are at risk.",
    Severity.NOTICE: "Nothing is wrong now; a setting will hurt one day.",
}


class Subject(StrEnum):
    """What a finding is about."""

    APPLICATION = "application"
    QUEUE = "queue"
    WORKER = "worker"
    TASK = "task"
    BROKER = "broker"
    SCHEDULE = "schedule"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        rule: the id of the rule that found it.
        title: what is wrong, in a few words.
        sentence: the same with its numbers, and what it means for tasks.
        proof: how to see that it is so.
        mend: what to do.
        subject, name: what it is about.
        queues: the queues whose tasks it explains, besides the subject.
    """

    rule: str
    severity: Severity
    title: str
    sentence: str
    proof: str
    mend: str
    subject: Subject = Subject.APPLICATION
    name: str = ""
    queues: frozenset[str] = frozenset()


Find = Callable[[Facts], Iterable[Finding]]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule.

    Attributes:
        checks: what holds if it finds nothing, in a sentence.
        is_known: whether the facts that it needs are known at all.
    """

    id: str
    checks: str
    is_known: Callable[[Facts], bool]
    find: Find


def rule(id_: str, checks: str, is_known: Callable[[Facts], bool]) -> Callable[[Find], Rule]:
    """Return the decorator that makes a rule of a function."""
    return lambda find: Rule(id_, checks, is_known, find)


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun, as 1 task or 1,200 tasks."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed(names: Sequence[Any], most: int = 3) -> str:
    """Return names for a sentence, as a, b and 2 more."""
    shown = [str(name) for name in names[:most]]
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most:,} more"
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1]))) if shown else ""
