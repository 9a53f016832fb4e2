"""Keep searches from revealing masked secrets to users who may not operate.

Without this, anyone who may view tasks could find a secret letter by letter, by searching errors for parts of it.

1. Arguments match by their whole value only. A search for an argument with a secret's name, or for a value that contains a
   secret, is refused (`refuse_secrets`). A value masked because of its position (its parameter's name, or an option such as
   `--password` before it) never matches.
2. The text of errors is searched as it is shown. SQL does not know masks: it finds the tasks whose stored text matches, and
   those whose shown text does not match are dropped (`check_of`). How far a page goes does not depend on them
   (index_scan.py: walk).
"""

import json
import re
from collections.abc import Callable, Collection
from typing import Any, Final
from uuid import UUID

from tasks_app import catalog
from tasks_app.models import Task
from tasks_app.models.task_keys import keys_meant
from tasks_app.search.parser import Argument, Search
from zenith_site.common.masking import is_secret, mask, mask_text

_INDEX: Final = re.compile(r"[+-]?[0-9]{1,9}")
_WHO: Final = "only users who may operate can search for it"


def refuse_secrets(search: Search) -> None:
    """Raise ValueError, naming the term, if a search is for a masked value."""
    for argument in () if search.unmasked else search.arguments:
        for step in argument.name.split("."):
            if is_secret(step) or mask_text(step) != step:
                raise ValueError(f"args.{argument.name}: values named {step!r} are hidden as secrets; {_WHO}")
        if _holds_secret(argument):
            raise ValueError(f"args.{argument.name}: this value contains a secret, which is hidden everywhere; {_WHO}")


def _holds_secret(argument: Argument) -> bool:
    if mask_text(argument.value) != argument.value:
        return True
    if argument.value[0] not in "[{":
        return False
    try:
        value = json.loads(argument.value)
        return bool(mask(value) != value)
    except RecursionError:
        return True
    except ValueError:
        return False


def tasks_that_hide(place: int | None = None) -> list[str]:
    """Return the names of tasks whose argument at a position (from 0; or at any) is masked because of its parameter's name.

    A task of that name in another application is hidden as well.
    """
    hiding = (
        entry.name
        for _, entry in catalog.every_entry()
        if any(is_secret(name) for at, name in enumerate(entry.positional_names) if place in (None, at))
    )
    return sorted(set(hiding))


def no_option_before(column: str, path: list[str], name: str, values: dict[str, Any]) -> str:
    """Return SQL that begins with AND: no list item on a path follows an item that looks like an option.

    Args:
        column: the task's column with the arguments.
        path: the steps into it.
        name: the prefix of the parameters that are added to `values`.
        values: the query's parameters.
    """
    sql = ""
    for number, step in enumerate(path[1:], 1):
        if _INDEX.fullmatch(step) and int(step):
            values[f"{name}_before{number}"] = [*path[:number], str(int(step) - 1)]
            sql += f" AND left(coalesce(task.{column} #>> %({name}_before{number})s, ''), 1) <> '-'"
    return sql


def check_of(search: Search) -> Callable[[Collection[UUID]], Collection[UUID]]:
    """Return a function that picks the tasks whose shown text matches a search, in one query."""
    words = [(word.value.lower(), keys_meant(word.value), word.unwanted) for word in search.words]

    def matches(id_: UUID, error: str, worker: str) -> bool:
        return all((choice.value.lower() in error) is not choice.unwanted for choice in search.errors) and all(
            (text in error or text in worker or id_ in keys) is not unwanted for text, keys, unwanted in words
        )

    def check(ids: Collection[UUID]) -> Collection[UUID]:
        rows = Task.objects.filter(id__in=ids).values_list("id", "error_type", "error_message", "worker")
        return {row[0] for row in rows if matches(row[0], _shown_error(*row[1:3]).lower(), row[3].lower())}

    return check


def _shown_error(error_type: str, message: str) -> str:
    """Return an error as lists show it, or an empty text if there is none."""
    return f"{error_type}: {mask_text(message)}" if error_type else ""
