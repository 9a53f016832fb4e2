"""Apply a batch of reported events to PostgreSQL, in one transaction.

1. Lock the rows of all tasks in the batch, in order of their ids (no deadlocks).
2. Fold the events into the rows in memory (reducer.py has the rule).
3. Insert the rows of unknown tasks (sent by other programs) as they are by then: most end in the batch that they begin in. A row
   that another recorder has inserted meanwhile is locked, and folded anew.
4. Write changed rows, results, failed runs, dead letters, progress, events and rollups, one statement each.

This is idempotent: folding an event again changes nothing, results and events are inserted once, and a task is counted in the
rollups only by the transaction that saw it end.

Tasks of other applications have the same rows, but no retries that Zenith sends. A step never changes another application's task.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import Final, NamedTuple

from django.conf import settings
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from tasks_app.models.application import NATIVE_ID
from tasks_app.recording import live
from tasks_app.recording.arrays import column
from tasks_app.recording.attempts import write_attempts
from tasks_app.recording.dead_letters import write_dead_letters
from tasks_app.recording.events import EventRow, correct_events, write_events
from tasks_app.recording.progress import is_told_by_another, write_progress
from tasks_app.recording.reducer import EXTERNAL, TaskState, contradicts, fold
from tasks_app.recording.results import REVOKED_RESULT, write_results
from tasks_app.recording.rollups import write_rollups
from tasks_app.recording.worker_minutes import write_worker_minutes
from tasks_app.recording.workflows import membership, note_workflows
from zenith_site.common.jsonsafe import storable, storable_text
from zenith_site.common.masking import mask_json, mask_text
from zenith_site.common.sql import statements
from zenith_worker.wire.events import Event
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.keys import NATIVE
from zenith_worker.wire.routing import priority_of
from zenith_worker.wire.states import RANKS, TERMINAL, Status

#: The most characters of a name (of a task, worker, queue or error) in a row.
_NAME_KEPT: Final = 255

_SQL: Final = statements(__file__)
_LOCK: Final = _SQL["lock_tasks"]

_INSERT: Final = _SQL["insert_tasks"]

_UPDATE: Final = _SQL["update_tasks"]
_UPDATE_EXTERNAL: Final = _SQL["update_external_tasks"]

_HOLD: Final = _SQL["hold_retries"]

_MESSAGES: Final = _SQL["keep_messages"]

_FILL_QUEUES: Final = _SQL["fill_queues"]

#: The statements name the members of TaskState that they write.
_PARAMETER: Final = re.compile(r"%\((\w+)\)s")
_UPDATED: Final = _PARAMETER.findall(_UPDATE)
#: Arguments are stored as JSON, and so not like the rest.
_ARGUMENTS: Final = ("args", "kwargs")
_UPDATED_EXTERNAL: Final = [name for name in _PARAMETER.findall(_UPDATE_EXTERNAL) if name not in _ARGUMENTS]
_INSERTED: Final = [name for name in _PARAMETER.findall(_INSERT) if name not in _ARGUMENTS]


#: The rows' keys of applications by `Event.application`, where there is only Zenith's own.
_OWN: Final[Mapping[str, int]] = {NATIVE: NATIVE_ID}


class ForeignTaskError(ValueError):
    """An application reported a step of another one's task."""


def apply(events: Sequence[Event], applications: Mapping[str, int] = _OWN) -> int | None:
    """Apply reported events in one transaction; return the id of the newest event written, if any.

    `applications`: the rows' keys of the applications that the events belong to. Raises ForeignTaskError, or django.db.Error if
    PostgreSQL is unreachable or refuses a value; then nothing was changed.
    """
    keys: dict[tuple[str, str], str] = {}
    for event in events:
        _make_storable(event, keys)
    told, events = events, [event for event in events if not is_told_by_another(event)]
    by_task: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        by_task[event.task_id].append(event)
    with transaction.atomic(), connection.cursor() as cursor:
        # With the tasks of which others told something: their rows get a reference, and all locks are taken in one order.
        noted: dict[str, list[Event]] = {event.task_id: [] for event in told if is_told_by_another(event)}
        states = _lock(cursor, noted | by_task, applications)
        new = _insert(cursor, _without(by_task, states), applications)
        states |= _lock(cursor, _without(by_task, states, new.states), applications)
        unrouted = [state for state in states.values() if not state.queue and state.source != EXTERNAL]
        known = _fold(states, by_task)
        _write_rows(cursor, states.values())
        _fill_queues(cursor, [state for state in unrouted if state.queue])
        _hold(cursor, [event for event in events if event.held and event.application == NATIVE])
        _mark_acks_early(cursor, [event.task_id for event in events if event.early])
        _keep_messages(cursor, [event for event in events if event.extras])
        _note_workflows(cursor, states | new.states, [event for event in events if event.workflow_id])
        ended = known.ended + new.ended
        write_results(cursor, ended)
        write_attempts(cursor, events)
        write_dead_letters(cursor, ended)
        moved = write_progress(cursor, told, applications)
        newest = _write_history(cursor, states | new.states, events, [state for state, _ in ended])
        correct_events(cursor, list(chain.from_iterable(map(_event_rows, known.corrected + new.corrected))))
        if moved:
            transaction.on_commit(lambda: live.tell_progress(moved))
        return newest


class _Folded(NamedTuple):
    """Tasks with their events folded in; those that ended, each with the event that ended it; outcomes that correct others."""

    states: dict[str, TaskState]
    ended: list[tuple[TaskState, Event]]
    corrected: list[Event]


def _lock(cursor: CursorWrapper, by_task: Mapping[str, list[Event]], applications: Mapping[str, int]) -> dict[str, TaskState]:
    states = _select(cursor, by_task) if by_task else {}
    for id_, state in states.items():
        # A task's id at Zenith may be any UUID, also the key of another application's task.
        if any(applications[step.application] != state.application_id for step in by_task[id_]):
            raise ForeignTaskError(f"the task {id_} belongs to another application")
    return states


def _without(by_task: Mapping[str, list[Event]], *known: Collection[str]) -> dict[str, list[Event]]:
    return {id_: steps for id_, steps in by_task.items() if not any(id_ in ids for ids in known)}


def _insert(cursor: CursorWrapper, by_task: Mapping[str, list[Event]], applications: Mapping[str, int]) -> _Folded:
    """Insert tasks that have no row, with their events folded in; return those that nobody else has inserted meanwhile."""
    if not by_task:
        return _Folded({}, [], [])
    folded = _fold({id_: _first_state(id_, steps, applications) for id_, steps in by_task.items()}, by_task)
    rows = list(folded.states.values())
    cursor.execute(_INSERT, {**_columns(rows, _INSERTED), **_arguments(rows)})
    inserted = {id_ for (id_,) in cursor.fetchall()}
    if len(inserted) == len(rows):
        return folded
    return _Folded(
        {id_: state for id_, state in folded.states.items() if id_ in inserted},
        [(state, event) for state, event in folded.ended if state.id in inserted],
        [event for event in folded.corrected if event.task_id in inserted],
    )


def _first_state(id_: str, steps: Sequence[Event], applications: Mapping[str, int]) -> TaskState:
    """Return the state of a task that another program sent, before its first step. Raises ForeignTaskError."""
    owners = {applications[step.application] for step in steps}
    if len(owners) > 1:
        raise ForeignTaskError(f"several applications report the task {id_}")
    return TaskState(id_, text_id=next((step.text_id for step in steps if step.text_id), ""), application_id=owners.pop())


def _select(cursor: CursorWrapper, ids: Collection[str]) -> dict[str, TaskState]:
    cursor.execute(_LOCK, [column(ids)])
    names = [described.name for described in cursor.description]
    states = (TaskState(**dict(zip(names, row, strict=True))) for row in cursor.fetchall())
    by_id = {state.id: state for state in states}
    for state in by_id.values():
        state.status = Status(state.status)
    return by_id


def _fold(states: dict[str, TaskState], by_task: Mapping[str, list[Event]]) -> _Folded:
    """Fold the events of these tasks into their states."""
    folded = _Folded(states, [], [])
    for task_id, state in states.items():
        for event in by_task[task_id]:
            if contradicts(event, state):
                folded.corrected.append(event)
            if fold(state, event):
                folded.ended.append((state, event))
    return folded


def _write_rows(cursor: CursorWrapper, states: Iterable[TaskState]) -> None:
    own: list[TaskState] = []
    external: list[TaskState] = []
    for state in states:
        (external if state.source == EXTERNAL else own).append(state)
    if own:
        cursor.execute(_UPDATE, _columns(own, _UPDATED))
    if external:
        cursor.execute(_UPDATE_EXTERNAL, {**_columns(external, _UPDATED_EXTERNAL), **_arguments(external)})


def _arguments(states: Sequence[TaskState]) -> dict[str, str]:
    """Return the columns of arguments; NULL where none are told."""
    return {name: column(storable(value) if (value := getattr(state, name)) else None for state in states) for name in _ARGUMENTS}


def _fill_queues(cursor: CursorWrapper, states: Sequence[TaskState]) -> None:
    """Store where other applications' routes sent tasks that Zenith dispatched."""
    if states:
        cursor.execute(_FILL_QUEUES, [column(state.id for state in states), column(state.queue for state in states)])


def _hold(cursor: CursorWrapper, events: Sequence[Event]) -> None:
    """Mark the tasks whose next attempt waits in PostgreSQL, so that the relay sends it when it is due."""
    if events:
        cursor.execute(_HOLD, [[event.task_id for event in events], [event.position for event in events]])


def _mark_acks_early(cursor: CursorWrapper, ids: Sequence[str]) -> None:
    """Mark the tasks whose message is acknowledged before they run, so that it is never sent again."""
    if ids:
        cursor.execute("UPDATE tasks_app_task SET acks_early = true WHERE id = ANY(%s::uuid[])", [list(ids)])


def _keep_messages(cursor: CursorWrapper, events: Sequence[Event]) -> None:
    """Store what messages carry, so that they can be sent again; for a task that replaced itself, the newest message."""
    newest = {event.task_id: event for event in sorted(events, key=lambda event: event.nesting)}
    if newest:
        rows = [(id_, event.nesting, storable(event.extras)) for id_, event in sorted(newest.items())]
        cursor.execute(_MESSAGES, [list(column) for column in zip(*rows, strict=True)])


def _note_workflows(cursor: CursorWrapper, states: Mapping[str, TaskState], events: Iterable[Event]) -> None:
    workflows: dict[str, tuple[int, float]] = {}
    for event in events:
        state = states.get(event.task_id)
        if event.workflow_id and state is not None:
            workflows.setdefault(event.workflow_id, (state.application_id, state.created_at or event.at))
    note_workflows(cursor, workflows)


def _columns(states: Sequence[TaskState], names: Iterable[str]) -> dict[str, str]:
    return {name: column(getattr(state, name) for state in states) for name in names}


def _write_history(
    cursor: CursorWrapper,
    states: dict[str, TaskState],
    events: Sequence[Event],
    ended: Sequence[TaskState],
) -> int | None:
    """Write events, and rollups of what is new; a repeated event is counted once."""
    rows = sorted(chain.from_iterable(map(_event_rows, events)), key=attrgetter("position"))
    written = write_events(cursor, rows)
    retry_times = {(str(row.task_id), row.position): row.at for row in rows if row.status == Status.RETRY}
    retried = [
        (states[task_id], at)
        for _, task_id, position in (written if retry_times else ())
        if (at := retry_times.get((task_id, position))) is not None
    ]
    write_rollups(cursor, ended, retried)
    write_worker_minutes(cursor, ended)
    return max((event_id for event_id, _, _ in written), default=None)


def _event_rows(event: Event) -> Iterable[EventRow]:
    """Yield the rows of an event: its own, and those of the earlier steps that it carries."""
    for status, at in (
        (Status.RECEIVED, event.received_at),
        (Status.STARTED, event.started_at),
    ):
        if at is not None and event.status != status:
            yield _row(event, status, at, "")
    message = event.message or (f"{event.error_type}: {event.error_message}" if event.error_type else "")
    # A report of progress comes later than the step that it tells again.
    at = event.at if event.progress is None else event.started_at or event.at
    yield _row(event, event.status, at, message)


def _row(event: Event, status: Status, at: float, message: str) -> EventRow:
    return EventRow(event.task_id, status, (event.position & ~0xFF) | RANKS[status], at, event.worker, message)


def _make_storable(event: Event, keys: dict[tuple[str, str], str]) -> None:
    """Make an event's values such that PostgreSQL can store them; `keys` holds those of the batch's tasks so far."""
    ids = event.application, event.task_id
    if event.extras or event.root_id:
        belongs = membership(event.task_id, event.extras, event.application, event.root_id, replaced=event.nesting > 0)
        event.root_id, event.group_id, event.workflow_id = belongs
    key = keys.get(ids)
    if key is None:
        key = keys[ids] = str(key_of(event.task_id, event.application))
    if key != event.task_id:
        event.task_id, event.text_id = key, storable_text(event.task_id)
    event.worker = storable_text(event.worker)[:_NAME_KEPT]
    event.name, event.queue = storable_text(event.name)[:_NAME_KEPT], storable_text(event.queue)[:_NAME_KEPT]
    event.message = storable_text(event.message)
    event.error_type = storable_text(event.error_type)[:_NAME_KEPT]
    event.parent_id = str(key_of(event.parent_id, event.application)) if event.parent_id else None
    event.error_message = storable_text(event.error_message)
    event.priority = priority_of(event.priority)
    if event.traceback is not None:
        event.traceback = storable_text(event.traceback)
    if settings.ZENITH_MASK_STORED:
        _mask(event)
    if event.status in TERMINAL and event.result is None:
        event.result = REVOKED_RESULT if event.status == Status.REVOKED else "null"


def _mask(event: Event) -> None:
    """Mask the secrets of an outcome for good. Arguments stay unmasked, since retries and replays send them again."""
    event.message, event.error_message = mask_text(event.message), mask_text(event.error_message)
    if event.traceback is not None:
        event.traceback = mask_text(event.traceback)
    if event.result is not None:
        event.result = mask_json(event.result)
