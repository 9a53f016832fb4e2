"""What a search asks of a task, in SQL: for the rows that a walk looks at, and for the index of arguments."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from tasks_app import catalog
from tasks_app.search.index_scan import Condition
from tasks_app.search.parser import Argument, Choice, Search
from zenith_worker.wire.ids import keys_of


def conditions(search: Search, but: Iterable[str] = ()) -> Iterator[Condition]:
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
    if search.since and "created_at" not in but:
        yield Condition("task.created_at >= %(since)s", {"since": search.since})
    if search.until and "created_at" not in but:
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
    return Condition(f"({sql} OR task.id = ANY(%({name}_ids)s))", {**values, f"{name}_ids": list(keys_of(text))})


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


def probes(search: Search) -> Iterator[Condition]:
    """Yield for each argument what the index of arguments can answer, for tasks that have ended.

    It holds for all that match, and perhaps for a few more.
    """
    for number, argument in enumerate(search.arguments):
        first, *more = argument.name.split(".")
        if argument.unwanted or argument.value[0] in "[{" or any(step.isdigit() for step in more):
            continue
        texts = [json.dumps(argument.value)]
        if _NUMBER.fullmatch(argument.value) or argument.value in ("true", "false"):
            texts.append(argument.value)
        for step in reversed(more):
            texts = [f"{{{json.dumps(step)}: {text}}}" for text in texts]
        given = {f"named{number}_{way}": f"{{{json.dumps(first)}: {text}}}" for way, text in enumerate(texts)}
        placed = {f"placed{number}_{way}": f"[{text}]" for way, text in enumerate(texts)}
        ways = [f"task.kwargs @> %({name})s::jsonb" for name in given]
        ways += [f"task.args @> %({name})s::jsonb" for name in placed]
        yield Condition(f"task.finished_at IS NOT NULL AND ({' OR '.join(ways)})", {**given, **placed})


def named(search: Search) -> Iterator[Condition]:
    """Yield the conditions that name single tasks, batches, or what some tasks sent."""
    if search.ids:
        yield Condition("task.id = ANY(%(ids)s)", {"ids": list(search.ids)})
    if search.batches:
        yield Condition("task.batch_id = ANY(%(batches)s)", {"batches": list(search.batches)})
    if search.parents:
        yield Condition("task.parent_id = ANY(%(parents)s)", {"parents": list(search.parents)})


def joined(conditions: Iterable[Condition]) -> Condition:
    """Return one condition for all of them."""
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
