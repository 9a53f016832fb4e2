"""The life of a task: every status with its sentence, rank and transitions.

Celery's own state names, with three more for what Celery does not see: SCHEDULED (held in PostgreSQL until it is due), QUEUED (on
the broker, not yet at a worker) and REPLACED (its body sent other tasks in its place, the last of which has its id and brings its
outcome).
"""

from __future__ import annotations

from typing import Final

from zenith_worker.wire.compat import StrEnum


class Status(StrEnum):
    """The status of a task. `label` is the word on its badge; `sentence` explains it."""

    SCHEDULED = "SCHEDULED"
    PENDING = "PENDING"
    QUEUED = "QUEUED"
    RECEIVED = "RECEIVED"
    STARTED = "STARTED"
    RETRY = "RETRY"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    REVOKED = "REVOKED"
    # Stored positions contain the ranks, so new statuses come last.
    IGNORED = "IGNORED"
    REPLACED = "REPLACED"

    @property
    def label(self) -> str:
        """The name for display."""
        return self.value.capitalize()

    @property
    def sentence(self) -> str:
        """The meaning of this status, in one sentence for pages and the API's documentation."""
        return SENTENCES[self]

    @property
    def rank(self) -> int:
        """How far along one delivery of a task is; a task never moves to a lower rank within it."""
        return RANKS[self]


SENTENCES: Final[dict[Status, str]] = {
    Status.SCHEDULED: "Held in PostgreSQL until it is due.",
    Status.PENDING: "Committed; its message is not yet confirmed on the broker.",
    Status.QUEUED: "On the broker, waiting for a worker.",
    Status.RECEIVED: "Reserved by a worker, not yet running.",
    Status.STARTED: "A worker is running it.",
    Status.RETRY: "The attempt failed; the task runs again after its back-off.",
    Status.SUCCESS: "Finished; its result is stored.",
    Status.FAILURE: "Failed after its last attempt.",
    Status.REVOKED: "Cancelled before it finished.",
    Status.IGNORED: "Its body raised Ignore, so it ended without an outcome.",
    Status.REPLACED: "Its body sent other tasks in its place; one of them continues under its id.",
}

#: The values as text, for databases and command lines.
STATUSES: Final = [status.value for status in Status]
#: Value and label of each, for model fields.
CHOICES: Final = [(status.value, status.label) for status in Status]

RANKS: Final[dict[Status, int]] = {status: rank for rank, status in enumerate(Status, start=1)}

#: A task in one of these never changes its status again.
TERMINAL: Final = frozenset({Status.SUCCESS, Status.FAILURE, Status.REVOKED, Status.IGNORED})

#: Statuses of tasks that have not ended.
OPEN: Final = frozenset(Status) - TERMINAL

#: The possible next statuses without a new attempt (see docs/architecture.md).
TRANSITIONS: Final[dict[Status, frozenset[Status]]] = {
    Status.SCHEDULED: frozenset({Status.PENDING, Status.REVOKED}),
    Status.PENDING: frozenset({Status.QUEUED, Status.REVOKED}),
    Status.QUEUED: frozenset({Status.RECEIVED, Status.STARTED, Status.REVOKED}),
    Status.RECEIVED: frozenset({Status.STARTED, Status.QUEUED, Status.REVOKED}),
    Status.STARTED: frozenset(
        {Status.SUCCESS, Status.RETRY, Status.FAILURE, Status.QUEUED, Status.REVOKED, Status.IGNORED, Status.REPLACED}
    ),
    Status.RETRY: frozenset({Status.QUEUED, Status.RECEIVED, Status.STARTED, Status.REVOKED}),
    Status.SUCCESS: frozenset(),
    Status.FAILURE: frozenset(),
    Status.REVOKED: frozenset(),
    Status.IGNORED: frozenset(),
    Status.REPLACED: frozenset({Status.QUEUED, Status.RECEIVED, Status.STARTED, Status.FAILURE, Status.REVOKED}),
}


#: Bits of a position: delivery and rank take eight each, attempts stay below `_ATTEMPTS`.
_ATTEMPTS: Final = 1 << 24
_NESTINGS: Final = 1 << 16


def run_number(nesting: int, attempt: int) -> int:
    """Return a number that orders the runs of one task: by how often it replaced itself, then by attempt.

    Both count from 0, and are Celery's `replaced_task_nesting` and `retries`.
    """
    # Not `min`, which takes longer than all the rest: this is called several times for each step.
    nesting = nesting if nesting < _NESTINGS else _NESTINGS - 1
    return nesting * _ATTEMPTS + (attempt if attempt < _ATTEMPTS else _ATTEMPTS - 1)


def position(attempt: int, delivery: int, status: Status, nesting: int = 0) -> int:
    """Return a number that orders all events of one task, in whatever order they arrive.

    `nesting` counts how often the task replaced itself, `attempt` counts runs from 0 (Celery's `retries`), `delivery` counts how
    often the same attempt's message was delivered again. Clocks do not matter, because workers' clocks may disagree.
    """
    return (run_number(nesting, attempt) << 16) | ((delivery if delivery < 0xFF else 0xFF) << 8) | RANKS[status]


def note_position(number: int) -> int:
    """Return the position of a task's note (from 0): a step without a change of status."""
    return -1 - number


def nesting_of(position_: int) -> int:
    """Return how often the task had replaced itself at a position."""
    return (max(0, position_) >> 16) // _ATTEMPTS


def attempt_of(position_: int) -> int:
    """Return the attempt (from 0) that a position belongs to."""
    return (max(0, position_) >> 16) % _ATTEMPTS


def delivery_of(position_: int) -> int:
    """Return how often the message of a position's attempt had been delivered before."""
    return (max(0, position_) >> 8) & 0xFF
