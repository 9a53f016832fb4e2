"""How one reported step changes what is known of a task: a pure rule, blind to arrival order.

A task's history is a set of steps. Each step belongs to one *delivery* (an attempt, and how often
that attempt's message was handed out), and has a rank within it. The row shows

- the delivery of the terminal step, where there is one: nothing that comes later, and nothing
  that another delivery reports, changes it;
- else the newest delivery; and of that delivery the step with the highest rank.

So the same set of steps gives the same row in any order, however often a step is repeated.
Should two deliveries of one task both end, the first to be recorded stands.
"""

from dataclasses import dataclass
from typing import Any

from zenith_worker.wire.events import Event
from zenith_worker.wire.states import RANKS, TERMINAL, Status, position

EXTERNAL = "external"


@dataclass(slots=True)
class TaskState:
    """The part of a task's row that reported steps may change. Times are Unix time in seconds."""

    id: str
    text_id: str = ""
    name: str = ""
    queue: str = ""
    source: str = EXTERNAL
    status: Status = Status.QUEUED
    position: int = 0
    args: list[Any] | None = None
    kwargs: dict[str, Any] | None = None
    priority: int | None = None
    parent_id: str | None = None
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

    @property
    def is_terminal(self) -> bool:
        """Whether the status can change no more."""
        return self.status in TERMINAL


def fold(state: TaskState, event: Event) -> bool:
    """Apply one step to `state`; return whether it ended the task."""
    _learn(state, event)
    newer = _delivery(event.position) - _delivery(state.position)
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
        state.position = event.position
        _take_outcome(state, event)
    return ends


def contradicts(event: Event, state: TaskState) -> bool:
    """Whether an outcome lies before what is known of its own delivery: then a copy of the message told that.

    A relay that died may have sent a message twice, and both count as the same delivery. The worker of the second says that it
    has received it, or begun, before it finds the task ended; that may be recorded before the outcome. The outcome's own
    account of its delivery is the one that stands.
    """
    known = max(state.received_at or 0.0, state.started_at or 0.0)
    return known > event.at and event.status.rank > Status.STARTED.rank and _delivery(event.position) == _delivery(state.position)


def _delivery(position_: int) -> int:
    return position_ >> 8


def _start_delivery(state: TaskState) -> None:
    state.worker = ""
    state.received_at = state.started_at = None


def _learn(state: TaskState, event: Event) -> None:
    """Take what does not depend on the delivery; of a task that Zenith did not dispatch, its origin."""
    if event.position == position(0, 0, Status.QUEUED) and state.queued_at is None:
        state.queued_at = event.at
    if event.not_before is not None:
        state.not_before = max(state.not_before or event.not_before, event.not_before)
    if state.source != EXTERNAL:
        return
    first_seen = event.received_at or event.at
    state.created_at = min(state.created_at or first_seen, first_seen)
    # The row shows what was asked for. What the task sent in its place stands there only until a step of its own tells that.
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
    """Note when this delivery began, and where.

    Two clocks may tell, and two workers: the step that decides the status wins, else whoever came first would.
    """
    reserved = event.received_at or (event.at if event.status == Status.RECEIVED else None)
    started = event.started_at or (event.at if event.status == Status.STARTED else None)
    if decides:
        state.received_at = reserved or state.received_at
        state.started_at = started or state.started_at
        state.worker = event.worker or state.worker
    else:
        state.received_at = state.received_at or reserved
        state.started_at = state.started_at or started
        state.worker = state.worker or event.worker


def _take_outcome(state: TaskState, event: Event) -> None:
    state.error_type = event.error_type
    state.error_message = event.error_message
    if event.status in TERMINAL:
        state.finished_at = event.at
        state.runtime = event.runtime
