"""What two observers of the same application say of the same tasks: Flower's API beside Zenith's rows and steps, fact by fact.

Flower keeps one state of a task, merged from its events as they arrive; Zenith keeps every step of every attempt, and its row
shows the newest attempt. So they differ in a few cases, which are named here (`Excuse`): then the fact that Flower tells must
stand among Zenith's steps all the same. What neither an excuse nor a gap explains is a `Difference`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

from tasks_app.models import Task

#: Seconds by which two records of one event's time may differ: PostgreSQL keeps microseconds.
GRAIN: Final = 5e-6
#: Seconds that a busy worker may take to tell something: an event's time is when it was made, not when it was sent.
LAG: Final = 1.0
#: Zenith's status for each state of Celery's.
STATUS: Final = {"PENDING": "QUEUED"}
#: Flower's fields with times, and the steps in which Zenith keeps them.
STEPS: Final = {
    "received": {"RECEIVED"}, "started": {"STARTED"}, "succeeded": {"SUCCESS"}, "failed": {"FAILURE"}, "revoked": {"REVOKED"},
    "retried": {"RETRY"}, "rejected": {"QUEUED", "FAILURE"},
}  # fmt: skip
ENDS: Final = ("succeeded", "failed", "revoked")


class Excuse(StrEnum):
    """Why the two may differ, and are both right."""

    #: A worker told of an attempt, or of a delivery, after something was told of the next: Flower shows what came last, Zenith
    #: the newest run, or the one that ended.
    LATE = "it was told of another run than the newest, or than the one that ended, but later"
    #: Its worker died after it had sent the next attempt and before it acknowledged this one. Flower shows the run that ended
    #: last, Zenith the one that ended first: what has ended does not change.
    TWICE = "it ran twice, and ended twice"
    #: Flower keeps the start of the attempt before, or of the delivery before; Zenith's row is about the newest.
    NEXT_RUN = "the newest run has been received and has not started"
    #: Celery ranks REJECTED below STARTED, so Flower goes on showing STARTED; the message is in its queue again.
    PUT_BACK = "its message was rejected and went back to its queue"
    #: Celery tells of a rejection for good and nothing else; Flower goes on showing STARTED. It will never run, so it has failed.
    DROPPED = "its message was rejected for good"
    #: Celery 5.7 tells of the failure and then of the rejection for good; Zenith keeps the failure, which has the error.
    FAILED = "its failure was told before its rejection"
    #: Flower shows the name of the task that came in its place, Zenith that of the task that was sent.
    REPLACED = "its body replaced it"
    #: Told while no observer of Zenith ran.
    GAP = "it was told while nobody listened"
    UNREGISTERED = "of a task that its worker does not know, Flower has no name; Zenith reads it from the error"


class Difference(NamedTuple):
    """A fact of a task that the two tell differently, without an excuse."""

    task: str
    fact: str
    flower: Any
    zenith: Any


@dataclass
class Agreement:
    """The outcome of a comparison: `excused` counts the facts for each excuse."""

    tasks: int = 0
    differences: list[Difference] = field(default_factory=list)
    excused: Counter[Excuse] = field(default_factory=Counter)


class Gaps:
    """When no observer of Zenith ran, as Unix times."""

    def __init__(self, gaps: Sequence[Sequence[Any]]) -> None:
        self._spans = [(start, end) for start, end, _ in gaps]

    def have(self, at: float | None) -> bool:
        """Whether an event of this time may have been sent in one of them."""
        return at is not None and any(start - LAG <= at <= end for start, end in self._spans)


def compare(flower: Mapping[str, Mapping[str, Any]], rows: Mapping[str, Task], gaps: Gaps) -> Agreement:
    """Compare all tasks that Flower lists with the rows of their ids; `rows` have their steps prefetched."""
    agreement = Agreement(len(flower))
    for id_, told in flower.items():
        row = rows.get(id_)
        if row is None:
            unheard = all(gaps.have(told[name]) for name in STEPS if told[name])
            _note(agreement, Difference(id_, "task", told["state"], None), Excuse.GAP if unheard else None)
            continue
        pair = _Pair(told, row, gaps)
        for difference, excuse in pair.compared(id_):
            _note(agreement, difference, excuse)
    return agreement


def _note(agreement: Agreement, difference: Difference, excuse: Excuse | None) -> None:
    if excuse is None:
        agreement.differences.append(difference)
    else:
        agreement.excused[excuse] += 1


class _Pair:
    """One task as both know it."""

    def __init__(self, told: Mapping[str, Any], row: Task, gaps: Gaps) -> None:
        self.told, self.row, self.gaps = told, row, gaps
        self.steps = [(step.status, step.at.timestamp(), step.position >> 8) for step in row.events.all()]
        self.run = row.position >> 8

    def compared(self, id_: str) -> Iterator[tuple[Difference, Excuse | None]]:
        """Yield the facts that differ, each with what excuses it."""
        told, row = self.told, self.row
        for name, theirs, ours in (
            ("name", told["name"] or "", row.name),
            ("state", STATUS.get(told["state"], told["state"]), row.status),
            ("worker", told.get("worker", ""), row.worker),
            ("retries", told["retries"] or 0, row.attempt - 1),
        ):
            if theirs != ours:
                yield Difference(id_, name, theirs, ours), self._excuse_word(name)
        for name, at in ((name, told[name]) for name in STEPS):
            if at is not None and not self._has_step(name, at):
                yield Difference(id_, f"the step {name}", at, self.steps), self._excuse_step(name, at)
        ended = next((told[name] for name in ENDS if told[name]), None)
        for name, theirs, ours in (
            ("received", told["received"], _seconds(row.received_at)), ("started", told["started"], _seconds(row.started_at)),
            ("ended", ended, _seconds(row.finished_at)), ("runtime", told["runtime"], row.runtime),
        ):  # fmt: skip
            if not _is_same(theirs, ours):
                yield Difference(id_, name, theirs, ours), self._excuse_row(name, theirs, ours, ended)

    def _excuse_word(self, name: str) -> Excuse | None:
        told = self.told
        if name == "name":
            if not told["name"] and self.row.error_type == "NotRegistered":
                return Excuse.UNREGISTERED
            if any(step == "REPLACED" for step, *_ in self.steps):
                return Excuse.REPLACED
            # Receptions tell the name.
            return Excuse.GAP if self.gaps.have(told["received"]) else None
        if self.gaps.have(told["timestamp"]):
            return Excuse.GAP
        if name == "retries":
            return self._excuse_retries()
        # Flower keeps the time of the event that came last, whatever it makes of it.
        if self._is_of_other_run(told["timestamp"]):
            return Excuse.LATE
        if name == "worker" and self.row.finished_at and self._has_other_run_at(told.get("worker", "")):
            return Excuse.LATE
        return self._excuse_rejected() if name == "state" else None

    def _excuse_retries(self) -> Excuse | None:
        """Return the excuse for a count that Flower has from the reception that it was told of last."""
        at = self.told["received"]
        if at is None or self.gaps.have(at):
            return Excuse.GAP if at else None
        return Excuse.LATE if self._is_of_other_run(at) else None

    def _excuse_rejected(self) -> Excuse | None:
        """Return the excuse for a task that Flower calls started after it was rejected."""
        if self.told["state"] != "STARTED" or not self.told["rejected"] or self.told["rejected"] < self.told["started"]:
            return None
        return {"QUEUED": Excuse.PUT_BACK, "FAILURE": Excuse.DROPPED, "RECEIVED": Excuse.PUT_BACK}.get(self.row.status)

    def _excuse_step(self, name: str, at: float) -> Excuse | None:
        if name == "rejected" and self.told["failed"] and self.told["failed"] <= at and self.row.status == "FAILURE":
            return Excuse.FAILED
        return Excuse.GAP if self.gaps.have(at) else None

    def _excuse_row(self, name: str, theirs: float | None, ours: float | None, ended: float | None) -> Excuse | None:
        if self.gaps.have(ended if name == "runtime" else theirs):
            return Excuse.GAP
        if self._ended_before(ended):
            return Excuse.TWICE
        if name in STEPS and theirs is not None and self._is_of_other_run(theirs):
            if ours is not None and theirs < ours + LAG:
                return Excuse.LATE
            if self.row.status == "RECEIVED" and theirs <= self.told["received"]:
                return Excuse.NEXT_RUN
        return self._excuse_rejected()

    def _ended_before(self, ended: float | None) -> bool:
        """Whether Zenith has two ends, of two runs, of which the later one is Flower's."""
        ends = sorted((at, run) for status, at, run in self.steps if status in ("SUCCESS", "FAILURE", "REVOKED"))
        return ended is not None and len(ends) > 1 and abs(ends[-1][0] - ended) <= GRAIN and ends[0][1] == self.run != ends[-1][1]

    def _has_step(self, name: str, at: float) -> bool:
        return any(status in STEPS[name] and abs(at - step) <= GRAIN for status, step, _ in self.steps)

    def _is_of_other_run(self, at: float) -> bool:
        """Whether Zenith has a step of this time of another run than its row shows: an earlier one, or any if it has ended."""
        runs = [run - (status == "QUEUED") for status, step, run in self.steps if abs(at - step) <= GRAIN]
        return any(run < self.run or (self.row.finished_at and run != self.run) for run in runs)

    def _has_other_run_at(self, worker: str) -> bool:
        """Whether a worker told of another run than the one that ended: Flower shows the worker that told something last."""
        return any(step.worker == worker and step.position >> 8 != self.run for step in self.row.events.all())


def _is_same(theirs: float | None, ours: float | None) -> bool:
    return theirs is ours is None or (theirs is not None and ours is not None and abs(theirs - ours) <= GRAIN)


def _seconds(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()
