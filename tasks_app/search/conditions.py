"""A search's conditions in SQL, for the rows that a scan reads and for the index of arguments."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from tasks_app import catalog
from tasks_app.models.task_keys import keys_meant
from tasks_app.search import masked
from tasks_app.search.index_scan import IndexCondition
from tasks_app.search.parser import Argument, FilterValue, Search
from zenith_site.common.masking import MASK


def conditions(search: Search, but: Iterable[str] = ()) -> Iterator[IndexCondition]:
    """Yield the conditions of a search, except those (`but`) that a stream's keys already answer."""
    if search.statuses is not None and "status" not in but:
        yield IndexCondition("task.status = ANY(%(statuses)s)", {"statuses": sorted(search.statuses)})
    if search.name and "name" not in but:
        yield IndexCondition("task.name = %(name)s", {"name": search.name})
    for column, choices in (("name", search.names), ("queue", search.queues), ("worker", search.workers)):
        if column not in but:
            yield from _choice_conditions(column, choices)
    if "application" not in but:
        yield from _application_conditions(search)
    for number, argument in enumerate(search.arguments):
        yield _negated(_argument(argument, number, search.unmasked), argument.unwanted)
    yield from _text_conditions(search)
    if search.since and "created_at" not in but:
        yield IndexCondition("task.created_at >= %(since)s", {"since": search.since})
    if search.until and "created_at" not in but:
        yield IndexCondition("task.created_at <= %(until)s", {"until": search.until})
    if search.ended_since:
        yield IndexCondition("task.finished_at >= %(ended_since)s", {"ended_since": search.ended_since})
    if search.ended_until:
        yield IndexCondition("task.finished_at < %(ended_until)s", {"ended_until": search.ended_until})


def _text_conditions(search: Search) -> Iterator[IndexCondition]:
    """Yield the conditions on errors and workers. If secrets are masked, SQL only finds candidates: see masked.py."""
    for number, error in enumerate(search.errors):
        condition = IndexCondition(f"({_ERROR} LIKE %(error{number})s)", {f"error{number}": _containing(error.value, search)})
        if search.unmasked or not error.unwanted:
            yield _negated(condition, error.unwanted)
    for number, word in enumerate(search.words):
        if search.unmasked or not word.unwanted:
            yield _negated(_word(word.value, f"word{number}", search), word.unwanted)
    if not search.unmasked and (search.errors or search.words):
        yield IndexCondition(check=masked.check_of(search))


_ERROR: Final = "task.error_type <> '' AND lower(task.error_type || ': ' || task.error_message)"


def _choice_conditions(column: str, choices: Sequence[FilterValue]) -> Iterator[IndexCondition]:
    for unwanted in (False, True):
        patterns = [like_pattern(choice.value) for choice in choices if choice.unwanted == unwanted]
        if not patterns:
            continue
        if column == "worker":
            patterns += [f"{pattern}@%" for pattern in patterns]
        name = f"{column}_{'not' if unwanted else 'like'}"
        yield _negated(IndexCondition(f"task.{column} LIKE ANY(%({name})s)", {name: patterns}), unwanted)


def _application_conditions(search: Search) -> Iterator[IndexCondition]:
    if search.visible is not None:
        yield IndexCondition(_APPLICATION.format("= ANY(%(visible)s)"), {"visible": sorted(search.visible)})
    if search.application:
        yield IndexCondition(_APPLICATION.format("= %(application)s"), {"application": search.application})
    for unwanted in (False, True):
        patterns = [like_pattern(choice.value) for choice in search.applications if choice.unwanted == unwanted]
        if patterns:
            name = f"application_{'not' if unwanted else 'like'}"
            yield _negated(IndexCondition(_APPLICATION.format(f"LIKE ANY(%({name})s)"), {name: patterns}), unwanted)


#: Read once for a query: there are few applications.
_APPLICATION: Final = (
    "task.application_id = ANY(ARRAY(SELECT application.id FROM tasks_app_application AS application WHERE application.name {}))"
)


def _word(text: str, name: str, search: Search) -> IndexCondition:
    sql, values = f"({_ERROR} LIKE %({name})s) OR lower(task.worker) LIKE %({name})s", {name: _containing(text, search)}
    return IndexCondition(f"({sql} OR task.id = ANY(%({name}_ids)s))", {**values, f"{name}_ids": list(keys_meant(text))})


def _argument(argument: Argument, number: int, unmasked: bool) -> IndexCondition:
    """Compare an argument's value, as text, however it was sent: by name, by position, or at that name's position."""
    first, *more = argument.name.split(".")
    values: dict[str, Any] = {f"value{number}": argument.value}

    def equals(name: str, column: str, path: list[str]) -> str:
        values[name] = path
        equal = f"task.{column} #>> %({name})s = %(value{number})s"
        return equal if unmasked else f"{equal}{masked.no_option_before(column, path, name, values)}"

    alternatives = [equals(f"path{number}", "kwargs", [first, *more])]
    if first.isascii() and first.isdigit():
        by_position = equals(f"placed{number}", "args", [first, *more])
        if not unmasked and (hiding := masked.tasks_that_hide(int(first))):
            values[f"hiding{number}"] = hiding
            by_position += f" AND task.name <> ALL(%(hiding{number})s)"
        alternatives.append(by_position)
    for index, tasks in _argument_indexes(first).items():
        known = f"known{number}_{index}"
        values |= {f"{known}_in": [application_id for application_id, _ in tasks], known: [name for _, name in tasks]}
        equal = equals(f"path{number}_{index}", "args", [str(index), *more])
        alternatives.append(f"{_ONE_OF.format(known)} AND {equal}")
    return IndexCondition(f"({' OR '.join(f'({alternative})' for alternative in alternatives)})", values)


_ONE_OF: Final = "(task.application_id, task.name) IN (SELECT * FROM unnest(%({0}_in)s::smallint[], %({0})s::text[]))"


def _argument_indexes(name: str) -> dict[int, list[tuple[int, str]]]:
    """Return the positions at which tasks take an argument of this name, each with those tasks' applications and names."""
    indexes: dict[int, list[tuple[int, str]]] = {}
    for application_id, entry in catalog.every_entry():
        if (index := entry.named_positions.get(name)) is not None:
            indexes.setdefault(index, []).append((application_id, entry.name))
    return indexes


_NUMBER: Final = re.compile(r"-?(0|[1-9]\d{0,99})(\.\d{1,99})?")


def probes(search: Search) -> Iterator[IndexCondition]:
    """Yield for each argument the condition that the index of arguments answers, for tasks that have ended.

    Every matching task meets it, and perhaps a few others.
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
        by_name = {f"by_name{number}_{form}": f"{{{json.dumps(first)}: {text}}}" for form, text in enumerate(texts)}
        by_position = {f"by_place{number}_{form}": f"[{text}]" for form, text in enumerate(texts)}
        named = " OR ".join(f"task.kwargs @> %({name})s::jsonb" for name in by_name)
        anywhere = " OR ".join(f"task.args @> %({name})s::jsonb" for name in by_position)
        values: dict[str, Any] = {**by_name, **by_position}
        if not search.unmasked and (hiding := masked.tasks_that_hide()):
            # Nor may it show how many tasks have the value in a masked position.
            exact = _argument(argument, number, unmasked=False)
            values |= {**exact.values, f"hiding{number}_any": hiding}
            anywhere = f"({anywhere}) AND (task.name <> ALL(%(hiding{number}_any)s) OR {exact.sql})"
        yield IndexCondition(f"task.finished_at IS NOT NULL AND ({named} OR ({anywhere}))", values)


def named(search: Search) -> Iterator[IndexCondition]:
    """Yield the conditions that name tasks, batches, or the parents of tasks."""
    if search.ids:
        yield IndexCondition("task.id = ANY(%(ids)s)", {"ids": _keys(search.ids)})
    if search.batches:
        yield IndexCondition("task.batch_id = ANY(%(batches)s)", {"batches": list(search.batches)})
    if search.parents:
        yield IndexCondition("task.parent_id = ANY(%(parents)s)", {"parents": _keys(search.parents)})


def _keys(ids: Iterable[str]) -> list[UUID]:
    return sorted({key for id_ in ids for key in keys_meant(id_)})


def joined(conditions: Iterable[IndexCondition]) -> IndexCondition:
    """Return one condition that holds if all of these hold."""
    conditions = list(conditions)
    values = {name: value for condition in conditions for name, value in condition.values.items()}
    check = next((condition.check for condition in conditions if condition.check), None)
    sql = " AND ".join(condition.sql for condition in conditions if condition.sql != "true")
    return IndexCondition(sql or "true", values, check)


def _negated(condition: IndexCondition, unwanted: bool) -> IndexCondition:
    return replace(condition, sql=f"NOT coalesce({condition.sql}, false)") if unwanted else condition


_SPECIAL: Final = re.compile(r"([%_\\])")
_ESCAPED: Final = r"\\\1"


def like_pattern(text: str) -> str:
    """Return a LIKE pattern in which only `*` is special, and stands for any text."""
    return _SPECIAL.sub(_ESCAPED, text).replace("*", "%")


def _containing(text: str, search: Search) -> str:
    pattern = f"%{_SPECIAL.sub(_ESCAPED, text.lower())}%"
    # Part of the text may be part of a mask, which is not in the stored text.
    return pattern if search.unmasked else pattern.replace(MASK[0], "%")
