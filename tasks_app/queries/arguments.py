"""A task's arguments for display: secrets are masked, and long values are cut."""

import json
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any, Final, NamedTuple

from django.db.models import Case, Func, IntegerField, QuerySet, TextField, Value, When
from django.db.models.functions import Cast, Left
from django.db.models.lookups import GreaterThan

from tasks_app import catalog
from tasks_app.models import Task
from zenith_site.common.masking import mask, mask_positional
from zenith_site.common.previews import ELLIPSIS, SHOWN, head_length, read_head, shorten

#: Characters of a task's arguments that a row of a list shows.
LINE: Final = 160
#: Bytes of a value as PostgreSQL stores it, up to which a row shows its beginning: a larger one would be read whole for it.
MOST_READ: Final = 8_192
TOO_LARGE: Final = "(too large for a list)"


class Arguments(NamedTuple):
    """A task's arguments; `cut` names those of the two that are longer than what is here."""

    args: list[Any]
    kwargs: dict[str, Any]
    cut: frozenset[str] = frozenset()


NO_ARGUMENTS: Final = Arguments([], {})


def shown_arguments(task: Task) -> Arguments:
    """Return a task's arguments with secrets masked, including positional ones whose parameter has a secret's name."""
    return Arguments(mask_positional(task.args, positional_names(task)), mask(task.kwargs))


def masked_arguments(args: list[Any], kwargs: dict[str, Any], names: Sequence[str], limit: int = SHOWN) -> Arguments:
    """Return the beginning of arguments that are in no row, with secrets masked; `names`: of the positional parameters."""
    (shown_args, args_cut), (shown_kwargs, kwargs_cut) = shorten(args, limit), shorten(kwargs, limit)
    cut = frozenset(name for name, is_cut in (("args", args_cut), ("kwargs", kwargs_cut)) if is_cut)
    return Arguments(mask_positional(shown_args, names), mask(shown_kwargs), cut)


def with_heads(tasks: QuerySet[Task], limit: int = SHOWN) -> QuerySet[Task]:
    """Make a query read only as much of the arguments as `preview` needs to show `limit` characters of each."""
    heads = {f"{name}_head": Left(Cast(name, TextField()), head_length(limit) + 1) for name in ("args", "kwargs")}
    return tasks.defer("args", "kwargs").annotate(**heads)


def preview(task: Task, limit: int = SHOWN) -> Arguments:
    """Return the beginning of a task's arguments with secrets masked; cheapest for a task read `with_heads`."""
    args, args_cut = _head(task, "args", limit)
    kwargs, kwargs_cut = _head(task, "kwargs", limit)
    cut = frozenset(name for name, is_cut in (("args", args_cut), ("kwargs", kwargs_cut)) if is_cut)
    return Arguments(mask_positional(args, positional_names(task)), mask(kwargs), cut)


def with_lines(rows: QuerySet[Any], path: str = "") -> QuerySet[Any]:
    """Make a query read only as much of the arguments as `argument_line` needs, and nothing of very large ones.

    `path` leads from a row to its task, such as `task__`.
    """
    heads = {f"{name}_line": _line_head(f"{path}{name}") for name in ("args", "kwargs")}
    lines: QuerySet[Any] = rows.defer(f"{path}args", f"{path}kwargs").annotate(**heads)
    return lines


def _line_head(column: str) -> Case:
    stored_size = Func(column, function="pg_column_size", output_field=IntegerField())
    head = Left(Cast(column, TextField()), head_length(LINE) + 1)
    return Case(When(GreaterThan(stored_size, MOST_READ), then=Value("")), default=head, output_field=TextField())


def know_names(application_ids: Iterable[int | None]) -> None:
    """Read the names of parameters for a list of tasks in one query, if they are of several applications; see `argument_line`."""
    if len(set(application_ids)) > 1:
        catalog.all_catalogues()


def argument_line(row: Any, task: Task) -> str:
    """Return a task's arguments in one short line, such as `customer=4711, format="a4"`, with secrets masked.

    Args:
        row: the row that was read `with_lines`, the task itself or one that belongs to it.
        task: the task, for the names of its parameters.
    """
    if not (row.args_line and row.kwargs_line):
        return TOO_LARGE
    (args, args_cut), (kwargs, kwargs_cut) = (_beginning(head, LINE) for head in (row.args_line, row.kwargs_line))
    names = positional_names(task)
    positional = zip_longest(mask_positional(args, names), names[: len(args)], fillvalue="")
    parts = [f"{name}={_compact(value)}" if name else _compact(value) for value, name in positional]
    parts += [f"{name}={_compact(value)}" for name, value in mask(kwargs).items()]
    line = ", ".join(parts)
    return line[:LINE].removesuffix(ELLIPSIS) + ELLIPSIS if args_cut or kwargs_cut or len(line) > LINE else line


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _beginning(head: str, limit: int) -> tuple[Any, bool]:
    value, is_head = read_head(head, head_length(limit))
    shown, is_cut = shorten(value, limit)
    return shown, is_head or is_cut


def _head(task: Task, name: str, limit: int) -> tuple[Any, bool]:
    head: str | None = getattr(task, f"{name}_head", None)
    return shorten(getattr(task, name), limit) if head is None else _beginning(head, limit)


def positional_names(task: Task) -> Sequence[str]:
    """Return the names of a task's positional parameters, or none if its application's catalogue does not have it."""
    entry = catalog.known_entry(task.name, task.application_id)
    return [] if entry is None else entry.positional_names
