"""Finding the tasks that a search means: which index to walk, and what to look at on the way.

Everything that narrows a search down is tried in the order of how much it does: ids and batches are
few, argument values are usually rare (a GIN index knows them), errors only lie with tasks that failed.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from tasks_app import catalog
from tasks_app.insight.search import Argument, Choice, Search
from tasks_app.insight.walk import FIRST_ID, LAST_ID, REACH, Condition, Stream, Walked, distinct, newest, shortest, some, walk
from tasks_app.states import OPEN, Status

#: The only statuses in which a row has an error; every new attempt clears it.
WITH_ERROR: Final = (Status.FAILURE, Status.RETRY, Status.REVOKED)
#: Different pairs of name and queue, and different workers, that are told apart; more are looked at row by row.
MAX_PAIRS: Final = 1_000
MAX_WORKERS: Final = 500
#: Keys walked at once.
MAX_KEYS: Final = 300
#: Tasks with an argument's value that are taken one by one; a value that more of them have is met by walking.
MAX_SOME: Final = 3_000
#: Arguments tried for that.
MAX_PROBES: Final = 3
#: Rows looked at before a value counts as rare.
FIRST_REACH: Final = 1_000
#: How far the time in an id and `created_at` may lie apart: a dispatch of many takes a while.
SLACK: Final = timedelta(minutes=1)
# In the partial index's own words; `source = 'external'` would let PostgreSQL walk the primary key instead.
_EXTERNAL: Final = "NOT (task.source IN ('page', 'api', 'command', 'engine'))"
_WORKER: Final = "NOT (task.worker = '')"


def find(search: Search, before: UUID | None, wanted: int) -> Walked:
    """Return the ids of up to `wanted` tasks, newest first, all below `before`.

    The number of queries depends on what kinds of terms there are, never on how many tasks.
    """
    below = before or LAST_ID
    if search.ids or search.batches:
        chosen = [*_conditions(search), *_chosen(search)]
        return Walked(newest(_joined(chosen), below, wanted))
    if not search.arguments:
        return _walk(search, below, wanted, REACH)
    soon = _walk(search, below, wanted, FIRST_REACH)
    if soon.reached is None:
        return soon
    for probe in list(_probes(search))[:MAX_PROBES]:
        ended = some(probe, MAX_SOME)
        if ended is not None:
            matching = [Condition("task.id = ANY(%(ended)s)", {"ended": ended}), *_conditions(search)]
            # Those that are open are in no such index, and few.
            still_open = _walk(_open(search), below, wanted, REACH)
            return _together(newest(_joined(matching), below, wanted), still_open, wanted)
    return _walk(search, below, wanted, REACH)


def _walk(search: Search, before: UUID, wanted: int, reach: int) -> Walked:
    streams, rest = _streams(search)
    # Nothing ends before it was created.
    until = min((moment for moment in (search.until, search.ended_until) if moment), default=None)
    if search.since or until:
        first, last = _id_at(search.since, -SLACK, FIRST_ID), _id_at(until, SLACK, LAST_ID)
        streams = [Stream(stream.columns, stream.keys, stream.partial, first, last) for stream in streams]
        # Other programs' ids say nothing about when.
        outside = ((FIRST_ID, first), (last, LAST_ID))
        streams += [Stream(("source",), [("external",)], _EXTERNAL, *span) for span in outside if span[0] != span[1]]
        rest = list(_conditions(search))
    return walk(streams, _joined(rest), before, wanted, reach)


def _together(ended: Sequence[UUID], still_open: Walked, wanted: int) -> Walked:
    ids = sorted({*still_open.ids, *ended}, reverse=True)[:wanted]
    if still_open.reached is None:
        return Walked(ids)
    sure = [id_ for id_ in ids if id_ >= still_open.reached]
    return Walked(sure, None if len(sure) == wanted else still_open.reached)


def _open(search: Search) -> Search:
    """Return the search among tasks that have not ended."""
    return replace(search, statuses=OPEN & (search.statuses if search.statuses is not None else OPEN))


def _streams(search: Search) -> tuple[list[Stream], list[Condition]]:
    """Return what to walk, and the conditions that are left to look at."""
    statuses = set(search.statuses if search.statuses is not None else Status)
    words = [word for word in search.words if not word.unwanted]
    if any(not error.unwanted for error in search.errors):
        statuses &= set(WITH_ERROR)
    elif words:
        return _word_streams(words[0], search), [*_conditions(search)]
    base, covered = _base(search, statuses)
    if any(not worker.unwanted for worker in search.workers):
        workers = _workers(search)
        if workers is not None:
            chosen = shortest([base, Stream(("worker",), workers, _WORKER)])
            covered = covered if chosen is base else set()
            base = chosen
    return [base], [*_conditions(search, but=covered)]


def _base(search: Search, statuses: set[Status]) -> tuple[Stream, set[str]]:
    """Return the stream for statuses, names and queues, and which of these it answers."""
    if search.name or search.names or search.queues:
        found = _pairs(search)
        if found is not None and len(found) * len(statuses) <= MAX_KEYS:
            keys = [(*pair, status) for pair in found for status in sorted(statuses)]
            return Stream(("name", "queue", "status"), keys), {"name", "queue", "status"}
    if len(statuses) == len(Status):
        return Stream(), {"status"}
    return Stream(("status",), [(status,) for status in sorted(statuses)]), {"status"}


def _word_streams(word: Choice, search: Search) -> list[Stream]:
    """Return where a word may be found: with errors, at workers of such a name, or as the id itself."""
    statuses = set(WITH_ERROR) & set(search.statuses if search.statuses is not None else Status)
    found = [Stream(("status",), [(status,) for status in sorted(statuses)])]
    workers = distinct(("worker",), MAX_WORKERS, _WORKER)
    if workers is None:
        return [Stream()]
    keys = [key for key in workers if word.value.casefold() in key[0].casefold()]
    found.append(Stream(("worker",), keys, _WORKER))
    if id_ := _id(word.value):
        found.append(Stream(first=id_, last=UUID(int=min(id_.int + 1, LAST_ID.int))))
    return found


def _pairs(search: Search) -> list[tuple[str, ...]] | None:
    found = distinct(("name", "queue"), MAX_PAIRS)
    if found is None:
        return None
    found = [pair for pair in found if search.name in ("", pair[0])]
    return [pair for pair in found if _fits(pair[0], search.names) and _fits(pair[1], search.queues)]


def _workers(search: Search) -> list[tuple[str, ...]] | None:
    found = distinct(("worker",), MAX_WORKERS, _WORKER)
    if found is None:
        return None
    keys = [key for key in found if _fits(key[0], search.workers) or _fits(key[0].partition("@")[0], search.workers)]
    return keys if len(keys) <= MAX_KEYS else None


def _fits(value: str, choices: Iterable[Choice]) -> bool:
    wanted = [choice for choice in choices if not choice.unwanted]
    if wanted and not any(_matches(value, choice.value) for choice in wanted):
        return False
    return not any(choice.unwanted and _matches(value, choice.value) for choice in choices)


def _matches(value: str, pattern: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), value, re.DOTALL) is not None


# --- Conditions: what a row must meet, in SQL ---


def _conditions(search: Search, but: Iterable[str] = ()) -> Iterator[Condition]:
    """Yield every condition of a search but for those that a stream's keys answer."""
    if search.statuses is not None and "status" not in but:
        yield Condition("task.status = ANY(%(statuses)s)", {"statuses": sorted(search.statuses)})
    if search.name and "name" not in but:
        yield Condition("task.name = %(name)s", {"name": search.name})
    for column, choices in (("name", search.names), ("queue", search.queues), ("worker", search.workers)):
        if column not in but:
            yield from _choice_conditions(column, choices)
    for number, argument in enumerate(search.arguments):
        yield _argument(argument, number)
    for number, error in enumerate(search.errors):
        yield _turned(
            Condition(f"({_ERROR} LIKE %(error{number})s)", {f"error{number}": _containing(error.value)}), error.unwanted
        )
    for number, word in enumerate(search.words):
        yield _turned(_word(word.value, f"word{number}"), word.unwanted)
    if search.since:
        yield Condition("task.created_at >= %(since)s", {"since": search.since})
    if search.until:
        yield Condition("task.created_at <= %(until)s", {"until": search.until})
    if search.ended_since:
        yield Condition("task.finished_at >= %(ended_since)s", {"ended_since": search.ended_since})
    if search.ended_until:
        yield Condition("task.finished_at < %(ended_until)s", {"ended_until": search.ended_until})


_ERROR: Final = "task.error_type <> '' AND lower(task.error_type || ': ' || task.error_message)"


def _choice_conditions(column: str, choices: Sequence[Choice]) -> Iterator[Condition]:
    for unwanted in (False, True):
        patterns = [_pattern(choice.value) for choice in choices if choice.unwanted == unwanted]
        if not patterns:
            continue
        if column == "worker":
            patterns += [f"{pattern}@%" for pattern in patterns]
        name = f"{column}_{'not' if unwanted else 'like'}"
        yield _turned(Condition(f"task.{column} LIKE ANY(%({name})s)", {name: patterns}), unwanted)


def _word(text: str, name: str) -> Condition:
    sql, values = f"({_ERROR} LIKE %({name})s) OR lower(task.worker) LIKE %({name})s", {name: _containing(text)}
    if id_ := _id(text):
        return Condition(f"({sql} OR task.id = %({name}_id)s)", {**values, f"{name}_id": id_})
    return Condition(f"({sql})", values)


def _argument(argument: Argument, number: int) -> Condition:
    """Compare an argument's value, as text, wherever it was sent: by name, by place, or by the place of that name."""
    first, *more = argument.name.split(".")
    values: dict[str, Any] = {f"value{number}": argument.value, f"path{number}": [first, *more]}
    ways = [f"task.kwargs #>> %(path{number})s = %(value{number})s"]
    if first.isascii() and first.isdigit():
        ways.append(f"task.args #>> %(path{number})s = %(value{number})s")
    for place, names in _places(first).items():
        values |= {f"names{number}_{place}": names, f"path{number}_{place}": [str(place), *more]}
        ways.append(f"task.name = ANY(%(names{number}_{place})s) AND task.args #>> %(path{number}_{place})s = %(value{number})s")
    return _turned(Condition(f"({' OR '.join(f'({way})' for way in ways)})", values), argument.unwanted)


def _places(name: str) -> dict[int, list[str]]:
    """Return at which places the catalogue's tasks take an argument of this name, with the tasks' names."""
    found: dict[int, list[str]] = {}
    for entry in catalog.entries().values():
        parameters = [item.name for item in entry.signature.parameters.values() if item.kind == item.POSITIONAL_OR_KEYWORD]
        if name in parameters:
            found.setdefault(parameters.index(name), []).append(entry.name)
    return found


_NUMBER: Final = re.compile(r"-?(0|[1-9]\d{0,99})(\.\d{1,99})?")


def _probes(search: Search) -> Iterator[Condition]:
    """Yield for each argument what the index of arguments can answer, for tasks that have ended.

    It holds for all that match, and perhaps for a few more.
    """
    for argument in search.arguments:
        first, *more = argument.name.split(".")
        if argument.unwanted or argument.value[0] in "[{" or any(step.isdigit() for step in more):
            continue
        texts = [json.dumps(argument.value)]
        if _NUMBER.fullmatch(argument.value) or argument.value in ("true", "false"):
            texts.append(argument.value)
        for step in reversed(more):
            texts = [f"{{{json.dumps(step)}: {text}}}" for text in texts]
        values = {"named": [f"{{{json.dumps(first)}: {text}}}" for text in texts], "placed": [f"[{text}]" for text in texts]}
        ways = [f"task.kwargs @> %({name}{way})s::jsonb" for name in ("named",) for way in range(len(texts))]
        ways += [f"task.args @> %({name}{way})s::jsonb" for name in ("placed",) for way in range(len(texts))]
        given = {f"{name}{way}": text for name, found in values.items() for way, text in enumerate(found)}
        yield Condition(f"task.finished_at IS NOT NULL AND ({' OR '.join(ways)})", given)


def _chosen(search: Search) -> Iterator[Condition]:
    if search.ids:
        yield Condition("task.id = ANY(%(ids)s)", {"ids": list(search.ids)})
    if search.batches:
        yield Condition("task.batch_id = ANY(%(batches)s)", {"batches": list(search.batches)})


def _joined(conditions: Iterable[Condition]) -> Condition:
    every = list(conditions)
    values = {name: value for condition in every for name, value in condition.values.items()}
    return Condition(" AND ".join(condition.sql for condition in every) or "true", values)


def _turned(condition: Condition, unwanted: bool) -> Condition:
    return Condition(f"NOT coalesce({condition.sql}, false)", condition.values) if unwanted else condition


_SPECIAL: Final = re.compile(r"([%_\\])")
_ESCAPED: Final = r"\\\1"


def _pattern(text: str) -> str:
    """Return a LIKE pattern in which `*` is any text, and nothing else is special."""
    return _SPECIAL.sub(_ESCAPED, text).replace("*", "%")


def _containing(text: str) -> str:
    return f"%{_SPECIAL.sub(_ESCAPED, text.lower())}%"


def _id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _id_at(moment: datetime | None, slack: timedelta, otherwise: UUID) -> UUID:
    """Return the first id (UUIDv7) that could be made at a moment."""
    if moment is None:
        return otherwise
    try:
        milliseconds = (moment + slack - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    except OverflowError:
        return otherwise
    return UUID(int=min(max(0, milliseconds), 2**48 - 1) << 80)
