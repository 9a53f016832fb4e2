"""Walking the tasks from the newest to the oldest along an index, and never further than a page may cost.

A list is read from *streams*: each walks one index in the order of places (models/places.py), for given values of its
leading columns, so a thousand tasks among millions are found without touching the others. What no
index answers (`condition`) is looked at row by row, and at `REACH` rows at most. A page that was not
filled by then ends there, short or even empty, and says where the walk goes on.

The queries order by all columns of the index they mean, and compare whole rows. Ordered by place alone,
PostgreSQL may prefer to walk all tasks until it has enough rows, which never ends for a value
that only old rows have.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

from django.db import connection

from tasks_app.models.places import NEWEST, OLDEST, Place

#: Rows that one page may look at, all its streams together.
REACH: Final = 20_000
#: Of one stream, where there are many.
MIN_REACH: Final = 200
#: What a place consists of, in this order.
_PLACE: Final = ("created_at", "id")
_NEWEST_FIRST: Final = "ORDER BY created_at DESC, id DESC"


@dataclass(frozen=True)
class IndexCondition:
    """What a row must meet besides: SQL over the columns of a task, `true` for nothing; with its named parameters.

    `check` returns those of some tasks that meet what SQL cannot say. What it drops shows nowhere: the walk goes on for others,
    and ends where it would end without them.
    """

    sql: str = "true"
    values: Mapping[str, Any] = field(default_factory=dict)
    check: Callable[[Collection[UUID]], Collection[UUID]] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether every row meets it."""
        return self.sql == "true" and self.check is None


@dataclass(frozen=True)
class Stream:
    """Tasks along one index, for each of these values of its leading columns.

    `partial` repeats the condition of a partial index. Only places from `first` up to, but not with, `last`.
    """

    columns: tuple[str, ...] = ()
    keys: Sequence[tuple[str, ...]] = ((),)
    partial: str = "true"
    first: Place = OLDEST
    last: Place = NEWEST


@dataclass(frozen=True)
class Index:
    """The leading columns of an index, how many of their values are told apart at most, and its condition if it is partial."""

    columns: tuple[str, ...]
    most: int
    partial: str = "true"


@dataclass(frozen=True)
class Walked:
    """The places of tasks that match, newest first. `reached`: how far the walk went; None where it came to the end."""

    places: list[Place]
    reached: Place | None = None

    @property
    def ids(self) -> list[UUID]:
        """The tasks' ids, in the same order."""
        return [place.id for place in self.places]


def walk(streams: Sequence[Stream], condition: IndexCondition, before: Place, wanted: int, reach: int = REACH) -> Walked:
    """Return the places of up to `wanted` matching tasks, all before `before`: in one query, with a check in a few."""
    found: list[Place] = []
    below, size, end = before, wanted, None
    while True:
        candidates, reached = _look(streams, condition, below, size, reach)
        # How far a page goes depends on the rows there are, and never on which of them the check drops.
        end = reached if below == before else end
        found += _checked(candidates, condition)
        if condition.check is None or len(candidates) < size or len(found) >= wanted:
            break
        below, size = candidates[-1], min(2 * size, reach)
        if end:
            streams = [replace(stream, first=max(stream.first, end)) for stream in streams]
    found = found[:wanted]
    return Walked(found, None if len(found) == wanted else end)


def _look(
    streams: Sequence[Stream], condition: IndexCondition, before: Place, wanted: int, reach: int
) -> tuple[list[Place], Place | None]:
    """Return up to `wanted` places that meet a condition's SQL, and where the reach ends; None where the streams do."""
    streams = [replace(stream, last=min(stream.last, before)) for stream in streams if stream.keys]
    if not streams:
        return [], None
    values: dict[str, Any] = {**condition.values, "wanted": wanted}
    each = max(MIN_REACH, reach // sum(len(stream.keys) for stream in streams))
    # Where nothing is to be looked at, the index alone answers.
    values["each"] = wanted if condition.is_empty else each
    found = " UNION ALL ".join(_matching(stream, number, condition, values) for number, stream in enumerate(streams))
    query = f"(SELECT DISTINCT created_at, id, false FROM ({found}) AS found {_NEWEST_FIRST} LIMIT %(wanted)s)"  # noqa: S608 -- built here
    if not condition.is_empty:
        query += f" UNION ALL ({_end(streams, values)})"
    rows = _rows(query, values)
    places = sorted((Place(*place) for *place, is_end in rows if not is_end), reverse=True)
    reached = next((Place(*place) for *place, is_end in rows if is_end), None)
    # Below the point that the least of the streams came to, another may have matches that were not looked at.
    return [place for place in places if reached is None or place >= reached], reached


def _checked(places: list[Place], condition: IndexCondition) -> list[Place]:
    if condition.check is None or not places:
        return places
    passed = condition.check([place.id for place in places])
    return [place for place in places if place.id in passed]


def shortest(candidates: Sequence[Stream], most: int = REACH) -> Stream:
    """Return the stream that has the fewest tasks; where several have `most` or more, the first of these."""
    values: dict[str, Any] = {"most": most}
    counts = " UNION ALL ".join(
        f"""SELECT {number} AS number, (SELECT count(*) FROM (SELECT FROM {_keys(stream, number, values)}, LATERAL (
            {_along(stream, number, values, "task.id")} LIMIT %(most)s) AS walked LIMIT %(most)s) AS counted) AS size"""  # noqa: S608
        for number, stream in enumerate(candidates)
    )
    number: int = min(_rows(counts, values), key=lambda row: (row[1], row[0]))[0]
    return candidates[number]


def counts(stream: Stream, most: int) -> list[tuple[tuple[str, ...], int]]:
    """Return how many tasks a stream has for each of its keys, `most` at most of each; one query."""
    if not stream.keys:
        return []
    values: dict[str, Any] = {"most": most}
    columns = ", ".join(f"key.{column}" for column in stream.columns)
    query = f"""SELECT {columns}, counted.size FROM {_keys(stream, 0, values)}, LATERAL (
        SELECT count(*) AS size FROM ({_along(stream, 0, values, "1")} LIMIT %(most)s) AS walked) AS counted"""  # noqa: S608
    return [(tuple(key), size) for *key, size in _rows(query, values)]


def _matching(stream: Stream, number: int, condition: IndexCondition, values: dict[str, Any]) -> str:
    return f"""
        SELECT matching.created_at, matching.id FROM {_keys(stream, number, values)}, LATERAL (
            SELECT task.created_at, task.id FROM ({_along(stream, number, values, "*")} LIMIT %(each)s) AS task
            WHERE {condition.sql} LIMIT %(wanted)s
        ) AS matching
    """  # noqa: S608 -- put together from this package's own texts; values are parameters


def _end(streams: Sequence[Stream], values: dict[str, Any]) -> str:
    """Return the query for the newest place at which a stream's reach ended; no row where all came to their ends."""
    ends = " UNION ALL ".join(
        f"""SELECT ending.created_at, ending.id FROM {_keys(stream, number, values)}, LATERAL (
            {_along(stream, number, values, "task.created_at, task.id")} OFFSET %(each)s - 1 LIMIT 1) AS ending"""  # noqa: S608
        for number, stream in enumerate(streams)
    )
    return f"SELECT created_at, id, true FROM ({ends}) AS ending {_NEWEST_FIRST} LIMIT 1"  # noqa: S608


def _keys(stream: Stream, number: int, values: dict[str, Any]) -> str:
    """Return the rows of key values to walk for."""
    if not stream.columns:
        return "(SELECT 1) AS key"
    for index, column in enumerate(stream.columns):
        values[f"{column}{number}"] = [key[index] for key in stream.keys]
    arrays = ", ".join(f"%({column}{number})s::text[]" for column in stream.columns)
    return f"unnest({arrays}) AS key ({', '.join(stream.columns)})"


def _along(stream: Stream, number: int, values: dict[str, Any], selected: str) -> str:
    """Return the query that walks one key's rows, newest first."""
    columns = (*stream.columns, *_PLACE)
    own = ", ".join(f"task.{column}" for column in columns)
    key = "".join(f"key.{column}, " for column in stream.columns)
    order = ", ".join(f"task.{column} DESC" for column in columns)
    first, last = (_bound(name, number, place, values) for name, place in (("first", stream.first), ("last", stream.last)))
    return f"""
        SELECT {selected} FROM tasks_app_task AS task
        WHERE {stream.partial} AND ({own}) < ({key}{last}) AND ({own}) >= ({key}{first})
        ORDER BY {order}
    """  # noqa: S608


def _bound(name: str, number: int, place: Place, values: dict[str, Any]) -> str:
    values[f"{name}_at{number}"], values[f"{name}_id{number}"] = place
    return f"%({name}_at{number})s::timestamptz, %({name}_id{number})s::uuid"


def distinct(*indexes: Index) -> list[list[tuple[str, ...]] | None]:
    """Return the values that each index begins with; None where they are more than its `most`. One query for all."""
    steps = ", ".join(_skipping(index, number) for number, index in enumerate(indexes))
    parts = " UNION ALL ".join(
        f"(SELECT {number}, ARRAY[{', '.join(index.columns)}]::text[] FROM value{number} LIMIT {index.most + 1})"  # noqa: S608
        for number, index in enumerate(indexes)
    )
    found: list[list[tuple[str, ...]]] = [[] for _ in indexes]
    for number, values in _rows(f"WITH RECURSIVE {steps} {parts}", {}):
        found[number].append(tuple(values))
    return [rows if len(rows) <= index.most else None for index, rows in zip(indexes, found, strict=True)]


def _skipping(index: Index, number: int) -> str:
    """Return the part of a query that skips along an index from one value to the next."""
    names = ", ".join(index.columns)
    own, last = (", ".join(f"{alias}.{column}" for column in index.columns) for alias in ("task", "value"))
    return f"""
        value{number} AS (
            (SELECT {names} FROM tasks_app_task AS task WHERE {index.partial} ORDER BY {own} LIMIT 1)
            UNION ALL
            SELECT following.* FROM value{number} AS value, LATERAL (
                SELECT {own} FROM tasks_app_task AS task WHERE {index.partial} AND ({own}) > ({last}) ORDER BY {own} LIMIT 1
            ) AS following
        )
    """  # noqa: S608 -- names of columns


def newest(condition: IndexCondition, before: Place, wanted: int) -> list[Place]:
    """Return the newest of the tasks that meet a condition that an index answers with a few thousand rows at most."""
    found: list[Place] = []
    below, size = before, wanted
    while True:
        candidates = _newest(condition, below, size)
        found += _checked(candidates, condition)
        if condition.check is None or len(candidates) < size or len(found) >= wanted:
            return found[:wanted]
        below, size = candidates[-1], 2 * size


def _newest(condition: IndexCondition, before: Place, wanted: int) -> list[Place]:
    values: dict[str, Any] = {**condition.values, "wanted": wanted}
    query = f"""
        WITH chosen AS MATERIALIZED (SELECT task.created_at, task.id FROM tasks_app_task AS task WHERE {condition.sql})
        SELECT created_at, id FROM chosen WHERE (created_at, id) < ({_bound("last", 0, before, values)})
        {_NEWEST_FIRST} LIMIT %(wanted)s
    """  # noqa: S608
    return [Place(*row) for row in _rows(query, values)]


def fewest(conditions: Sequence[IndexCondition], most: int) -> list[UUID] | None:
    """Return all tasks that meet one of some conditions which an index answers: the one that the fewest meet.

    In no order, and in one query. None where more than `most` tasks meet each of them.
    """
    values: dict[str, Any] = {"most": most + 1}
    parts = []
    for number, condition in enumerate(conditions):
        values |= condition.values
        parts.append(f"(SELECT {number}, task.id FROM tasks_app_task AS task WHERE {condition.sql} LIMIT %(most)s)")  # noqa: S608
    found: list[list[UUID]] = [[] for _ in conditions]
    for number, id_ in _rows(" UNION ALL ".join(parts), values):
        found[number].append(id_)
    return min((ids for ids in found if len(ids) <= most), key=len, default=None)


def _rows(query: str, values: Mapping[str, Any]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        rows: list[Any] = cursor.fetchall()
    return rows
