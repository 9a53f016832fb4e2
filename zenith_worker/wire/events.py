"""Events: the steps of tasks that workers report, and their encoding as entries of the stream.

An entry is checked when it is read: a value of the wrong type would stop every recorder later on. Unknown fields of newer
releases are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields
from operator import attrgetter
from typing import Any, Final

from celery.utils.saferepr import saferepr
from kombu.utils import json as kombu_json

from zenith_worker.wire.compat import dataclass
from zenith_worker.wire.keys import NATIVE
from zenith_worker.wire.runs import RunNumber
from zenith_worker.wire.states import Status, position

#: Characters kept of an argument that JSON cannot hold.
_REPR_KEPT: Final = 1024
#: Levels of nesting up to which arguments are reported unchanged: far less than what recorders and pages can handle.
MAX_DEPTH: Final = 150


@dataclass(slots=True, kw_only=True)
class Event:
    """One reported step of one task. Times are Unix time in seconds."""

    task_id: str
    status: Status
    at: float
    # How often the task had replaced itself: Celery's `replaced_task_nesting`.
    nesting: int = 0
    # Set by the recorder, never in an entry: the application in whose stream the entry lay, and Celery's id, once the row's
    # key has replaced it (ids.py).
    application: str = NATIVE
    text_id: str = ""
    attempt: int = 0
    delivery: int = 0
    worker: str = ""
    message: str = ""
    received_at: float | None = None
    started_at: float | None = None
    not_before: float | None = None
    # For STARTED: its message is already acknowledged (`acks_late=False`), so it must never run again.
    early: bool = False
    # For RETRY: its worker sent no message; the next attempt waits in PostgreSQL (dispatch/publish.py).
    held: bool = False
    runtime: float | None = None
    # For STARTED: how far the task is at that time (progress.py); `started_at` then is the time of the step itself.
    progress: dict[str, Any] | None = None
    # Of an ended run: CPU time in seconds, and the largest memory of its process while it ran, in bytes.
    cpu: float | None = None
    memory: int | None = None
    result: str | None = None
    traceback: str | None = None
    error_type: str = ""
    error_message: str = ""
    meta: str | None = None
    # The entry of Celery beat's schedule that sent it.
    periodic_task_name: str = ""
    # Celery's state of the result, if it differs from the status: a task that never ran fails with its chain.
    result_status: str = ""
    # Only for tasks that Zenith did not dispatch, which have no row yet.
    name: str = ""
    queue: str = ""
    args: list[Any] | None = None
    kwargs: dict[str, Any] | None = None
    priority: int | None = None
    parent_id: str | None = None
    # Only if its extras do not hold it: of a watched application's task, or of one whose extras JSON cannot hold.
    root_id: str | None = None
    # Set by the recorder (tasks_app/recording/workflows.py).
    group_id: str | None = None
    workflow_id: str | None = None
    # What else its message carries (extras.py); for a replacement also its name and arguments.
    extras: dict[str, Any] | None = None

    @property
    def position(self) -> int:
        """The position of this step among all steps of its task."""
        return position(self.attempt, self.delivery, self.status, self.nesting)

    @property
    def run(self) -> RunNumber:
        """The run of the task that this step belongs to."""
        return RunNumber(self.nesting, self.attempt)


#: An event's `meta` if the task sent no other.
NO_META: Final = '{"children": []}'


class UnreadableEntryError(ValueError):
    """An entry of the stream does not hold a list of events."""


#: Fields that are neither written into an entry nor read from one.
_IN_MEMORY: Final = {"application", "text_id", "group_id", "workflow_id"}
_REPORTED: Final = [item for item in fields(Event) if item.name not in _IN_MEMORY]
_NAMES: Final = [item.name for item in _REPORTED]
_DEFAULT_VALUES: Final = [item.default for item in _REPORTED]
#: Returns all of an event's values at once, which is faster than one after the other.
_values_of: Final = attrgetter(*_NAMES)


#: The JSON types of a field's values, by a part of its annotation; None is a default and never written.
_JSON_TYPES: Final[dict[str, set[type]]] = {
    "Status": {str}, "str": {str}, "bool": {bool}, "int": {int}, "float": {float, int}, "list": {list}, "dict": {dict},
    "None": set(),
}  # fmt: skip


def _json_kinds(annotation: str) -> set[type]:
    """Return the JSON types of a field's values. An annotation is text here: Python 3.9 could not evaluate `str | None`."""
    return {kind for part in annotation.split(" | ") for kind in _JSON_TYPES[part.partition("[")[0]]}


_KINDS: Final = {item.name: _json_kinds(str(item.type)) for item in _REPORTED}
#: A lookup takes a tenth of the time of `Status(value)`.
_STATUSES: Final[dict[str, Status]] = {status.value: status for status in Status}
#: Greater than every valid time (the year 9999) and count; also excludes NaN and infinities.
_BEYOND: Final = 253_402_300_800
_LIMITS: Final[dict[str, int]] = {name: _BEYOND for name, kinds in _KINDS.items() if int in kinds} | {"memory": 2**60}


def encode(events: Iterable[Event]) -> bytes:
    """Return events as the JSON of one stream entry, without defaults.

    Arguments are encoded like a message's body in kombu, which knows dates, decimals, UUIDs and bytes. Any other value, from
    another serializer, is reported as its `repr`: the report must not fail, and other events share the entry.
    """
    rows = [
        {name: value for name, default, value in zip(_NAMES, _DEFAULT_VALUES, _values_of(event)) if value != default}
        for event in events
    ]
    try:
        text = _dumps(rows)
        # The list of rows is a level of its own.
        is_encodable = not _may_be_deep(text) or not nested_deeper(rows, MAX_DEPTH + 1)
    except (TypeError, ValueError, RecursionError):
        is_encodable = False
    if not is_encodable:
        text = _dumps([row if _is_encodable(row) else _described(row) for row in rows])
    return text.encode()


def nested_deeper(value: Any, levels: int) -> bool:
    """Return whether lists and objects are nested more than `levels` deep, without recursion."""
    layer = [value]
    for _ in range(levels + 1):
        layer = [
            item
            for container in layer
            if isinstance(container, (dict, list, tuple))
            for item in (container.values() if isinstance(container, dict) else container)
        ]
        if not layer:
            return False
    return True


def _may_be_deep(text: str) -> bool:
    # A quick check that says no for almost every text.
    return text.count("[") + text.count("{") > MAX_DEPTH


#: The extras of a message whose arguments JSON cannot hold: it cannot be sent again.
OPAQUE: Final = {"headers": {}, "embed": {}, "opaque": True}


def _dumps(value: Any) -> str:
    return str(kombu_json.dumps(value, separators=(",", ":")))


def _described(row: dict[str, Any]) -> dict[str, Any]:
    """Return an event's row with the `repr` of arguments that JSON cannot hold."""
    described = dict(row)
    if row.keys() & {"args", "kwargs", "extras"}:
        # Only the representation of its arguments, or of the tasks that follow it, is known.
        described["extras"] = OPAQUE
        if root := ((row.get("extras") or {}).get("headers") or {}).get("root_id"):
            described["root_id"] = root
    if "args" in row:
        described["args"] = [_encodable(item) for item in row["args"]]
    if "kwargs" in row:
        described["kwargs"] = {str(name): _encodable(item) for name, item in row["kwargs"].items()}
    return described


def _encodable(value: Any) -> Any:
    # Some levels less, because the value is nested in others.
    return value if _is_encodable(value, MAX_DEPTH - 4) else saferepr(value, maxlen=_REPR_KEPT)


def _is_encodable(value: Any, levels: int = MAX_DEPTH) -> bool:
    """Whether JSON can hold a value, nested no deeper than every reader can handle."""
    if nested_deeper(value, levels):
        return False
    try:
        _dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def decode(raw: bytes | None) -> list[Event]:
    """Return the events of one stream entry.

    Raises UnreadableEntryError for anything that `encode` did not create.
    """
    try:
        rows = json.loads(raw or b"")
        if type(rows) is not list:
            raise TypeError("not a list")
        return [_event(row) for row in rows]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UnreadableEntryError(f"{type(error).__name__}: {error}") from error


def _event(row: dict[str, Any]) -> Event:
    """Return one event; a value of the wrong type would otherwise stop every recorder later on.

    Unknown fields are ignored, so that workers of a newer release can run with older engines.
    """
    if type(row) is not dict:
        raise TypeError("an event is not an object")
    known = {}
    for name, value in row.items():
        kinds = _KINDS.get(name)
        if kinds is None:
            continue
        if type(value) not in kinds:
            raise TypeError(f"{name} is a {type(value).__name__}")
        limit = _LIMITS.get(name)
        if limit is not None and not 0 <= value < limit:
            raise ValueError(f"{name} is out of range")
        known[name] = value
    known["status"] = _STATUSES.get(known["status"]) or Status(known["status"])
    return Event(**known)


def salvage(raw: bytes | None) -> list[Event]:
    """Return the essential fields of the steps in an unreadable entry: the task, its status, and the time. Never raises.

    A reported end must not get lost because of an invalid value next to it.
    """
    try:
        rows = json.loads(raw or b"")
    except (ValueError, RecursionError):
        return []
    return [event for row in (rows if isinstance(rows, list) else []) if (event := _core(row)) is not None]


_CORE: Final = ("task_id", "status", "at", "nesting", "attempt", "delivery", "result_status")
_RUNS: Final = ("nesting", "attempt", "delivery")
_ODD: Final = "the rest of its report could not be stored"


def _core(row: Any) -> Event | None:
    if not isinstance(row, dict):
        return None
    try:
        return _event(row)
    except (ValueError, TypeError, KeyError):
        pass
    kept = {name: row[name] for name in _CORE if name in row}
    kept |= {name: min(row[name], _BEYOND - 1) for name in _RUNS if type(row.get(name)) is int}
    texts = {name: row[name] for name in ("error_type", "error_message", "name", "queue") if isinstance(row.get(name), str)}
    try:
        event = _event({**texts, **kept})
    except (ValueError, TypeError, KeyError):
        return None
    event.message = _ODD
    return event


def core(event: Event) -> Event:
    """Return an event with only its essential fields: the task, the step, and the time."""
    essence = Event(task_id=event.task_id, status=event.status, at=event.at, message=_ODD)
    essence.application, essence.text_id = event.application, event.text_id
    essence.nesting, essence.attempt, essence.delivery = event.nesting, event.attempt, event.delivery
    return essence
