"""The run of a task that a message, a claim or a step belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from zenith_worker.wire.states import attempt_of, nesting_of, run_number


class RunNumber(NamedTuple):
    """One run of a task's body; a task's runs are ordered by these two numbers.

    Attributes:
        nesting: how often the task replaced itself before: Celery's `replaced_task_nesting`.
        attempt: how often it has failed since, from 0: Celery's `retries`.
    """

    nesting: int = 0
    attempt: int = 0

    @classmethod
    def of(cls, headers: Mapping[str, Any]) -> RunNumber:
        """Return the run in a message's headers; a value that is not a number counts as 0, for anybody may write messages."""
        return cls(_count(headers.get("replaced_task_nesting")), _count(headers.get("retries")))

    @classmethod
    def of_request(cls, request: Any) -> RunNumber:
        """Return the run of Celery's request as a task sees it; the first run for None."""
        return cls.of({name: getattr(request, name, None) for name in ("replaced_task_nesting", "retries")})

    @classmethod
    def at(cls, position: int) -> RunNumber:
        """Return the run of a position (states.py)."""
        return cls(nesting_of(position), attempt_of(position))

    @property
    def number(self) -> int:
        """The run as one number that orders a task's runs; for a task that never replaced itself, the attempt."""
        return run_number(self.nesting, self.attempt)


def _count(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0
