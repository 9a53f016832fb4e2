"""What a search may tell: no more than pages show, where secrets are hidden, unless who searches may operate.

Otherwise whoever may look could find out a secret letter by letter, by asking whether some error has this text in it.

1. An argument is asked for by its whole value. One under a secret's name is refused, and so is a value that holds a secret
   itself (`refuse_secrets`). What is hidden for its place (by a parameter's name, or behind an option such as `--password`)
   never matches.
2. The text of errors is searched as it is shown. SQL knows no masks: it finds the tasks whose stored text matches, and those
   whose shown text does not are dropped (`check_of`). How far a page goes does not depend on them (index_scan.py: walk).
"""

import json
import re
from collections.abc import Callable, Collection
from typing import Any, Final
from uuid import UUID

from tasks_app import catalog
from tasks_app.models import Task
from tasks_app.search.parser import Argument, Search
from zenith_site.common.masking import is_secret, mask, mask_text
from zenith_worker.wire.ids import keys_of

_INDEX: Final = re.compile(r"[+-]?[0-9]{1,9}")
_WHO: Final = "only users who may operate can search for it"


def refuse_secrets(search: Search) -> None:
    """Raise ValueError, naming the term, for a search that asks for what is hidden."""
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
    """Return the names of tasks whose argument in a place (from 0; in any, without one) is hidden for its parameter's name."""
    return [
        entry.name
        for entry in catalog.entries().values()
        if any(is_secret(name) for at, name in enumerate(entry.positional_names) if place in (None, at))
    ]


def no_option_before(column: str, path: list[str], name: str, values: dict[str, Any]) -> str:
    """Return SQL that begins with AND: nothing that looks like an option stands before the items of lists that a path leads to.

    Args:
        column: of the task, with the arguments.
        path: the steps in it.
        name: what the parameters begin with that are added to `values`.
        values: parameters of the query.
    """
    sql = ""
    for number, step in enumerate(path[1:], 1):
        if _INDEX.fullmatch(step) and int(step):
            values[f"{name}_before{number}"] = [*path[:number], str(int(step) - 1)]
            sql += f" AND left(coalesce(task.{column} #>> %({name}_before{number})s, ''), 1) <> '-'"
    return sql


def check_of(search: Search) -> Callable[[Collection[UUID]], Collection[UUID]]:
    """Return what says which of some tasks match a search's texts, as these are shown; it takes one query."""
    words = [(word.value.lower(), keys_of(word.value), word.unwanted) for word in search.words]

    def matches(id_: UUID, error: str, worker: str) -> bool:
        return all((choice.value.lower() in error) is not choice.unwanted for choice in search.errors) and all(
            (text in error or text in worker or id_ in keys) is not unwanted for text, keys, unwanted in words
        )

    def check(ids: Collection[UUID]) -> Collection[UUID]:
        rows = Task.objects.filter(id__in=ids).values_list("id", "error_type", "error_message", "worker")
        return {row[0] for row in rows if matches(row[0], _shown_error(*row[1:3]).lower(), row[3].lower())}

    return check


def _shown_error(error_type: str, message: str) -> str:
    """Return an error as lists show it: nothing where there is none."""
    return f"{error_type}: {mask_text(message)}" if error_type else ""
