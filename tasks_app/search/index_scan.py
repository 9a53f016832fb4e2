"""Scan tasks along an index from the newest to the oldest, reading only as many rows as a page may cost.

A list is read from *streams*: each scans one index in the order of places (models/places.py), for given values of its leading
columns, so a thousand tasks among millions are found without reading the others. Conditions that no index answers
(`condition`) are checked row by row, on `REACH` rows at most. A page that is not full by then ends there, short or even empty,
and says where the scan continues.

The queries order by all columns of the intended index and compare whole rows. If they ordered by place alone, PostgreSQL
might scan all tasks until it has enough rows, which takes forever for a value that only old rows have.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

from django.db import connection

from tasks_app.models.places import NEWEST, OLDEST, Place

#: The most rows that one page may read, over all its streams.
REACH: Final = 20_000
#: The rows that one stream may read at least, if there are many streams.
MIN_REACH: Final = 200
#: The columns of a place, in order.
_PLACE: Final = ("created_at", "id")
#: The types of leading columns that are not text.
_TYPES: Final = {"application_id": "smallint"}
_NEWEST_FIRST: Final = "ORDER BY created_at DESC, id DESC"


@dataclass(frozen=True)
class IndexCondition:
    """A condition on rows: SQL over the columns of a task (`true` for none), with its named parameters.

    `check` returns those of some tasks that meet what SQL cannot express. Tasks that it drops leave no trace: the scan goes on
    to find others, and ends where it would have ended without them.
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
    """Tasks along one index, for each of these values (`keys`) of its leading columns.

    `partial` repeats the condition of a partial index. Only places from `first` up to but not including `last` are scanned.
    """

    columns: tuple[str, ...] = ()
    keys: Sequence[tuple[str, ...]] = ((),)
    partial: str = "true"
    first: Place = OLDEST
    last: Place = NEWEST


@dataclass(frozen=True)
class Index:
    """The leading columns of an index, the most values of them to tell apart, and its condition if it is partial."""

    columns: tuple[str, ...]
    most: int
    partial: str = "true"


@dataclass(frozen=True)
class Walked:
    """The places of matching tasks, newest first. `reached`: how far the scan went, or None if it came to the end."""

    places: list[Place]
    reached: Place | None = None

    @property
    def ids(self) -> list[UUID]:
        """The tasks' ids, in the same order."""
        return [place.id for place in self.places]


def walk(streams: Sequence[Stream], condition: IndexCondition, before: Place, limit: int, reach: int = REACH) -> Walked:
    """Return the places of up to `limit` matching tasks, all before `before`: in one query, or with a check in a few."""
    matches: list[Place] = []
    below, size, end = before, limit, None
    while True:
        candidates, reached = _scan(streams, condition, below, size, reach)
        # How far a page goes depends on the rows there are, never on which of them the check drops.
        end = reached if below == before else end
        matches += _checked(candidates, condition)
        if condition.check is None or len(candidates) < size or len(matches) >= limit:
            break
        below, size = candidates[-1], min(2 * size, reach)
        if end:
            streams = [replace(stream, first=max(stream.first, end)) for stream in streams]
    matches = matches[:limit]
    return Walked(matches, None if len(matches) == limit else end)


def _scan(
    streams: Sequence[Stream], condition: IndexCondition, before: Place, limit: int, reach: int
) -> tuple[list[Place], Place | None]:
    """Return up to `limit` places that meet a condition's SQL, and where the reach ends; None if the streams end first."""
    streams = [replace(stream, last=min(stream.last, before)) for stream in streams if stream.keys]
    if not streams:
        return [], None
    values: dict[str, Any] = {**condition.values, "wanted": limit}
    each = max(MIN_REACH, reach // sum(len(stream.keys) for stream in streams))
    # Without a condition the index alone answers.
    values["each"] = limit if condition.is_empty else each
    parts = " UNION ALL ".join(_matching(stream, number, condition, values) for number, stream in enumerate(streams))
    query = f"(SELECT DISTINCT created_at, id, false FROM ({parts}) AS found {_NEWEST_FIRST} LIMIT %(wanted)s)"  # noqa: S608 -- built here
    if not condition.is_empty:
        query += f" UNION ALL ({_end(streams, values)})"
    rows = _rows(query, values)
    places = sorted((Place(*place) for *place, is_end in rows if not is_end), reverse=True)
    reached = next((Place(*place) for *place, is_end in rows if is_end), None)
    # Below the newest point at which a stream's reach ended, that stream may have matches that were not read.
    return [place for place in places if reached is None or place >= reached], reached


def _checked(places: list[Place], condition: IndexCondition) -> list[Place]:
    if condition.check is None or not places:
        return places
    passed = condition.check([place.id for place in places])
    return [place for place in places if place.id in passed]


def shortest(candidates: Sequence[Stream], most: int = REACH) -> Stream:
    """Return the stream with the fewest tasks; if all have `most` or more, the first of them."""
    values: dict[str, Any] = {"most": most}
    counts = " UNION ALL ".join(
        f"""SELECT {number} AS number, (SELECT count(*) FROM (SELECT FROM {_keys(stream, number, values)}, LATERAL (
            {_along(stream, number, values, "task.id")} LIMIT %(most)s) AS walked LIMIT %(most)s) AS counted) AS size"""  # noqa: S608
        for number, stream in enumerate(candidates)
    )
    number: int = min(_rows(counts, values), key=lambda row: (row[1], row[0]))[0]
    return candidates[number]


def counts(stream: Stream, most: int) -> list[tuple[tuple[str, ...], int]]:
    """Return how many tasks a stream has for each of its keys, counting up to `most` each; one query."""
    if not stream.keys:
        return []
    values: dict[str, Any] = {"most": most}
    columns = ", ".join(f"key.{column}" for column in stream.columns)
    query = f"""SELECT {columns}, counted.size FROM {_keys(stream, 0, values)}, LATERAL (
        SELECT count(*) AS size FROM ({_along(stream, 0, values, "1")} LIMIT %(most)s) AS walked) AS counted"""  # noqa: S608
    return [(tuple(map(str, key)), size) for *key, size in _rows(query, values)]


def _matching(stream: Stream, number: int, condition: IndexCondition, values: dict[str, Any]) -> str:
    return f"""
        SELECT matching.created_at, matching.id FROM {_keys(stream, number, values)}, LATERAL (
            SELECT task.created_at, task.id FROM ({_along(stream, number, values, "*")} LIMIT %(each)s) AS task
            WHERE {condition.sql} LIMIT %(wanted)s
        ) AS matching
    """  # noqa: S608 -- put together from this package's own texts; values are parameters


def _end(streams: Sequence[Stream], values: dict[str, Any]) -> str:
    """Return the query for the newest place at which a stream's reach ended; it gives no row if all streams came to their end."""
    ends = " UNION ALL ".join(
        f"""SELECT ending.created_at, ending.id FROM {_keys(stream, number, values)}, LATERAL (
            {_along(stream, number, values, "task.created_at, task.id")} OFFSET %(each)s - 1 LIMIT 1) AS ending"""  # noqa: S608
        for number, stream in enumerate(streams)
    )
    return f"SELECT created_at, id, true FROM ({ends}) AS ending {_NEWEST_FIRST} LIMIT 1"  # noqa: S608


def _keys(stream: Stream, number: int, values: dict[str, Any]) -> str:
    """Return the FROM item with the keys to scan for."""
    if not stream.columns:
        return "(SELECT 1) AS key"
    for index, column in enumerate(stream.columns):
        values[f"{column}{number}"] = [key[index] for key in stream.keys]
    arrays = ", ".join(f"%({column}{number})s::text[]::{_TYPES.get(column, 'text')}[]" for column in stream.columns)
    return f"unnest({arrays}) AS key ({', '.join(stream.columns)})"


def _along(stream: Stream, number: int, values: dict[str, Any], selected: str) -> str:
    """Return the query that scans one key's rows, newest first."""
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
    """Return the distinct values of each index's leading columns, or None if there are more than its `most`. One query."""
    steps = ", ".join(_skipping(index, number) for number, index in enumerate(indexes))
    parts = " UNION ALL ".join(
        f"(SELECT {number}, ARRAY[{', '.join(index.columns)}]::text[] FROM value{number} LIMIT {index.most + 1})"  # noqa: S608
        for number, index in enumerate(indexes)
    )
    values_of: list[list[tuple[str, ...]]] = [[] for _ in indexes]
    for number, values in _rows(f"WITH RECURSIVE {steps} {parts}", {}):
        values_of[number].append(tuple(values))
    return [rows if len(rows) <= index.most else None for index, rows in zip(indexes, values_of, strict=True)]


def _skipping(index: Index, number: int) -> str:
    """Return the recursive part of a query that skips along an index from one value to the next."""
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


def newest(condition: IndexCondition, before: Place, limit: int) -> list[Place]:
    """Return the newest tasks that meet a condition which an index answers with a few thousand rows at most."""
    matches: list[Place] = []
    below, size = before, limit
    while True:
        candidates = _newest(condition, below, size)
        matches += _checked(candidates, condition)
        if condition.check is None or len(candidates) < size or len(matches) >= limit:
            return matches[:limit]
        below, size = candidates[-1], 2 * size


def _newest(condition: IndexCondition, before: Place, limit: int) -> list[Place]:
    values: dict[str, Any] = {**condition.values, "wanted": limit}
    query = f"""
        WITH chosen AS MATERIALIZED (SELECT task.created_at, task.id FROM tasks_app_task AS task WHERE {condition.sql})
        SELECT created_at, id FROM chosen WHERE (created_at, id) < ({_bound("last", 0, before, values)})
        {_NEWEST_FIRST} LIMIT %(wanted)s
    """  # noqa: S608
    return [Place(*row) for row in _rows(query, values)]


def fewest(conditions: Sequence[IndexCondition], most: int) -> list[UUID] | None:
    """Return, in no order, all tasks that meet the most selective of some conditions that an index answers. One query.

    None if more than `most` tasks meet each of them.
    """
    values: dict[str, Any] = {"most": most + 1}
    parts = []
    for number, condition in enumerate(conditions):
        values |= condition.values
        parts.append(f"(SELECT {number}, task.id FROM tasks_app_task AS task WHERE {condition.sql} LIMIT %(most)s)")  # noqa: S608
    ids_of: list[list[UUID]] = [[] for _ in conditions]
    for number, id_ in _rows(" UNION ALL ".join(parts), values):
        ids_of[number].append(id_)
    return min((ids for ids in ids_of if len(ids) <= most), key=len, default=None)


def _rows(query: str, values: Mapping[str, Any]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        rows: list[Any] = cursor.fetchall()
    return rows
