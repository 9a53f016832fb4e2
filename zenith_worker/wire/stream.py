"""The one Redis Stream that carries every step of every task from the workers to the recorders.

1. Whoever sees a step appends an entry (`append`): one field holding a JSON list of events.
2. Recorders read entries through a consumer group (`read`), apply them to PostgreSQL, and only
   then remove them (`done`): at least once, never at most once.
3. What a dead recorder had read but not removed is claimed by another (`claim`).
4. An entry that nobody can read or apply is moved to a second stream with the reason
   (`set_aside`), so that it blocks nothing and is not lost.

No other module reads or writes these keys but claims.py, which reports an outcome and lets go of its claim in one step.
"""

import json
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from types import NoneType
from typing import Any, Final, get_args, get_origin

import redis
from celery.utils.saferepr import saferepr
from kombu.utils import json as kombu_json

from zenith_worker.wire import recorder_stats
from zenith_worker.wire.client import client, command, load, script, text
from zenith_worker.wire.keys import EVENTS, RECORDER, RECORDER_STATS, UNREADABLE
from zenith_worker.wire.runs import Run
from zenith_worker.wire.states import Status, position

GROUP: Final = "recorder"
#: Characters kept of an argument that JSON cannot hold.
_REPR_KEPT: Final = 1024
#: Seconds: longer than the largest batch takes.
RECORDER_NOTED: Final = 60
#: Stands for every place.
ANYWHERE: Final = "*"
UNREADABLE_KEPT: Final = 10_000

_DONE: Final = load("batch_done")
_BOUNDS: Final = tuple(json.dumps(bounds) for bounds in (recorder_stats.SIZES, recorder_stats.DELAYS_MS))


@dataclass(slots=True, kw_only=True)
class Event:
    """One step of one task, as reported by whoever saw it. Times are Unix time in seconds."""

    task_id: str
    status: Status
    at: float
    # How often the task had replaced itself: Celery's `replaced_task_nesting`.
    nesting: int = 0
    # Celery's id, where the recorder has put the row's key (ids.py) in its place.
    text_id: str = ""
    attempt: int = 0
    delivery: int = 0
    worker: str = ""
    message: str = ""
    received_at: float | None = None
    started_at: float | None = None
    not_before: float | None = None
    # Of a STARTED: its message is acknowledged already (`acks_late=False`), so it must never run again.
    early: bool = False
    # Of a RETRY: its worker sent no message; the next attempt waits in PostgreSQL (dispatch/publish.py).
    held: bool = False
    runtime: float | None = None
    result: str | None = None
    traceback: str | None = None
    error_type: str = ""
    error_message: str = ""
    meta: str | None = None
    # The entry of beat's schedule that sent it.
    periodic_task_name: str = ""
    # Celery's state of the result where it is another than the status: a task that never ran fails with its chain.
    result_status: str = ""
    # Only for tasks that Zenith did not dispatch, whose row nobody has written yet.
    name: str = ""
    queue: str = ""
    args: list[Any] | None = None
    kwargs: dict[str, Any] | None = None
    priority: int | None = None
    parent_id: str | None = None
    # What its message carries besides (extras.py); of a replacement also its name and arguments.
    extras: dict[str, Any] | None = None

    @property
    def position(self) -> int:
        """Where this step stands among all steps of its task."""
        return position(self.attempt, self.delivery, self.status, self.nesting)

    @property
    def run(self) -> Run:
        """Which run of its task this step belongs to."""
        return Run(self.nesting, self.attempt)


#: An event's `meta` if the task sent no other.
NO_META: Final = '{"children": []}'


class UnreadableEntryError(ValueError):
    """An entry of the stream does not hold a list of events."""


_DEFAULTS: Final = {item.name: item.default for item in fields(Event)}


def _json_kinds(annotation: Any) -> set[type]:
    """Return the types that JSON has for a field's values; None is a default and never written."""
    if annotation is Status:
        return {str}
    kinds = {get_origin(part) or part for part in get_args(annotation) or (annotation,)}
    return (kinds | {int} if float in kinds else kinds) - {NoneType}


_KINDS: Final = {item.name: _json_kinds(item.type) for item in fields(Event)}
_NUMBERS: Final = {name for name, kinds in _KINDS.items() if int in kinds}
#: After every time (the year 9999) and count; also keeps out NaN and infinities.
_BEYOND: Final = 253_402_300_800


def encode(events: Iterable[Event]) -> bytes:
    """Return events as the JSON that one stream entry carries; defaults are left out.

    Arguments are written as kombu writes a message's body, which knows dates, decimals, UUIDs and bytes. Of what came by another
    serializer and is none of those, only its `repr` is told: an announcement must not fail, and others travel with it.
    """
    rows = [
        {name: value for name, default in _DEFAULTS.items() if (value := getattr(event, name)) != default} for event in events
    ]
    try:
        text = _dumps(rows)
    except (TypeError, ValueError, RecursionError):
        text = _dumps([row if _is_json(row) else _described(row) for row in rows])
    return text.encode()


#: What is known of a message whose arguments JSON cannot hold: it cannot be sent again.
OPAQUE: Final = {"headers": {}, "embed": {}, "opaque": True}


def _dumps(value: Any) -> str:
    return str(kombu_json.dumps(value, separators=(",", ":")))


def _described(row: dict[str, Any]) -> dict[str, Any]:
    """Return an event's row with the arguments that JSON cannot hold by what they look like."""
    described = {name: value for name, value in row.items() if name != "extras"}
    if "args" in row or "kwargs" in row:
        # What it was called with is known by its looks only.
        described["extras"] = OPAQUE
    if "args" in row:
        described["args"] = [_speakable(item) for item in row["args"]]
    if "kwargs" in row:
        described["kwargs"] = {str(name): _speakable(item) for name, item in row["kwargs"].items()}
    return described


def _speakable(value: Any) -> Any:
    return value if _is_json(value) else saferepr(value, maxlen=_REPR_KEPT)


def _is_json(value: Any) -> bool:
    try:
        _dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def decode(raw: bytes | None) -> list[Event]:
    """Return the events of one stream entry.

    Raises UnreadableEntryError for anything that `encode` did not make.
    """
    try:
        rows = json.loads(raw or b"")
        if type(rows) is not list:
            raise TypeError("not a list")
        return [_event(row) for row in rows]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UnreadableEntryError(f"{type(error).__name__}: {error}") from error


def _event(row: dict[str, Any]) -> Event:
    """Return one event; a value of the wrong kind would otherwise stop every recorder later on.

    Fields that a newer release added are passed over, so that its workers may run beside older engines.
    """
    if type(row) is not dict:
        raise TypeError("an event is not an object")
    row = {name: value for name, value in row.items() if name in _KINDS}
    for name, value in row.items():
        if type(value) not in _KINDS[name]:
            raise TypeError(f"{name} is a {type(value).__name__}")
        if name in _NUMBERS and not 0 <= value < _BEYOND:
            raise ValueError(f"{name} is out of range")
    return Event(**{**row, "status": Status(row["status"])})


def salvage(raw: bytes | None) -> list[Event]:
    """Return what can be told of the steps in an entry that cannot be read: which task, what became of it, and when.

    An end that was reported must not be forgotten for an odd value beside it. Never raises.
    """
    try:
        rows = json.loads(raw or b"")
    except (ValueError, RecursionError):
        return []
    return [event for row in (rows if isinstance(rows, list) else []) if (event := _core(row)) is not None]


_CORE: Final = ("task_id", "status", "at", "nesting", "attempt", "delivery", "result_status")
_RUNS: Final = ("nesting", "attempt", "delivery")
_ODD: Final = "the rest of its report could not be kept"


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
    """Return an event with nothing but which task took which step, and when."""
    kept = Event(task_id=event.task_id, text_id=event.text_id, status=event.status, at=event.at, message=_ODD)
    kept.nesting, kept.attempt, kept.delivery = event.nesting, event.attempt, event.delivery
    return kept


def append(events: Sequence[Event]) -> None:
    """Append events as one entry, in one round trip. Raises redis.RedisError."""
    if events:
        command("XADD", EVENTS, "*", "e", encode(events))


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as a recorder reads it."""

    id: str
    raw: bytes | None


def ensure_group() -> None:
    """Create the stream and its consumer group where they are missing."""
    try:
        client().xgroup_create(EVENTS, GROUP, id="0", mkstream=True)
    except redis.ResponseError as error:
        if not str(error).startswith("BUSYGROUP"):
            raise


def read(consumer: str, *, count: int, block: float) -> list[Entry]:
    """Return up to `count` new entries, waiting at most `block` seconds for the first."""
    answer = client().xreadgroup(GROUP, consumer, {EVENTS: ">"}, count=count, block=max(1, int(block * 1000)))
    return [] if not answer else _entries(next(iter(_streams(answer))))


def claim(consumer: str, *, idle: float, count: int) -> list[Entry]:
    """Take over entries that another recorder has kept for more than `idle` seconds."""
    answer = client().xautoclaim(EVENTS, GROUP, consumer, int(idle * 1000), "0-0", count=count)
    return _entries(answer[1])


def done(entries: Sequence[Entry]) -> None:
    """Acknowledge, remove and count a batch of entries, the oldest first, whose events are committed."""
    if entries:
        script(_DONE, EVENTS, GROUP, RECORDER_STATS, *_BOUNDS, *(entry.id for entry in entries))


def set_aside(entry: Entry, reason: str) -> None:
    """Move an entry that cannot be read or applied to the second stream, with the reason."""
    with client().pipeline(transaction=True) as pipe:
        pipe.xadd(
            UNREADABLE,
            {"e": entry.raw or b"", "id": entry.id, "reason": reason[:2000], "at": time.time()},
            maxlen=UNREADABLE_KEPT,
            approximate=True,
        )
        pipe.xack(EVENTS, GROUP, entry.id)
        pipe.xdel(EVENTS, entry.id)
        pipe.execute()


def length() -> int:
    """Return how many entries wait or are being applied."""
    return int(client().xlen(EVENTS))


def lag() -> float:
    """Return for how many seconds the oldest entry has waited, by Redis' clock. Raises redis.RedisError."""
    oldest = client().xrange(EVENTS, count=1)
    if not oldest:
        return 0.0
    seconds, micros = client().time()
    return max(0.0, seconds + micros / 1e6 - int(text(oldest[0][0] or "0").partition("-")[0]) / 1000)


def unreadable_count() -> int:
    """Return how many entries were set aside."""
    return int(client().xlen(UNREADABLE))


def note_recorder(place: str) -> None:
    """Note that a recorder is at work on this machine or in this container. Raises redis.RedisError.

    Redis itself says only since version 7.2 when a consumer last tried to read.
    """
    # A full Redis takes nothing more; the recorder is what makes room, and must go on.
    with suppress(redis.ResponseError):
        for where in (place, ANYWHERE):
            client().set(RECORDER + where, 1, ex=RECORDER_NOTED)


def has_recorder(place: str) -> bool:
    """Return whether one was at work there, or ANYWHERE, within the last minute. Raises redis.RedisError."""
    return bool(client().exists(RECORDER + place))


def forget_idle_consumers(*, idle: float) -> None:
    """Remove consumers that hold nothing and have not read for `idle` seconds."""
    for consumer in client().xinfo_consumers(EVENTS, GROUP):
        if consumer["pending"] == 0 and consumer["idle"] > idle * 1000:
            client().xgroup_delconsumer(EVENTS, GROUP, consumer["name"])


def _streams(answer: Any) -> list[Any]:
    """Return the entry lists of an XREADGROUP answer, which is a list or (RESP3) a map."""
    if isinstance(answer, dict):
        return [entries[0] if len(entries) == 1 else entries for entries in answer.values()]
    return [entries for _, entries in answer]


def _entries(rows: Iterable[Any]) -> list[Entry]:
    return [Entry(id=text(row[0]), raw=(row[1] or {}).get(b"e")) for row in rows if row is not None]
