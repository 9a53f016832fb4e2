"""How a reported event changes a task's state: a pure rule, independent of the order of arrival.

A task's history is a set of steps. Each step belongs to one *delivery* (an attempt, and how often that attempt's message was
delivered), and has a rank within it. The row shows

- the delivery of the terminal step, if there is one: neither later steps nor other deliveries change it;
- otherwise the newest delivery, and of that delivery the step with the highest rank.

So the same set of steps gives the same row in any order, however often a step is repeated. If two deliveries of one task both
end, the first to be recorded counts.
"""

from dataclasses import dataclass
from typing import Any, Final

from tasks_app.models.application import NATIVE_ID
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import RANKS, TERMINAL, Status, position

EXTERNAL = "external"
_FIRST_QUEUED: Final = position(0, 0, Status.QUEUED)
_STARTED_RANK: Final = RANKS[Status.STARTED]


@dataclass(slots=True)
class TaskState:
    """The part of a task's row that reported events may change. Times are Unix time in seconds."""

    id: str
    text_id: str = ""
    application_id: int = NATIVE_ID
    name: str = ""
    queue: str = ""
    source: str = EXTERNAL
    status: Status = Status.QUEUED
    position: int = 0
    args: list[Any] | None = None
    kwargs: dict[str, Any] | None = None
    priority: int | None = None
    parent_id: str | None = None
    root_id: str | None = None
    group_id: str | None = None
    worker: str = ""
    error_type: str = ""
    error_message: str = ""
    created_at: float | None = None
    not_before: float | None = None
    queued_at: float | None = None
    received_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    runtime: float | None = None
    cpu: float | None = None
    memory: int | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether the status is final."""
        return self.status in TERMINAL

    @property
    def is_native(self) -> bool:
        """Whether it is a task of Zenith's own application."""
        return self.application_id == NATIVE_ID


def fold(state: TaskState, event: Event) -> bool:
    """Apply one event to `state`; return whether it ended the task."""
    position_ = event.position
    _apply_origin(state, event, position_)
    newer = _delivery(position_) - _delivery(state.position)
    if state.is_terminal:
        if newer == 0:
            _fill_times(state, event, decides=False)
        return False
    ends = event.status in TERMINAL
    if newer < 0 and not ends:
        return False
    if newer != 0 and state.position:
        _start_delivery(state)
    decides = ends or newer != 0 or RANKS[event.status] > RANKS[state.status] or not state.position
    _fill_times(state, event, decides)
    if decides:
        state.status = event.status
        state.position = position_
        _take_outcome(state, event)
    return ends


def contradicts(event: Event, state: TaskState) -> bool:
    """Return whether an outcome is older than the recorded times of its own delivery; then a copy of the message reported those.

    A relay that died may have sent a message twice, and both copies count as the same delivery. The worker of the second copy
    may report that it has received or started the task before it finds that the task has ended, and that may be recorded
    before the outcome. The times in the outcome itself are the right ones.
    """
    recorded_at = max(state.received_at or 0.0, state.started_at or 0.0)
    return (
        recorded_at > event.at and RANKS[event.status] > _STARTED_RANK and _delivery(event.position) == _delivery(state.position)
    )


def _delivery(position_: int) -> int:
    return position_ >> 8


def _start_delivery(state: TaskState) -> None:
    state.worker = ""
    state.received_at = state.started_at = None


def _apply_origin(state: TaskState, event: Event, position_: int) -> None:
    """Update what does not depend on the delivery and, for tasks that Zenith did not dispatch, the origin."""
    if position_ == _FIRST_QUEUED and state.queued_at is None:
        state.queued_at = event.at
    if event.not_before is not None:
        state.not_before = max(state.not_before or event.not_before, event.not_before)
    if state.source != EXTERNAL:
        # Zenith may not know where another application's routes send a task that it dispatches.
        state.queue = state.queue or event.queue
        return
    first_seen = event.received_at or event.at
    state.created_at = min(state.created_at or first_seen, first_seen)
    state.root_id = state.root_id or event.root_id
    state.group_id = state.group_id or event.group_id
    # The row shows the original task. A replacement's name stands there only until a step of the original is recorded.
    if event.nesting:
        state.name, state.queue = state.name or event.name, state.queue or event.queue
        return
    if event.name and state.name != event.name:
        state.name, state.queue = event.name, event.queue
    state.queue = state.queue or event.queue
    state.args = state.args or event.args
    state.kwargs = state.kwargs or event.kwargs
    state.priority = event.priority if state.priority is None else state.priority
    state.parent_id = state.parent_id or event.parent_id


def _fill_times(state: TaskState, event: Event, decides: bool) -> None:
    """Update when and where this delivery was received and started.

    Two workers may report different times; the event that decides the status wins, otherwise the first one recorded.
    """
    received = event.received_at or (event.at if event.status == Status.RECEIVED else None)
    started = event.started_at or (event.at if event.status == Status.STARTED else None)
    if decides:
        state.received_at = received or state.received_at
        state.started_at = started or state.started_at
        state.worker = event.worker or state.worker
    else:
        state.received_at = state.received_at or received
        state.started_at = state.started_at or started
        state.worker = state.worker or event.worker


def _take_outcome(state: TaskState, event: Event) -> None:
    state.error_type = event.error_type
    state.error_message = event.error_message
    if event.status in TERMINAL:
        state.finished_at = event.at
        state.runtime = event.runtime
        state.cpu, state.memory = event.cpu, event.memory
